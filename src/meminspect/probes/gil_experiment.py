"""What a workload does at different switch intervals: sys.setswitchinterval is tried out, and put back."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

from .. import _native
from ..analysis.lengths import exact
from ..errors import UsageError
from ..models.gil_experiment import Experiment, IntervalResult
from ..models.gil_trace import GilTrace
from .gil_trace import Trace

if TYPE_CHECKING:
    from .gil_workloads import Ran

INTERVALS = (0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1)
MEMORY_BYTES = 256 << 20

OwnWorkload = Callable[[], object]


def experiment(
    workload: str | OwnWorkload,
    intervals: Sequence[float] = INTERVALS,
    *,
    seconds: float = 1.0,
    returns_latencies: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Experiment:
    """Runs a workload at each switch interval: throughput, latencies, hand-offs.

    workload  -- a built-in one ("cpu+cpu", "cpu+echo", "cpu+sleep", "ping-pong"), or a function of yours, which is
                 called over and over: each call is an operation
    intervals -- seconds, as for sys.setswitchinterval, which is put back whatever happens
    seconds   -- for each interval; a call of yours that has begun is finished
    returns_latencies -- your function returns the seconds that each of its operations took, instead
    progress  -- is called with each interval before it is tried

    Raises UsageError for an unknown workload or interval; what the workload raises comes through.
    """
    run, name, operation = _runner(workload, returns_latencies)
    if not intervals or any(not 1e-6 <= interval <= 1000 for interval in intervals):
        raise UsageError("intervals are seconds from 0.000001 to 1000")
    if not seconds > 0:
        raise UsageError("seconds must be positive")
    before = sys.getswitchinterval()
    results: list[IntervalResult] = []
    reason: str | None = None
    try:
        for interval in intervals:
            if progress is not None:
                progress(interval)
            sys.setswitchinterval(interval)
            with _traced() as traced:
                begin = time.perf_counter()
                ran = run(seconds)
                took = ran.seconds or time.perf_counter() - begin
            reason = reason or traced.reason
            results.append(_result(sys.getswitchinterval(), took, ran, traced.trace))
    finally:
        sys.setswitchinterval(before)
    return Experiment(name, operation, before, tuple(results), reason)


def _runner(workload: str | OwnWorkload, returns_latencies: bool) -> tuple[Callable[[float], Ran], str, str]:
    from .gil_workloads import WORKLOADS  # sockets and processes: only for an experiment

    if callable(workload):
        return (
            _repeats(workload, returns_latencies),
            getattr(workload, "__qualname__", type(workload).__name__),
            "operation",
        )
    if workload not in WORKLOADS:
        raise UsageError(f"there is no workload {workload!r}; there are: {', '.join(WORKLOADS)}")
    built_in = WORKLOADS[workload]
    return built_in.run, workload, built_in.operation


def _repeats(function: OwnWorkload, returns_latencies: bool) -> Callable[[float], Ran]:
    from .gil_workloads import Ran

    def run(seconds: float) -> Ran:
        begin = now = time.perf_counter()
        latencies: list[float] = []
        while not latencies or now < begin + seconds:
            before = now
            told = function()
            now = time.perf_counter()
            if returns_latencies:
                latencies += cast("Iterable[float]", told)
            else:
                latencies.append(now - before)
        return Ran(len(latencies), latencies)

    return run


class _Traced:
    def __init__(self) -> None:
        self.trace: GilTrace | None = None
        self.reason: str | None = None


@contextlib.contextmanager
def _traced() -> Iterator[_Traced]:
    """A trace meanwhile, where one can be taken."""
    traced = _Traced()
    running = Trace(MEMORY_BYTES, collections=False)
    try:
        running.start()
    except _native.NativeError as error:
        traced.reason = f"hand-offs were not traced: {error}"
        yield traced
        return
    try:
        yield traced
    finally:
        running.stop()
    traced.trace = running.result


def _result(interval: float, took: float, ran: Ran, trace: GilTrace | None) -> IntervalResult:
    return IntervalResult(
        interval_s=interval,
        seconds=took,
        operations=ran.operations,
        throughput_per_s=ran.operations / took,
        beside_per_s=None if ran.beside is None else ran.beside / took,
        latency=exact(ran.latencies),
        hand_offs=None if trace is None else trace.hand_offs,
        waits=None if trace is None else trace.wait_times,
    )
