"""What the events of a GIL trace say: holds, waits, hand-offs, convoys. Pure; each GIL's events come in their order."""

from __future__ import annotations

import heapq
import statistics
import struct
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ..models.gil_trace import Collection, Convoy, Distribution, LongHold, MatrixCell

EVENT = struct.Struct("=QQIIIHH")  # mi_gil_event of csrc/gil/gil_ring.h
HELD, WAIT, TIMEOUT, ACQUIRED, RELEASED, ABANDONED, COLLECTION_BEGIN, COLLECTION_END = range(1, 9)
LONGEST = 20
CONVOY_WAITS = 10  # fewer are no pattern
CONVOY_SHARE = 0.5  # of the time that a thread waits
CONVOY_WAIT = 0.8  # of the switch interval: what a waiter waits before it asks for a drop


class Event(NamedTuple):
    """mi_gil_event; times in nanoseconds since the beginning."""

    time: int
    detail: int
    thread: int
    other: int
    number: int
    gil: int
    kind: int


class Hold(NamedTuple):
    """One hold. `forced` None: it had not ended with the trace; `asked_by` 0: nobody; `asked`: when first, 0: never."""

    gil: int
    thread: int
    begin: int
    end: int
    forced: bool | None
    asked_by: int
    asked: int


def events_of(packed: bytes) -> Iterator[Event]:
    """The events of `_native.gil_trace_stop()`."""
    return map(Event._make, EVENT.iter_unpack(packed))


@dataclass
class Summary:
    """What was gathered from the events, by rows of the table of threads; times in nanoseconds."""

    holds: dict[int, array[int]] = field(default_factory=lambda: defaultdict(lambda: array("Q")))
    waits: dict[int, array[int]] = field(default_factory=lambda: defaultdict(lambda: array("Q")))
    forced_releases: Counter[int] = field(default_factory=Counter)
    voluntary_releases: Counter[int] = field(default_factory=Counter)
    matrix: Counter[tuple[int, int, bool]] = field(default_factory=Counter)
    waits_behind: dict[tuple[int, int], array[int]] = field(default_factory=lambda: defaultdict(lambda: array("Q")))
    longest: list[Hold] = field(default_factory=list)
    collections: list[Collection] = field(default_factory=list)
    gaps: int = 0


@dataclass
class _Gil:
    """One GIL as the events pass."""

    index: int
    next_number: int = 0
    held: bool = False
    holder: int = 0
    since: int = 0
    asked: int = 0
    last: tuple[int, bool] | None = None  # who released it, and whether forced
    collection: Event | None = None


def holds(packed: bytes, end: int) -> Iterator[Hold]:
    """Every hold whose beginning and end were seen, and those that last to the trace's end, in the order of ends."""
    summary = Summary()
    gils: dict[int, _Gil] = {}
    for event in events_of(packed):
        hold = _step(gils, event, summary)
        if hold is not None:
            yield hold
    for gil in gils.values():
        if gil.held:
            yield Hold(gil.index, gil.holder, gil.since, end, None, 0, gil.asked)


def summarize(packed: bytes, end: int) -> Summary:
    """All that is to be told from the events."""
    summary = Summary()
    gils: dict[int, _Gil] = {}
    heap: list[tuple[int, int, Hold]] = []

    def keep(hold: Hold) -> None:
        length = hold.end - hold.begin
        summary.holds[hold.thread].append(length)
        entry = (length, len(summary.holds[hold.thread]), hold)
        if len(heap) < LONGEST:
            heapq.heappush(heap, entry)
        elif length > heap[0][0]:
            heapq.heapreplace(heap, entry)

    for event in events_of(packed):
        hold = _step(gils, event, summary)
        if hold is not None:
            keep(hold)
    for gil in gils.values():
        if gil.held:
            keep(Hold(gil.index, gil.holder, gil.since, max(end, gil.since), None, 0, gil.asked))
    summary.longest = [entry[2] for entry in sorted(heap, key=lambda entry: -entry[0])]
    return summary


