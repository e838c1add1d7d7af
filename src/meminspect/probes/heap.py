"""The heap map: arenas, pools and size classes of every interpreter, held against CPython's own statistics.

The raw format, what `_native.heap_capture()` returns. `kind` says what is in it:

"mimalloc"            -- free-threaded builds: see heap_mimalloc.py
"pymalloc", "malloc"  -- builds with a GIL ("malloc": there is no arena, another allocator serves):
    pid               -- 0, or the process that was read from outside
    allocator, hook   -- the name of what serves PyObject_Malloc; what stands before it ("tracemalloc", a file), or None
    padding_bytes     -- what debug hooks add to each block
    arena_size, pool_size, pool_header_size, alignment, size_class_count -- bytes, bytes, bytes, bytes, a count
    arenas            -- packed ARENA records (csrc/allocators/obmalloc.h: mi_arena)
    pools             -- packed POOL records (mi_pool), in the order of the arenas, or None
    blocks            -- bitmap of live blocks: arena_size / 128 bytes an arena, one bit for each 16 bytes from its
                         address on, least significant first, set where a block in use begins; or None
    marked            -- one byte an arena, 1 where `blocks` has it: the emptiest first where there was no time for all
                         (max_pause); None where it has all
    arena_classes     -- packed ARENA_CLASS records: live blocks by arena (its place in `arenas`) and size class, in
                         order
    classes           -- packed CLASS records of all states walked; own_classes: of the calling interpreter's alone, or
                         None where it was not walked to its end
    own_arenas        -- how many of `arenas`, from the first on, are the calling interpreter's
    interpreters, states -- how many interpreters there are, how many pymalloc states were walked
    omitted           -- [(interpreter id, reason), ...]
    reasons           -- texts: why the figures are not exact; empty when they are
    facts             -- [(text, True, False or None), ...] that verified the way to the arenas
    stats             -- CPython's statistics of the calling interpreter as bytes, taken in the same call, or None
    stats_reason      -- why there are none
    pause_s           -- how long the walk took
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import Any, NamedTuple

from ..models.heap import Arena, CrossCheck, DebugMallocStats, HeapBytes, HeapMap, OmittedInterpreter, Pool, SizeClass
from . import malloc_stats

ARENA = Struct("<QQQqIIIIII")
POOL = Struct("<QIHHHHI")
ARENA_CLASS = Struct("<III")
CLASS = Struct("<4Q")
FREE_POOL = 0xFFFF
SOURCE = "_PyObject_DebugMallocStats"


class ArenaRow(NamedTuple):
    """csrc/allocators/obmalloc.h: mi_arena."""

    address: int
    used_bytes: int
    free_bytes: int
    interpreter: int
    index: int  # type: ignore[assignment]  # hides tuple.index
    pools_total: int
    pools_free: int
    pools_never_used: int
    used_blocks: int
    alignment_bytes: int


class PoolRow(NamedTuple):
    """csrc/allocators/obmalloc.h: mi_pool."""

    address: int
    arena: int
    size_class: int
    used: int
    free: int
    untouched: int
    torn: int


def heap_map(*, max_pause: float | None = 1.0) -> HeapMap:
    """Every arena, pool and size class of this process, exact, in bytes and counts.

    Read from CPython's own structures (`struct arena_object`, `struct pool_header` of Objects/obmalloc.c; in
    free-threaded builds mimalloc's segments and pages) while the GIL is held, for every interpreter of the process;
    `cross_check` holds the calling interpreter's against CPython's statistics of the same moment. An interpreter that
    could not be held still is in `omitted`, and then `exact` is False. The process waits for `max_pause` seconds at
    most (None: no ceiling): what is not walked by then is left out, and `reason` says how much.

    Raises NativeError (code "layout") when this interpreter's structures could not be verified.
    """
    from .. import _native

    return build(_native.heap_capture(pools=True, max_pause=max_pause))


def build(raw: Mapping[str, Any]) -> HeapMap:
    """The model of what `_native.heap_capture()` returned; pure."""
    if raw["kind"] == "mimalloc":
        from . import heap_mimalloc

        return heap_mimalloc.build(raw)
    arenas = [ArenaRow(*row) for row in ARENA.iter_unpack(raw["arenas"])]
    classes = size_classes(raw, raw["classes"])
    omitted = tuple(OmittedInterpreter(interpreter, reason) for interpreter, reason in raw["omitted"])
    reasons = [*raw["reasons"], *(f"interpreter {item.interpreter} was left out: {item.reason}" for item in omitted)]
    if raw["allocator"].startswith("mimalloc"):
        reasons.append("objects are allocated by mimalloc, whose heaps are walked in free-threaded builds alone")
    return HeapMap(
        allocator=raw["allocator"],
        exact=not reasons,
        reason="; ".join(reasons) or note(raw),
        arena_size=raw["arena_size"],
        pool_size=raw["pool_size"],
        padding_bytes=raw["padding_bytes"],
        arenas=tuple(arena_of(raw, row) for row in arenas),
        size_classes=tuple(item for item in classes if item.pools),
        bytes=ledger(raw, arenas, classes),
        cross_check=cross_check(raw, arenas),
        omitted=omitted,
        pause_s=raw["pause_s"],
        _pools=None if raw["pools"] is None else PoolReader(raw, arenas),
        _classes=ClassReader(raw, arenas),
        _blocks=None if raw["blocks"] is None else BlockReader(raw, arenas),
        pool_header_size=raw["pool_header_size"],
    )


def note(raw: Mapping[str, Any]) -> str | None:
    """What is to be known of exact figures."""
    if raw["kind"] == "malloc":
        return f"objects are allocated by {raw['allocator']}: there are no arenas"
    return f"{raw['hook']} stands before pymalloc" if raw["hook"] else None


def size_classes(raw: Mapping[str, Any], packed: bytes) -> list[SizeClass]:
    rows = CLASS.iter_unpack(packed)
    return [
        SizeClass(index, (index + 1) * raw["alignment"], pools, used, free, untouched)
        for index, (pools, used, free, untouched) in enumerate(rows)
    ]


def arena_of(raw: Mapping[str, Any], row: ArenaRow) -> Arena:
    return Arena(
        index=row.index,
        interpreter=row.interpreter,
        address=row.address,
        size_bytes=raw["arena_size"],
        pools_total=row.pools_total,
        pools_free=row.pools_free,
        pools_never_used=row.pools_never_used,
        used_blocks=row.used_blocks,
        used_bytes=row.used_bytes,
        free_bytes=row.free_bytes,
        occupancy=row.used_bytes / raw["arena_size"],
    )


def ledger(raw: Mapping[str, Any], arenas: list[ArenaRow], classes: list[SizeClass]) -> HeapBytes:
    """Where each byte of the arenas is: the sums that pymalloc_print_stats() makes, from our own figures."""
    room = raw["pool_size"] - raw["pool_header_size"]
    return HeapBytes(
        used_bytes=sum(item.used_bytes for item in classes),
        free_blocks_bytes=sum(item.free_bytes for item in classes),
        free_pools_bytes=sum(row.pools_free + row.pools_never_used for row in arenas) * raw["pool_size"],
        pool_headers_bytes=sum(item.pools for item in classes) * raw["pool_header_size"],
        quantization_bytes=sum(item.pools * (room % item.size) for item in classes),
        alignment_bytes=sum(row.alignment_bytes for row in arenas),
        total_bytes=len(arenas) * raw["arena_size"],
    )


class PoolReader:
    """Makes the Pool models of an arena from the packed records: there are 64 times as many as arenas."""

    def __init__(self, raw: Mapping[str, Any], arenas: list[ArenaRow]) -> None:
        self.records: bytes = raw["pools"]
        self.first: dict[int, tuple[int, int]] = {}
        at = 0
        for row in arenas:
            count = row.pools_total - row.pools_never_used
            self.first[row.address] = at, count
            at += count

    def __call__(self, arena: Arena) -> tuple[Pool, ...]:
        at, count = self.first[arena.address]
        rows = POOL.iter_unpack(memoryview(self.records)[at * POOL.size : (at + count) * POOL.size])
        return tuple(pool_of(PoolRow(*row)) for row in rows)


class BlockReader:
    """Cuts the bitmap of an arena's live blocks out of that of all."""

    def __init__(self, raw: Mapping[str, Any], arenas: list[ArenaRow]) -> None:
        self.bitmap: bytes = raw["blocks"]
        self.marked: bytes | None = raw["marked"]
        self.size: int = raw["arena_size"] // 128
        self.place = {row.address: at for at, row in enumerate(arenas)}

    def __call__(self, arena: Arena) -> bytes | None:
        place = self.place[arena.address]
        if self.marked is not None and not self.marked[place]:
            return None
        return self.bitmap[place * self.size : (place + 1) * self.size] or None


