"""A trace of the GIL, and an experiment with its switch interval, in a notebook.

Well-formed HTML without script or style sheet; text of the traced program is sanitised and escaped.
"""

from __future__ import annotations

import html as escapes
import struct
from collections.abc import Iterable, Sequence

from ..analysis.words import percent, seconds
from ..models.gil_experiment import Experiment
from ..models.gil_trace import GilTrace
from . import gil_experiment, gil_trace_text
from .sanitize import TEXT_LIMIT, clean

ROWS = 16
COLUMNS = 300
WIDTH, GUTTER, ROW = 760, 150, 18
HELD, WAITED = "#2767ad", "#e8590c"
MUTED = "opacity:.7"


def text(value: str) -> str:
    return escapes.escape(clean(value, TEXT_LIMIT))


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f'<{tag} style="text-align:right">{text(cell)}</{tag}>' for cell in row)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', titles)}</tr></thead><tbody>{body}</tbody></table>"


def trace(made: GilTrace) -> str:
    """The answer, the timeline, threads, findings."""
    parts = [f"<p><b>{text(gil_trace_text.answer(made))}</b></p>"]
    if made.reason:
        parts.append(f'<p style="{MUTED}">{text(f"Not exact: {made.reason}.")}</p>')
    parts.append(timeline(made))
    shown = sorted(made.threads, key=lambda thread: -(thread.held_s + thread.waited_s))[:ROWS]
    parts.append(
        table(
            ("thread", "held", "share", "waited", "share", "taken", "longest wait"),
            [
                (
                    thread.label, seconds(thread.held_s), percent(thread.held_share), seconds(thread.waited_s),
                    percent(thread.waited_share), f"{thread.acquisitions:,}", gil_trace_text.span(thread.waits.max_s),
                )
                for thread in shown
            ],
        )
    )  # fmt: skip
    parts += [f"<p>{text(finding.text)}</p>" for finding in made.findings]
    parts.append(f'<p style="{MUTED}">{text(gil_trace_text.checked(made))}</p>')
    return "".join(parts)


def timeline(made: GilTrace) -> str:
    """A row for each thread: blue for the share of each moment in which it held the GIL, orange in which it waited."""
    line = made.timeline
    known = sorted(
        ((thread, tiles) for thread, tiles in line.tiles if thread is not None),
        key=lambda row: -(made.threads[row[0]].held_s + made.threads[row[0]].waited_s),
    )[:ROWS]
    if not known or not made.duration_s:
        return ""
    drawn = []
    held, waited = [], []
    for row, (thread, packed) in enumerate(known):
        bottom = (row + 1) * ROW - 2
        name = clean(made.threads[thread].label)
        name = name if len(name) <= 20 else name[:19] + "…"
        drawn.append(f'<text x="0" y="{bottom - 4}" font-size="11" fill="currentColor">{escapes.escape(name)}</text>')
        for at, (hold, wait) in enumerate(columns(packed, line.tile_s, made.duration_s)):
            left, full = GUTTER + at * (WIDTH - GUTTER) / COLUMNS, ROW - 4
            if hold:
                held.append(f"M{left:.1f} {bottom}h2v{-max(1.0, hold * full):.1f}h-2z")
            if wait:
                above = bottom - hold * full
                waited.append(f"M{left:.1f} {above:.1f}h2v{-max(1.0, min(1 - hold, wait) * full):.1f}h-2z")
    height = len(known) * ROW + 14
    for share in (0, 0.5, 1):
        anchor = ("start", "middle", "end")[round(share * 2)]
        drawn.append(
            f'<text x="{GUTTER + share * (WIDTH - GUTTER):.0f}" y="{height - 2}" font-size="10" fill="currentColor" '
            f'text-anchor="{anchor}">{share * made.duration_s:.3f} s</text>'
        )
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" style="max-width:100%">'
        f'<title>Timeline of the GIL: blue held, orange waited</title><path fill="{HELD}" d="{"".join(held)}"/>'
        f'<path fill="{WAITED}" d="{"".join(waited)}"/>{"".join(drawn)}</svg>'
    )


def columns(packed: bytes, tile_s: float, duration_s: float) -> list[tuple[float, float]]:
    """Shares of each of COLUMNS parts of the time, held and waited, from tiles of nanoseconds."""
    tiles = list(struct.iter_unpack("=QQ", packed))
    made, width = [], duration_s / COLUMNS
    for at in range(COLUMNS):
        low, high = at * width / tile_s, (at + 1) * width / tile_s
        sums = [0.0, 0.0]
        tile = int(low)
        while tile < high and tile < len(tiles):
            part = min(high, tile + 1) - max(low, tile)
            for kind in (0, 1):
                sums[kind] += part * tiles[tile][kind] / 1e9
            tile += 1
        made.append((min(1.0, sums[0] / width), min(1.0, sums[1] / width)))
    return made


def experiment(made: Experiment) -> str:
    titles, rows = gil_experiment.table(made)
    note = f'<p style="{MUTED}">{text(made.reason)}</p>' if made.reason else ""
    return f"<p><b>{text(gil_experiment.answer(made))}</b></p>{table(titles, rows)}{note}"
