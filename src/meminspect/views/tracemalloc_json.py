"""The tracemalloc report as JSON: every figure of the page, and the rows that it leaves out for room.

Its form is schemas/tracemalloc-report-1.json.
"""

from __future__ import annotations

import json
from typing import Any

from ..models.tracemalloc import TracemallocReport
from .sanitize import clean_value

SCHEMA = 1


def document(report: TracemallocReport) -> dict[str, Any]:
    """The document as JSON values; text of the program is sanitised."""
    cleaned: dict[str, Any] = clean_value(report.to_dict())
    return {"schema": SCHEMA, **cleaned}


def render(report: TracemallocReport) -> str:
    """The document as text, in ASCII."""
    return json.dumps(document(report), indent=2, allow_nan=False)
