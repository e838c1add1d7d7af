"""Why pymalloc cannot give arenas back: how sparse they are, and which size class keeps them.

pymalloc gives an arena back when all of its pools are free, and a pool is free when none of its blocks is in use
(Objects/obmalloc.c: insert_to_freepool), so one live block keeps an arena. Nothing moves in CPython: what was scattered
stays scattered.
"""

from __future__ import annotations

from collections import Counter

from ..models.heap import Arena, HeapMap, SizeClass
from ..models.report import Fragmentation, Keeper

SPARSE_BELOW = (
    0.25  # a heap four times as large as what lives in it is worth a sentence; most healthy arenas are over 0.8
)
EXAMINED_ARENAS = 4096  # 4 GiB of sparse arenas tell enough; 64 pools each are looked at in Python
KEEPERS = 8


def class_fragmentation(size_class: SizeClass) -> float | None:
    """The share of a size class' blocks that are free: 1 - used / (used + free), None when it has no block."""
    blocks = size_class.used + size_class.free
    return 1 - size_class.used / blocks if blocks else None


def is_sparse(arena: Arena) -> bool:
    """Kept by live blocks that fill little of it. An arena that is still being carved up for the first time is not.

    What counts is the part that was used at least once: pools that were never carved off are no sign of anything.
    """
    if arena.used_blocks == 0 or arena.pools_total == 0:
        return False
    touched = arena.size_bytes * (arena.pools_total - arena.pools_never_used) / arena.pools_total
    return arena.used_bytes < SPARSE_BELOW * touched


def fragmentation(heap: HeapMap) -> Fragmentation:
    """The figures of Fragmentation, from a heap map and (for the keepers) the pools of its sparse arenas."""
    sparse = [arena for arena in heap.arenas if is_sparse(arena)]
    blocks_bytes = sum(item.used_bytes + item.free_bytes for item in heap.size_classes)
    used_bytes = sum(item.used_bytes for item in heap.size_classes)
    examined = sparse[:EXAMINED_ARENAS]
    return Fragmentation(
        fragmentation=1 - used_bytes / blocks_bytes if blocks_bytes else None,
        arenas=len(heap.arenas),
        arenas_kept=sum(arena.used_blocks > 0 for arena in heap.arenas),
        arenas_minimum=_minimum(heap),
        arenas_sparse=len(sparse),
        sparse_below=SPARSE_BELOW,
        sparse_blocks=sum(arena.used_blocks for arena in sparse),
        sparse_used_bytes=sum(arena.used_bytes for arena in sparse),
        sparse_free_bytes=sum(arena.free_bytes + free_pools_bytes(heap, arena) for arena in sparse),
        arenas_examined=len(examined),
        keepers=_keepers(heap, examined),
    )


def is_mimalloc(heap: HeapMap) -> bool:
    """Whether arenas are mimalloc's segments: then pools are pages and spans of many sizes."""
    return heap.allocator.startswith("mimalloc")


def free_pools_bytes(heap: HeapMap, arena: Arena) -> int:
    """Bytes of an arena in pools that hold no block; never used ones are left out: they may not be resident.

    0 for mimalloc, whose free spans have no size of their own in the map.
    """
    return 0 if is_mimalloc(heap) else arena.pools_free * heap.pool_size


def _minimum(heap: HeapMap) -> int | None:
    """Arenas needed if every pool were full: pools per class from the pools that there are (used + free per pool)."""
    if is_mimalloc(heap):
        return None
    pools = 0
    for item in heap.size_classes:
        if item.used and item.pools:
            per_pool = (item.used + item.free) / item.pools
            pools += -(-item.used // max(1, int(per_pool)))
    per_arena = max((arena.pools_total for arena in heap.arenas), default=0)
    return -(-pools // per_arena) if per_arena else 0


def _keepers(heap: HeapMap, arenas: list[Arena]) -> tuple[Keeper, ...]:
    sizes = {item.index: item.size for item in heap.size_classes}
    present: Counter[int] = Counter()
    alone: Counter[int] = Counter()
    blocks: Counter[int] = Counter()
    for arena in arenas:
        here = heap.live_by_class(arena)
        blocks.update(here)
        present.update(here.keys())
        if len(here) == 1:
            alone.update(here.keys())
    ordered = sorted(present, key=lambda index: (-present[index], -blocks[index], index))
    return tuple(
        Keeper(
            size_class=index,
            size=sizes.get(index, 0),
            arenas=present[index],
            arenas_alone=alone[index],
            blocks=blocks[index],
        )
        for index in ordered[:KEEPERS]
    )
