"""csrc/gil/gil_spans.c and gil_digest.c against a plain reading of the same events."""

from __future__ import annotations

import random
import struct
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import pytest

from meminspect import _native
from meminspect.analysis import hand_offs

EVENT = struct.Struct("=QQIIIHH")  # mi_gil_event
HELD, WAIT, TIMEOUT, ACQUIRED, RELEASED, ABANDONED, COLLECTION_BEGIN, COLLECTION_END = range(1, 9)
INTERVAL = 5_000_000


class Log:
    """Events of made-up threads, and beside them what they mean."""

    def __init__(self) -> None:
        self.packed: list[bytes] = []
        self.number: Counter[int] = Counter()

    def put(self, time: int, kind: int, thread: int, detail: int = 0, other: int = 0, gil: int = 0) -> None:
        self.packed.append(EVENT.pack(time, detail, thread, other, self.number[gil], gil, kind))
        self.number[gil] += 1

    def digest(self, end: int, part: int = 7) -> dict[str, Any]:
        made = _native.GilDigest()
        for at in range(0, len(self.packed), part):
            made.feed(b"".join(self.packed[at : at + part]))
        return made.finish(end)


def lengths(values: list[int], found: dict[str, Any]) -> None:
    """A histogram of the digest against the lengths themselves, sorted."""
    assert (found["count"], found["total_ns"]) == (len(values), sum(values))
    if not values:
        return
    assert found["max_ns"] == max(values)
    ordered = sorted(values)
    for name, share in (("p50_ns", 0.5), ("p90_ns", 0.9), ("p99_ns", 0.99), ("p999_ns", 0.999)):
        exact = ordered[max(1, int(share * len(ordered) + 0.5)) - 1]
        assert found[name] == pytest.approx(exact, rel=0.002, abs=1), name


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_random_trace_comes_to_what_its_events_say(seed: int) -> None:
    pick = random.Random(seed)
    log, time = Log(), 1000
    holds: dict[int, list[int]] = defaultdict(list)
    waits: dict[int, list[int]] = defaultdict(list)
    blocked: Counter[int] = Counter()
    cells: Counter[tuple[int, int, bool]] = Counter()
    forced: Counter[int] = Counter()
    last: tuple[int, bool] | None = None
    for _ in range(3000):
        thread, asked = pick.randrange(1, 6), time
        sleeps = pick.random() < 0.5
        if sleeps:
            log.put(time + 10, WAIT, thread, asked)
        time += pick.choice((50, 4_000, 90_000, 7_000_000))
        log.put(time, ACQUIRED, thread, asked)
        waits[thread].append(time - asked)
        blocked[thread] += sleeps * (time - asked)
        if last is not None and last[0] != thread:
            cells[last[0], thread, last[1]] += 1
        begin, is_forced = time, pick.random() < 0.3
        time += pick.randrange(1, 10 ** pick.randrange(1, 8))
        if is_forced:
            log.put(time, TIMEOUT, 7)
        log.put(time + 5, RELEASED, thread, int(is_forced), 7 if is_forced else 0)
        time += 5
        holds[thread].append(time - begin)
        forced[thread] += is_forced
        last = (thread, is_forced)
        time += pick.randrange(100)
    found = log.digest(time)
    assert set(found["threads"]) == set(holds)
    for thread, digest in found["threads"].items():
        lengths(holds[thread], digest["holds"])
        lengths(waits[thread], digest["waits"])
        assert digest["forced"] == forced[thread]
        assert digest["forced"] + digest["voluntary"] == len(holds[thread])
        assert digest["blocked_ns"] == blocked[thread]
    lengths([length for of in holds.values() for length in of], found["holds"])
    assert {(a, b, kind): n for a, b, f, v, *_ in found["pairs"] for kind, n in ((True, f), (False, v)) if n} == cells
    assert found["main_held_ns"] == sum(map(sum, holds.values()))
    assert found["main_held_ns"] == sum(sum(tile[0::2]) for tile in tiles(found).values())
    assert sum(blocked.values()) == sum(sum(tile[1::2]) for tile in tiles(found).values())
    every = sorted((length for of in holds.values() for length in of), reverse=True)
    assert [one.length for one in hand_offs.spans_of(found["longest"])] == every[:20]
    kept = [one for one in hand_offs.spans_of(found["kept"]) if one.kind == hand_offs.HOLD]
    assert [one.next for one in kept[:-1]] == [after.thread for after in kept[1:]]
    assert [one.went for one in kept[:-1]] == [after.came for after in kept[1:]]
    assert all(bool(one.went) == (one.thread != after.thread) for one, after in pairwise(kept))
    assert sum(number * time for number, time in enumerate(found["waiters_ns"])) == pytest.approx(
        sum(blocked.values()), abs=10 * len(kept)
    )


