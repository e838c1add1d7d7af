"""Conclusions about the small-object heap."""

from __future__ import annotations

from ..models.report import Finding, Fragmentation, Keeper, Report
from .fragmentation import is_mimalloc
from .tree import pymalloc_part
from .weigh import Weighed, notable, of_rss
from .words import count, percent, size

ALONE = 0.5  # of the sparse arenas: when so many hold blocks of one size class only, the sentence speaks of it
MANY_OBJECTS_BYTES = 16  # header and rounding that malloc adds to a chunk (malloc/malloc.c: SIZE_SZ, MALLOC_ALIGNMENT)
HUGE_PAGE = 2 << 20
TRY_SCATTERED = (
    "`report --objects` names the objects that keep them, `why TYPE` who holds those of a type (both also with --pid). "
    "Let go of them, keep their figures in an array instead of as objects, make them anew once the burst is freed "
    "(pickle.loads(pickle.dumps(...)); copies share strings and numbers) or before it, or do the burst in a child "
    "process (concurrent.futures, max_tasks_per_child) whose memory goes with it."
)


def free_in_kept_arenas(report: Report) -> int | None:
    """Bytes in free blocks and free pools; resident ones where the tree tells, else as the heap map has them."""
    if report.pymalloc is None or report.pymalloc.bytes is None:
        return None
    ledger = report.pymalloc.bytes
    free = ledger.free_blocks_bytes + ledger.free_pools_bytes
    if report.memory is None:
        return free
    parts = [pymalloc_part(report.memory.tree, name) for name in ("free blocks", "free pools")]
    known = [part for part in parts if part is not None]
    return sum(known) if known else free


def scattered(report: Report) -> Weighed | None:
    """Few live blocks keep many arenas, or free blocks are simply many: why pymalloc holds free memory."""
    heap, fragments, free = report.pymalloc, report.fragmentation, free_in_kept_arenas(report)
    if heap is None or fragments is None or free is None or not notable(report, free):
        return None
    small = heap.allocator.startswith("pymalloc")
    arenas, where = ("arena", "pymalloc") if small else ("segment", heap.allocator)
    held = f"{where} holds {size(free)}{of_rss(report, free)} that is free"
    figures: dict[str, int | float | str] = {
        "free_bytes": free,
        "arenas": fragments.arenas,
        "arenas_kept": fragments.arenas_kept,
        "arenas_sparse": fragments.arenas_sparse,
        "sparse_blocks": fragments.sparse_blocks,
        "sparse_free_bytes": fragments.sparse_free_bytes,
    }
    if fragments.sparse_free_bytes * 2 >= free and fragments.arenas_sparse:
        keeper = fragments.keepers[0] if fragments.keepers else None
        if keeper is not None:
            figures |= {"keeper_size": keeper.size, "keeper_blocks": keeper.blocks, "keeper_arenas": keeper.arenas}
            figures["keeper_arenas_alone"] = keeper.arenas_alone
        text = (
            f"{held} and cannot give it back: {_survivors(fragments, keeper)} of its "
            f"{count(fragments.arenas, arenas)}, which are {percent(_fill(fragments))} full."
        )
        attempt = TRY_SCATTERED
    else:
        spread = f"its live blocks are spread over {count(fragments.arenas_kept, arenas)}"
        if fragments.arenas_minimum is not None:
            spread += f" and would fit in {fragments.arenas_minimum:,}"
            figures["arenas_minimum"] = fragments.arenas_minimum
        text = f"{held}: {spread}; new objects use the free blocks, other memory cannot."
        attempt = (
            "Nothing, if as many objects will be made again. Else look at the size-class table for the class with most "
            "free blocks, and do what made them in a child process, or keep the data in arrays."
        )
    return Weighed(Finding("pymalloc_fragmentation", text, figures, attempt), weight=free, explains_rss=True)


def _survivors(fragments: Fragmentation, keeper: Keeper | None) -> str:
    """'10,782 live blocks of 64 bytes keep 63': of one size class where most arenas would go with it, else of all."""
    if keeper is not None and keeper.arenas_alone >= ALONE * fragments.arenas_sparse:
        of = f"of {keeper.size} bytes"
        return f"{_keep(keeper.blocks, f'live block {of}', f'live blocks {of}')} {keeper.arenas:,}"
    blocks = _keep(fragments.sparse_blocks, "live block", "live blocks")
    if keeper is None:
        return f"{blocks} {fragments.arenas_sparse:,}"
    return f"{blocks} {fragments.arenas_sparse:,} (blocks of {keeper.size} bytes lie in {keeper.arenas:,} of these)"


