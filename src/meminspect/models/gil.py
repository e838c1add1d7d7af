"""The GIL's own counters."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model


@dataclass(frozen=True, repr=False)
class GilCounters(Model):
    """`gil.counters()`: one GIL as CPython keeps it (struct _gil_runtime_state, Python/ceval_gil.c).

    interpreters     -- ids of the interpreters that share it
    tstate_switches  -- CPython's switch_number: changes of *thread state*. It misses hand-offs between short-lived
                        threads whose state lies at a recycled address, so it is a lower bound of hand-offs.
    locked           -- someone holds it now
    holder_native_id, holder_name -- of the thread that holds it, verified against the live threads; else None
    switch_interval_s -- after which a waiting thread asks the holder to let go; None when not even that could be read
    enabled          -- False in free-threaded builds that run without it
    """

    interpreters: tuple[int, ...]
    tstate_switches: int | None
    locked: bool | None
    holder_native_id: int | None
    holder_name: str | None
    switch_interval_s: float | None
    enabled: bool
    exact: bool
    reason: str | None

    def __repr__(self) -> str:
        return f"<GilCounters of interpreters {self.interpreters}: {self.tstate_switches} thread-state switches>"


@dataclass(frozen=True, repr=False)
class GilRate(Model):
    """`gil.rate(seconds)`: thread-state switches in a span of time."""

    seconds: float
    tstate_switches: int | None
    per_second: float | None
    reason: str | None

    def __repr__(self) -> str:
        return f"<GilRate {self.per_second} thread-state switches a second over {self.seconds:.3f} s>"


@dataclass(frozen=True, repr=False)
class GilWait(Model):
    """`gil.wait(seconds)`: how long this thread waits for the GIL now, each time it asks for it again.

    samples -- how often it asked; share_waiting -- of the time spent, 0 to 1
    median_s, p99_s, max_s -- of single waits; None in builds that run without a GIL (`reason`)
    """

    seconds: float
    samples: int
    median_s: float | None
    p99_s: float | None
    max_s: float | None
    share_waiting: float | None
    reason: str | None

    def __repr__(self) -> str:
        if self.median_s is None or self.max_s is None:
            return f"<GilWait: {self.reason}>"
        return f"<GilWait median {self.median_s * 1e6:.1f} us, max {self.max_s * 1e6:.1f} us, {self.samples} samples>"
