"""A comparison of two snapshots as a page: what grew most first."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..analysis.words import size
from ..models.diff import Diff, GrowthRow
from .page import ANSWER, DIM, WARN, Column, Page

ROWS = 12
SECTIONS = (
    ("causes", "Where RSS grew", "leaves of the memory tree, resident bytes", "cause", "things"),
    ("types", "Types", "living objects and their blocks", "type", "objects"),
    ("modules", "Modules", "the same by the module of the type", "module", "objects"),
    ("buffers", "Buffers", "blocks that belong to objects", "owner", "blocks"),
    ("size_classes", "Size classes", "live blocks of the small-object heap", "blocks of", "blocks"),
)


def render(diff: Diff, *, width: int = 100, color: bool = False, unicode: bool = True) -> str:
    page = Page(width, color=color, unicode=unicode)
    page.line(
        page.dot.join(["meminspect diff", *(os.path.basename(side.path) for side in (diff.before, diff.after))]), DIM
    )
    page.line(answer(diff), ANSWER)
    if not diff.same_process:
        page.line("These are two processes: figures are compared by name, addresses are not.", WARN)
    for name, title, how, label, things in SECTIONS:
        rows: tuple[GrowthRow, ...] | None = getattr(diff, name)
        page.heading(title, how)
        if rows is None:
            page.line(f"  not compared: {diff.missing.get('census' if name in ('types', 'modules') else name)}", DIM)
        elif not rows:
            page.line("  no change", DIM)
        else:
            growth_table(page, rows, label, things)
    arenas(page, diff)
    return str(page)


def answer(diff: Diff) -> str:
    """What grew most, in one or two sentences with their figures."""
    parts = []
    if diff.rss_bytes is not None and diff.after.rss_bytes is not None:
        verb = "grew" if diff.rss_bytes > 0 else "shrank" if diff.rss_bytes < 0 else "stayed"
        by = f" by {size(abs(diff.rss_bytes))} to {size(diff.after.rss_bytes)}" if diff.rss_bytes else ""
        cause = most(diff.causes)
        why = f", most in {cause.name} ({signed_size(cause.bytes)})" if cause and diff.rss_bytes > 0 else ""
        parts.append(f"RSS {verb}{by or ' as it was'}{why}.")
    kind = most(diff.types)
    if kind is not None:
        parts.append(f"Of objects {kind.name} grew most: {kind.count:+,} objects, {signed_size(kind.bytes)}.")
    elif diff.types is not None:
        parts.append("No type of objects grew.")
    if diff.arenas_new is not None:
        parts.append(f"{diff.arenas_new:,} arenas are new, {diff.arenas_gone:,} went, {diff.arenas_kept:,} stayed.")
    return " ".join(parts) or "Nothing could be compared."


def most(rows: Sequence[GrowthRow] | None) -> GrowthRow | None:
    return rows[0] if rows and rows[0].bytes > 0 else None


def growth_table(page: Page, rows: Sequence[GrowthRow], label: str, things: str) -> None:
    """The rows that grew most and, of those that shrank, the ones that shrank most."""
    shown = sorted(rows, key=lambda row: -abs(row.bytes))[:ROWS]
    page.table(
        [Column(label, grow=True), Column(things, figures=True), Column("growth", figures=True),
         Column("before", figures=True), Column("after", figures=True)],
        [
            [row.name, "" if row.count is None else f"{row.count:+,}", signed_size(row.bytes),
             size(row.bytes_before), size(row.bytes_after)]
            for row in sorted(shown, key=lambda row: -row.bytes)
        ],
    )  # fmt: skip
    if len(rows) > ROWS:
        rest = sum(row.bytes for row in rows) - sum(row.bytes for row in shown)
        page.line(f"  {len(rows) - ROWS:,} more, {signed_size(rest)} together", DIM)


def arenas(page: Page, diff: Diff) -> None:
    page.heading("Arenas", "live bytes of each, followed by its address")
    if diff.arenas is None:
        page.line(f"  not compared: {diff.missing.get('arenas')}", DIM)
        return
    page.line(f"  {diff.arenas_new:,} new, {diff.arenas_gone:,} gone, {diff.arenas_kept:,} kept")
    shown = sorted(diff.arenas, key=lambda row: -abs(row.bytes))[:ROWS]
    if shown:
        page.table(
            [Column("arena"), Column(""), Column("growth", figures=True), Column("live after", figures=True)],
            [[f"{row.address:#x}", row.state, signed_size(row.bytes), size(row.used_bytes_after)] for row in shown],
        )
    if len(diff.arenas) > ROWS:
        page.line(f"  {len(diff.arenas) - ROWS:,} more changed", DIM)


def signed_size(count: int) -> str:
    return ("+" if count > 0 else "-" if count < 0 else "") + size(abs(count))
