"""Samples of a GIL that could not be traced, as one page of text or JSON."""

from __future__ import annotations

import json

from ..analysis.words import count, percent
from ..models.gil_sample import GilSample
from .page import ANSWER, DIM, WARN, Column, Page
from .sanitize import clean_value

THREADS = 12
SCHEMA = 1


def render_json(sample: GilSample, *, why: str, program: str | None = None) -> str:
    """The document as text, in ASCII; `sampled` is true: it is no trace, and `why` there is none."""
    document = clean_value({"schema": SCHEMA, "program": program, "sampled": True, "why": why, **sample.to_dict()})
    return json.dumps(document, indent=2, allow_nan=False)


def render(
    sample: GilSample, *, why: str, program: str | None = None, width: int = 100, color: bool = False,
    unicode: bool = True,
) -> str:  # fmt: skip
    """The page: that it is an estimate and why, and who held the GIL. Pure."""
    page = Page(width, color=color, unicode=unicode)
    parts = ["meminspect gil", *([program] if program else []), f"{sample.duration_s:.3f} s"]
    page.line(page.dot.join(parts), DIM)
    page.line(f"The GIL could not be traced: {why}.", WARN)
    said = f"It was looked at {count(sample.looks, 'time')} instead, at {sample.rate_hz:g} Hz"
    if sample.held_share is not None and sample.held_error is not None:
        said += f": held at {percent(sample.held_share)} of them, give or take {percent(sample.held_error)}"
    page.line(f"{said}.", ANSWER)
    if sample.mean_waiters is not None:
        page.line(f"Threads that waited for it: {sample.mean_waiters:.2f} on average.")
    if sample.tstate_switches is not None:
        page.line(f"CPython counted {count(sample.tstate_switches, 'change')} of thread state.")
    rows = [
        (one.label, str(one.native_id), percent(one.held_share or 0.0), percent(one.error or 0.0))
        for one in sorted(sample.threads, key=lambda one: -(one.held_share or 0.0))[:THREADS]
    ]
    page.heading("Threads", "held: share of the looks; error: half the width of its 95 % interval")
    page.table([Column("thread", grow=True), *(Column(name, figures=True) for name in ("id", "held", "error"))], rows)
    page.line()
    page.line(f"The looking took {percent(sample.cpu_share)} of a core.", DIM)
    return str(page)
