"""A demo's result as a page of text, as JSON, and as HTML for a notebook."""

from __future__ import annotations

import html as escapes
import json
from collections.abc import Sequence
from typing import Any

from ..models.demo import SCHEMA, Cell, Check, DemoResult, Evidence
from . import demo_graph, demo_plot, demo_svg
from .bars import bar
from .demo_words import words_of
from .page import DIM, FIGURE, GOOD, HEADING, WARN, Column, Page
from .sanitize import clean, clean_value

STYLES = {True: GOOD, False: WARN, None: DIM}


def render(result: DemoResult, *, width: int = 100, color: bool = False, unicode: bool = True) -> str:
    """The whole page; see views.report_text.render for the options."""
    words, page = words_of(result), Page(width, color=color, unicode=unicode)
    page.line(page.dot.join([f"demo {result.name}", result.python, result.allocator]), DIM)
    page.line(result.title, HEADING)
    page.line(result.claim)
    page.heading(words.experiment)
    page.line(result.experiment)
    for evidence in result.evidence:
        page.heading(evidence.title)
        page.line(evidence.text, DIM)
        table(page, evidence)
        chart(page, evidence)
        timeline(page, evidence)
        if evidence.graph is not None:
            demo_graph.draw(page, evidence.graph)
    page.heading(words.against)
    for check in result.checks:
        lead = f"  {words.verdict(check.held)}"
        page.indented((check.claim + ": ", ""), (observed(check), FIGURE), indent=12, lead=lead)
    if result.held:
        page.heading(words.proves)
        page.line(result.summary)
    page.heading(words.versions)
    for note in result.notes:
        page.indented((note, ""), indent=4, lead="  -")
    page.line()
    page.line(words.closing(result), STYLES[result.held])
    return str(page)


def observed(check: Check) -> str:
    return check.text if check.reason is None or check.reason == check.text else f"{check.text} ({check.reason})"


def table(page: Page, evidence: Evidence) -> None:
    figures = [all(not isinstance(row[place], str) for row in evidence.rows) for place in range(len(evidence.columns))]
    columns = [Column(title, figures=number) for title, number in zip(evidence.columns, figures, strict=True)]
    page.table(columns, [[cell(value) for value in row] for row in evidence.rows])


def cell(value: Cell) -> str:
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}".removesuffix(".0")


def chart(page: Page, evidence: Evidence) -> None:
    """The chart's points as bars; each series has a scale of its own, from nothing to its highest point."""
    if evidence.chart is None:
        return
    width = max(10, page.width - 46)
    page.line()
    for series in evidence.chart.series:
        top = max((point.y for point in series.points), default=0.0)
        for point in series.points:
            drawn = bar(point.y / top if top else 0.0, width, unicode=page.unicode)
            figure = f"{point.y:,.0f}" if point.y >= 10 else f"{point.y:.2g}"
            page.block([f"{clean(series.name, 18):18} {point.x:>8g}  {drawn} {figure}"])
    page.line(f"{evidence.chart.y_label} by {evidence.chart.x_label}; each group of bars has its own scale", DIM)


def timeline(page: Page, evidence: Evidence) -> None:
    """A line of marks for each lane: where a span covers at least half of a cell, or begins in it."""
    if evidence.timeline is None or not evidence.timeline.spans:
        return
    end = max(span.end_s for span in evidence.timeline.spans) or 1e-9
    width = max(10, page.width - 24)
    full, empty = ("█", "·") if page.unicode else ("#", ".")
    page.line()
    for lane in evidence.timeline.lanes:
        marks = [empty] * width
        for span in evidence.timeline.spans:
            if span.lane == lane:
                first = min(width - 1, int(span.begin_s / end * width))
                for place in range(first, max(first + 1, round(span.end_s / end * width))):
                    marks[min(width - 1, place)] = full
        page.block([f"{clean(lane, 18):18}  {''.join(marks)}"])
    page.line(f"from left to right {end * 1e3:,.3g} ms", DIM)


def render_all(results: Sequence[DemoResult], *, width: int = 100, color: bool = False, unicode: bool = True) -> str:
    """Of several demos a line each: the chapter, the name, the verdict, the title, and why it was not shown."""
    page = Page(width, color=color, unicode=unicode)
    for result in results:
        words, reason = words_of(result), f" ({result.reason})" if result.reason else ""
        verdict = f"{words.verdict(result.held)}{words.colon}"
        page.indented(
            (verdict, STYLES[result.held]), (result.title, ""), (reason, DIM),
            indent=24, lead=f"  {result.chapter} {result.name}",
        )  # fmt: skip
    page.line()
    page.line(words_of(results[0]).totals(results))
    return str(page)


def document(result: DemoResult) -> dict[str, Any]:
    """The result as JSON values: the model's own fields, every text sanitised."""
    values: dict[str, Any] = clean_value({"schema": SCHEMA, **result.to_dict()})
    return values


def render_json(result: DemoResult, *, indent: int | None = 2) -> str:
    return json.dumps(document(result), indent=indent, allow_nan=False)


def render_json_all(results: Sequence[DemoResult], *, indent: int | None = 2) -> str:
    """A list of documents."""
    return json.dumps([document(result) for result in results], indent=indent, allow_nan=False)


def render_html(result: DemoResult) -> str:
    """What a notebook shows: the same as the page, in tables and pictures of timelines."""
    words = words_of(result)
    parts = [f"<h3>{text(result.title)}</h3>", f"<p>{text(result.claim)}</p>"]
    for evidence in result.evidence:
        head = "".join(f"<th>{text(title)}</th>" for title in evidence.columns)
        rows = "".join("<tr>" + "".join(f"<td>{text(cell(v))}</td>" for v in row) + "</tr>" for row in evidence.rows)
        parts.append(
            f"<h4>{text(evidence.title)}</h4><p>{text(evidence.text)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )
        if evidence.chart is not None:
            parts.append(demo_plot.picture(evidence.chart))
        if evidence.timeline is not None:
            parts.append(demo_svg.timeline(evidence.timeline))
        if evidence.graph is not None:
            parts.append(demo_graph.svg(evidence.graph))
    items = "".join(
        f"<li><b>{words.verdict(check.held)}</b> {text(check.claim)}: {text(observed(check))}</li>"
        for check in result.checks
    )
    parts.append(f"<ul>{items}</ul><p><b>{text(words.closing(result))}</b></p>")
    if result.held:
        parts.append(f"<p>{text(result.summary)}</p>")
    return "\n".join(parts)


def text(value: str) -> str:
    return escapes.escape(clean(value, 4000))
