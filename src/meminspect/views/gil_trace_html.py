"""A trace of the GIL as one HTML file that needs nothing else: timeline, matrix, lengths, findings.

Of a long trace the timeline has all in tiles of time, and its first spans one by one (GilTrace.timeline): the file
stays within some megabytes, however long the trace was. Every figure is in the file as text too.
"""

from __future__ import annotations

import struct
import sys
from array import array
from base64 import b64encode
from bisect import bisect_right
from typing import Any

from ..analysis.hand_offs import WAIT, spans_of
from ..analysis.words import count, percent, seconds
from ..models.gil_trace import GilTrace
from . import gil_trace_text as words
from .html_page import asset, environment, policy
from .sanitize import clean

SCRIPTS = ("echarts.min.js", "page.js", "gil_timeline.js", "gil_start.js")
TEMPLATE = "gil.html.jinja"
THREADS = 100
PAIRS = 40
SITES = 60
MATRIX = 24  # threads in the picture
COLLECTIONS = 5000
NAMES = 0xFFFE  # two bytes an index
BINS = tuple(digit * 10**power for power in range(2, 11) for digit in (1, 2, 5))  # nanoseconds


def render(trace: GilTrace, *, program: str | None = None, note: str | None = None) -> str:
    """The whole file; NoHtml without jinja2."""
    made = environment()
    from markupsafe import Markup

    scripts = [asset(name) for name in SCRIPTS]
    style = asset("page.css") + asset("gil.css")
    subject = ["meminspect gil", *([program] if program else []), f"pid {trace.pid}", f"{trace.duration_s:.3f} s"]
    doubts = [text for text in (note, f"Not exact: {trace.reason}." if trace.reason else None) if text]
    return made.get_template(TEMPLATE).render(
        title=program or f"pid {trace.pid}",
        subject=subject,
        answer=words.answer(trace),
        doubts=doubts,
        tiles=tiles_of(trace),
        findings=[
            {"text": one.text, "try": one.try_, "figures": [(key, str(value)) for key, value in one.figures.items()]}
            for one in trace.findings
        ],
        threads=thread_rows(trace),
        threads_more=max(0, len(trace.threads) - THREADS),
        pairs=pair_rows(trace),
        pairs_more=max(0, len(trace.matrix) - PAIRS),
        lengths=[(name, *words.row(one)) for name, one in (("holds", trace.hold_times), ("waits", trace.wait_times))],
        holds=hold_rows(trace),
        sites=words.site_rows(trace, SITES),
        concurrency=words.concurrency(trace),
        collections=words.collection_rows(trace),
        checked=words.checked(trace),
        exact_until=None if not trace.timeline.left_out else seconds(exact_until(trace)),
        data=data_of(trace),
        policy=Markup(policy(scripts, style)),
        scripts=[Markup(text) for text in scripts],
        style=Markup(style),
    )


def tiles_of(trace: GilTrace) -> list[tuple[str, str, str]]:
    offs = trace.hand_offs
    waited = sum(thread.waited_s for thread in trace.threads)
    made = [
        ("hand-offs", f"{offs.total:,}", f"{offs.total / trace.duration_s:,.0f} a second" if trace.duration_s else ""),
        ("forced", f"{offs.forced:,}", percent(offs.forced / offs.total, 0) if offs.total else ""),
        ("given away", f"{offs.voluntary:,}", percent(offs.voluntary / offs.total, 0) if offs.total else ""),
        ("waited in all", seconds(waited), count(len(trace.threads), "thread")),
    ]
    if trace.held_share is not None:
        made.append(("held", percent(trace.held_share, 0), "of the time"))
    return made


def thread_rows(trace: GilTrace) -> list[dict[str, Any]]:
    shown = sorted(trace.threads, key=lambda thread: -(thread.held_s + thread.waited_s))[:THREADS]
    return [
        {
            "name": thread.label,
            "cells": (
                str(thread.native_id or ""), seconds(thread.held_s), percent(thread.held_share),
                seconds(thread.waited_s), "-" if thread.runnable_s is None else seconds(thread.runnable_s),
                percent(thread.waited_share), f"{thread.acquisitions:,}",
                "-" if thread.forced_releases is None else f"{thread.forced_releases:,}",
                words.span(thread.waits.p99_s), words.span(thread.waits.max_s),
            ),
            "held": round(100 * min(1.0, thread.held_share), 2),
        }
        for thread in shown
    ]  # fmt: skip


def pair_rows(trace: GilTrace) -> list[tuple[str, ...]]:
    names = [thread.label for thread in trace.threads]
    return [
        (
            names[cell.from_thread],
            names[cell.to_thread],
            f"{cell.forced:,}",
            f"{cell.voluntary:,}",
            seconds(cell.waited_s),
        )
        for cell in trace.matrix[:PAIRS]
    ]


def hold_rows(trace: GilTrace) -> list[dict[str, Any]]:
    names = [thread.label for thread in trace.threads]
    ended = {True: "forced", False: "given away", None: "not ended"}
    return [
        {
            "name": names[hold.thread], "thread": hold.thread, "begin": hold.begin_s, "long": hold.held_s,
            "cells": (
                f"{hold.begin_s:.3f} s", words.span(hold.held_s), ended[hold.forced],
                "-" if hold.asked_by is None else names[hold.asked_by], words.span(hold.answered_s),
                hold.function or "",
            ),
        }
        for hold in trace.longest_holds
    ]  # fmt: skip


