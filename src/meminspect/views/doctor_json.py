"""`meminspect doctor` as JSON: every figure of the page (schemas/doctor-1.json)."""

from __future__ import annotations

import json
from typing import Any

from ..models.doctor import SCHEMA, Doctor
from .sanitize import clean_value


def render(doctor: Doctor, *, indent: int | None = 2) -> str:
    """The document as text, in ASCII."""
    return json.dumps(document(doctor), indent=indent, allow_nan=False)


def document(doctor: Doctor) -> dict[str, Any]:
    """The document as JSON values; a fact is {"text", "verdict"}, its verdict null when it could not be checked."""
    result: dict[str, Any] = {"schema": SCHEMA, **doctor.to_dict()}
    for row in result["layouts"]:
        row["facts"] = [{"text": text, "verdict": verdict} for text, verdict in row["facts"]]
    result["extras"] = {extra.name: {"missing": list(extra.missing)} for extra in doctor.extras}
    cleaned: dict[str, Any] = clean_value(result)
    return cleaned
