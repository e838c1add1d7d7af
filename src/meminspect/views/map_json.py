"""The heap map as one JSON document: every arena, and every pool as a row of numbers (schemas/map-1.json)."""

from __future__ import annotations

import json
from typing import Any

from ..models.base import plain
from ..models.heap import HeapMap
from ..models.report import SCHEMA, Report
from .html_heap import by_need
from .sanitize import clean_value

POOLS = 1_000_000  # 16 GiB of pymalloc
COLUMNS = ("address", "size_class", "used", "free", "untouched")


def render(report: Report) -> str:
    """The document as text, on one line: it holds a row for each pool."""
    return json.dumps(document(report), allow_nan=False)


def document(report: Report) -> dict[str, Any]:
    """The document as JSON values; `pymalloc` is null with a reason where the heap could not be read.

    A pool is a row of `pool_columns`; size_class is the index in `size_classes`, null for a free pool. Where there are
    very many, the pools of the fullest arenas are left out: their `pools` is null, `pools_omitted` such arenas.
    """
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "meminspect": report.meminspect,
        "python": report.python.to_dict(),
        "process": {"pid": report.process.pid, "program": report.process.program, "note": report.process.note},
        "pymalloc": None if report.pymalloc is None else heap(report.pymalloc),
        "fragmentation": plain(report.fragmentation),
    }
    if report.pymalloc is None:
        result["pymalloc_reason"] = report.missing.get("pymalloc", "unknown")
    cleaned: dict[str, Any] = clean_value(result)
    return cleaned


def heap(source: HeapMap) -> dict[str, Any]:
    result = source.to_dict()
    room = POOLS
    for place in by_need(source.arenas):
        arena = source.arenas[place]
        room -= arena.pools_total
        known = source.has_pools and room >= 0
        result["arenas"][place]["pools"] = (
            [[pool.address, pool.size_class, pool.used, pool.free, pool.untouched] for pool in source.pools(arena)]
            if known
            else None
        )
    result["pool_columns"] = list(COLUMNS)
    result["pools_omitted"] = sum(row["pools"] is None for row in result["arenas"])
    return result
