"""Everything that is known of one object, from the header to the arenas."""

from __future__ import annotations

import sys

from .. import _native
from ..analysis.freeing import when_freed
from ..models.explain import Explanation, PoolBlocks
from ..models.heap import Block
from ..models.objects import ObjectHeader
from . import allocation, heap, references
from .graph import capture
from .header import header as header_of

ALIGNMENT = 16  # of pymalloc's blocks: a bit of HeapMap.live_blocks each
COUNTS = ("ob_refcnt", "ob_ref_local", "ob_ref_shared")  # fields that hold references


def explain(obj: object, /, *, max_pause: float | None = 1.0) -> Explanation:
    """Header, block, neighbours, holders, size, what would go with it, and when it will be freed.

    Nothing of the object is called. For the heap and the graph the GIL is held, `max_pause` seconds at most for each
    (None: no ceiling); what could not be read by then, or in this build, is None with a reason. print() shows it as
    text, a notebook as tables and a picture of its pool.

    Raises NativeError when no layout could be verified for this interpreter.
    """
    seen = header_of(obj)
    where = allocation.block(obj)
    counted = own_references(seen)
    del obj  # this call is no holder
    pool, pool_reason = pool_of(where, max_pause)
    holders = path = retained = None
    graph_reason: str | None = "nothing but the call refers to it"
    if counted != 0 and still_there(seen, counted):
        try:
            raw = capture([seen.address], holders=True, path=True, retained=True, max_pause=max_pause)
        except _native.NativeError as error:
            graph_reason = str(error)
        else:
            holders, path = references.build_holders(raw), references.build_path(raw)
            retained = references.build_retained(raw)
            graph_reason = None
    return Explanation(
        header=seen,
        references=counted,
        block=where,
        size_bytes=where.size,
        pool_blocks=pool,
        pool_reason=pool_reason,
        holders=holders,
        path=path,
        retained=retained,
        graph_reason=graph_reason,
        freed=when_freed(seen, counted, where, holders, path),
    )


def own_references(seen: ObjectHeader) -> int | None:
    """The references that are not this call's: up to 3.13 its parameter holds one beside those of header()."""
    if seen.call_holds is None or seen.immortal:
        return None
    borrows = seen.getrefcount == seen.refcount  # header() says so of this frame: see probes/header.py
    return seen.refcount - seen.call_holds - (0 if borrows else 1)


def still_there(seen: ObjectHeader, counted: int | None) -> bool:
    """Whether the object outlived the parameter: certain with a second reference, else its words must be as they were.

    From 3.14 on one reference may be the caller's, or that of a temporary which is gone by now.
    """
    if seen.immortal or (counted is not None and counted > 1):
        return True
    words = [field for field in seen.fields if field.name in COUNTS or field.name == "ob_type"]
    try:
        now = [_native.read_memory(seen.address + field.offset, field.size) for field in words]
    except OSError:
        return False
    as_seen = [(field.value & ((1 << 8 * field.size) - 1)).to_bytes(field.size, sys.byteorder) for field in words]
    # up to 3.13 the call's own references were in the count that was seen
    ours = 0 if counted is None else seen.refcount - counted
    return now == as_seen if ours == 0 else any(map(any, now))


def pool_of(where: Block, max_pause: float | None) -> tuple[PoolBlocks | None, str | None]:
    """The blocks of the object's pool, from the map of the heap."""
    if where.pool is None or where.size is None or where.index_in_pool is None:
        return None, where.reason or f"its block is of the {where.domain}"
    found = heap.build(_native.heap_capture(pools=True, blocks=True, statistics=False, max_pause=max_pause))
    for arena in found.arenas:
        if not arena.address <= where.pool < arena.address + arena.size_bytes:
            continue
        bitmap = found.live_blocks(arena)
        if bitmap is None or found.pool_header_size is None:
            break
        first = where.address - where.index_in_pool * where.size - arena.address
        number = (found.pool_size - found.pool_header_size) // where.size
        bits = [(first + at * where.size) // ALIGNMENT for at in range(number)]
        live = tuple(bool(bitmap[bit >> 3] >> (bit & 7) & 1) for bit in bits)
        return PoolBlocks(where.pool, where.size, live, where.index_in_pool), None
    return None, found.reason or "its arena was not walked"
