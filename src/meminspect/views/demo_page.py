"""Demos as one HTML file that needs nothing else, in the manner of the report's page (html_page.py)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..models.demo import DemoResult, Evidence
from . import demo_graph
from .demo import cell, observed
from .demo_words import words_of
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
        words = words_of(results[0])
        return f"{results[0].title}{words.colon}{words.verdict(results[0].held)}"
    return words_of(results[0]).totals(results)


def section(result: DemoResult, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    words = words_of(result)
    return {
        "name": result.name,
        "chapter": result.chapter,
        "title": result.title,
        "claim": result.claim,
        "experiment": result.experiment,
        "evidence": [table(evidence, pictures) for evidence in result.evidence],
        "checks": [
            {"verdict": words.verdict(check.held), "claim": check.claim, "text": observed(check)}
            for check in result.checks
        ],
        "held": result.held,
        "verdict": words.verdict(result.held),
        "closing": words.closing(result),
        "against": words.against,
        "summary": result.summary if result.held else None,
        "notes": result.notes,
    }


def table(evidence: Evidence, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    """A table of the page; its pictures go to the page's data, by id, and a drawing of references into the page."""
    from markupsafe import Markup

    ids = []
    for kind, model in (("chart", evidence.chart), ("timeline", evidence.timeline)):
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
        "drawing": None if evidence.graph is None else Markup(demo_graph.svg(evidence.graph)),
    }
