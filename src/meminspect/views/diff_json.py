"""A comparison of two snapshots as one JSON document of bounded size (schemas/diff-1.json)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ..models.diff import Diff
from .sanitize import clean_value

ROWS = 2000  # of one list: those that grew most and those that shrank most
LISTS = ("types", "modules", "buffers", "size_classes", "causes", "arenas")


def render(diff: Diff, *, indent: int | None = 2) -> str:
    return json.dumps(document(diff), indent=indent, allow_nan=False)


def document(diff: Diff) -> dict[str, Any]:
    """The document as JSON values; `<list>_omitted` says how many rows were left out of the middle of a list."""
    omitted = {}
    for name in LISTS:
        rows = getattr(diff, name)
        if rows is not None and len(rows) > ROWS:
            omitted[f"{name}_omitted"] = len(rows) - ROWS
            diff = replace(diff, **{name: rows[: ROWS // 2] + rows[-ROWS // 2 :]})
    result: dict[str, Any] = clean_value({**diff.to_dict(), **omitted})
    return result
