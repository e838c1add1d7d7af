"""Demos as one HTML file that needs nothing else, in the manner of the report's page (html_page.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..models.demo import DemoResult, Evidence
from .demo import VERDICTS, cell, observed
from .html_page import asset, environment, policy
from .sanitize import clean_value

SCRIPTS = ("echarts.min.js", "page.js", "demo.js")


def render(results: Sequence[DemoResult]) -> str:
    """The whole file: the verdicts, then each demo with its tables and pictures. Raises NoHtml without jinja2."""
    made = environment()
    from markupsafe import Markup

    pictures: list[dict[str, Any]] = []
    demos = [section(result, pictures) for result in results]
    first = results[0]
    scripts, style = [asset(name) for name in SCRIPTS], asset("page.css")
    return made.get_template("demo.html.jinja").render(
        chinese=first.claim == first.claim_zh,
        title=first.title if len(results) == 1 else "demos",
        subject=f"{first.python} · {first.allocator}",
        answer=answer(results),
        demos=demos,
        seconds=f"{sum(result.duration_s for result in results):,.1f}",
        data=clean_value({"pictures": pictures}),
        policy=Markup(policy(scripts, style)),
        scripts=[Markup(text) for text in scripts],
        style=Markup(style),
    )


def answer(results: Sequence[DemoResult]) -> str:
    if len(results) == 1:
        return f"{results[0].title}: {VERDICTS[results[0].held][0]}"
    counts = [sum(result.held is held for result in results) for held in (True, False, None)]
    return (
        f"{counts[0]} of {len(results)} claims about CPython held, {counts[1]} did not, {counts[2]} could not be shown"
    )


def section(result: DemoResult, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": result.name,
        "chapter": result.chapter,
        "title": result.title,
        "claim": result.claim,
        "experiment": result.experiment,
        "evidence": [table(evidence, pictures) for evidence in result.evidence],
        "checks": [
            {"verdict": VERDICTS[check.held][0], "claim": check.claim, "text": observed(check)}
            for check in result.checks
        ],
        "held": result.held,
        "verdict": VERDICTS[result.held][0],
        "reason": result.reason,
        "notes": result.notes,
    }


def table(evidence: Evidence, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    """A table of the page; its pictures go to the page's data, by id."""
    ids = []
    for kind, model in (("chart", evidence.chart), ("timeline", evidence.timeline), ("graph", evidence.graph)):
        if model is not None:
            ids.append(f"picture-{len(pictures)}")
            pictures.append({"id": ids[-1], kind: model.to_dict()})
    figures = [all(not isinstance(row[at], str) for row in evidence.rows) for at in range(len(evidence.columns))]
    return {
        "title": evidence.title,
        "text": evidence.text,
        "columns": list(zip(evidence.columns, figures, strict=True)),
        "rows": [[cell(value) for value in row] for row in evidence.rows],
        "pictures": ids,
    }