def _keep(blocks: int, noun: str, plural: str) -> str:
    return f"{count(blocks, noun, plural)} {'keeps' if blocks == 1 else 'keep'}"


def _fill(fragments: Fragmentation) -> float:
    whole = fragments.sparse_used_bytes + fragments.sparse_free_bytes
    return fragments.sparse_used_bytes / whole if whole else 0.0


def free_pools(report: Report) -> Weighed | None:
    """Whole free pools inside arenas that live blocks keep."""
    heap = report.pymalloc
    if heap is None or is_mimalloc(heap):
        return None
    kept = [arena for arena in heap.arenas if arena.used_blocks]
    pools = sum(arena.pools_free for arena in kept)
    amount = pools * heap.pool_size
    if not notable(report, amount):
        return None
    text = (
        f"{size(amount)} of pymalloc's free memory is {count(pools, 'whole free pool')} that any size class can take; "
        f"an arena goes back only when all of its pools are free."
    )
    figures: dict[str, int | float | str] = {"free_pools": pools, "free_pools_bytes": amount}
    return Weighed(Finding("pymalloc_free_pools", text, figures, None), weight=amount)


def empty_arenas(report: Report) -> Weighed | None:
    """Arenas without a live block: pymalloc keeps at most the last one for later."""
    heap = report.pymalloc
    if heap is None:
        return None
    empty = [arena for arena in heap.arenas if not arena.used_blocks]
    amount = sum(arena.size_bytes for arena in empty)
    if not notable(report, amount):
        return None
    text = f"{count(len(empty), 'arena')} ({size(amount)} of address space) hold no live block at all."
    figures: dict[str, int | float | str] = {"arenas": len(empty), "bytes": amount}
    attempt = "They serve the next objects. Where they stay for good, memory was mapped that is never used again."
    return Weighed(Finding("pymalloc_empty_arenas", text, figures, attempt), weight=amount)


def untouched_resident(report: Report) -> Weighed | None:
    """Memory of arenas that was never handed out and is resident all the same: huge pages."""
    if report.memory is None or report.pymalloc is None:
        return None
    amount = pymalloc_part(report.memory.tree, "untouched")
    if amount is None or not notable(report, amount):
        return None
    huge = report.pymalloc.arena_size >= HUGE_PAGE
    why = "arenas of 2 MiB are made for huge pages" if huge else "the kernel backs arenas with huge pages"
    text = f"{size(amount)} of pymalloc's arenas is resident though no object ever lay there: {why}."
    attempt = (
        "Where it matters: 'never' in /sys/kernel/mm/transparent_hugepage/enabled (3.15 asks for huge pages on every "
        "arena, so 'madvise' does not help), and PYTHON_PYMALLOC_HUGEPAGES unset."
    )
    figures: dict[str, int | float | str] = {"untouched_resident_bytes": amount}
    return Weighed(Finding("pymalloc_untouched_resident", text, figures, attempt), weight=amount, explains_rss=True)


def switched_off(report: Report) -> Weighed | None:
    """PYTHONMALLOC=malloc or malloc_debug: every object is a chunk of malloc."""
    heap = report.pymalloc
    if heap is None or heap.allocator not in ("malloc", "malloc_debug"):
        return None
    text = (
        f"pymalloc is off (allocator {heap.allocator}): every object, however small, is a chunk of malloc with "
        f"8 bytes of header and rounded up to {MANY_OBJECTS_BYTES}; there are no arenas to show."
    )
    attempt = "Run without PYTHONMALLOC (or with PYTHONMALLOC=pymalloc) unless a tool such as valgrind needs it."
    return Weighed(Finding("pymalloc_off", text, {"allocator": heap.allocator}, attempt))


def debug_padding(report: Report) -> Weighed | None:
    """What the debug allocator adds to every block."""
    heap = report.pymalloc
    if heap is None or not heap.padding_bytes:
        return None
    blocks = sum(item.used for item in heap.size_classes)
    amount = blocks * heap.padding_bytes
    text = f"The debug allocator adds {count(heap.padding_bytes, 'byte')} to each of {count(blocks, 'live block')}"
    text += f": {size(amount)}." if amount else "."
    figures: dict[str, int | float | str] = {"padding_bytes": heap.padding_bytes, "blocks": blocks, "bytes": amount}
    attempt = "Measure a release build without PYTHONMALLOC=debug and -X dev for figures of production."
    return Weighed(Finding("debug_padding", text, figures, attempt), weight=amount)


RULES = (scattered, free_pools, empty_arenas, untouched_resident, switched_off, debug_padding)
