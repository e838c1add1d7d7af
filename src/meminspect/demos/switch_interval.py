"""How often threads change, against sys.setswitchinterval."""

from __future__ import annotations

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..models.demo import Chart, Check, Evidence, Point, Series
from ..probes.gil import counters, rate
from ._base import Demo, Observed
from ._measure import clearly_less

INTERVALS = (0.001, 0.005, 0.05)
REPETITIONS = 3
SPAN_S = 0.25
FAST_SPAN_S = 0.04
SETTLE_S = 0.03
ENOUGH_CPU = 0.7  # of one processor: with less, it is the kernel that decides when threads change
COMPUTING, TALKING = "CPU-bound", "I/O-bound"


class SwitchInterval(Demo):
    name = "switch-interval"
    chapter = "08"
    title = "The switch interval"
    claim = (
        "A thread that computes keeps the GIL until another has waited for the switch interval, so CPU-bound threads "
        "change at most once an interval. A thread that waits for input lets the GIL go by itself: I/O-bound threads "
        "change as often as they wait, whatever the interval."
    )
    title_zh = "切换间隔"
    claim_zh = (
        "计算型线程一直持有 GIL，直到另一个线程等满一个切换间隔，所以它们每个间隔最多换手一次；"
        "等待输入的线程自己放开 GIL，换手次数取决于等待次数，与间隔无关。"
    )
    summary = (
        "The rate of the computing threads bends to the interval, the rate of the talking ones does not: the interval "
        "is a limit for those who never let go, and nothing else. Shortening it makes a server answer sooner beside a "
        "computation, and costs the computation switches."
    )
    summary_zh = (
        "计算型线程的换手频率随间隔而变，通信型线程则不变：间隔只限制那些从不主动放手的线程。"
        "缩短间隔能让服务器在计算进行时更快应答，代价是计算要承受更多次切换。"
    )
    experiment = (
        "Two threads that count, and two threads that send each other one byte through pipes, run at three switch "
        "intervals. While they run this thread sleeps without the GIL, and CPython's own count of changes of thread "
        "state is read before and after. Each measurement is repeated; the interval is put back at the end."
    )
    notes = (
        "The count is CPython's switch_number. It counts changes of thread state, so hand-offs between short-lived "
        "threads whose states lie at the same address are missed; the threads here live through the measurement.",
        "Free-threaded builds run without a GIL: there is no interval that anything waits for.",
    )

    def observe(self, fast: bool) -> Observed:
        if not counters().enabled:
            reason = "this interpreter runs without a GIL"
            return Observed(
                (), (Check("The interval limits how often CPU-bound threads change", None, reason, reason),)
            )
        measured = {name: measure(run, fast) for name, run in ((COMPUTING, computing), (TALKING, talking))}
        return Observed((table(measured),), checks(measured))


@dataclass(frozen=True)
class Rates:
    """What was measured at one interval.

    per_second -- changes of thread state a second, of each repetition
    changes, turns, seconds -- of all of them: changes, bytes that were answered, and how long they took
    cpu -- the share of one processor that this process got
    """

    per_second: list[float]
    changes: int
    turns: int
    seconds: float
    cpu: float

    @property
    def median(self) -> float:
        return statistics.median(self.per_second)


Measured = dict[str, dict[float, Rates]]


def measure(workload: Callable[[], object], fast: bool) -> dict[float, Rates]:
    """Changes of thread state a second at each interval, each repeated; the switch interval is as before afterwards."""
    saved = sys.getswitchinterval()
    found: dict[float, Rates] = {}
    try:
        with running(workload):
            for interval in INTERVALS:
                sys.setswitchinterval(interval)
                rate(SETTLE_S)
                wall, cpu, turns = time.perf_counter(), time.process_time(), answered[0]
                spans = [rate(FAST_SPAN_S if fast else SPAN_S) for _ in range(REPETITIONS)]
                turns = answered[0] - turns
                share = (time.process_time() - cpu) / (time.perf_counter() - wall)
                found[interval] = Rates(
                    per_second=[span.per_second or 0.0 for span in spans],
                    changes=sum(span.tstate_switches or 0 for span in spans),
                    turns=turns,
                    seconds=sum(span.seconds for span in spans),
                    cpu=share,
                )
    finally:
        sys.setswitchinterval(saved)
    return found


stop = threading.Event()
answered = [0]  # bytes, so far


