"""What switch intervals do to a workload: as text, as JSON, and as a plot (matplotlib, the extra `plot`)."""

from __future__ import annotations

import json
from typing import Any

from ..analysis.words import percent, seconds
from ..errors import MeminspectError
from ..models.gil_experiment import Experiment, IntervalResult
from .gil_trace_text import span
from .page import ANSWER, DIM, WARN, Column, Page
from .sanitize import clean, clean_value

SCHEMA = 1
PLOTS = (".png", ".svg", ".pdf")


def render(made: Experiment, *, width: int = 100, color: bool = False, unicode: bool = True) -> str:
    """A table, a row for each interval."""
    page = Page(width, color=color, unicode=unicode)
    page.line(page.dot.join(["meminspect gil experiment", clean(made.workload)]), DIM)
    page.line(answer(made), ANSWER)
    if made.reason:
        page.line(made.reason + ".", WARN)
    page.heading("At each switch interval", f"now {span(made.interval_before_s)} again, as before")
    page.table([Column(name, figures=True) for name in titles(made)], [row(made, one) for one in made.results])
    return str(page)


def titles(made: Experiment) -> tuple[str, ...]:
    beside = any(one.beside_per_s is not None for one in made.results)
    return (
        "interval", f"{made.operation}s/s", *(["beside/s"] if beside else []), "p50", "p99", "p99.9", "max",
        "hand-offs/s", "forced", "wait p99",
    )  # fmt: skip


def row(made: Experiment, one: IntervalResult) -> tuple[str, ...]:
    offs, latency = one.hand_offs, one.latency
    beside = any(other.beside_per_s is not None for other in made.results)
    return (
        span(one.interval_s), f"{one.throughput_per_s:,.0f}",
        *(["-" if one.beside_per_s is None else f"{one.beside_per_s:,.0f}"] if beside else []),
        span(latency.median_s), span(latency.p99_s), span(latency.p999_s), span(latency.max_s),
        "-" if offs is None else f"{offs.total / one.seconds:,.0f}",
        "-" if offs is None or not offs.total else percent(offs.forced / offs.total, 0),
        "-" if one.waits is None else span(one.waits.p99_s),
    )  # fmt: skip


def answer(made: Experiment) -> str:
    """What the best interval would give against the one in force."""
    best = max(made.results, key=lambda one: one.throughput_per_s)
    near = min(made.results, key=lambda one: abs(one.interval_s - made.interval_before_s))
    text = f"Most {made.operation}s a second at an interval of {span(best.interval_s)}: {best.throughput_per_s:,.0f}"
    if best is not near and near.throughput_per_s:
        text += f", {best.throughput_per_s / near.throughput_per_s:.2f} times as many as at {span(near.interval_s)}"
        if best.beside_per_s and near.beside_per_s:
            text += f"; beside it {best.beside_per_s / near.beside_per_s:.2f} times the computing"
    if best is not near and best.latency.p99_s is not None and near.latency.p99_s is not None:
        text += f". 99 % took at most {seconds(best.latency.p99_s)} instead of {seconds(near.latency.p99_s)}"
    return text + "."


def render_json(made: Experiment) -> str:
    return json.dumps(clean_value({"schema": SCHEMA, **made.to_dict()}), indent=2, allow_nan=False)


def table(made: Experiment) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Titles and rows of text, for a notebook."""
    return titles(made), [row(made, one) for one in made.results]


def plot(made: Experiment, path: str) -> None:
    """Writes a picture; MeminspectError without matplotlib."""
    figure = draw(made)
    figure.savefig(path, dpi=144)


def draw(made: Experiment) -> Any:
    """A figure of matplotlib: throughput, latency and hand-offs against the interval."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MeminspectError("the plot needs matplotlib: pip install 'meminspect[plot]'") from None
    figure = Figure(figsize=(11, 3.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    results = sorted(made.results, key=lambda one: one.interval_s)
    at = [one.interval_s * 1e3 for one in results]
    left.plot(at, [one.throughput_per_s for one in results], "o-", color="#2767ad", label=f"{made.operation}s")
    left.set_title(f"{made.operation}s a second")
    if any(one.beside_per_s is not None for one in results):
        other = left.twinx()
        other.plot(at, [one.beside_per_s or 0 for one in results], "s--", color="#e8590c")
        other.set_ylabel("pieces of computing a second, beside", color="#e8590c")
        other.set_ylim(bottom=0)
    for name, label, style in (("median_s", "p50", "o-"), ("p99_s", "p99", "s-"), ("max_s", "max", "^:")):
        values = [getattr(one.latency, name) for one in results]
        if all(value is not None for value in values):
            middle.plot(at, [value * 1e3 for value in values], style, label=label)
    middle.set_title("latency, ms")
    if middle.lines:
        middle.set_yscale("log")
        middle.legend()
    for part, color in (("forced", "#e8590c"), ("voluntary", "#2767ad")):
        if all(one.hand_offs is not None for one in results):
            right.plot(
                at, [getattr(one.hand_offs, part) / one.seconds for one in results], "o-", color=color, label=part
            )
    right.set_title("hand-offs a second")
    if right.lines:
        right.set_yscale("symlog")
        right.legend()
    left.set_ylim(bottom=0)
    for axes in (left, middle, right):
        axes.set_xscale("log")
        axes.set_xlabel("switch interval, ms")
        axes.grid(alpha=0.3)
    figure.suptitle(clean(made.workload))
    return figure
