"""Waiting in a build without a GIL, as one page of text or JSON."""

from __future__ import annotations

import json

from ..analysis.words import count, percent, seconds
from ..models.base import plain
from ..models.waits import WaitTrace
from .page import ANSWER, DIM, WARN, Column, Page
from .sanitize import clean_value

THREADS = 12
ADDRESSES = 8
STOPS = 5
LISTED = 10_000  # in JSON
SCHEMA = 1


def render_json(trace: WaitTrace, *, program: str | None = None) -> str:
    """The document as text, in ASCII; `gil` is false: there is none in this build."""
    values = trace.to_dict()
    for name in ("parked", "stops", "collections"):
        items = getattr(trace, name)
        values[name] = plain(items[:LISTED])
        values[f"{name}_omitted"] = max(0, len(items) - LISTED)
    document = clean_value({"schema": SCHEMA, "program": program, "gil": False, **values})
    return json.dumps(document, indent=2, allow_nan=False)


def render(
    trace: WaitTrace, *, program: str | None = None, width: int = 100, color: bool = False, unicode: bool = True
) -> str:
    """The page: that there is no GIL, and what can be seen instead. Pure."""
    page = Page(width, color=color, unicode=unicode)
    page.line(page.dot.join(["meminspect gil", *([program] if program else []), f"{trace.duration_s:.3f} s"]), DIM)
    waits = sum(thread.parks for thread in trace.threads)
    waited = sum(thread.parked_s for thread in trace.threads)
    page.line(
        f"There is no GIL in this build. Threads parked {count(waits, 'time')} for locks, {seconds(waited)} in all; "
        f"the world was stopped {count(len(trace.stops), 'time')}, {percent(trace.stopped_share)} of the time.",
        ANSWER,
    )
    if trace.reason:
        page.line(f"Not exact: {trace.reason}.", WARN)
    threads(page, trace)
    addresses(page, trace)
    stops(page, trace)
    page.line()
    page.line("What spins for a lock and gets it is not seen, nor is a stop that nobody had to wait for.", DIM)
    return str(page)


def threads(page: Page, trace: WaitTrace) -> None:
    """Waits of each, and how much of the time it was attached."""
    attached = {one.native_id: one for one in trace.attached.threads} if trace.attached else {}
    waited = {one.native_id: one for one in trace.threads}
    rows = []
    for native_id in [*waited, *(one for one in attached if one not in waited)][:THREADS]:
        wait, look = waited.get(native_id), attached.get(native_id)
        name = (wait.name if wait else None) or (look.name if look else None) or f"thread {native_id}"
        share = look.attached_share if look else None
        rows.append(
            (
                name,
                str(native_id),
                percent(share) if share is not None else "",
                f"{wait.parks:,}" if wait else "0",
                seconds(wait.parked_s if wait else 0.0),
                seconds(wait.longest_s if wait else 0.0),
                seconds(wait.stopped_s if wait else 0.0),
            )
        )
    page.heading("Threads", "attached: of looks at a rate; parked: asleep for a lock; stopped: by a stop of the world")
    names = ("id", "attached", "waits", "parked", "longest", "stopped")
    page.table([Column("thread", grow=True), *(Column(name, figures=True) for name in names)], rows)


def addresses(page: Page, trace: WaitTrace) -> None:
    if not trace.parked:
        return
    page.heading("Where threads parked", "an object's own lock lies some bytes behind its address")
    columns = [Column("address", grow=True), *(Column(name, figures=True) for name in ("waits", "in all", "longest"))]
    page.table(
        columns,
        [(f"{one.address:#x}", f"{one.parks:,}", seconds(one.waited_s), seconds(one.longest_s))
         for one in trace.parked[:ADDRESSES]],
    )  # fmt: skip


def stops(page: Page, trace: WaitTrace) -> None:
    if not trace.stops:
        return
    longest = sorted(trace.stops, key=lambda one: -one.length_s)[:STOPS]
    page.heading("Stops of the world", f"the longest {len(longest)} of {len(trace.stops):,}")
    columns = [Column("by", grow=True), *(Column(name, figures=True) for name in ("at", "length", "threads stopped"))]
    page.table(
        columns,
        [(one.requester or (f"thread {one.requester_native_id}" if one.requester_native_id else "not known"),
          f"{one.begin_s:.3f} s", seconds(one.length_s), str(len(one.victims))) for one in longest],
    )  # fmt: skip
