"""The heap as compact tables for the HTML page: columns of numbers, compressed, and bitmaps of the blocks that matter.

A page has a budget. Every pool is in it for as many arenas as fit; blocks are in it for the arenas that say why memory
does not come back: those that few live blocks keep, the emptiest first.
"""

from __future__ import annotations

import sys
import zlib
from array import array
from base64 import b64encode
from collections.abc import Iterable, Sequence
from typing import Any

from ..models.contents import Contents
from ..models.heap import Arena, HeapMap, Pool
from .sanitize import clean

POOLS = 400_000  # records in a page: 6 GiB of pymalloc
BLOCKS_BYTES = 1_200_000  # of compressed bitmaps
BLOCKS_UNPACKED = 16 << 20  # what a browser unpacks
CONTENTS = 800_000  # live blocks whose content is in a page
NOTHING = 0xFFFF  # no size class, no content
WORDS = (("B", 1), ("H", 2), ("I", 4))


class Tables:
    """Columns of whole numbers, put one behind the other and compressed together."""

    def __init__(self) -> None:
        self.columns: list[dict[str, Any]] = []
        self._data = bytearray()

    def add(self, name: str, values: Iterable[int]) -> None:
        """A column; its numbers are as wide as the largest of them needs, little endian."""
        numbers = list(values)
        code, width = next(word for word in WORDS if max(numbers, default=0) < 1 << (8 * word[1]))
        column = array(code, numbers)
        if sys.byteorder == "big":
            column.byteswap()
        self.add_bytes(name, column.tobytes(), width)

    def add_bytes(self, name: str, data: bytes, width: int = 1) -> None:
        self._data += bytes(-len(self._data) % 4)  # a typed array begins at a multiple of its width
        self.columns.append({"name": name, "width": width, "at": len(self._data), "count": len(data) // width})
        self._data += data

    def packed(self) -> dict[str, Any]:
        """The columns' places, and all of them as base64 of a zlib stream."""
        return {"columns": self.columns, "data": b64encode(zlib.compress(bytes(self._data), 6)).decode("ascii")}


def tables(heap: HeapMap, contents: Contents | None = None) -> dict[str, Any]:
    """What the map is drawn from.

    arenas are in order of address; `*_high` and `*_low` are the halves of an address. A pool's `offset` is in units of
    4096 bytes from its arena. `blocks` are the bitmaps of the arenas in `drawn`, one behind the other.
    """
    result = Tables()
    arenas = sorted(heap.arenas, key=lambda arena: arena.address)
    with_pools = arenas_with_pools(heap, arenas)
    pools = [heap.pools(arena) if place in with_pools else () for place, arena in enumerate(arenas)]
    add_arenas(result, arenas, pools)
    add_pools(result, arenas, [pool for rows in pools for pool in rows], pools)
    drawn = arenas_to_draw(heap, arenas)
    result.add("drawn", [place for place, _ in drawn])
    result.add_bytes("blocks", b"".join(bitmap for _, bitmap in drawn))
    if contents is not None:
        add_contents(result, heap, arenas, pools, drawn, contents)
    return {
        **result.packed(),
        "contents": [clean(name) for name in contents.names] if contents else None,
        "arena_size": heap.arena_size,
        "pool_size": heap.pool_size,
        "header": heap.pool_header_size,
        "sizes": {str(item.index): item.size for item in heap.size_classes},
        "without_pools": len(arenas) - len(with_pools),
    }


def add_arenas(result: Tables, arenas: Sequence[Arena], pools: Sequence[Sequence[Pool]]) -> None:
    result.add("arena_high", [arena.address >> 32 for arena in arenas])
    result.add("arena_low", [arena.address & 0xFFFFFFFF for arena in arenas])
    result.add("arena_size", [arena.size_bytes // 4096 for arena in arenas])
    result.add("arena_interpreter", [arena.interpreter for arena in arenas])
    result.add("arena_used", [arena.used_bytes for arena in arenas])
    result.add("arena_free", [arena.free_bytes for arena in arenas])
    result.add("arena_blocks", [arena.used_blocks for arena in arenas])
    result.add("arena_pools_free", [arena.pools_free for arena in arenas])
    result.add("arena_pools_never_used", [arena.pools_never_used for arena in arenas])
    result.add("arena_pools", [len(rows) for rows in pools])


def add_pools(result: Tables, arenas: Sequence[Arena], flat: Sequence[Pool], pools: Sequence[Sequence[Pool]]) -> None:
    starts = [arena.address for arena, rows in zip(arenas, pools, strict=True) for _ in rows]
    result.add("pool_offset", [(pool.address - start) // 4096 for pool, start in zip(flat, starts, strict=True)])
    result.add("pool_class", [NOTHING if pool.size_class is None else pool.size_class for pool in flat])
    result.add("pool_used", [pool.used for pool in flat])
    result.add("pool_free", [pool.free for pool in flat])
    result.add("pool_untouched", [pool.untouched for pool in flat])


def add_contents(
    result: Tables,
    heap: HeapMap,
    arenas: Sequence[Arena],
    pools: Sequence[Sequence[Pool]],
    drawn: Sequence[tuple[int, bytes]],
    contents: Contents,
) -> None:
    """For each pool the place of the name of what it holds most of, and the same of each live block of drawn arenas.

    Of the emptiest first, as far as there is room; NOTHING where it is not known.
    """
    of_pools: list[int] = []
    for arena, rows in zip(arenas, pools, strict=True):
        known = contents.pools(arena.address)
        of_pools += known if len(known) == len(rows) else [NOTHING] * len(rows)
    result.add("pool_content", of_pools)
    room, of_blocks, told = CONTENTS, array("H"), []
    bitmaps = dict(drawn)
    for place in by_need(arenas):
        blocks = contents.blocks(arenas[place].address)
        room -= arenas[place].used_blocks
        if room >= 0 and place in bitmaps and blocks is not None:
            told.append(place)
            of_blocks.extend(blocks.get(unit, NOTHING) for unit in units(bitmaps[place]))
    result.add("told", told)
    result.add("content", of_blocks)


def units(bitmap: bytes) -> list[int]:
    """The places of the bits that are set."""
    return [at * 8 + bit for at, byte in enumerate(bitmap) if byte for bit in range(8) if byte >> bit & 1]


def arenas_with_pools(heap: HeapMap, arenas: Sequence[Arena]) -> set[int]:
    """Places of the arenas whose pools are in the page: all of them, or the emptiest as far as there is room."""
    if not heap.has_pools:
        return set()
    room = POOLS
    chosen = set()
    for place in by_need(arenas):
        room -= arenas[place].pools_total
        if room < 0:
            break
        chosen.add(place)
    return chosen


def arenas_to_draw(heap: HeapMap, arenas: Sequence[Arena]) -> list[tuple[int, bytes]]:
    """(place, bitmap) of the arenas whose blocks are in the page, in order of address."""
    chosen = []
    room, unpacked = BLOCKS_BYTES, BLOCKS_UNPACKED
    for place in by_need(arenas):
        bitmap = heap.live_blocks(arenas[place])
        if bitmap is None:
            continue
        room -= len(zlib.compress(bitmap, 1))
        unpacked -= len(bitmap)
        if room < 0 or unpacked < 0:
            break
        chosen.append((place, bitmap))
    return sorted(chosen)


def by_need(arenas: Sequence[Arena]) -> list[int]:
    """Places of the arenas, those that little keeps first; what holds no live block comes last: nothing pins it."""
    return sorted(range(len(arenas)), key=lambda place: (arenas[place].used_blocks == 0, arenas[place].occupancy))
