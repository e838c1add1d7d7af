"""Fragmentation: which few objects keep whole arenas, and what pools and malloc make of equal blocks."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from ..models.demo import Cell, Check, Evidence
from ..models.heap import HeapMap
from ..probes.heap import heap_map
from ._base import Demo, Observed, allocator
from ._measure import in_child, spread
from ._processes import resident_bytes

OBJECT_BYTES = 400
KIB, MIB = 1 << 10, 1 << 20
SWEPT_TOTAL = 8 * MIB
SWEPT_FAST = [64 * KIB, 256 * KIB, 1 * MIB, 40 * MIB]
SWEPT = [size * KIB for size in (4, 16, 64, 120, 136, 160, 192, 256, 512, 1024, 4096, 16384, 31744, 34816, 65536)]
RAISED_AT_MOST = 32 * MIB  # glibc's DEFAULT_MMAP_THRESHOLD_MAX
FILLED, FAST_FILLED = 64 * MIB, 12 * MIB
LARGE = 64 * MIB  # above the highest threshold from which glibc takes a mapping of its own (32 MiB)
OBJECTS, FAST_OBJECTS = 500_000, 100_000
REPETITIONS, FAST_REPETITIONS = 5, 2
ENOUGH = 0.8  # of the arenas: other threads may put blocks into some


class Fragmentation(Demo):
    name = "fragmentation"
    chapter = "06"
    title = "Arenas, and what keeps them"
    claim = (
        "An arena goes back to the system when its last block is freed, and not before: one object of 400 bytes in "
        "each keeps all of them. Equal blocks in a pool need no header each, so a small object takes less memory "
        "than from malloc. A large block has a mapping of its own and goes back at once."
    )
    title_zh = "内存区（arena）与碎片"
    claim_zh = (
        "一个 arena 只有在最后一个内存块被释放后才归还系统："
        "每个 arena 里留下一个 400 字节的对象就能把它们全部留住；池中大小相同的块不需要各自的头部，"
        "小对象比用 malloc 分配更省内存；大块有自己的内存映射，释放后立即归还。"
    )
    summary = (
        "Arenas that stay for one object each show how a process can be large with little alive, and that it takes "
        "few objects to do it; that they go at once when these go shows that nothing leaked. The bytes of each object "
        "show what pools save, and the sweep of sizes what malloc gives back, and from which size on."
    )
    summary_zh = (
        "每个 arena 都为一个对象而保留，说明进程可以很大而存活的东西很少，而且只需要很少的对象；"
        "这些对象一消失它们立即归还，说明并没有泄漏。每个对象的字节数说明池节省了多少，"
        "对大小的扫描则说明 malloc 从多大开始、归还多少。"
    )
    experiment = (
        f"Objects of {OBJECT_BYTES} bytes fill arenas; all but the first in each new arena are freed, then these "
        "too, and the arenas are read from pymalloc's own table each time. In two new processes, one with "
        "PYTHONMALLOC=malloc, the same objects are made and freed, timed, and their resident memory is measured. A "
        "large block is made and freed, then blocks of many sizes, each twice in a process of its own."
    )
    notes = (
        "An arena has 1 MiB since CPython 3.10 (256 KiB before).",
        "Books that say that Python never gives memory back describe versions before 2.5: since then empty arenas "
        "are freed.",
        "Free-threaded builds use mimalloc: segments and pages instead of arenas and pools; PYTHONMALLOC=malloc is "
        "not possible there.",
        "malloc's chunks have a header of 8 bytes and at least 32 bytes on 64-bit systems.",
    )

    def observe(self, fast: bool) -> Observed:
        large, returned = large_block()
        if not allocator().startswith("pymalloc"):
            reason = f"this interpreter allocates by {allocator()}, which has no arenas of pymalloc's"
            kept = Check("An arena is kept by one object", None, reason, reason)
            # mimalloc keeps a freed block for a while before it gives the memory back
            return Observed((large,), (kept,) if allocator().startswith("mimalloc") else (kept, returned))
        filled, checks = fill_and_free(FAST_FILLED if fast else FILLED)
        compared, cheaper = against_malloc(fast)
        swept, paths = large_path(fast)
        return Observed((filled, *compared, large, swept), (*checks, cheaper, returned, *paths))


def fill_and_free(size: int) -> tuple[Evidence, tuple[Check, ...]]:
    rows: list[tuple[Cell, ...]] = []

    def note(moment: str) -> HeapMap:
        heap = heap_map()
        used = sum(arena.used_bytes for arena in heap.arenas)
        held = sum(arena.size_bytes for arena in heap.arenas)
        share = round(100 * used / held, 1) if held else None
        rows.append((moment, len(heap.arenas), round(held / MIB, 1), share, round(resident_bytes() / MIB, 1)))
        return heap

    before = {arena.address for arena in note("before").arenas}
    kept: list[bytes | None] = [bytes(OBJECT_BYTES) for _ in range(size // OBJECT_BYTES)]
    full = note(f"{len(kept):,} objects made")
    survivors = first_of_each(kept, full, before)
    made = {arena.address for arena in full.arenas} - before
    kept.clear()
    pinned = {arena.address for arena in note(f"all freed but {len(survivors)}").arenas} & made
    survivors.clear()
    left = {arena.address for arena in note("these freed too").arenas} & made
    evidence = Evidence(
        title="Arenas filled, and emptied",
        text="One object is kept in each arena that was new.",
        columns=("moment", "arenas", "MiB in arenas", "% used", "RSS MiB"),
        rows=tuple(rows),
    )
    return evidence, (
        Check(
            "One object keeps an arena",
            len(made) > 0 and len(pinned) >= ENOUGH * len(made),
            f"{len(pinned)} of {len(made)} new arenas were kept by one object of {OBJECT_BYTES} bytes in each",
        ),
        Check(
            "An arena goes back when its last block is freed",
            len(left) <= (1 - ENOUGH) * len(made) + 2,
            f"{len(left)} of {len(made)} were left when these objects had gone",
        ),
    )


def first_of_each(kept: list[bytes | None], heap: HeapMap, before: set[int]) -> list[bytes]:
    """One object for each arena that is not in `before`."""
    arenas = sorted(heap.arenas, key=lambda arena: arena.address)
    begins = [arena.address for arena in arenas]
    found: dict[int, bytes] = {}
    for value in kept:
        if value is None:
            continue
        at = bisect_right(begins, id(value)) - 1
        if at >= 0 and id(value) < begins[at] + arenas[at].size_bytes and begins[at] not in before:
            found.setdefault(begins[at], value)
    return list(found.values())


def against_malloc(fast: bool) -> tuple[tuple[Evidence, ...], Check]:
    claim = "A small object takes less memory from a pool than from malloc"
    arguments = (FAST_OBJECTS, FAST_REPETITIONS) if fast else (OBJECTS, REPETITIONS)
    try:
        found = {
            name: in_child(f"{__package__}._processes", "allocator_costs", *arguments, PYTHONMALLOC=name)
            for name in ("pymalloc", "malloc")
        }
    except RuntimeError as error:
        return (Evidence("pymalloc and malloc", str(error), (), ()),), Check(claim, None, str(error), str(error))
    rows: list[tuple[Cell, ...]] = []
    for name, costs in found.items():
        make, free = (spread(costs[key]).scaled(1e9) for key in ("make_s", "free_s"))
        rows.append((name, round(costs["bytes"], 1), make.text(), free.text()))
    kept: list[tuple[Cell, ...]] = [
        (name, *(round(costs[key] / MIB, 1) for key in ("full", "left", "trimmed")), round(costs["asked"] / MIB, 2))
        for name, costs in found.items()
    ]
    scattered = Evidence(
        title=f"{arguments[0]:,} objects of all small sizes, one in a hundred kept",
        text="Resident MiB that they took, that stayed when the others were freed, and after malloc_trim(0).",
        columns=("PYTHONMALLOC", "MiB of all", "one in 100 kept", "after a trim", "MiB that these ask for"),
        rows=tuple(kept),
    )
    evidence = Evidence(
        title=f"{arguments[0]:,} times object(), 16 bytes",
        text=f"Of {arguments[1]} repetitions: median (lowest to highest) of CPU time; resident bytes of each object.",
        columns=("PYTHONMALLOC", "bytes each", "make ns", "free ns"),
        rows=tuple(rows),
    )
    ours, theirs = found["pymalloc"]["bytes"], found["malloc"]["bytes"]
    held, text = ours < 0.8 * theirs, f"{ours:,.1f} bytes by pymalloc, {theirs:,.1f} by malloc"
    return (evidence, scattered), Check(claim, held, text)


def large_path(fast: bool) -> tuple[Evidence, tuple[Check, ...]]:
    """Sizes on both sides of glibc's mmap threshold, each twice in a process of its own."""
    title, claim = "The large path: all but the last of some blocks freed", "A freed mapping goes back by itself"
    try:
        found = in_child(f"{__package__}._processes", "swept_sizes", SWEPT_FAST if fast else SWEPT, SWEPT_TOTAL)
    except RuntimeError as error:
        return Evidence(title, str(error), (), ()), (Check(claim, None, str(error), str(error)),)
    rows: list[tuple[Cell, ...]] = []
    for one in found:
        cells = (
            (one[f"{turn}_domain"], round(one[f"{turn}_grown"] / MIB, 1), round(one[f"{turn}_back"] / MIB, 1))
            for turn in ("first", "again")
        )
        rows.append((one["size"] // KIB, *(cell for turn in cells for cell in turn)))
    evidence = Evidence(
        title=title,
        text="Resident MiB that the blocks took, and that came back with the last one still alive; then the same "
        "again, when freeing has raised the threshold.",
        columns=("KiB each", "by", "MiB", "back", "again by", "MiB again", "back again"),
        rows=tuple(rows),
    )
    return evidence, swept_checks(claim, found)


def swept_checks(claim: str, found: list[dict[str, Any]]) -> tuple[Check, ...]:
    mapped = [one for one in found if one["first_domain"] == "glibc mmapped"]
    heap = [one for one in found if one["first_domain"] == "glibc heap"]
    if not mapped or not heap:
        reason = f"malloc here is not glibc's, or its threshold was set: {found[0]['first_domain']}"
        return (Check(claim, None, reason, reason),)
    raised = [one for one in mapped if one["size"] <= RAISED_AT_MOST]
    beyond = [one for one in mapped if one["size"] > RAISED_AT_MOST]
    edge = (
        f"heap up to {max(one['size'] for one in heap) // KIB:,} KiB, mapped from {mapped[0]['size'] // KIB:,} KiB on"
    )
    return (
        Check(
            claim + ", a chunk of the heap not while one above it lives",
            all(one["first_back"] > 0.4 * one["first_grown"] for one in mapped)
            and all(one["first_back"] < 0.2 * one["first_grown"] for one in heap),
            f"{edge}; {sum(one['first_back'] for one in mapped) / MIB:,.0f} of "
            f"{sum(one['first_grown'] for one in mapped) / MIB:,.0f} MiB of mappings came back, "
            f"{sum(one['first_back'] for one in heap) / MIB:,.0f} of "
            f"{sum(one['first_grown'] for one in heap) / MIB:,.0f} MiB of the heap",
        ),
        Check(
            "Freeing a mapping raises the threshold, up to 32 MiB",
            all(one["again_domain"] == "glibc heap" for one in raised)
            and all(one["again_domain"] == "glibc mmapped" for one in beyond),
            f"the second time {kib(raised)} came from the heap, {kib(beyond)} not",
        ),
    )


def kib(rows: list[dict[str, Any]]) -> str:
    return ", ".join(f"{one['size'] // KIB:,}" for one in rows) + " KiB"


def large_block() -> tuple[Evidence, Check]:
    rows: list[tuple[Cell, ...]] = []
    seen: list[int] = []

    def note(moment: str) -> None:
        seen.append(resident_bytes())
        rows.append((moment, round(seen[-1] / MIB, 1)))

    note("before")
    value = b"x" * LARGE
    note(f"{LARGE // MIB} MiB made")
    del value
    note("freed")
    grown, back = seen[1] - seen[0], seen[1] - seen[2]
    evidence = Evidence(
        title="A large block",
        text="Resident memory of this process.",
        columns=("moment", "RSS MiB"),
        rows=tuple(rows),
    )
    return evidence, Check(
        "A large block goes back to the system as soon as it is freed",
        grown > LARGE // 2 and back > 0.8 * grown,
        f"RSS grew by {grown / MIB:,.1f} MiB and fell by {back / MIB:,.1f} MiB",
    )
