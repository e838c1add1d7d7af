"""Hand-offs of the GIL, each one seen: who was made to let go, and who gave it away."""

from __future__ import annotations

import hashlib
import sys
import threading
import time
from collections.abc import Callable
from itertools import islice

from .. import _native
from ..analysis.hand_offs import FORCED, HOLD, spans_of
from ..models.demo import Cell, Check, Evidence, Span, Timeline
from ..models.gil_trace import GilTrace
from ..probes.gil_trace import trace
from ._base import Demo, Observed
from ._measure import has_gil

SPAN_S, FAST_SPAN_S = 0.5, 0.12
DRAWN_SPANS = 400
FEW = 4  # hand-offs: with fewer there is nothing to say
LONGER = (3, 9)  # times the span, where that was not enough
HASHED = b"x" * (1 << 20)


class HandOffs(Demo):
    name = "hand-offs"
    chapter = "08"
    title = "The GIL, hand-off by hand-off"
    claim = (
        "Threads that compute are made to let go of the GIL: a waiter asks after the switch interval. Threads that "
        "sleep, wait or call C code that releases it give it away themselves, without being asked. Books' 'every "
        "hundred bytecodes' is history: it is time that counts."
    )
    title_zh = "逐次观察 GIL 的交接"
    claim_zh = (
        "计算型线程是被迫放开 GIL 的：等待者在一个切换间隔之后提出要求；"
        "睡眠、等待或调用会释放 GIL 的 C 代码的线程则不等要求就自己交出。书上说的“每一百条字节码”已成历史："
        "起作用的是时间。"
    )
    summary = (
        "Every hand-off was seen with its cause. Where a waiter had asked, the holder was computing; where nobody "
        "had, the holder was about to wait. So a program's hand-offs tell what it does, and no number of bytecodes "
        "decides about them."
    )
    summary_zh = (
        "每一次交接连同原因都看到了：有人要求过时，持有者在计算；没有人要求时，持有者即将等待。"
        "因此一个程序的交接说明了它在做什么，而决定交接的不是任何字节码的条数。"
    )
    experiment = (
        "Pairs of threads run under a trace that sees every request, timeout, acquisition and release of the GIL: "
        "two that compute, one that computes beside one that sleeps, two that call time.sleep(0), and two that "
        "hash a MiB at a time. Hand-offs are counted as forced (somebody had asked) or voluntary."
    )
    notes = (
        "Since CPython 3.2 the interval is a time (sys.setswitchinterval, 5 ms by default); before, it was a "
        "number of bytecodes (sys.setcheckinterval).",
        "Free-threaded builds have no GIL to hand off.",
    )

    def observe(self, fast: bool) -> Observed:
        claim = "Threads that compute are made to let go"
        if not has_gil():
            reason = "this interpreter runs without a GIL"
            return Observed((), (Check(claim, None, reason, reason),))
        try:
            traced = {name: enough(work, FAST_SPAN_S if fast else SPAN_S) for name, work in WORK.items()}
        except _native.NativeError as error:
            reason = f"the GIL cannot be traced here: {error}"
            return Observed((), (Check(claim, None, reason, reason),))
        return Observed((table(traced), picture(traced[MIXED])), checks(traced))


def compute(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(500))


def sleep(stop: threading.Event) -> None:
    while not stop.is_set():
        time.sleep(0.002)


def give_way(stop: threading.Event) -> None:
    while not stop.is_set():
        time.sleep(0)


def hash_much(stop: threading.Event) -> None:
    while not stop.is_set():
        hashlib.sha256(HASHED).digest()


NAMES = tuple(one.__name__ for one in (compute, sleep, give_way, hash_much))
COMPUTING, MIXED = "two compute", "one computes, one sleeps"
YIELDING, HASHING = "two call time.sleep(0)", "two hash 1 MiB"
Work = tuple[Callable[[threading.Event], None], Callable[[threading.Event], None]]
WORK: dict[str, Work] = {
    COMPUTING: (compute, compute),
    MIXED: (compute, sleep),
    YIELDING: (give_way, give_way),
    HASHING: (hash_much, hash_much),
}


def traced_run(work: Work, seconds: float) -> GilTrace:
    """Two threads for a span of time under a trace; this thread sleeps meanwhile."""
    stop = threading.Event()
    threads = [
        threading.Thread(target=one, args=(stop,), name=f"{one.__name__} {number}", daemon=True)
        for number, one in enumerate(work, 1)
    ]
    with trace(collections=False) as traced:
        for thread in threads:
            thread.start()
        try:
            time.sleep(seconds)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    return traced.result


