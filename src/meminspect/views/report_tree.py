"""Where RSS goes: the tree as a table, large parts opened, small ones summed up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..analysis.words import mib, percent
from ..models.memory import MemoryNode
from ..models.report import Report
from .bars import bar
from .page import DIM, FIGURE, Column, Page

DEPTH = 3
OPEN_SHARE = 0.005  # of RSS: a node below it is not opened, and a leaf below it is summed with its like
OPEN_CHILDREN = 6
ALWAYS = "unattributed"


@dataclass(frozen=True)
class Row:
    depth: int
    name: str
    bytes: int
    count: int | None


def section(page: Page, report: Report) -> None:
    """The table; the bars show shares of RSS."""
    memory = report.memory
    page.heading("Where RSS goes", "resident memory; an indented line is part of the one above")
    if memory is None:
        page.indented((f"not known: {report.missing.get('memory', 'unknown')}", ""))
        return
    rss = max(1, memory.rss_bytes)
    width = max(10, min(40, page.width - 58))
    rows = [
        (
            page.text("  " * row.depth + row.name, "" if row.depth == 0 else DIM),
            f"{row.count:,}" if row.count is not None else "",
            mib(row.bytes),
            percent(row.bytes / rss) if row.bytes else "0.0 %",
            page.text(bar(row.bytes / rss, width, unicode=page.unicode), FIGURE),
        )
        for row in table_rows(memory.tree, rss)
    ]
    columns = (
        Column("", grow=True),
        Column("number", figures=True, style=DIM),
        Column("MiB", figures=True),
        Column("% of RSS", figures=True),
        Column("", width=width),
    )
    page.table(columns, rows)
    if memory.reason and not memory.exact:
        page.indented((memory.reason, DIM))


def table_rows(tree: MemoryNode, rss: int) -> Iterator[Row]:
    """Rows of the children of the root, in depth; the order is by size, 'unattributed' is always there and last."""
    yield from _rows(tree, rss, 0)
    if not any(ALWAYS in child.name for child in tree.children):
        yield Row(0, ALWAYS, 0, None)


def _rows(node: MemoryNode, rss: int, depth: int) -> Iterator[Row]:
    ordered = sorted(node.children, key=lambda child: (child.name == ALWAYS, -child.bytes))
    shown = [child for child in ordered if depth == 0 or child.bytes >= OPEN_SHARE * rss][
        : None if depth == 0 else OPEN_CHILDREN
    ]
    hidden = [child for child in ordered if child not in shown]
    if len(hidden) == 1 and hidden[0].bytes:
        shown, hidden = shown + hidden, []
    for child in shown:
        yield Row(depth, child.name, child.bytes, child.count)
        if depth + 1 < DEPTH and child.bytes >= OPEN_SHARE * rss and len(child.children) > 0:
            yield from _rows(child, rss, depth + 1)
    rest = sum(child.bytes for child in hidden)
    if rest and shown:
        yield Row(depth, f"{len(hidden):,} smaller", rest, None)
