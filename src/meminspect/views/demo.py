"""A demo's result as a page of text, as JSON, and as HTML for a notebook."""

from __future__ import annotations

import html as escapes
import json
from typing import Any

from ..models.demo import SCHEMA, Cell, Check, DemoResult, Evidence
from .bars import bar
from .page import DIM, FIGURE, GOOD, HEADING, WARN, Column, Page
from .sanitize import clean, clean_value

VERDICTS = {True: ("held", GOOD), False: ("not held", WARN), None: ("not shown", DIM)}


def render(result: DemoResult, *, width: int = 100, color: bool = False, unicode: bool = True) -> str:
    """The whole page; see views.report_text.render for the options."""
    page = Page(width, color=color, unicode=unicode)
    page.line(page.dot.join([f"demo {result.name}", result.python, result.allocator]), DIM)
    page.line(result.title, HEADING)
    page.line(result.claim)
    page.heading("Experiment")
    page.line(result.experiment)
    for evidence in result.evidence:
        page.heading(evidence.title)
        page.line(evidence.text, DIM)
        table(page, evidence)
        chart(page, evidence)
    page.heading("The claim against the evidence")
    for check in result.checks:
        word = VERDICTS[check.held][0]
        page.indented((check.claim + ": ", ""), (observed(check), FIGURE), indent=12, lead=f"  {word}")
    page.heading("Versions")
    for note in result.notes:
        page.indented((note, ""), indent=4, lead="  -")
    page.line()
    word, style = VERDICTS[result.held]
    page.line(f"The claim was {word}." if result.reason is None else f"The claim was {word}: {result.reason}.", style)
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
    width = max(10, page.width - 40)
    page.line()
    for series in evidence.chart.series:
        top = max((point.y for point in series.points), default=0.0)
        for point in series.points:
            drawn = bar(point.y / top if top else 0.0, width, unicode=page.unicode)
            page.block([f"{clean(series.name, 12):12} {point.x:>8g}  {drawn} {point.y:,.0f}"])
    page.line(f"{evidence.chart.y_label} by {evidence.chart.x_label}; each group of bars has its own scale", DIM)


def document(result: DemoResult) -> dict[str, Any]:
    """The result as JSON values: the model's own fields, every text sanitised."""
    values: dict[str, Any] = clean_value({"schema": SCHEMA, **result.to_dict()})
    return values


def render_json(result: DemoResult, *, indent: int | None = 2) -> str:
    return json.dumps(document(result), indent=indent, allow_nan=False)


def render_html(result: DemoResult) -> str:
    """What a notebook shows: the same as the page, in tables."""
    word = VERDICTS[result.held][0]
    parts = [f"<h3>{text(result.title)}</h3>", f"<p>{text(result.claim)}</p>"]
    for evidence in result.evidence:
        head = "".join(f"<th>{text(title)}</th>" for title in evidence.columns)
        rows = "".join("<tr>" + "".join(f"<td>{text(cell(v))}</td>" for v in row) + "</tr>" for row in evidence.rows)
        parts.append(
            f"<h4>{text(evidence.title)}</h4><p>{text(evidence.text)}</p>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        )
    items = "".join(
        f"<li><b>{VERDICTS[check.held][0]}</b> {text(check.claim)}: {text(observed(check))}</li>"
        for check in result.checks
    )
    parts.append(f"<ul>{items}</ul><p><b>The claim was {word}.</b> {text(result.reason or '')}</p>")
    return "\n".join(parts)


def text(value: str) -> str:
    return escapes.escape(clean(value, 4000))
