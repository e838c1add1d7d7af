"""The heap map on a terminal: all arenas at a glance, then the arenas that little keeps, pool by pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Literal

from ..analysis.words import count, percent, size
from ..models.contents import Contents
from ..models.heap import Arena, HeapMap, Pool
from ..models.report import Report
from . import report_heap
from .bars import shade
from .html_sections import map_headline
from .page import ANSWER, DIM, WARN, Page
from .palette import CONTENTS, OCCUPANCY, step
from .report_head import head, heap_verdict
from .sanitize import clean

ARENAS = 16  # shown pool by pool
NEVER_USED = " "
POOLS_A_LINE = 64
LETTERS = "ABCDEFGHIJKL"
OTHER, UNKNOWN, FREE = "+", "?", "-"
NAME = 40  # of a type in the legend

Mark = Callable[[Arena], list[tuple[str, str]]]


def render(
    report: Report,
    *,
    width: int = 100,
    color: bool = False,
    unicode: bool = True,
    colors: Literal["standard", "256"] = "standard",
    by: str = "occupancy",
    contents: Contents | None = None,
) -> str:
    """The whole page; see views.report_text.render for the options.

    colors   -- with color: how many the terminal has
    by       -- what pools are marked by: "occupancy", "class" (their size class) or "content" (what they hold most of)
    contents -- what is in them, for that
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
            closest(page, heap, by, contents)
            for sentence in report_heap.fragmentation_sentences(report):
                page.line()
                page.line(sentence)
    page.line()
    page.pieces(("Checked: ", "bold"), *heap_verdict(report), (".", ""))
    return str(page)


def overview(page: Page, heap: HeapMap) -> None:
    page.heading(report_heap.words(heap)[0].capitalize() + "s", report_heap.summary(heap))
    report_heap.arenas(page, heap)


def closest(page: Page, heap: HeapMap, by: str, contents: Contents | None) -> None:
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
    if by == "content" and contents is None:
        page.line("What the pools hold is not known, since no census came with this map: they are marked by how full.")
        by = "occupancy"
    marks_of, legend = marking(heap, shown, by, contents, unicode=page.unicode)
    if legend:
        page.pieces(*legend)
    for arena in shown:
        live = f"{percent(arena.occupancy)} live, {count(arena.used_blocks, 'block')}, {size(arena.used_bytes)}"
        page.indented((f"{arena.address:#x}", ""), (f"  {live}: {main_sizes(heap, arena)}", DIM))
        marks = marks_of(arena)
        line = min(POOLS_A_LINE, page.width - 4)
        for start in range(0, len(marks), line):
            runs = groupby(marks[start : start + line], key=lambda one: one[1])
            page.marks([[("".join(text for text, _ in run), style) for style, run in runs]], indent=4)


def marking(
    heap: HeapMap, shown: list[Arena], by: str, contents: Contents | None, *, unicode: bool
) -> tuple[Mark, list[tuple[str, str]]]:
    """How an arena's pools are marked, and what the marks mean; how full needs no legend of its own."""
    if by == "occupancy":
        return lambda arena: [mark(pool, unicode=unicode) for pool in heap.pools(arena)], []
    sizes = {item.index: f"{item.size:,}" for item in heap.size_classes}
    keys: dict[int, list[str | None]] = {}
    for arena in shown:
        pools = heap.pools(arena)
        if by == "class" or contents is None:
            names = [None if pool.size_class is None else sizes[pool.size_class] for pool in pools]
        else:
            names = names_of(pools, contents.pools(arena.address), contents)
        keys[arena.address] = names
    often: dict[str, int] = {}
    for names in keys.values():
        for name in names:
            if name not in (None, UNKNOWN):
                often[str(name)] = often.get(str(name), 0) + 1
    ranked = sorted(often, key=lambda name: -often[name])
    styles: dict[str | None, tuple[str, str]] = {
        name: (letter, style) for name, letter, (_, _, style) in zip(ranked, LETTERS, CONTENTS, strict=False)
    }
    legend = [
        piece
        for name in ranked[: len(LETTERS)]
        for piece in (styles[name], (f" {clean(name, NAME)}" + (" bytes" if by == "class" else "") + "   ", DIM))
    ]
    rest = [f"{OTHER} anything else"] if len(ranked) > len(LETTERS) else []
    rest += [f"{UNKNOWN} unknown"] if any(UNKNOWN in names for names in keys.values()) else []
    legend.append(("   ".join([*rest, f"{FREE} free"]), DIM))
    styles[None], styles[UNKNOWN] = (FREE, DIM), (UNKNOWN, DIM)
    return lambda arena: [styles.get(name, (OTHER, DIM)) for name in keys[arena.address]], legend


def names_of(pools: tuple[Pool, ...], places: Sequence[int], contents: Contents) -> list[str | None]:
    """What each pool holds most of, None for a free one; a map and its census may be of two moments."""
    known = places if len(places) == len(pools) else [len(contents.names)] * len(pools)
    return [
        None if not pool.used else contents.names[place] if place < len(contents.names) else UNKNOWN
        for pool, place in zip(pools, known, strict=True)
    ]


def mark(pool: Pool, *, unicode: bool) -> tuple[str, str]:
    """One pool as a mark and its colour."""
    total = pool.used + pool.free
    share = pool.used / total if total else 0.0
    return shade(share, unicode=unicode), OCCUPANCY[step(share)].terminal


def main_sizes(heap: HeapMap, arena: Arena) -> str:
    """Of which size its live blocks are, the three that are most."""
    sizes = {item.index: item.size for item in heap.size_classes}
    live = sorted(heap.live_by_class(arena).items(), key=lambda item: -item[1])
    return ", ".join(f"{number:,} of {sizes[index]:,} bytes" for index, number in live[:3])