def enough(work: Work, seconds: float) -> GilTrace:
    """Traced for longer, up to a limit, while the machine is so busy that hardly a hand-off is seen."""
    found = traced_run(work, seconds)
    for factor in LONGER:
        if sum(between_workers(found)) >= FEW:
            break
        found = traced_run(work, seconds * factor)
    return found


def between_workers(one: GilTrace) -> tuple[int, int]:
    """Forced and voluntary hand-offs between the two threads of the work, without this program's other threads."""
    workers = {at for at, thread in enumerate(one.threads) if (thread.name or "").startswith(NAMES)}
    cells = [cell for cell in one.matrix if {cell.from_thread, cell.to_thread} <= workers]
    return sum(cell.forced for cell in cells), sum(cell.voluntary for cell in cells)


def table(traced: dict[str, GilTrace]) -> Evidence:
    rows: list[tuple[Cell, ...]] = []
    for name, one in traced.items():
        hold = one.hold_times
        rows.append(
            (
                name, one.hand_offs.total, *between_workers(one),
                microseconds(hold.median_s), microseconds(hold.max_s), round(one.duration_s * 1e3),
            )
        )  # fmt: skip
    interval = sys.getswitchinterval() * 1e3
    return Evidence(
        title="Hand-offs between threads",
        text=f"Forced: somebody had waited {interval:g} ms and asked. A hold lasts until the thread lets go. "
        "Forced and voluntary are between the two threads alone; the main thread starts and stops them.",
        columns=("threads", "hand-offs", "forced", "voluntary", "median hold µs", "longest µs", "traced ms"),
        rows=tuple(rows),
    )


def microseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e6, 1)


def picture(one: GilTrace) -> Evidence:
    """Who held the GIL when."""
    names = [thread.label for thread in one.threads]
    spans: list[Span] = []
    if one.timeline is not None:
        rows = one.timeline.rows
        held = (span for span in spans_of(one.timeline.spans) if span.kind == HOLD and span.thread in rows)
        spans = [
            Span(
                names[rows[span.thread]],
                "holds it until asked" if span.flags & FORCED else "holds it, gives it away",
                span.begin / 1e9,
                span.end / 1e9,
            )
            for span in islice(held, DRAWN_SPANS)
        ]
    spans.sort(key=lambda span: span.begin_s)
    lanes = tuple(name for name in dict.fromkeys(names) if any(span.lane == name for span in spans))
    rows_shown: list[tuple[Cell, ...]] = [
        (span.lane, span.label, round(span.begin_s * 1e3, 3), round((span.end_s - span.begin_s) * 1e3, 3))
        for span in spans[:8]
    ]
    return Evidence(
        title="Who held the GIL, one computes and one sleeps",
        text=f"The first of {len(spans)} holds; the timeline has all of them.",
        columns=("thread", "", "from ms", "for ms"),
        rows=tuple(rows_shown),
        timeline=Timeline(lanes, tuple(spans)),
    )


def checks(traced: dict[str, GilTrace]) -> tuple[Check, ...]:
    computing, yielding, hashing = (traced[name] for name in (COMPUTING, YIELDING, HASHING))
    return (
        mostly("Threads that compute are made to let go", computing, 0),
        within_interval(computing),
        mostly("Threads that call time.sleep(0) give it away", yielding, 1),
        mostly("Threads in C code that releases the GIL give it away", hashing, 1),
    )


def mostly(claim: str, one: GilTrace, which: int) -> Check:
    """Most of the hand-offs between the two threads were forced (0) or voluntary (1)."""
    counts = between_workers(one)
    text = f"{counts[which]:,} of {sum(counts):,} hand-offs between the two, {counts[0]:,} were forced"
    if sum(counts) < FEW:
        return Check(claim, None, text, "the machine is busy: too few hand-offs were seen, try without --fast")
    return Check(claim, counts[which] > sum(counts) / 2, text)


def within_interval(one: GilTrace) -> Check:
    interval = one.switch_interval_s or sys.getswitchinterval()
    room = one.duration_s / interval + 2
    return Check(
        "They are made to at most once an interval",
        one.hand_offs.forced <= room,
        f"{one.hand_offs.forced:,} forced hand-offs in {one.duration_s * 1e3:,.0f} ms, at most {room:,.0f} intervals",
    )
