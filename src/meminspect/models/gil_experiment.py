"""What a workload does at different switch intervals."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model, shown
from .gil_trace import Distribution, HandOffs


@dataclass(frozen=True, repr=False)
class IntervalResult(Model):
    """A workload at one switch interval (sys.setswitchinterval).

    interval_s -- as CPython then had it, in whole microseconds
    seconds    -- that it ran
    operations, throughput_per_s -- what the workload counts as one: a request, a round, a call
    beside_per_s -- pieces of computing that threads got done beside them, where the workload has such threads
    latency    -- of operations; exact, from all of them sorted
    hand_offs  -- traced meanwhile; None where no trace could be taken (Experiment.reason)
    waits      -- how long threads waited for the GIL, from the same trace
    """

    interval_s: float
    seconds: float
    operations: int
    throughput_per_s: float
    beside_per_s: float | None
    latency: Distribution
    hand_offs: HandOffs | None
    waits: Distribution | None

    def __repr__(self) -> str:
        return f"<IntervalResult {self.interval_s} s: {self.throughput_per_s:,.0f} a second>"


@dataclass(frozen=True, repr=False)
class Experiment(Model):
    """`gil.experiment()`: a workload at each of some switch intervals, in the order in which they were tried.

    interval_before_s -- was in force before, and is again
    reason -- why hand-offs are not known, None when they are
    """

    workload: str
    operation: str
    interval_before_s: float
    results: tuple[IntervalResult, ...]
    reason: str | None

    def __repr__(self) -> str:
        return f"<Experiment {shown(self.workload)} at {len(self.results)} intervals>"
