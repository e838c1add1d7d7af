"""The census as JSON: every row."""

from __future__ import annotations

import json
from typing import Any

from ..models.census import Census
from .sanitize import clean_value

SCHEMA = 1


def render(census: Census, *, program: str, note: str | None = None, indent: int | None = 2) -> str:
    """The document as text, in ASCII."""
    return json.dumps(document(census, program=program, note=note), indent=indent, allow_nan=False)


def document(census: Census, *, program: str, note: str | None = None) -> dict[str, Any]:
    """The document as JSON values (schemas/census-1.json)."""
    cleaned: dict[str, Any] = clean_value({"schema": SCHEMA, "program": program, "note": note, **census.to_dict()})
    return cleaned
