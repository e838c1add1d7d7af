"""What keeps arenas from going back, and what would have to go.

The raw format, what `_native.pinning_capture()` returns beside what probes/references.py tells:

    keys   -- {"most", "arenas": {"empty", "objects", "many", "garbage", "fixed", "unknown": count}, "steps":
              [([(NODE, bytes retained, path), ...], arenas empty by then, bytes gone by then), ...]}
    arenas -- [(address, bytes in use, blocks, of no known object, [((module, type), objects and buffers), ...],
              [(NODE, path), ...] or None), ...]
    arena_count, arena_bytes -- how many there are, the size of one
    loss   -- with "fixed": objects that cannot go, and "arenas": (touched, that would be empty, all, empty already)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..analysis.pinning import returned
from ..models.pinning import ArenaPin, FreeingStep, Pinning, PinningObject, WhatIf
from .graph import node_of, path_of, text

KEYS = 16
PINS = 20


def pinning(
    *, objects: bool = False, most: int = PINS, max_pause: float | None = 1.0, consistent: bool = False
) -> Pinning:
    """What keeps each arena of pymalloc, and which few objects free the most of them.

    objects -- with some of the objects in each arena that is told, and the way by which each is held
    most    -- arenas that are told, those with the fewest bytes in use
    max_pause -- seconds for which the GIL may be held to read the heap (None: no ceiling)
    consistent -- read it in a frozen copy of the process instead, as `holders` does

    Raises NativeError: "late" when that was not enough or the copy was ended at its deadline, "memory" where there is
    no room for a copy, "permission" where it is refused, "absent" in free-threaded builds (mimalloc has no such
    arenas), "layout" when the structures of this interpreter could not be verified.
    """
    return build(core().pinning_capture(KEYS, most, objects, max_pause, consistent))


def what_if(freed: object, *, max_pause: float | None = 1.0, consistent: bool = False) -> WhatIf:
    """What would come back if `freed` were let go: a type or a type's name stands for all objects of it, an int for the
    object at this address, anything else for itself; a list, tuple or set names several.

    Raises as `pinning`.
    """
    return build_what_if(core().what_if_capture(freed, max_pause, consistent))


def core() -> Any:
    """The native core; an error where nothing is said of arenas."""
    from .. import _native

    reason = _native.arenas_reason()
    if reason is not None:
        raise _native.NativeError("absent", reason)
    return _native


# ---- build -----------------------------------------------------------------------------------------------------------


def build(raw: Mapping[str, Any]) -> Pinning:
    keys = raw["keys"]
    counts = keys["arenas"]
    return Pinning(
        arenas=sum(counts.values()),
        arena_bytes=raw["arena_bytes"],
        empty=counts["empty"],
        by_objects=counts["objects"],
        by_many=counts["many"],
        by_garbage=counts["garbage"],
        fixed=counts["fixed"],
        unknown=counts["unknown"],
        keys_per_arena=keys["most"],
        pins=pins_of(raw),
        steps=tuple(
            FreeingStep(
                objects=tuple(
                    PinningObject(node_of(node), size, path_of(path, raw["pause_s"])) for node, size, path in rows
                ),
                arenas_emptied=emptied,
                freed_bytes=gone,
            )
            for rows, emptied, gone in keys["steps"]
        ),
        pause_s=raw["pause_s"],
        seconds=raw["seconds"],
        reason="; ".join(raw["reasons"]) or None,
    )


def pins_of(raw: Mapping[str, Any]) -> tuple[ArenaPin, ...]:
    """What is in the arenas with the fewest bytes in use, which are the nearest to going back."""
    return tuple(
        ArenaPin(
            address=address,
            live_bytes=size,
            blocks=blocks,
            unknown=unknown,
            types=tuple((type_name(name), count) for name, count in types),
            objects=None
            if found is None
            else tuple(PinningObject(node_of(node), None, path_of(path, raw["pause_s"])) for node, path in found),
        )
        for address, size, blocks, unknown, types, found in raw["arenas"] or ()
    )


def type_name(name: Sequence[bytes | None]) -> str:
    module, own = text(name[0]), text(name[1]) or "?"
    return own if module in (None, "builtins") else f"{module}.{own}"


def build_what_if(raw: Mapping[str, Any]) -> WhatIf:
    loss = raw["loss"] or {"objects": 0, "bytes": 0, "arenas": (0, 0, raw["arena_count"], 0), "fixed": 0}
    touched, emptied, arenas, empty_already = loss["arenas"]
    reasons = list(raw["reasons"])
    if not raw["targets"]:
        reasons.append("no such object is known")
    elif loss["fixed"]:
        reasons.append(
            f"{loss['fixed']:,} of the objects are immortal or static: they stay, and with them their arenas"
        )
    return WhatIf(
        targets=raw["targets"],
        unknown_targets=tuple(raw["unknown_addresses"]),
        immovable=loss["fixed"],
        objects=loss["objects"],
        bytes=loss["bytes"],
        arenas=arenas,
        arena_bytes=raw["arena_bytes"],
        arenas_touched=touched,
        arenas_emptied=emptied,
        arenas_that_would_return=returned(emptied, empty_already),
        reason="; ".join(reasons) or None,
        pause_s=raw["pause_s"],
    )
