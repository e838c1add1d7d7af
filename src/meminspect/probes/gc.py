"""The cyclic collector: its generations, counters and lists, and when it starts by itself.

Structure: struct _gc_runtime_state (pycore_gc.h, from 3.14 on pycore_interp_structs.h); the rules of the trigger are
gc_select_generation in Python/gc.c (Modules/gcmodule.c in 3.11 and 3.12) and gc_should_collect in
Python/gc_free_threading.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import _native
from ..models.gc import GcState, Generation


def gc_state(pid: int | None = None, *, max_pause: float | None = 1.0) -> GcState:
    """The collector of this interpreter, or of the main interpreter of process `pid` (the same build of Python).

    Objects are counted along the collector's own lists, so what this call itself creates may be among them; no callback
    of the collector runs. For another process, which goes on meanwhile, a list that keeps changing leaves its counts
    None and says so in `reason`. So does a list that is not counted to its end when the GIL has been held for
    `max_pause` seconds (None: no ceiling).

    Raises NativeError when no layout could be verified, or the process cannot be read or runs another build.
    """
    return build(_native.gc_capture(pid or 0, max_pause=max_pause))


def build(raw: Mapping[str, Any]) -> GcState:
    """The model of what `_native.gc_capture` returned."""
    kind = kind_of(raw)
    rows, names = in_order(raw, kind)
    generations = tuple(
        Generation(
            index=index,
            name=names[index],
            objects=row["objects"],
            count=row["count"],
            threshold=row["threshold"],
            collections=row["collections"],
            collected=row["collected"],
            uncollectable=row["uncollectable"],
            candidates=row["candidates"],
            duration_s=row["duration_s"],
        )
        for index, row in enumerate(rows)
    )
    return GcState(
        kind=kind,
        enabled=raw["enabled"],
        collecting=raw["collecting"],
        generations=generations,
        frozen=raw["frozen"],
        long_lived_total=raw["long_lived_total"],
        long_lived_pending=raw["long_lived_pending"],
        trigger=trigger(raw, kind, generations),
        exact=raw["lists_reason"] is None,
        reason=reason_of(raw),
        pause_s=raw["pause_s"],
    )


def kind_of(raw: Mapping[str, Any]) -> str:
    if raw["free_threaded"]:
        return "free-threaded"
    return "generational" if raw["visited_space"] is None else "incremental"


def in_order(raw: Mapping[str, Any], kind: str) -> tuple[list[Mapping[str, Any]], tuple[str, ...]]:
    """The three rows and their names, in the order of gc.get_count()."""
    rows = list(raw["generations"])
    if kind != "incremental":
        return rows, ("young", "middle", "old")
    visited = 1 + raw["visited_space"]
    return [rows[0], rows[3 - visited], rows[visited]], ("young", "old (pending)", "old (visited)")


def reason_of(raw: Mapping[str, Any]) -> str | None:
    if raw["free_threaded"]:
        return "free-threaded builds keep no lists of generations: objects are not counted here"
    reason: str | None = raw["lists_reason"]
    if raw["late"]:
        lists = [row["objects"] for row in raw["generations"]] + [raw["frozen"]]
        return f"max_pause was reached: the objects of {lists.count(None)} of {len(lists)} lists were not counted"
    return reason and f"the lists of the generations could not be walked: {reason}"


def trigger(raw: Mapping[str, Any], kind: str, generations: tuple[Generation, ...]) -> str:
    """One sentence: when the next automatic collection starts."""
    young = generations[0]
    if not raw["enabled"]:
        return "automatic collection is off (gc.disable()): nothing is collected until gc.collect() is called"
    if young.threshold == 0:
        return (
            "automatic collection is off (the first threshold is 0): nothing is collected until gc.collect() is called"
        )
    missing = max(0, young.threshold + 1 - young.count)
    start = (
        f"{young.count:,} allocations minus deallocations of tracked objects have been counted since the last "
        f"collection, and one starts when they exceed {young.threshold:,}: {missing:,} to go"
    )
    if kind == "free-threaded":
        return start + free_threaded_rule(raw, generations)
    if kind == "incremental":
        return start + "; each collects the young objects and a part of the old ones"
    return start + "; " + oldest_rule(raw, generations)


def oldest_rule(raw: Mapping[str, Any], generations: tuple[Generation, ...]) -> str:
    """Which generations the next collection takes in (gc_select_generation)."""
    pending, total = raw["long_lived_pending"], raw["long_lived_total"]
    if generations[2].count > generations[2].threshold and pending >= total // 4:
        return "it will take in all three generations"
    held = ""
    if generations[2].count > generations[2].threshold:
        held = f" (the oldest is left out: {pending:,} objects wait for it, fewer than a quarter of {total:,})"
    if generations[1].count > generations[1].threshold:
        return f"it will take in the young and the middle generation{held}"
    return (
        f"it will take in the young generation{held}; the middle one follows after more than "
        f"{generations[1].threshold} young collections, {generations[1].count} so far"
    )


def free_threaded_rule(raw: Mapping[str, Any], generations: tuple[Generation, ...]) -> str:
    text = " (each thread keeps up to 512 of them to itself); every collection covers the whole heap"
    quarter = (raw["long_lived_total"] or 0) // 4
    if generations[1].threshold == 0:
        return text
    if quarter > generations[0].threshold:
        text += f", and waits until the count reaches {quarter:,}, a quarter of the objects that survived the last one"
    if raw["deferred"] is not None:
        text += f", and until memory has grown by a tenth or {40 * generations[0].threshold:,} objects were put off"
        text += f" ({raw['deferred']:,} so far)"
    return text
