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
SHOWN_SHARE = 0.005  # of RSS: below the first level a smaller part is summed with its like
SHOWN_CHILDREN = 6
OPEN_SHARE = (0.005, 0.05)  # of RSS, by depth: a smaller node is not opened
PLAIN_SHARE = 0.9  # a node below the first level that is so far of one kind is not opened
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
            f"{row.count:,}" if row.count else "",
            mib(row.bytes),
            percent(row.bytes / rss) if row.bytes else "0.0 %",
            page.text(bar(row.bytes / rss, width, unicode=page.unicode), FIGURE),
        )
        for row in table_rows(memory.tree, rss)
    ]
    columns = (
        Column("", grow=True),
        Column("count", figures=True, style=DIM),
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
    shown = ordered if depth == 0 else [child for child in ordered if child.bytes >= SHOWN_SHARE * rss][:SHOWN_CHILDREN]
    hidden = ordered[len(shown) :]
    if len(hidden) == 1 and hidden[0].bytes:
        shown, hidden = ordered, []
    for child in shown:
        yield Row(depth, child.name, child.bytes, child.count)
        if opens(child, rss, depth):
            yield from _rows(child, rss, depth + 1)
    rest = sum(child.bytes for child in hidden)
    if rest and shown:
        yield Row(depth, f"{len(hidden):,} smaller", rest, None)


def opens(node: MemoryNode, rss: int, depth: int) -> bool:
    """Whether a node's children are worth lines of their own."""
    if not node.children or depth + 1 >= DEPTH or node.bytes < OPEN_SHARE[depth] * rss:
        return False
    return depth == 0 or max(child.bytes for child in node.children) < PLAIN_SHARE * node.bytes
