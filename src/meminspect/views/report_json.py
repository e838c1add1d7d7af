"""The report as one JSON document of bounded size: every figure of the page and more (schemas/report-1.json).

Unknown is null with a reason beside it: a section that could not be taken is null, and `<section>_reason` says why.
Lists of what a big process has thousands of are cut at a limit, and a sibling key says how many were left out.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ..analysis.fragmentation import class_fragmentation
from ..models.base import plain
from ..models.heap import HeapMap
from ..models.memory import MemoryBreakdown, MemoryNode
from ..models.report import SCHEMA, Report
from .sanitize import clean_value

ARENAS = 8192  # 8 GiB of pymalloc; the emptiest are kept, they are what a report is read for
MALLOC_ARENAS = 1024
CHILDREN = 512  # of one node of the tree: files, above all
DIFFERENCES = 100


def render(report: Report, *, indent: int | None = 2) -> str:
    """The document as text, in ASCII; on one line with indent=None (reports on the way)."""
    return json.dumps(document(report), indent=indent, allow_nan=False)


def document(report: Report) -> dict[str, Any]:
    """The document as JSON values; text of the inspected program is sanitised."""
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "meminspect": report.meminspect,
        "python": report.python.to_dict(),
        "process": report.process.to_dict(),
        "memory": memory(report.memory) if report.memory is not None else None,
        "pymalloc": pymalloc(report) if report.pymalloc is not None else None,
        "large": plain(report.large),
        "gc": plain(report.gc),
        "gil": gil(report),
        **({"gil_trace": plain(report.gil_trace)} if report.gil_trace is not None else {}),
        "findings": plain(report.findings),
    }
    for section, reason in report.missing.items():
        result[f"{section}_reason"] = reason
    cleaned: dict[str, Any] = clean_value(result)
    return cleaned


def memory(breakdown: MemoryBreakdown) -> dict[str, Any]:
    """The tree, its sums, malloc's arenas, the control group."""
    # The tree and the arenas are limited below, so they are not made whole first.
    result = replace(breakdown, tree=replace(breakdown.tree, children=()), malloc_arenas=()).to_dict()
    result["tree"] = node(breakdown.tree)
    arenas = sorted(breakdown.malloc_arenas, key=lambda arena: -arena.size_bytes)
    result["malloc_arenas"] = plain(arenas[:MALLOC_ARENAS])
    result["malloc_arenas_omitted"] = max(0, len(arenas) - MALLOC_ARENAS)
    return result


def node(source: MemoryNode) -> dict[str, Any]:
    """One node; of very many children the smallest are summed into one, so that they still sum to it."""
    children = [node(child) for child in source.children[:CHILDREN]]
    if len(source.children) > CHILDREN:
        ordered = sorted(source.children, key=lambda child: -child.bytes)
        children = [node(child) for child in ordered[: CHILDREN - 1]]
        rest = ordered[CHILDREN - 1 :]
        children.append(
            {
                "name": f"{len(rest)} smaller",
                "bytes": sum(child.bytes for child in rest),
                "virtual_bytes": sum(child.virtual_bytes for child in rest),
                "count": len(rest),
                "children": [],
            }
        )
    return {
        "name": source.name,
        "bytes": source.bytes,
        "virtual_bytes": source.virtual_bytes,
        "count": source.count,
        "children": children,
    }


def pymalloc(report: Report) -> dict[str, Any] | None:
    """The heap map with what fragmentation means for it."""
    heap: HeapMap | None = report.pymalloc
    if heap is None:
        return None
    result = heap.to_dict()
    arenas = heap.arenas
    if len(arenas) > ARENAS:
        arenas = tuple(sorted(arenas, key=lambda arena: arena.occupancy)[:ARENAS])
    result["arenas"] = plain(arenas)
    result["arenas_total"] = len(heap.arenas)
    result["arenas_omitted"] = len(heap.arenas) - len(arenas)
    for row, item in zip(result["size_classes"], heap.size_classes, strict=True):
        row["used_bytes"] = item.used_bytes
        row["free_bytes"] = item.free_bytes
        row["fragmentation"] = class_fragmentation(item)
    check = heap.cross_check
    result["cross_check"]["differences"] = [
        {"figure": name, "walked": ours, "theirs": theirs} for name, ours, theirs in check.differences[:DIFFERENCES]
    ]
    result["fragmentation"] = plain(report.fragmentation)
    return result


def gil(report: Report) -> dict[str, Any] | None:
    """The main interpreter's GIL on top; where there are several, `interpreters` lists them all."""
    if not report.gil:
        return None
    main = next((item for item in report.gil if 0 in item.interpreters), report.gil[0])
    result = main.to_dict()
    result["interpreter_ids"] = result.pop("interpreters")
    if len(report.gil) > 1:
        others = [item.to_dict() for item in report.gil]
        for row in others:
            row["interpreter_ids"] = row.pop("interpreters")
        result["interpreters"] = others
    return result
