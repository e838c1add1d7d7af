"""The tracemalloc report as one page of text."""

from __future__ import annotations

from collections.abc import Sequence

from ..analysis.words import count, percent, size
from ..models.tracemalloc import TracedSum, TracedUnseen, TracemallocReport
from .page import ANSWER, DIM, Column, Page

TRACEBACKS = 5
FRAMES = 12


def render(report: TracemallocReport, *, width: int = 100, color: bool = False, unicode: bool = True) -> str:
    """The page: the answer, what is not seen, then files, lines and tracebacks. Pure, as report_text.render."""
    page = Page(width, color=color, unicode=unicode)
    python = report.python
    version = f"{python.implementation} {python.version}"
    title = ("meminspect", report.program, f"pid {report.pid}", version, python.allocator)
    page.line(page.dot.join([*title, f"tracemalloc, {count(report.frame_limit, 'frame')}"]), DIM)
    page.line(answer(report), ANSWER)
    page.line(unseen_sentence(report.unseen))
    if report.note:
        page.line(report.note)
    rows_section(page, "Files", report.files, report.files_total, report, with_line=False)
    rows_section(page, "Lines", report.lines, report.lines_total, report, with_line=True)
    tracebacks_section(page, report)
    return str(page)


def answer(report: TracemallocReport) -> str:
    grown = ""
    if report.start_bytes is not None:
        grown = f", {signed(report.traced_bytes - report.start_bytes)} since its first line"
    kept = "" if not (report.include or report.exclude) else f" The filters leave {size(report.kept_bytes)}."
    return (
        f"{size(report.traced_bytes)} traced at the end{grown}, {size(report.peak_bytes)} at the peak; "
        f"tracemalloc itself takes {size(report.overhead_bytes)}.{kept}"
    )


def unseen_sentence(unseen: TracedUnseen) -> str:
    """What the figures below leave out."""
    parts = []
    if unseen.pymalloc_unseen_bytes is not None and unseen.pymalloc_unseen_share is not None:
        share = percent(unseen.pymalloc_unseen_share)
        parts.append(f"at least {size(unseen.pymalloc_unseen_bytes)} ({share}) of pymalloc's live blocks")
    if unseen.rss_unseen_bytes is not None and unseen.rss_unseen_share is not None:
        parts.append(f"{size(unseen.rss_unseen_bytes)} ({percent(unseen.rss_unseen_share)}) of RSS")
    said = f"Not seen by tracemalloc: {' and '.join(parts)}." if parts else ""
    return f"{said} Not known: {unseen.reason}.".strip() if unseen.reason else said


def rows_section(
    page: Page, title: str, rows: Sequence[TracedSum], total: int, report: TracemallocReport, *, with_line: bool
) -> None:
    page.heading(title, f"{len(rows)} of {total:,}, by {report.sorted_by}")
    growth = report.start_bytes is not None
    columns = [Column("size", figures=True), Column("blocks", figures=True)]
    if growth:
        columns += [Column("grown", figures=True), Column("blocks", figures=True)]
    table = []
    for row in rows:
        cells = [size(row.bytes), f"{row.blocks:,}"]
        if growth:
            cells += [signed(row.bytes_grown or 0), f"{row.blocks_grown or 0:+,}"]
        frame = row.frames[0]
        name = f"{frame.file}:{frame.line}" if with_line else frame.file
        table.append([*cells, end_of(name, page.width - (52 if growth else 30))])
    page.table([*columns, Column("file" if not with_line else "line", grow=True)], table)


def tracebacks_section(page: Page, report: TracemallocReport) -> None:
    shown = report.tracebacks[:TRACEBACKS]
    order = f"by {report.sorted_by}; most recent call first"
    page.heading("Tracebacks", f"{len(shown)} of {report.tracebacks_total:,}, {order}")
    for number, row in enumerate(shown, 1):
        grown = f", {signed(row.bytes_grown)} since the start" if row.bytes_grown is not None else ""
        page.indented((f"{size(row.bytes)} in {count(row.blocks, 'block')}{grown}", ""), lead=f"{number}.", indent=4)
        page.block((f"{frame.file}:{frame.line}" for frame in row.frames[:FRAMES]), DIM, indent=6)
        hidden = len(row.frames) - FRAMES + row.frames_dropped if len(row.frames) > FRAMES else row.frames_dropped
        if hidden > 0:
            page.block([f"{count(hidden, 'more frame')}"], DIM, indent=6)


def end_of(path: str, width: int) -> str:
    """The end of a path, which tells more than its beginning."""
    return path if len(path) <= width else "…" + path[-max(1, width - 1) :]


def signed(value: int) -> str:
    return ("-" if value < 0 else "+") + size(abs(value))
