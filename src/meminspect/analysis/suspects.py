"""Suspects: one object, or the objects of one type, under which an unlikely share of the heap hangs, and few objects
that keep many arenas.
"""

from __future__ import annotations

from ..models.pinning import Pinning
from ..models.references import RetainedObject, RetainedSizes, RetainedType
from ..models.report import Finding
from .pinning import returned
from .words import count, percent, size

OBJECT_SHARE = 0.2  # of all bytes: more under one object is no accident
TYPE_SHARE = 0.3
DEEPER = 0.8  # what hangs under an object and has so much of it is the suspect in its place
LEAST_BYTES = 1 << 20
PIN_STEPS = 6  # of the greedy choice of what to let go
PIN_SHARE = 0.1  # of all arenas: a step that frees less is not told
PLUMBING = {"module", "type", "function", "code", "frame"}  # everything of a program hangs under these
LINKS = {"functools._lru_list_elem"}  # what a cache is made of: the cache is the suspect
CONTAINERS = {"dict", "list", "tuple", "set", "frozenset", "str", "bytes", "int", "float"}  # of no meaning of their own


def suspects(sizes: RetainedSizes) -> tuple[Finding, ...]:
    """Findings about objects and types with an unlikely share of what `top_retained()` saw; the largest first."""
    found = suspect_rows(sizes)
    return (*map(object_finding, found), *types(sizes, found))


def pinned(pinning: Pinning) -> tuple[Finding, ...]:
    """The finding about the few objects without which the most arenas would go back; none where that is little."""
    told: list[tuple[str, int]] = []
    for step in pinning.steps[:PIN_STEPS]:
        back = returned(step.arenas_emptied, pinning.empty)
        if back - (told[-1][1] if told else 0) >= PIN_SHARE * pinning.arenas:
            more = f" and {count(len(step.objects) - 1, 'other')}" if len(step.objects) > 1 else ""
            told.append((step.objects[0].path.text + more, back))
    if not told or told[-1][1] * pinning.arena_bytes < LEAST_BYTES:
        return ()
    parts = [
        f"without {name} {count(back, 'arena')} of {pinning.arenas:,} ({size(back * pinning.arena_bytes)})"
        for name, back in told
    ]
    text = f"Arenas would go back to the system: {'; then '.join(parts)}."
    figures: dict[str, int | float | str] = {
        "arenas": pinning.arenas,
        "arenas_that_would_return": told[-1][1],
        "bytes": told[-1][1] * pinning.arena_bytes,
    }
    attempt = (
        "Let go of them, or keep what they hold otherwise. Each figure is with those before it; the choice is greedy: "
        "not proven to be the smallest."
    )
    return (Finding("pinning_objects", text, figures, attempt),)


def unread(reason: str) -> Finding:
    """What stands in their place where objects were to be read, and could not be."""
    text = f"Which objects and types much hangs under is not known: {reason}."
    return Finding("objects_not_read", text, {}, "A longer --max-pause, where time was short.", "trust")


def suspect_rows(sizes: RetainedSizes) -> list[RetainedObject]:
    large = [
        row
        for row in sizes.rows
        if row.share >= OBJECT_SHARE and row.retained_bytes >= LEAST_BYTES and row.node.type_name not in PLUMBING
    ]
    return [row for row in large if not has_deeper(row, large) and not is_namespace(row)]


def is_namespace(row: RetainedObject) -> bool:
    """A module's dict, or that of sys.modules: it holds a program."""
    if row.node.type_name != "dict" or not row.path.steps:
        return False
    how = row.path.steps[-1].how
    if how is not None:
        return how.name in ("__dict__", "sys.modules", "f_globals")
    return len(row.path.steps) > 1 and row.path.steps[-2].node.type_name in ("module", "modules")  # of a snapshot


def has_deeper(row: RetainedObject, large: list[RetainedObject]) -> bool:
    return any(
        other.under is not None
        and other.under.address == row.node.address
        and other.retained_bytes >= DEEPER * row.retained_bytes
        for other in large
    )


def object_finding(row: RetainedObject) -> Finding:
    where = row.path.text or row.node.text
    text = (
        f"{size(row.retained_bytes)} ({percent(row.share)} of all that is live) hang under one object: {where}. "
        f"Without it all of that would go."
    )
    figures: dict[str, int | float | str] = {
        "retained_bytes": row.retained_bytes,
        "share": round(row.share, 6),
        "own_bytes": row.node.own_bytes,
        "type": row.node.type_name,
    }
    if row.node.address is not None:
        figures["address"] = f"{row.node.address:#x}"
    return Finding(
        "suspect_object", text, figures, "Is all of it still wanted? A bound on its size, or weak references."
    )


def is_of_one(row: RetainedType, objects: list[RetainedObject]) -> bool:
    """One object that is told, or what holds it, has most of what hangs under all of its type: they are one finding."""
    return any(
        item.retained_bytes >= DEEPER * row.retained_bytes
        and (row.module, row.type_name) in [(node.module, node.type_name) for node in (item.node, item.under) if node]
        for item in objects
    )


def types(sizes: RetainedSizes, objects: list[RetainedObject]) -> list[Finding]:
    found = []
    for row in sizes.types:
        share = row.retained_bytes / sizes.total_bytes if sizes.total_bytes else 0.0
        if share < TYPE_SHARE or row.retained_bytes < LEAST_BYTES or row.count < 2:
            continue
        if row.module in (None, "builtins") and row.type_name in PLUMBING | CONTAINERS:
            continue
        if row.name in LINKS or is_of_one(row, objects):
            continue
        text = (
            f"{size(row.retained_bytes)} ({percent(share)} of all that is live) hang under "
            f"{count(row.count, 'object')} of {row.name}."
        )
        figures: dict[str, int | float | str] = {
            "retained_bytes": row.retained_bytes,
            "share": round(share, 6),
            "objects": row.count,
            "type": row.name,
        }
        attempt = f"python -m meminspect why {row.name} ... tells who holds them."
        found.append(Finding("suspect_type", text, figures, attempt))
    return found
