"""Rows of a query as a table of text, JSON or CSV. Cells are another's, as snapshots are: they are sanitised."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

from ..models.snapshot import QueryResult
from .page import DIM, Column, Page
from .sanitize import TEXT_LIMIT, clean, clean_value

SCHEMA = 1
FIGURES = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT",
           "UHUGEINT", "DOUBLE", "FLOAT", "DECIMAL"}  # fmt: skip


def text(result: QueryResult, *, width: int = 100, color: bool = False, unicode: bool = True) -> str:
    page = Page(width, color=color, unicode=unicode)
    if not result.columns:
        page.line("no rows", DIM)
        return str(page)
    figures = [kind.partition("(")[0] in FIGURES for kind in result.types]
    growing = next((at for at, right in enumerate(figures) if not right), None)
    page.table(
        [
            Column(clean(name), figures=right, grow=at == growing)
            for at, (name, right) in enumerate(zip(result.columns, figures, strict=True))
        ],
        [[cell(value) for value in row] for row in result.rows],
    )
    if result.cut:
        page.line(f"more than {len(result.rows):,} rows; --limit shows more", DIM)
    return str(page)


def cell(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:,.6g}"
    return str(value)


def as_json(result: QueryResult) -> str:
    rows = [dict_row(result, row) for row in result.rows]
    document = {"schema": SCHEMA, "columns": [clean(name) for name in result.columns], "rows": rows, "cut": result.cut}
    return json.dumps(document, indent=2, allow_nan=False)


def dict_row(result: QueryResult, row: tuple[Any, ...]) -> dict[str, Any]:
    named: dict[str, Any] = clean_value(
        {name: json_value(value) for name, value in zip(result.columns, row, strict=True)}
    )
    return named


def json_value(value: Any) -> Any:
    """SQL knows types that JSON has not: those are text."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    return str(value)


def as_csv(result: QueryResult) -> str:
    """RFC 4180 with a line of names; null is empty."""
    to = io.StringIO()
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(clean(name) for name in result.columns)
    for row in result.rows:
        writer.writerow(
            clean(value, TEXT_LIMIT) if isinstance(value, str) else "" if value is None else value for value in row
        )
    return to.getvalue()