def _step(gils: dict[int, _Gil], event: Event, summary: Summary) -> Hold | None:
    gil = gils.get(event.gil)
    if gil is None:
        gil = gils[event.gil] = _Gil(event.gil)
    if event.number != gil.next_number:  # events were lost: what was known of this GIL is known no more
        summary.gaps += 1
        gil.held, gil.last, gil.collection = False, None, None
    gil.next_number = (event.number + 1) & 0xFFFFFFFF
    hold = None
    if event.kind == RELEASED:
        forced = bool(event.detail)
        (summary.forced_releases if forced else summary.voluntary_releases)[event.thread] += 1
        if gil.held:
            end = max(event.time, gil.since)
            hold = Hold(event.gil, event.thread, gil.since, end, forced, event.other, gil.asked)
        gil.held = False
        gil.last = (event.thread, forced)
    elif event.kind == ACQUIRED:
        waited = max(0, event.time - event.detail)
        summary.waits[event.thread].append(waited)
        if gil.last is not None and gil.last[0] != event.thread:
            summary.matrix[gil.last[0], event.thread, gil.last[1]] += 1
            if gil.last[1]:
                summary.waits_behind[event.thread, gil.last[0]].append(waited)
        gil.held, gil.holder, gil.since, gil.asked = True, event.thread, event.time, 0
    elif event.kind == HELD:
        gil.held, gil.holder, gil.since, gil.asked = True, event.thread, event.time, 0
    elif event.kind == TIMEOUT:
        gil.asked = gil.asked or event.time
    elif event.kind == COLLECTION_BEGIN:
        gil.collection = event
    elif event.kind == COLLECTION_END and gil.collection is not None:
        begin, gil.collection = gil.collection, None
        summary.collections.append(
            Collection(
                thread=event.thread,
                generation=event.detail & 0xFF,
                begin_s=begin.time / 1e9,
                duration_s=(event.time - begin.time) / 1e9,
                collected=event.detail >> 8,
            )
        )
    return hold


def distribution(lengths: Sequence[int]) -> Distribution:
    """Of lengths in nanoseconds."""
    if not lengths:
        return Distribution(0, 0.0, None, None, None, None, None)
    cuts = statistics.quantiles(lengths, n=1000, method="inclusive") if len(lengths) > 1 else [lengths[0]] * 999
    return Distribution(
        count=len(lengths),
        total_s=sum(lengths) / 1e9,
        median_s=cuts[499] / 1e9,
        p90_s=cuts[899] / 1e9,
        p99_s=cuts[989] / 1e9,
        p999_s=cuts[998] / 1e9,
        max_s=max(lengths) / 1e9,
    )


def matrix(summary: Summary, position: dict[int, int]) -> tuple[MatrixCell, ...]:
    """Hand-offs by pair, the most frequent first; `position` of a row in the list of threads."""
    pairs = sorted({(giver, taker) for giver, taker, _ in summary.matrix})
    cells = [
        MatrixCell(
            from_thread=position[giver],
            to_thread=position[taker],
            forced=summary.matrix[giver, taker, True],
            voluntary=summary.matrix[giver, taker, False],
        )
        for giver, taker in pairs
        if giver in position and taker in position
    ]
    return tuple(sorted(cells, key=lambda cell: -(cell.forced + cell.voluntary)))


def longest(summary: Summary, position: dict[int, int]) -> tuple[LongHold, ...]:
    return tuple(
        LongHold(
            thread=position[hold.thread],
            begin_s=hold.begin / 1e9,
            held_s=(hold.end - hold.begin) / 1e9,
            forced=hold.forced,
            asked_by=position.get(hold.asked_by),
            answered_s=(hold.end - hold.asked) / 1e9 if hold.asked else None,
        )
        for hold in summary.longest
        if hold.thread in position
    )


def convoys(summary: Summary, position: dict[int, int], interval_s: float | None) -> tuple[Convoy, ...]:
    """Threads with short holds that spend most of their waiting in waits of an interval behind the same thread."""
    found = []
    interval = (interval_s or 0.005) * 1e9
    for (thread, behind), waits in summary.waits_behind.items():
        every = len(summary.waits[thread])
        long_waits = [wait for wait in waits if wait >= CONVOY_WAIT * interval]
        own_holds = summary.holds.get(thread)
        if len(long_waits) < CONVOY_WAITS or not own_holds:
            continue
        if sum(long_waits) < CONVOY_SHARE * sum(summary.waits[thread]):
            continue
        median_hold = statistics.median(own_holds)
        if median_hold > interval / 5 or thread not in position or behind not in position:
            continue
        found.append(
            Convoy(
                thread=position[thread],
                behind=position[behind],
                waits=len(long_waits),
                waits_share=len(long_waits) / every,
                median_wait_s=statistics.median(long_waits) / 1e9,
                median_hold_s=median_hold / 1e9,
                lost_s=sum(long_waits) / 1e9,
            )
        )
    return tuple(sorted(found, key=lambda convoy: -convoy.lost_s))