class ClassReader:
    """The live blocks of an arena by size class, from the packed records."""

    def __init__(self, raw: Mapping[str, Any], arenas: list[ArenaRow]) -> None:
        self.rows: dict[int, dict[int, int]] = {row.address: {} for row in arenas}
        for place, size_class, used in ARENA_CLASS.iter_unpack(raw["arena_classes"]):
            self.rows[arenas[place].address][size_class] = used

    def __call__(self, arena: Arena) -> dict[int, int]:
        return self.rows[arena.address]


def pool_of(row: PoolRow) -> Pool:
    size_class = None if row.size_class == FREE_POOL else row.size_class
    return Pool(row.address, size_class, row.used, row.free, row.untouched)


def cross_check(raw: Mapping[str, Any], arenas: list[ArenaRow]) -> CrossCheck:
    """The calling interpreter's figures against CPython's statistics of it, taken in the same native call."""
    if raw["stats"] is None or raw["stats_reason"] is not None or raw["own_classes"] is None:
        reason = raw["stats_reason"] or "the heap of the calling interpreter was not walked to its end"
        return CrossCheck(SOURCE, None, reason, 0, ())
    stats = malloc_stats.parse(raw["stats"])
    if stats.bytes is None:
        return CrossCheck(SOURCE, None, f"CPython's statistics of {raw['allocator']} tell no size classes", 0, ())
    ours = own_figures(raw, arenas)
    theirs = stated_figures(stats, raw["size_class_count"])
    differences = tuple((name, ours[name], theirs[name]) for name in ours if ours[name] != theirs[name])
    return CrossCheck(SOURCE, not differences, None, len(ours), differences)


def own_figures(raw: Mapping[str, Any], arenas: list[ArenaRow]) -> dict[str, int]:
    own = arenas[: raw["own_arenas"]]
    classes = size_classes(raw, raw["own_classes"])
    return figures(classes, len(own), ledger(raw, own, classes))


def stated_figures(stats: DebugMallocStats, count: int) -> dict[str, int]:
    printed = {item.index: item for item in stats.size_classes}  # those without a pool are not printed
    classes = [printed.get(index, SizeClass(index, 0, 0, 0, 0, 0)) for index in range(count)]
    assert stats.bytes is not None
    return figures(classes, -1 if stats.arenas is None else stats.arenas, stats.bytes)


def figures(classes: list[SizeClass], arenas: int, ledger: HeapBytes) -> dict[str, int]:
    result = {"arenas": arenas, **ledger.to_dict()}
    for item in classes:
        for name in ("pools", "used", "free"):
            result[f"class {item.index}: {name}"] = getattr(item, name)
    return result
