"""The small-object heap: a picture of its arenas, its size classes, and how far it is from being compact."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from ..analysis.fragmentation import class_fragmentation
from ..analysis.words import count, mib, percent, size
from ..models.heap import HeapBytes, HeapMap, SizeClass, ThreadHeap, WaitingFrees
from ..models.report import Report
from .bars import bar, legend, picture
from .page import DIM, FIGURE, WARN, Column, Page
from .palette import OCCUPANCY, step

PICTURE_LINES = 8
CLASSES = 12  # rows of the table; the rest is summed
HEAPS = 8


def section(page: Page, report: Report) -> None:
    heap = report.pymalloc
    title = "mimalloc" if heap is not None and heap.allocator.startswith("mimalloc") else "pymalloc"
    if heap is None:
        page.heading(title)
        page.indented((f"not known: {report.missing.get('pymalloc', 'unknown')}", ""))
        return
    page.heading(title, summary(heap))
    if heap.reason:
        page.indented((heap.reason, WARN if not heap.exact else DIM))
    if heap.arenas:
        arenas(page, heap)
    if heap.bytes is not None and heap.bytes.total_bytes:
        ledger(page, heap.bytes)
    if any(item.pools for item in heap.size_classes):
        classes(page, heap)
    if heap.heaps:
        thread_heaps(page, heap)
    waiting(page, heap)
    fragmentation(page, report)


def summary(heap: HeapMap) -> str:
    """How many arenas of what size, of how many interpreters."""
    if not heap.arenas:
        return "no arenas"
    interpreters = {arena.interpreter for arena in heap.arenas}
    of = f", of {count(len(interpreters), 'interpreter')}" if len(interpreters) > 1 else ""
    return f"{count(len(heap.arenas), words(heap)[0])} of {size(heap.arena_size)}{of}"


def words(heap: HeapMap) -> tuple[str, str]:
    """What this allocator calls an arena and a pool."""
    return ("segment", "page") if heap.allocator.startswith("mimalloc") else ("arena", "pool")


def arenas(page: Page, heap: HeapMap) -> None:
    """One mark for each arena, the emptiest first."""
    shown = picture([arena.occupancy for arena in heap.arenas], page.width - 4, PICTURE_LINES, unicode=page.unicode)
    noun = words(heap)[0]
    each = f"Each mark is one {noun}" if shown.per_mark == 1 else f"Each mark is {shown.per_mark} {noun}s"
    page.indented((f"{each}, emptiest first; % live: {legend(unicode=page.unicode)}", DIM))
    page.marks(coloured(line, shares) for line, shares in zip(shown.lines, shown.shares, strict=True))


def coloured(line: str, shares: Sequence[float]) -> list[tuple[str, str]]:
    """A line of marks as runs of the same colour."""
    steps = groupby(zip(line, map(step, shares), strict=True), key=lambda mark: mark[1])
    return [("".join(char for char, _ in run), OCCUPANCY[at].terminal) for at, run in steps]


def ledger(page: Page, ledger: HeapBytes) -> None:
    """Every byte of the arenas, resident or not."""
    total = ledger.total_bytes
    page.line()
    width = max(10, min(40, page.width - 58))
    rows = [
        (name, mib(value), percent(value / total), page.text(bar(value / total, width, unicode=page.unicode), FIGURE))
        for name, value in ledger_parts(ledger)
    ]
    rows.append(("all arenas", mib(total), "100.0 %", page.text("")))
    page.table(
        (
            Column("Bytes of the arenas", grow=True),
            Column("MiB", figures=True),
            Column("%", figures=True),
            Column("", width=width),
        ),
        rows,
    )


def ledger_parts(ledger: HeapBytes) -> tuple[tuple[str, int], ...]:
    """The parts of the arenas' bytes, which sum to all of them."""
    return (
        ("live blocks", ledger.used_bytes),
        ("free blocks in used pools", ledger.free_blocks_bytes),
        ("free pools", ledger.free_pools_bytes),
        ("pool headers", ledger.pool_headers_bytes),
        ("tails of pools", ledger.quantization_bytes),
        ("arena alignment", ledger.alignment_bytes),
    )


def classes(page: Page, heap: HeapMap) -> None:
    """The size classes in use, largest first; what does not fit is summed."""
    in_use = sorted(
        (item for item in heap.size_classes if item.pools), key=lambda item: -(item.used_bytes + item.free_bytes)
    )
    shown, rest = in_use[:CLASSES], in_use[CLASSES:]
    if len(rest) == 1:
        shown, rest = in_use, []
    page.line()
    rows = [class_row(f"{item.size:,}", [item]) for item in shown]
    if rest:
        rows.append(class_row(f"{len(rest)} more", rest))
    columns = (
        Column("Block size", figures=True),
        Column(f"{words(heap)[1]}s", figures=True),
        Column("live", figures=True),
        Column("free", figures=True),
        Column("live MiB", figures=True),
        Column("free MiB", figures=True),
        Column("% free", figures=True),
    )
    page.table(columns, rows)


