"""Two looks at the counters of a running trace, told as what happened between them. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..models.gil_top import GilTop, TopThread


def between(
    before: Mapping[str, Any] | None, after: Mapping[str, Any], before_ns: int, after_ns: int, names: Sequence[str]
) -> GilTop:
    """`before` None: the trace's beginning. Times in nanoseconds since then; `names` of the rows of `after`."""
    span = max(1, after_ns - before_ns)
    old: dict[int, Mapping[str, Any]] = {} if before is None else dict(enumerate(before["threads"]))
    none: Mapping[str, Any] = {"held_ns": 0, "waited_ns": 0, "acquisitions": 0}
    threads = []
    for row, thread in enumerate(after["threads"]):
        if not thread["native_id"] and not thread["acquisitions"]:
            continue
        earlier = old.get(row, none)
        held = _held(after, row, after_ns) - (_held(before, row, before_ns) if before is not None and row in old else 0)
        threads.append(
            TopThread(
                name=names[row],
                native_id=thread["native_id"],
                held_share=_share(held, span),
                waited_share=_share(thread["waited_ns"] - earlier["waited_ns"], span),
                acquisitions_per_s=(thread["acquisitions"] - earlier["acquisitions"]) * 1e9 / span,
            )
        )
    offs = _sum(after, "hand_offs") - (_sum(before, "hand_offs") if before else 0)
    forced = _sum(after, "forced_hand_offs") - (_sum(before, "forced_hand_offs") if before else 0)
    main: Mapping[str, Any] = after["gils"][0] if after["gils"] else {"holder": 0, "held_since_ns": None}
    is_held = bool(main["holder"] and main["held_since_ns"])
    return GilTop(
        at_s=after_ns / 1e9,
        interval_s=span / 1e9,
        hand_offs_per_s=offs * 1e9 / span,
        forced_share=forced / offs if offs else None,
        held_share=min(1.0, sum(thread.held_share for thread in threads)),
        holder=names[main["holder"]] if is_held and main["holder"] < len(names) else None,
        holding_s=max(0, after_ns - main["held_since_ns"]) / 1e9 if is_held else 0.0,
        lost_events=_sum(after, "lost") + after["unlogged"],
        threads=tuple(sorted(threads, key=lambda thread: -(thread.held_share + thread.waited_share))),
    )


def _held(figures: Mapping[str, Any], row: int, now: int) -> int:
    """Nanoseconds that a thread has held GILs for, what is going on included."""
    going_on = sum(
        max(0, now - gil["held_since_ns"]) for gil in figures["gils"] if gil["holder"] == row and gil["held_since_ns"]
    )
    return int(figures["threads"][row]["held_ns"] + going_on)


def _share(part: int, whole: int) -> float:
    return min(1.0, max(0.0, part / whole))


def _sum(figures: Mapping[str, Any], name: str) -> int:
    return int(sum(gil[name] for gil in figures["gils"]))
