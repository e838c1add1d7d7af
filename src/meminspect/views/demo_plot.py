"""A demo's charts, drawn with matplotlib (the extra `plot`), which is imported only here."""

from __future__ import annotations

import base64
import html as escapes
import io
from typing import Any

from ..errors import MeminspectError
from ..models.demo import Chart, DemoResult
from .sanitize import clean


class NoPlot(MeminspectError):
    """There is nothing to draw, or nothing to draw it with."""


def figure(result: DemoResult) -> Any:
    """A matplotlib Figure with one panel for each chart of the result, made without pyplot and its global state.

    Raises NoPlot when the result has no chart or matplotlib is not installed.
    """
    charts = [evidence.chart for evidence in result.evidence if evidence.chart is not None]
    if not charts:
        raise NoPlot(f"the demo {result.name} has nothing to plot" + (f": {result.reason}" if result.reason else ""))
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise NoPlot("plotting needs matplotlib: pip install 'meminspect[plot]'") from None
    drawn = Figure(figsize=(7, 4.2 * len(charts)), layout="constrained")
    for place, chart in enumerate(charts, 1):
        panel(drawn.add_subplot(len(charts), 1, place), chart, f"{clean(result.title)} ({clean(result.python)})")
    return drawn


def picture(chart: Chart) -> str:
    """One chart as an <img> that needs nothing else, for a notebook; '' where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return ""
    drawn, made = Figure(figsize=(7, 3.6), layout="constrained"), io.BytesIO()
    panel(drawn.add_subplot(), chart)
    drawn.savefig(made, format="svg")
    words = escapes.escape(clean(f"{chart.y_label} by {chart.x_label}"))
    return f'<img alt="{words}" src="data:image/svg+xml;base64,{base64.b64encode(made.getvalue()).decode()}">'


def panel(axes: Any, chart: Chart, title: str = "") -> None:
    for series in (one for one in chart.series if one.points):
        below = [point.y - point.low for point in series.points]
        above = [point.high - point.y for point in series.points]
        axes.errorbar(
            [point.x for point in series.points],
            [point.y for point in series.points],
            yerr=(below, above),
            marker="o",
            capsize=3,
            label=clean(series.name),
        )
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_y:
        axes.set_yscale("log")
    axes.set_xlabel(clean(chart.x_label))
    axes.set_ylabel(clean(chart.y_label))
    axes.set_title(title)
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend()
