"""Owners and references: who holds an object, and what would go with it.

The raw format, what `_native.references_capture()` returns. A NODE is (address or None, module of the type, name of the
type or of the root, own bytes), a REFERENCE (role, name, function of the frame) or None:

    objects, references, guesses, overcounted, dropped, looked_like_objects -- of the graph, csrc/graph/graph.h
    small_bytes, unknown_bytes, graph_bytes, pause_s, seconds
    held_by_c  -- [(module, type, count), ...]
    targets    -- how many objects it is about; target: NODE of the first; target_bytes: their own
    unknown_addresses -- addresses at which no object is known
    holders    -- {"count", "unexplained", "rows": [(NODE, REFERENCE, count), ...]}
    arenas_reason -- why nothing is told of arenas, None: it is
    consistent, frozen -- whether a frozen copy was read, and what became of it (native/clone.pxi's clone_to_raw)
    reasons    -- what is not exact, or not told; pid: of another process alone
    path       -- [(NODE, REFERENCE from the one before), ...], the root first
    loss       -- {"objects", "bytes", "fixed", "arenas"}; arenas, keys: see pinning.py
    top        -- {"rows": [(NODE, retained bytes, NODE or "garbage" or None, path), ...], "roots": [(root, references,
                  retained bytes), ...], "types": [(module, type, objects, bytes under them), ...], "total", "garbage",
                  "garbage_objects", "peak_bytes", "seconds"}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..analysis.pinning import returned
from ..models.pinning import Why
from ..models.references import (
    HeldByC,
    Holder,
    Holders,
    Node,
    PathToRoot,
    Retained,
    RetainedObject,
    RetainedSizes,
    RetainedType,
    RootRetained,
)
from ..models.report import Finding
from .graph import capture, node_of, path_of, path_text, reference_of, text, whole
from .pinning import PINS, pins_of

NOT_KNOWN = "no object is known there: it is none, or what holds its memory is not read"


def holders(obj: object, *, max_pause: float | None = 1.0, consistent: bool = False, foreign: str = "scan") -> Holders:
    """Every object and root that refers to `obj`, found by reading the structures of all objects; nothing is called.

    The GIL is held while the heap is read (without one all threads stand still), for `max_pause` seconds at most (None:
    no ceiling).

    consistent -- read it in a frozen copy of the process instead, as `census` does: threads wait only until the copy is
    made. Objects and references are put into memory that it shares, all else is computed there without the GIL, and
    the copy stays only to say what references are by (attributes, keys).

    foreign -- of objects whose type's structure is not known (extension modules): "scan" takes each word that is the
    address of an object for a reference, and calls it a guess, unless known references are as many as that object
    counts; "call" asks the type's own tp_traverse, of objects that the collector tracks. That is code of the extension:
    it is right more often, and may take a lock.

    Raises ValueError for another `foreign`; NativeError: "late" when max_pause was not enough or the copy was ended at
    its deadline, "memory" where there is no room for a copy, "permission" where it is refused, "absent" for
    foreign="call" in free-threaded builds, "layout" when the structures of this interpreter could not be verified.
    """
    address = id(obj)
    del obj  # the call itself is no holder
    return build_holders(capture([address], holders=True, max_pause=max_pause, consistent=consistent, foreign=foreign))


def path_to_root(
    obj: object, *, max_pause: float | None = 1.0, consistent: bool = False, foreign: str = "scan"
) -> PathToRoot:
    """One short way by which `obj` is held: from sys.modules, a running frame, the interpreter's state, or C code.

    Raises as `holders`.
    """
    address = id(obj)
    del obj
    return build_path(capture([address], path=True, max_pause=max_pause, consistent=consistent, foreign=foreign))


def retained(
    obj: object, *, max_pause: float | None = 1.0, consistent: bool = False, foreign: str = "scan"
) -> Retained:
    """What would go with `obj`: all that no root leads to once it is taken out, in bytes as allocated.

    Raises as `holders`.
    """
    address = id(obj)
    del obj
    return build_retained(
        capture([address], retained=True, max_pause=max_pause, consistent=consistent, foreign=foreign)
    )


def build_retained(raw: Mapping[str, Any]) -> Retained:
    if raw["loss"] is None:
        return Retained(None, None, None, None, NOT_KNOWN, raw["pause_s"])
    loss = raw["loss"]
    return Retained(node_of(raw["target"]), loss["objects"], loss["bytes"], raw["target_bytes"], None, raw["pause_s"])


def top_retained(
    n: int = 20, *, max_pause: float | None = 1.0, consistent: bool = False, foreign: str = "scan"
) -> RetainedSizes:
    """The `n` objects with the largest retained sizes, by a dominator tree over all objects.

    The heap is read with the GIL held, for `max_pause` seconds at most (None: no ceiling); the tree is made without it,
    and what is told of an object afterwards was reached once more from its root.

    Raises ValueError for n below 1, else as `holders`.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    return build_top(capture([], top=n, max_pause=max_pause, consistent=consistent, foreign=foreign))


def suspects(*, max_pause: float | None = 1.0, consistent: bool = False, foreign: str = "scan") -> tuple[Finding, ...]:
    """Findings about single objects and types under which an unlikely share of the heap hangs; raises as `holders`."""
    from ..analysis.suspects import suspects as find

    return find(top_retained(200, max_pause=max_pause, consistent=consistent, foreign=foreign))


