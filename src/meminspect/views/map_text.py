"""The heap map on a terminal: all arenas at a glance, then the arenas that little keeps, pool by pool."""

from __future__ import annotations

from itertools import groupby
from typing import Literal

from ..analysis.words import count, percent, size
from ..models.heap import Arena, HeapMap, Pool
from ..models.report import Report
from . import report_heap
from .bars import shade
from .html_sections import map_headline
from .page import ANSWER, DIM, WARN, Page
from .palette import OCCUPANCY, step
from .report_head import head, heap_verdict

ARENAS = 16  # shown pool by pool
NEVER_USED = " "
POOLS_A_LINE = 64


def render(
    report: Report,
    *,
    width: int = 100,
    color: bool = False,
    unicode: bool = True,
    colors: Literal["standard", "256"] = "standard",
) -> str:
    """The whole page; see views.report_text.render for the options.

    colors -- with color: how many the terminal has
    """
    page = Page(width, color=color, unicode=unicode, colors=colors)
    head(page, report)
    page.line(map_headline(report), ANSWER)
    heap = report.pymalloc
    if heap is not None:
        if heap.reason:
            page.line(heap.reason, DIM if heap.exact else WARN)
        if heap.arenas:
            overview(page, heap)
            closest(page, heap)
            for sentence in report_heap.fragmentation_sentences(report):
                page.line()
                page.line(sentence)
    page.line()
    page.pieces(("Checked: ", "bold"), *heap_verdict(report), (".", ""))
    return str(page)


def overview(page: Page, heap: HeapMap) -> None:
    page.heading(report_heap.words(heap)[0].capitalize() + "s", report_heap.summary(heap))
    report_heap.arenas(page, heap)


def closest(page: Page, heap: HeapMap) -> None:
    """The kept arenas, the emptiest first; the marks are pools in order of address."""
    kept = sorted((arena for arena in heap.arenas if arena.used_blocks), key=lambda arena: arena.occupancy)
    if not kept or not heap.has_pools:
        return
    arena_word, pool_word = report_heap.words(heap)
    shown = kept[:ARENAS]
    page.heading(
        f"The emptiest {arena_word}s" if len(kept) > len(shown) else f"Each {arena_word}",
        f"each mark is one {pool_word}, in order of address; a blank was never used",
    )
    for arena in shown:
        live = f"{percent(arena.occupancy)} live, {count(arena.used_blocks, 'block')}, {size(arena.used_bytes)}"
        page.indented((f"{arena.address:#x}", ""), (f"  {live}: {main_sizes(heap, arena)}", DIM))
        marks = [mark(heap, pool, unicode=page.unicode) for pool in heap.pools(arena)]
        line = min(POOLS_A_LINE, page.width - 4)
        for start in range(0, len(marks), line):
            runs = groupby(marks[start : start + line], key=lambda one: one[1])
            page.marks([[("".join(text for text, _ in run), style) for style, run in runs]], indent=4)


def mark(heap: HeapMap, pool: Pool, *, unicode: bool) -> tuple[str, str]:
    """One pool as a mark and its colour."""
    total = pool.used + pool.free
    share = pool.used / total if total else 0.0
    return shade(share, unicode=unicode), OCCUPANCY[step(share)].terminal


def main_sizes(heap: HeapMap, arena: Arena) -> str:
    """Of which size its live blocks are, the three that are most."""
    sizes = {item.index: item.size for item in heap.size_classes}
    live = sorted(heap.live_by_class(arena).items(), key=lambda item: -item[1])
    return ", ".join(f"{number:,} of {sizes[index]:,} bytes" for index, number in live[:3])
