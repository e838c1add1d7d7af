"""What `why` found, as JSON."""

from __future__ import annotations

import json
from typing import Any

from ..models.pinning import ArenaPin, FreeingStep, Pinning, Why
from ..models.references import Node, PathToRoot, Reference
from .sanitize import clean_value

SCHEMA = 1


def render(why: Why, pinning: Pinning | None, *, program: str, note: str | None = None, indent: int | None = 2) -> str:
    """The document as text, in ASCII."""
    return json.dumps(document(why, pinning, program=program, note=note), indent=indent, allow_nan=False)


def document(why: Why, pinning: Pinning | None, *, program: str, note: str | None = None) -> dict[str, Any]:
    """The document as JSON values (schemas/why-1.json)."""
    cleaned: dict[str, Any] = clean_value(
        {
            "schema": SCHEMA,
            "program": program,
            "note": note,
            "target": why.target,
            "objects": why.targets,
            "sample": node(why.sample) if why.sample else None,
            "own_bytes": why.own_bytes,
            "reason": why.reason,
            "holders": [{**node(row.node), **reference(row.how), "count": row.count} for row in why.holders.rows],
            "holder_count": why.holders.count,
            "unexplained_references": why.holders.unexplained,
            "path_to_root": path(why.path_to_root),
            "retained_bytes": why.retained_bytes,
            "retained_objects": why.retained_objects,
            "arenas": why.arenas,
            "arena_bytes": pinning.arena_bytes if pinning is not None else None,
            "arenas_pinned": why.arenas_pinned,
            "arenas_that_would_return": why.arenas_that_would_return,
            "pinned": [arena(pin) for pin in why.pins],
            "all_arenas": all_arenas(pinning) if pinning is not None else None,
            "would_free_most": [step(item) for item in pinning.steps] if pinning is not None else None,
            "consistent": why.consistent,
            "pid": why.pid,
            "remarks": list(why.remarks),
            "pause_s": why.pause_s,
        }
    )
    return cleaned


def all_arenas(model: Pinning) -> dict[str, int]:
    return {
        "empty": model.empty,
        "by_objects": model.by_objects,
        "by_many": model.by_many,
        "by_garbage": model.by_garbage,
        "fixed": model.fixed,
        "unknown": model.unknown,
    }


def node(model: Node) -> dict[str, Any]:
    return {
        "address": model.address,
        "module": model.module,
        "type": model.type_name if model.address is not None else None,
        "root": model.type_name if model.address is None else None,
        "own_bytes": model.own_bytes,
    }


def reference(model: Reference | None) -> dict[str, Any]:
    return {
        "role": model.role if model else None,
        "name": model.name if model else None,
        "frame": model.frame if model else None,
    }


def path(model: PathToRoot) -> dict[str, Any]:
    return {
        "root": model.root if model.known else None,
        "text": model.text,
        "steps": [{**node(item.node), **reference(item.how)} for item in model.steps],
        "reason": model.reason,
    }


def arena(model: ArenaPin) -> dict[str, Any]:
    return {
        "address": model.address,
        "live_bytes": model.live_bytes,
        "blocks": model.blocks,
        "unknown_blocks": model.unknown,
        "types": [{"type": name, "count": count} for name, count in model.types],
    }


def step(model: FreeingStep) -> dict[str, Any]:
    return {
        "objects": [
            {**node(item.node), "path": item.path.text, "retained_bytes": item.retained_bytes} for item in model.objects
        ],
        "arenas_emptied": model.arenas_emptied,
        "freed_bytes": model.freed_bytes,
    }