def why(target: object, *, max_pause: float | None = 1.0, consistent: bool = False, pid: int | None = None) -> Why:
    """Who holds `target`, what would go with it, and which arenas it keeps: a type's name stands for all its objects,
    an int for the object at this address.

    pid -- of another process of the same build of Python, which is not stopped: its memory is copied and its objects
    are read here.

    Raises TypeError for another target, ValueError for `consistent` with `pid`, RemoteError where another process
    cannot be read, else as `holders`.
    """
    if not isinstance(target, (str, int)) or isinstance(target, bool):
        raise TypeError("target is the name of a type, or an address")
    if pid is None:
        from .. import _native

        raw = _native.why_capture(target, max_pause, 0, PINS, consistent)
        return build_why(name_of(target), raw)
    if consistent:
        raise ValueError(
            "a consistent graph is read in a copy of the process that is measured: of another one it cannot"
        )
    from . import remote

    return build_why(name_of(target), remote.why(pid, name_of(target)))


def name_of(target: str | int) -> str:
    return target if isinstance(target, str) else f"{target:#x}"


# ---- build -----------------------------------------------------------------------------------------------------------


def build_holders(raw: Mapping[str, Any]) -> Holders:
    found = raw["holders"]
    if found is None:
        return Holders(None, 0, 0, (), 0, False, NOT_KNOWN, raw["pause_s"])
    return Holders(
        target=node_of(raw["target"]),
        targets=raw["targets"],
        count=found["count"],
        rows=tuple(Holder(node_of(node), reference_of(how), count) for node, how, count in found["rows"]),
        unexplained=found["unexplained"],
        known=True,
        reason=None,
        pause_s=raw["pause_s"],
    )


def build_path(raw: Mapping[str, Any]) -> PathToRoot:
    if raw["path"] is None:
        return PathToRoot("garbage", (), "", False, NOT_KNOWN, raw["pause_s"])
    return path_of(raw["path"], raw["pause_s"])


def build_top(raw: Mapping[str, Any]) -> RetainedSizes:
    raw = whole(raw)
    top = raw["top"]
    total = top["total"]
    return RetainedSizes(
        rows=tuple(
            RetainedObject(
                node=node_of(node),
                retained_bytes=size,
                share=size / total if total else 0.0,
                under=Node(None, None, "garbage", 0) if under == "garbage" else node_of(under) if under else None,
                path=path_of(path, raw["pause_s"]),
            )
            for node, size, under, path in top["rows"]
        ),
        roots=tuple(RootRetained(*row) for row in top["roots"]),
        types=tuple(
            RetainedType(text(module), text(name) or "?", count, size) for module, name, count, size in top["types"]
        ),
        held_by_c=tuple(
            HeldByC(text(module), text(name) or "?", count)
            for module, name, count in sorted(raw["held_by_c"], key=lambda row: -row[2])
        ),
        total_bytes=total,
        small_bytes=raw["small_bytes"],
        unknown_bytes=raw["unknown_bytes"],
        garbage_bytes=top["garbage"],
        garbage_objects=top["garbage_objects"],
        objects=raw["objects"],
        references=raw["references"],
        guesses=raw["guesses"],
        dropped=raw["dropped"],
        graph_bytes=raw["graph_bytes"],
        tree_bytes=top["peak_bytes"],
        pause_s=raw["pause_s"],
        tree_s=top["seconds"],
        consistent=raw["consistent"],
        called=raw["called"],
        reason="; ".join(raw["reasons"]) or None,
    )


def build_why(target: str, raw: Mapping[str, Any]) -> Why:
    raw = whole(raw)
    loss, unknown = raw["loss"], raw["arenas_reason"]
    told = loss["arenas"] if loss else None
    touched, emptied, _, empty_already = told or (None, 0, None, 0)
    return Why(
        target=target,
        targets=raw["targets"],
        sample=node_of(raw["target"]) if raw["target"] else None,
        own_bytes=raw["target_bytes"],
        holders=build_holders(raw),
        path_to_root=build_path(raw),
        retained_bytes=loss["bytes"] if loss else None,
        retained_objects=loss["objects"] if loss else None,
        arenas=raw["arena_count"] if unknown is None else None,
        arenas_pinned=touched,
        arenas_that_would_return=returned(emptied, empty_already) if told else None,
        pins=pins_of(raw) if told else (),
        reason=None if raw["targets"] else "no object of this type or at this address is known",
        pause_s=raw["pause_s"],
        consistent=raw["consistent"],
        pid=raw.get("pid"),
        remarks=(*raw["reasons"], *([unknown] if unknown else ())),
    )


def without_keys(path: PathToRoot) -> PathToRoot:
    """The same path with the keys of dicts left out, for a page to share: names of modules and attributes stay."""
    first = path.steps[1].how if len(path.steps) > 1 else None
    of_modules = path.root == "modules" or (first is not None and first.name == "sys.modules")
    steps, names = [], of_modules
    for step in path.steps:
        how = step.how
        if how is not None and how.role == "value" and not names:
            how = replace(how, name=None)
        steps.append(replace(step, how=how))
        if how is not None:
            names = how.name in ("__dict__", "f_locals") or (of_modules and len(steps) == 2)
    return replace(path, steps=tuple(steps), text=path_text(steps))
