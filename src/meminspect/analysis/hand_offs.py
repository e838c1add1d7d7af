"""What the digest of a GIL trace says: holds, waits, hand-offs, convoys, how much ran at once. Pure.

The digest is what `_native.GilDigest.finish()` returns: the events, gathered span by span (csrc/gil/gil_spans.h).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..models.gil_trace import (
    Collection,
    Concurrency,
    Convoy,
    Distribution,
    LongHold,
    MatrixCell,
    NativeSample,
    Place,
)

SPAN = struct.Struct("=QQQQQIIHBBI")  # mi_gil_span of csrc/gil/gil_spans.h
HOLD, WAIT, COLLECTION = 1, 2, 3
FORCED, OPEN, EARLIER, BLOCKED, IN_VAIN = 1, 2, 4, 8, 16
CONVOY_WAITS = 10  # fewer are no pattern
CONVOY_SHARE = 0.5  # of the time that a thread waits
CONVOY_WAIT = 0.8  # of the switch interval: what a waiter waits before it asks for a drop
DEFAULT_INTERVAL_S = 0.005
TRIGGERS = {1: "allocation", 2: "call"}  # mi_gc_trigger of csrc/interpreter/gc_log.h

Positions = Mapping[int, int]  # of a row of the core's table in the list of threads


class Span(NamedTuple):
    """mi_gil_span; times in nanoseconds since the beginning, see csrc/gil/gil_spans.h."""

    begin: int
    end: int
    detail: int
    came: int
    went: int
    thread: int
    other: int
    gil: int
    kind: int
    flags: int
    next: int

    @property
    def length(self) -> int:
        return self.end - self.begin


def spans_of(packed: bytes) -> Iterator[Span]:
    return map(Span._make, SPAN.iter_unpack(packed))


def distribution(lengths: Mapping[str, Any] | None) -> Distribution:
    """Of one histogram of the digest."""
    if not lengths or not lengths["count"]:
        return Distribution(0, 0.0, None, None, None, None, None)
    return Distribution(
        count=lengths["count"],
        total_s=lengths["total_ns"] / 1e9,
        median_s=lengths["p50_ns"] / 1e9,
        p90_s=lengths["p90_ns"] / 1e9,
        p99_s=lengths["p99_ns"] / 1e9,
        p999_s=lengths["p999_ns"] / 1e9,
        max_s=lengths["max_ns"] / 1e9,
    )


def matrix(pairs: Sequence[tuple[Any, ...]], position: Positions) -> tuple[MatrixCell, ...]:
    """Hand-offs by pair, the most frequent first."""
    cells = [
        MatrixCell(position[giver], position[taker], forced, voluntary, waited / 1e9)
        for giver, taker, forced, voluntary, waited, _ in pairs
        if giver in position and taker in position
    ]
    return tuple(sorted(cells, key=lambda cell: (-(cell.forced + cell.voluntary), cell.from_thread, cell.to_thread)))


def longest(
    packed: bytes,
    position: Positions,
    place: Callable[[Span], Place | None],
    sample: Callable[[Span], NativeSample | None],
) -> tuple[LongHold, ...]:
    """The longest first, with what is known of where each ended and was seen."""
    return tuple(
        _long_hold(hold, position, place(hold), sample(hold)) for hold in spans_of(packed) if hold.thread in position
    )


def _long_hold(hold: Span, position: Positions, place: Place | None, sample: NativeSample | None) -> LongHold:
    seen = (sample.place if sample else None) or place
    function = sample.culprit if sample else None
    if function and seen:
        function = f"{function}, called in {seen.label}"
    return LongHold(
        thread=position[hold.thread],
        begin_s=hold.begin / 1e9,
        held_s=hold.length / 1e9,
        forced=None if hold.flags & OPEN else bool(hold.flags & FORCED),
        asked_by=position.get(hold.other),
        answered_s=(hold.end - hold.detail) / 1e9 if hold.detail else None,
        function=function or (seen.label if seen else None),
        place=place,
        sample=sample,
    )


def collections(packed: bytes, position: Positions) -> tuple[Collection, ...]:
    return tuple(
        Collection(
            thread=position[one.thread],
            generation=one.other,
            begin_s=one.begin / 1e9,
            duration_s=one.length / 1e9,
            collected=one.detail,
            uncollectable=one.came,
            trigger=TRIGGERS.get(one.next),
        )
        for one in spans_of(packed)
        if one.thread in position
    )


def convoys(digest: Mapping[str, Any], position: Positions, interval_s: float | None) -> tuple[Convoy, ...]:
    """Threads with short holds that spend most of their waiting in waits of an interval; behind whom, the most first.

    Behind several threads that compute it is a convoy too: each of them that it often waited for is named.
    """
    interval = (interval_s or DEFAULT_INTERVAL_S) * 1e9
    behind: dict[int, list[tuple[int, list[tuple[int, int]]]]] = {}
    for giver, taker, _, _, _, waits in digest["pairs"]:
        long_waits = [(count, total) for count, total in waits if total >= CONVOY_WAIT * interval * count]
        if long_waits and taker in position and giver in position and taker in digest["threads"]:
            behind.setdefault(taker, []).append((giver, long_waits))
    found = []
    for taker, givers in behind.items():
        thread = digest["threads"][taker]
        hold = thread["holds"]["p50_ns"]
        lost = sum(total for _, waits in givers for _, total in waits)
        if hold is None or hold > interval / 5 or lost < CONVOY_SHARE * thread["waits"]["total_ns"]:
            continue
        for giver, waits in givers:
            number = sum(count for count, _ in waits)
            if number < CONVOY_WAITS:
                continue
            found.append(
                Convoy(
                    thread=position[taker],
                    behind=position[giver],
                    waits=number,
                    waits_share=number / thread["waits"]["count"],
                    median_wait_s=_median(waits) / 1e9,
                    median_hold_s=hold / 1e9,
                    lost_s=sum(total for _, total in waits) / 1e9,
                )
            )
    return tuple(sorted(found, key=lambda convoy: -convoy.lost_s))


def _median(lengths: Sequence[tuple[int, int]]) -> float:
    """Of lengths in buckets of (count, sum), the shortest first: the mean of the bucket in the middle."""
    wanted = sum(count for count, _ in lengths) / 2
    for count, total in lengths:
        wanted -= count
        if wanted <= 0:
            return total / count
    raise ValueError("no lengths")


def concurrency(digest: Mapping[str, Any], end: int, processors: int) -> Concurrency | None:
    """What ran at once under the main interpreter's GIL, and what could have run without it; None for no time."""
    waiters = digest["waiters_ns"]
    held = digest["main_held_ns"]
    if end <= 0:
        return None
    blocked = sum(number * time for number, time in enumerate(waiters))
    beside = sum(min(number, processors - 1) * time for number, time in enumerate(waiters))
    running = held / end
    return Concurrency(
        achieved=running,
        wanted=running + blocked / end,
        ideal=running + beside / end,
        processors=processors,
        waiters_s=tuple(time / 1e9 for time in waiters[: _last(waiters) + 1]),
    )


def _last(numbers: Sequence[int]) -> int:
    return max((at for at, number in enumerate(numbers) if number), default=0)
