"""512 bytes against 513: pools and arenas on one side, malloc on the other."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from ..models.demo import Check, Evidence
from ..models.heap import Allocation, HeapMap, SizeClass
from ..probes.allocation import probe_allocations
from ..probes.heap import heap_map
from ._base import Demo, Observed

SMALL_LIMIT = 512  # SMALL_REQUEST_THRESHOLD (pycore_obmalloc.h)
OBJECTS = 1000
BYTES_HEADER = sys.getsizeof(b"")  # bytes(n) asks for n more
OBJECT = "PyObject_Malloc"


class SmallLarge(Demo):
    name = "small-large"
    chapter = "06"
    title = "Small and large requests"
    claim = (
        "Requests of up to 512 bytes are served by pymalloc, from pools that hold blocks of one size; one byte more "
        "goes to malloc. A pool is filled before the next one is begun."
    )
    title_zh = "小请求与大请求"
    claim_zh = (
        "不超过 512 字节的请求由 pymalloc 从同一大小的块组成的池中分配，"
        "多一个字节就交给 malloc；一个池填满之后才开始下一个。"
    )
    summary = (
        "One byte more and the request takes another way: that is the border between pymalloc and malloc, found by "
        "allocating, not by reading a constant. Pools that fill one after the other show that equal blocks lie side "
        "by side, which is what makes them cheap and what lets whole pools come back."
    )
    summary_zh = (
        "多一个字节，请求就走另一条路：这条 pymalloc 与 malloc 的边界是通过实际分配找到的，"
        "而不是读出的常量。池一个接一个地填满，说明大小相同的块彼此相邻：这既是它们便宜的原因，"
        "也使整个池可以收回。"
    )
    experiment = (
        "Blocks of sizes on both sides of the edge are really allocated, and where each lies is looked up. Then a "
        "thousand objects of one size class are made while its pools are counted before, during and after."
    )
    notes = (
        "The edge is at 512 bytes in every version. Debug hooks (PYTHONMALLOC=debug, debug builds) add bytes to each "
        "request, so that it comes earlier by as many.",
        "With PYTHONMALLOC=malloc everything goes to malloc; free-threaded builds use mimalloc, without such an edge.",
    )

    def observe(self, fast: bool) -> Observed:
        before = heap_map()
        edge = SMALL_LIMIT - before.padding_bytes
        sizes = [1, 16, 17, edge // 2, edge - 1, edge, edge + 1, edge + 16, 2 * edge, 64 * 1024]
        found = [one for one in probe_allocations(sizes) if one.function == OBJECT]
        if not before.allocator.startswith("pymalloc"):
            reason = f"this interpreter allocates by {before.allocator}, which has no pools of pymalloc's"
            check = Check(f"{SMALL_LIMIT} bytes are small, {SMALL_LIMIT + 1} are large", None, reason, reason)
            return Observed((paths(found),), (check,))
        filled, check = pools_fill(before.padding_bytes)
        return Observed((paths(found), filled), (*edge_checks(found, edge), check))


def paths(found: list[Allocation]) -> Evidence:
    return Evidence(
        title="Where a request of each size goes",
        text="One block each, allocated through PyObject_Malloc, looked up and freed again.",
        columns=("requested bytes", "path", "size class", "block bytes", "wasted bytes"),
        rows=tuple((one.requested, one.path, one.size_class, one.usable, one.waste) for one in found),
    )


def edge_checks(found: list[Allocation], edge: int) -> tuple[Check, Check]:
    small = [one for one in found if one.requested <= edge]
    large = [one for one in found if one.requested > edge]
    last, first = max(small, key=lambda one: one.requested), min(large, key=lambda one: one.requested)
    return (
        Check(
            "Requests up to the edge are pymalloc's",
            all(one.path == "pymalloc" for one in small),
            f"{last.requested} bytes: {last.path}, a block of {last.usable} bytes",
        ),
        Check(
            "One byte more is malloc's",
            all(one.path != "pymalloc" for one in large),
            f"{first.requested} bytes: {first.path}",
        ),
    )


def pools_fill(padding: int) -> tuple[Evidence, Check]:
    """Makes objects of the class below the largest and counts its pools; few other objects are of that class."""
    request = SMALL_LIMIT - padding - 16
    index = (request + padding - 1) // 16
    kept: list[bytes | None] = [None] * OBJECTS
    rows: list[tuple[str | int | float | None, ...]] = []
    seen: list[SizeClass] = []
    for made in steps():
        for place in range(made):
            if kept[place] is None:
                kept[place] = bytes(request - BYTES_HEADER)
        heap = heap_map()
        one = size_class(heap, index)
        seen.append(one)
        rows.append((f"{made} objects made", one.pools, one.used, one.free, occupancy(one)))
    kept.clear()
    after = heap_map()
    one = size_class(after, index)
    rows.append(("all freed", one.pools, one.used, one.free, occupancy(one)))
    table = Evidence(
        title=f"Pools of the {one.size}-byte class while {OBJECTS} objects are made",
        text=f"A pool of {after.pool_size} bytes holds {per_pool(after, one.size)} blocks of this size.",
        columns=("moment", "pools", "blocks used", "blocks free", "% used"),
        rows=tuple(rows),
    )
    return table, fill_check(seen[0], seen[-1], one, per_pool(after, one.size))


def steps() -> Iterator[int]:
    yield from (0, 1, OBJECTS // 4, OBJECTS // 2, OBJECTS)


def size_class(heap: HeapMap, index: int) -> SizeClass:
    """The class of an index, which the map leaves out while no pool holds it."""
    found = [one for one in heap.size_classes if one.index == index]
    return found[0] if found else SizeClass(index, (index + 1) * 16, 0, 0, 0, 0)


def per_pool(heap: HeapMap, size: int) -> int:
    return (heap.pool_size - 48) // size  # 48: POOL_OVERHEAD


def occupancy(one: SizeClass) -> float | None:
    blocks = one.used + one.free
    return round(100 * one.used / blocks, 1) if blocks else None


def fill_check(first: SizeClass, full: SizeClass, freed: SizeClass, blocks: int) -> Check:
    made = full.used - first.used
    # what did not fit into the free blocks that were there needs whole pools, and no more than that
    expected = -(-max(0, made - first.free) // blocks)
    begun = full.pools - first.pools
    held = made >= OBJECTS and abs(begun - expected) <= 1 and freed.used <= full.used - OBJECTS + 8
    return Check(
        "A pool is filled before the next one is begun, and given back when it is empty",
        held,
        f"{made} blocks more took {begun} pools more ({expected} if each is filled); {freed.used} blocks are left when "
        f"all are freed, {first.used} were there before",
    )
