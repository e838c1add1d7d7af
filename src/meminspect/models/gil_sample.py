"""Samples of the GIL: what a thread that looks at it at a rate has seen."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model, shown


@dataclass(frozen=True, repr=False)
class SampledThread(Model):
    """One thread that was seen.

    name       -- as the program named it, when it lived at the end; else the kernel's name for it when it was first
                  seen, unless that is only the process' own; None when neither is known
    held_share -- of the looks at which it held the GIL, 0 to 1: an estimate; None in free-threaded builds
    error      -- of that share, half the width of its 95 % interval (binomial, looks taken as independent)
    exact_share -- the same share by the trace that ran meanwhile; None when none did
    attached_share, detached_share, suspended_share -- free-threaded builds: of the looks at which the thread was there;
                  None elsewhere
    """

    name: str | None
    native_id: int
    held_share: float | None
    error: float | None
    exact_share: float | None
    attached_share: float | None
    detached_share: float | None
    suspended_share: float | None

    @property
    def label(self) -> str:
        return self.name or f"thread {self.native_id}"

    def __repr__(self) -> str:
        return f"<SampledThread {shown(self.label)}: held {self.held_share}, attached {self.attached_share}>"


@dataclass(frozen=True, repr=False)
class SampledHolds(Model):
    """Holds that were met at least once, by how long: `count` of at least `from_s` and less than twice that, roughly.

    Found from looks in a row at which the same thread state held it and CPython had counted no switch: a thread that
    let go and took it again unnoticed counts as one hold, and what is shorter than the interval between two looks is
    met by chance only.
    """

    from_s: float
    count: int

    def __repr__(self) -> str:
        return f"<SampledHolds from {self.from_s} s: {self.count}>"


@dataclass(frozen=True, repr=False)
class GilSample(Model):
    """`gil.sample()`: estimates from looks at the GIL by a thread that does not need it (csrc/gil/gil_sampler.h).

    looks         -- taken; their moments are spread at random around the rate. failed_looks: memory could not be read
    held_share    -- of the looks at which some thread held the GIL; held_error as in SampledThread
    exact_held_share, worst_error -- with a trace that ran meanwhile: its share, and the largest difference between the
                    two of any thread. None when none ran
    unknown_share -- held by a thread that was not found among this interpreter's
    waiters       -- share of looks at which 0, 1, 2, ... threads waited for the GIL (glibc's count in gil->cond; the
                    last of 65 stands for all that are more); mean_waiters. None where it could not be found
    tstate_switches -- CPython's own count between the first look and the last: exact
    cpu_share     -- of one core that the looking took
    """

    duration_s: float
    rate_hz: float
    looks: int
    failed_looks: int
    held_share: float | None
    held_error: float | None
    exact_held_share: float | None
    worst_error: float | None
    unknown_share: float | None
    waiters: tuple[float, ...] | None
    mean_waiters: float | None
    tstate_switches: int | None
    threads: tuple[SampledThread, ...]
    threads_omitted: int
    holds: tuple[SampledHolds, ...]
    cpu_s: float
    cpu_share: float
    exact: bool
    reason: str | None

    def __repr__(self) -> str:
        held = "no GIL" if self.held_share is None else f"held {self.held_share:.1%} (+-{self.held_error:.1%})"
        against = "" if self.worst_error is None else f", off by {self.worst_error:.1%} at most from the trace"
        return f"<GilSample of {self.duration_s:.3f} s, {self.looks:,} looks: {held}{against}>"


@dataclass(frozen=True, repr=False)
class Knock(Model):
    """`gil.knock()`: what a thread that asks for the GIL now waits; None, with the reason, where there is none."""

    wait_s: float | None
    reason: str | None

    def __repr__(self) -> str:
        return f"<Knock {self.wait_s} s>"