def class_row(name: str, items: list[SizeClass]) -> tuple[str, ...]:
    used = sum(item.used_bytes for item in items)
    free = sum(item.free_bytes for item in items)
    one = class_fragmentation(items[0]) if len(items) == 1 else (free / (used + free) if used + free else None)
    return (
        name,
        f"{sum(item.pools for item in items):,}",
        f"{sum(item.used for item in items):,}",
        f"{sum(item.free for item in items):,}",
        mib(used, 2),
        mib(free, 2),
        percent(one) if one is not None else "-",
    )


def thread_heaps(page: Page, heap: HeapMap) -> None:
    """mimalloc's heaps by owner and tag, largest first; what does not fit is summed."""
    ordered = sorted(heap.heaps, key=lambda item: -(item.used_bytes + item.free_bytes))
    shown, rest = ordered[:HEAPS], ordered[HEAPS:]
    if len(rest) == 1:
        shown, rest = ordered, []
    rows = [heap_row(heap_name(item), item.tag, [item]) for item in shown]
    if rest:
        rows.append(heap_row(f"{len(rest)} more", "", rest))
    page.line()
    columns = (
        Column("Heaps of", grow=True),
        Column("tag"),
        Column("pages", figures=True),
        Column("live", figures=True),
        Column("live MiB", figures=True),
        Column("free MiB", figures=True),
        Column("uncollected", figures=True),
    )
    page.table(columns, rows)
    if any(not item.exact for item in shown):
        page.indented(("* could not be stopped, so it was copied while it may have changed", DIM))


def heap_name(heap: ThreadHeap) -> str:
    """Whose heap it is; with a star when it is not exact."""
    name = f"thread {heap.native_id}" if heap.native_id is not None else heap.owner
    if heap.interpreter:
        name += f", interpreter {heap.interpreter}"
    return name if heap.exact else f"{name} *"


def heap_row(name: str, tag: str, heaps: Sequence[ThreadHeap]) -> tuple[str, ...]:
    return (
        name,
        tag,
        f"{sum(item.pages for item in heaps):,}",
        f"{sum(item.used_blocks for item in heaps):,}",
        mib(sum(item.used_bytes for item in heaps), 2),
        mib(sum(item.free_bytes for item in heaps), 2),
        f"{sum(item.uncollected_blocks for item in heaps):,}",
    )


def waiting(page: Page, heap: HeapMap) -> None:
    """What threads have still to free, most first: live for the allocator, dead for the program."""
    rows = [item for item in heap.waiting if item.delayed_blocks or item.merge_objects]
    if not rows:
        return
    rows.sort(key=lambda item: -(item.delayed_bytes + item.merge_bytes))
    page.line()
    columns = (
        Column("Still to be freed by", grow=True),
        Column("delayed", figures=True),
        Column("MiB", figures=True),
        Column("to merge", figures=True),
        Column("MiB", figures=True),
    )
    cells = [waiting_row(waiting_name(item), [item]) for item in rows[:HEAPS]]
    if rows[HEAPS:]:
        cells.append(waiting_row(f"{len(rows) - HEAPS} more", rows[HEAPS:]))
    page.table(columns, cells)


def waiting_name(item: WaitingFrees) -> str:
    """The thread, and that it sleeps: it frees nothing before it wakes."""
    if item.native_id is None:
        return "the interpreter (of ended threads)"
    return f"thread {item.native_id}" + (", asleep" if item.asleep else "")


def waiting_row(name: str, items: Sequence[WaitingFrees]) -> tuple[str, ...]:
    return (
        name,
        f"{sum(item.delayed_blocks for item in items):,}",
        mib(sum(item.delayed_bytes for item in items), 2),
        f"{sum(item.merge_objects for item in items):,}",
        mib(sum(item.merge_bytes for item in items), 2),
    )


def fragmentation(page: Page, report: Report) -> None:
    """The sentences on fragmentation."""
    sentences = fragmentation_sentences(report)
    if sentences:
        page.line()
    for sentence in sentences:
        page.indented((sentence, ""))


def fragmentation_sentences(report: Report) -> list[str]:
    """How far the heap is from being compact, and what keeps its sparse arenas; nothing where there is no arena."""
    fragments, heap = report.fragmentation, report.pymalloc
    if fragments is None or heap is None or fragments.fragmentation is None or not fragments.arenas:
        return []
    noun = words(heap)[0]
    text = (
        f"Fragmentation: {percent(fragments.fragmentation)} of the bytes of blocks are free. Live blocks lie in "
        f"{fragments.arenas_kept:,} of {count(fragments.arenas, noun)}"
    )
    packed = fragments.arenas_minimum
    sentences = [text + (f"; packed by size class they would fill {packed:,}." if packed is not None else ".")]
    if fragments.keepers and fragments.arenas_sparse > 1:
        limit = f"{fragments.sparse_below:.0%}".replace("%", " %")
        listing = ", ".join(
            f"{item.size} bytes ({count(item.blocks, 'block')} in {item.arenas:,}, alone in {item.arenas_alone:,})"
            for item in fragments.keepers[:3]
        )
        looked = (
            f" (of {fragments.arenas_examined:,} looked at)"
            if fragments.arenas_examined < fragments.arenas_sparse
            else ""
        )
        sentences.append(f"Less than {limit} full: {count(fragments.arenas_sparse, noun)}, kept by {listing}{looked}.")
    return sentences
