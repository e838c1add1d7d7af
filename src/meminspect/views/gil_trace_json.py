"""A trace of the GIL as one JSON document of bounded size; text of the traced program is sanitised."""

from __future__ import annotations

import json
from typing import Any

from ..models.base import plain
from ..models.gil_trace import GilTrace
from .sanitize import clean_value

SCHEMA = 1
CELLS = 1000  # of the matrix, the most frequent
THREADS = 4096  # by time held and waited
COLLECTIONS = 10_000


def render(trace: GilTrace, *, program: str | None = None, note: str | None = None) -> str:
    """The document as text, in ASCII."""
    return json.dumps(document(trace, program=program, note=note), indent=2, allow_nan=False)


def document(trace: GilTrace, *, program: str | None = None, note: str | None = None) -> dict[str, Any]:
    """The document as JSON values. Threads keep their place in the list: the matrix and the holds refer to it."""
    result = trace.to_dict()
    result["threads"] = [{**plain(thread), "name": thread.label} for thread in trace.threads[:THREADS]]
    result["threads_omitted"] = max(0, len(trace.threads) - THREADS)
    result["matrix"] = plain(trace.matrix[:CELLS])
    result["matrix_omitted"] = max(0, len(trace.matrix) - CELLS)
    result["collections"] = plain(trace.collections[:COLLECTIONS])
    result["collections_omitted"] = max(0, len(trace.collections) - COLLECTIONS)
    cleaned: dict[str, Any] = clean_value({"schema": SCHEMA, "program": program, "note": note, **result})
    return cleaned