def exact_until(trace: GilTrace) -> float:
    """Seconds from the beginning up to which every span is in the file."""
    last = max((span.end for span in spans_of(trace.timeline.spans)), default=0)
    return last / 1e9 if trace.timeline.left_out else trace.duration_s


def data_of(trace: GilTrace) -> dict[str, Any]:
    """What the pictures are drawn from; text is sanitised."""
    order = sorted(
        trace.timeline.tiles,
        key=lambda row: (row[0] is None, 0 if row[0] is None else -_weight(trace, row[0])),
    )
    row_of = {thread: row for row, (thread, _) in enumerate(order)}
    used = min(len(tiles_in(order[0][1])) if order else 0, int(trace.duration_s / trace.timeline.tile_s) + 1)
    packed = []
    sums = [0.0] * used  # of threads waiting
    for _, tiles in order:
        shares = [(held / 1e9 / trace.timeline.tile_s, waited / 1e9 / trace.timeline.tile_s)
                  for held, waited in tiles_in(tiles)[:used]]  # fmt: skip
        packed.append(bytes(byte for pair in shares for byte in map(_byte, pair)))
        for at, (_, waited) in enumerate(shares):
            sums[at] += waited
    names = [clean(thread.label) for thread in trace.threads[:NAMES]]
    busiest = sorted({cell.from_thread for cell in trace.matrix} | {cell.to_thread for cell in trace.matrix},
                     key=lambda thread: -_weight(trace, thread))[:MATRIX]  # fmt: skip
    place = {thread: at for at, thread in enumerate(busiest)}
    return {
        "duration_s": max(trace.duration_s, 1e-6),
        "tile_s": trace.timeline.tile_s,
        "most_waiting": round(max(sums, default=0.0), 3),
        "names": names,
        "rows": [
            {
                "name": "other threads" if thread is None else clean(trace.threads[thread].label),
                "thread": -1 if thread is None else thread,
                "held": "" if thread is None else seconds(trace.threads[thread].held_s),
                "waited": "" if thread is None else seconds(trace.threads[thread].waited_s),
                "tiles": b64encode(tiles).decode("ascii"),
            }
            for (thread, _), tiles in zip(order, packed, strict=True)
        ],
        "spans": spans_columns(trace, row_of),
        "collections": [(one.begin_s, one.duration_s) for one in trace.collections[:COLLECTIONS]],
        "matrix_names": [clean(trace.threads[thread].label) for thread in busiest],
        "matrix": [
            (place[cell.from_thread], place[cell.to_thread], cell.forced, cell.voluntary)
            for cell in trace.matrix
            if cell.from_thread in place and cell.to_thread in place
        ],
        "bins": [words.span(low / 1e9) for low in BINS],
        "holds": binned(trace.timeline.holds),
        "waits": binned(trace.timeline.waits),
    }


def _weight(trace: GilTrace, thread: int) -> float:
    return trace.threads[thread].held_s + trace.threads[thread].waited_s


def tiles_in(packed: bytes) -> list[tuple[int, int]]:
    return list(struct.iter_unpack("=QQ", packed))


def _byte(share: float) -> int:
    """A share in 255ths; what is not nothing is never shown as nothing."""
    return min(255, max(1, round(255 * share))) if share > 0 else 0


def spans_columns(trace: GilTrace, row_of: dict[int | None, int]) -> dict[str, Any]:
    """Holds and waits as columns of little-endian numbers; threads are indices into `names` plus one, 0 for none."""
    begin, end = array("d"), array("d")
    row, other, following = array("H"), array("H"), array("H")
    kind, flags = bytearray(), bytearray()
    rows = trace.timeline.rows

    def named(thread: int) -> int:
        at = rows.get(thread) if thread else None
        return 0 if at is None or at >= NAMES else at + 1

    last = row_of.get(None, 0)
    for span in spans_of(trace.timeline.spans):
        begin.append(span.begin / 1e9)
        end.append(span.end / 1e9)
        row.append(row_of.get(rows.get(span.thread), last))
        other.append(named(span.other))
        following.append(0 if span.kind == WAIT else named(span.next))
        kind.append(span.kind)
        flags.append(span.flags)
    for column in (begin, end, row, other, following):
        if sys.byteorder == "big":
            column.byteswap()

    def text(column: array[Any] | bytearray) -> str:
        return b64encode(bytes(column)).decode("ascii")

    return {
        "begin": text(begin), "end": text(end), "row": text(row), "other": text(other), "next": text(following),
        "kind": text(kind), "flags": text(flags), "until": exact_until(trace),
    }  # fmt: skip


def binned(lengths: tuple[tuple[int, int], ...]) -> list[int]:
    """Counts of lengths from each of BINS to the next."""
    made = [0] * len(BINS)
    for low, number in lengths:
        made[max(0, bisect_right(BINS, low) - 1)] += number
    return made