@contextmanager
def running(workload: Callable[[], object]) -> Iterator[None]:
    """Runs the workload's threads for as long as the block takes."""
    stop.clear()
    thread = threading.Thread(target=workload, name="meminspect-demo", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def count() -> None:
    while not stop.is_set():
        sum(range(500))


def computing() -> None:
    """Two threads that never wait for anything but the GIL: this one and another."""
    other = threading.Thread(target=count, name="meminspect-demo", daemon=True)
    other.start()
    count()
    other.join()


def talking() -> None:
    """Two threads that answer each other's byte: this one and another."""
    here, there = os.pipe(), os.pipe()

    def answer() -> None:
        while os.read(there[0], 1) == b"x":
            os.write(here[1], b"x")

    other = threading.Thread(target=answer, name="meminspect-demo", daemon=True)
    other.start()
    try:
        while not stop.is_set():
            os.write(there[1], b"x")
            os.read(here[0], 1)
            answered[0] += 1
    finally:
        os.write(there[1], b".")
        other.join()
        for descriptor in (*here, *there):
            os.close(descriptor)


def table(measured: Measured) -> Evidence:
    rows = tuple(
        (
            name,
            interval * 1e3,
            round(rates.median),
            round(min(rates.per_second)),
            round(max(rates.per_second)),
            round(1 / interval),
            rates.turns,
            round(100 * rates.cpu),
        )
        for name, by_interval in measured.items()
        for interval, rates in by_interval.items()
    )
    return Evidence(
        title="Changes of thread state a second",
        text=f"Median, lowest and highest of {REPETITIONS} measurements. An answer is a byte sent and returned.",
        columns=("threads", "interval ms", "changes/s", "lowest", "highest", "1/interval", "answers", "% CPU"),
        rows=rows,
        chart=Chart(
            x_label="switch interval (ms)",
            y_label="changes of thread state a second",
            log_x=True,
            log_y=True,
            series=tuple(Series(name, points(by_interval)) for name, by_interval in measured.items()),
        ),
    )


def points(by_interval: dict[float, Rates]) -> tuple[Point, ...]:
    return tuple(
        Point(interval * 1e3, rates.median, min(rates.per_second), max(rates.per_second))
        for interval, rates in by_interval.items()
    )


def checks(measured: Measured) -> tuple[Check, ...]:
    computed = measured[COMPUTING]
    # who waits is never early; this thread comes and goes once in each repetition
    limited = all(rates.changes <= rates.seconds / interval + 2 * REPETITIONS for interval, rates in computed.items())
    return (
        Check(
            "CPU-bound threads change at most once an interval",
            limited,
            "; ".join(
                f"{rates.changes:,} changes in {rates.seconds * 1e3:,.0f} ms at {interval * 1e3:g} ms"
                for interval, rates in computed.items()
            ),
        ),
        more_often(computed[min(INTERVALS)], computed[max(INTERVALS)]),
        whatever_the_interval(measured[TALKING][max(INTERVALS)], max(INTERVALS)),
    )


def more_often(short: Rates, long: Rates) -> Check:
    factor = short.median / long.median if long.median else float("inf")
    text = f"{factor:,.1f} times as often at {min(INTERVALS) * 1e3:g} ms as at {max(INTERVALS) * 1e3:g} ms"
    claim = "A shorter interval makes CPU-bound threads change more often"
    shared = min(short.cpu, long.cpu)
    if factor <= 2 and shared < ENOUGH_CPU:
        reason = f"the machine is busy and gave the threads only {shared:.0%} of a processor: try again when it is idle"
        return Check(claim, None, text, reason)
    return clearly_less(claim, long.per_second, short.per_second, text)


def whatever_the_interval(talked: Rates, interval: float) -> Check:
    """Each answer takes two changes at least; how many answers there are is the machine's affair."""
    claim = "I/O-bound threads change as often as they wait, more often than the interval allows CPU-bound ones"
    allowed = talked.seconds / interval
    text = (
        f"{talked.changes:,} changes for {talked.turns:,} answers in {talked.seconds * 1e3:,.0f} ms at "
        f"{interval * 1e3:g} ms; CPU-bound threads have {allowed:,.0f} at most"
    )
    if talked.changes < talked.turns - REPETITIONS:
        return Check(claim, False, text)
    if talked.changes > 2 * allowed + 2 * REPETITIONS:
        return Check(claim, True, text)
    return Check(claim, None, text, f"the machine is busy: it let the threads answer too seldom, {text}")