def tiles(found: dict[str, Any]) -> dict[int | None, tuple[int, ...]]:
    return {row: struct.unpack(f"={len(packed) // 8}Q", packed) for row, packed in found["tiles"]}


def test_the_picture_grows_coarser_and_keeps_its_sums() -> None:
    log = Log()
    second = 1_000_000_000
    for at in range(0, 3600 * second, 10 * second):
        log.put(at, ACQUIRED, 1, at)
        log.put(at + second, RELEASED, 1)
    found = log.digest(3600 * second)
    assert found["tile_ns"] * 4096 >= 3590 * second
    assert found["tile_ns"] * 2048 < 3600 * second
    assert sum(tiles(found)[1][0::2]) == 360 * second


def test_a_gap_forgets_and_what_comes_twice_is_passed_over() -> None:
    log = Log()
    log.put(100, ACQUIRED, 1, 90)
    log.put(200, RELEASED, 1)
    log.packed.append(log.packed[-1])
    log.number[0] += 3  # lost
    log.put(900, ACQUIRED, 2, 300)
    log.put(950, RELEASED, 2)
    found = log.digest(1000)
    assert [one.length for one in hand_offs.spans_of(found["kept"])] == [100, 50]
    assert found["pairs"] == []
    assert found["threads"][1]["voluntary"] == 1


def test_what_had_not_ended_is_told_apart() -> None:
    log = Log()
    log.put(0, HELD, 1)
    log.put(50, WAIT, 2, 40)
    log.put(70, COLLECTION_BEGIN, 1, 2)
    log.put(90, COLLECTION_END, 1, 2 | 11 << 8)
    found = log.digest(100)
    hold, wait = hand_offs.spans_of(found["kept"])
    assert (hold.begin, hold.end, hold.flags & hand_offs.OPEN) == (0, 100, hand_offs.OPEN)
    assert (wait.begin, wait.end, wait.thread) == (40, 100, 2)
    assert wait.flags & hand_offs.IN_VAIN
    assert found["threads"][1]["forced"] + found["threads"][1]["voluntary"] == 0
    [run] = hand_offs.collections(found["collections"], {1: 0})
    assert (run.generation, run.collected, run.begin_s, round(run.duration_s * 1e9)) == (2, 11, 70e-9, 20)
    assert found["waiters_ns"][1] == 50


def test_a_convoy_and_what_could_have_run() -> None:
    log, time = Log(), 0
    for _ in range(50):  # one computes; the other needs it for 10 us and waits an interval each time
        log.put(time, ACQUIRED, 1, time)
        log.put(time + 100, WAIT, 2, time + 100)
        log.put(time + 100 + INTERVAL, TIMEOUT, 2)
        log.put(time + 200 + INTERVAL, RELEASED, 1, 1, 2)
        log.put(time + 300 + INTERVAL, ACQUIRED, 2, time + 100)
        log.put(time + 10_300 + INTERVAL, RELEASED, 2)
        time += 10_300 + INTERVAL
    found = log.digest(time)
    [convoy] = hand_offs.convoys(found, {1: 0, 2: 1}, 0.005)
    assert (convoy.thread, convoy.behind, convoy.waits) == (1, 0, 50)
    assert convoy.waits_share == 1
    assert convoy.median_wait_s == pytest.approx(0.0050002, rel=1e-6)
    assert convoy.median_hold_s == pytest.approx(10e-6, rel=0.01)
    assert hand_offs.convoys(found, {1: 0, 2: 1}, 0.05) == ()
    alone, two = (hand_offs.concurrency(found, time, processors) for processors in (1, 2))
    assert alone is not None
    assert two is not None
    assert alone.ideal == pytest.approx(alone.achieved)
    assert two.ideal == pytest.approx(two.wanted)
    assert two.wanted == pytest.approx(2, abs=0.01)


def test_events_that_are_cut_off_are_refused() -> None:
    with pytest.raises(ValueError, match="cut off"):
        _native.GilDigest().feed(b"1")


def test_a_convoy_behind_several_threads_names_each() -> None:
    log, time = Log(), 0
    for at in range(60):
        holder = 1 + at % 2
        log.put(time, ACQUIRED, holder, time)
        log.put(time + 100, WAIT, 3, time + 100)
        log.put(time + 100 + INTERVAL, TIMEOUT, 3)
        log.put(time + 200 + INTERVAL, RELEASED, holder, 1, 3)
        log.put(time + 300 + INTERVAL, ACQUIRED, 3, time + 100)
        log.put(time + 900 + INTERVAL, RELEASED, 3)
        time += 1_000 + INTERVAL
    found = hand_offs.convoys(log.digest(time), {1: 0, 2: 1, 3: 2}, 0.005)
    assert sorted((one.thread, one.behind, one.waits) for one in found) == [(2, 0, 30), (2, 1, 30)]
