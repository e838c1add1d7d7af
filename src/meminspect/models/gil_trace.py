"""A trace of the GIL: who held it, who waited for whom and how long, and why it changed hands."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from .base import Model, plain, shown
from .report import Finding


@dataclass(frozen=True, repr=False)
class HandOffs(Model):
    """How often the GIL went from one OS thread to another.

    forced    -- the release before it was forced: a drop request was pending, because a waiting thread had waited for a
                 switch interval and asked the holder to let go
    voluntary -- every other one: the GIL was given away around blocking I/O, by a C call, at a thread's end
    """

    total: int
    forced: int
    voluntary: int

    def __repr__(self) -> str:
        return f"<HandOffs {self.total:,}: {self.forced:,} forced, {self.voluntary:,} voluntary>"


@dataclass(frozen=True, repr=False)
class Distribution(Model):
    """Lengths of holds, or of waits, in seconds. None where there was not one.

    Count, sum and maximum are exact. Percentiles are read from a histogram whose buckets grow with the length, 256 to
    each power of two: off by 0.2 % at most (csrc/gil/gil_digest.h).
    """

    count: int
    total_s: float
    median_s: float | None
    p90_s: float | None
    p99_s: float | None
    p999_s: float | None
    max_s: float | None

    def __repr__(self) -> str:
        return f"<Distribution of {self.count:,}: median {self.median_s} s, max {self.max_s} s>"


@dataclass(frozen=True, repr=False)
class ThreadShare(Model):
    """One OS thread of the trace.

    name      -- as the program named it, else as the kernel has it (at most 15 bytes), None when neither is known
    native_id -- the kernel's id; None for the row of threads beyond the table's room
    held_s, waited_s -- counted as events happened, lost ones included; waited is from asking for the GIL to having it
    runnable_s -- of waited: asleep while another thread held the GIL, though it could have run. From the events: None
                 where some were lost
    alive_s   -- between its first and its last event
    held_share, waited_share -- of the trace's duration, 0 to 1
    forced_releases -- how often it was made to let go; voluntary_releases -- how often it did so itself. From the
                 events: None where some were lost
    holds, waits -- distributions, from the events
    """

    name: str | None
    native_id: int | None
    held_s: float
    waited_s: float
    runnable_s: float | None
    alive_s: float
    held_share: float
    waited_share: float
    acquisitions: int
    forced_releases: int | None
    voluntary_releases: int | None
    lost_events: int
    holds: Distribution
    waits: Distribution

    @property
    def label(self) -> str:
        return self.name or f"thread {self.native_id}"

    def __repr__(self) -> str:
        return f"<ThreadShare {shown(self.label)}: held {self.held_s:.3f} s, waited {self.waited_s:.3f} s>"


@dataclass(frozen=True, repr=False)
class MatrixCell(Model):
    """Hand-offs from one thread to another; indices into `threads`. waited_s: what the receiver waited for them."""

    from_thread: int
    to_thread: int
    forced: int
    voluntary: int
    waited_s: float

    def __repr__(self) -> str:
        return f"<MatrixCell {self.from_thread} -> {self.to_thread}: {self.forced} forced, {self.voluntary} voluntary>"


@dataclass(frozen=True, repr=False)
class Place(Model):
    """A place in Python code: a function's qualified name, its file, and the line; None where there is no line."""

    function: str
    file: str
    line: int | None

    @property
    def label(self) -> str:
        return self.function + (f" ({self.file}:{self.line})" if self.line is not None else f" ({self.file})")

    def __repr__(self) -> str:
        return f"<Place {shown(self.label)}>"


@dataclass(frozen=True, repr=False)
class ReleaseSite(Model):
    """Where a thread let the GIL go, with attribution: how often, and how long it had held it before.

    thread -- an index into `threads`
    place  -- where it was when it let go; None: not known, or no Python function (a thread at its end)
    longest_s -- of the holds that ended here
    """

    thread: int
    place: Place | None
    forced: int
    voluntary: int
    held_s: float
    longest_s: float

    def __repr__(self) -> str:
        return f"<ReleaseSite {self.place!r}: {self.forced:,} forced, {self.voluntary:,} voluntary>"


@dataclass(frozen=True, repr=False)
class NativeSample(Model):
    """One look from outside at a thread whose hold had lasted a threshold, without a signal (csrc/os/native_stack.h).

    how     -- "blocked": it slept in a system call; "running"; "refused": it ran, and the kernel did not allow to see
               where (perf_event_open)
    stack   -- "function (object)", the innermost first, each caller found by the unwind tables of the object
               (.eh_frame) and behind a call instruction. "?" where the object's file has no symbol for it; the last
               line is "? (unknown)" where who called the one above could not be proven
    culprit -- the one to name: the innermost that is none of the C library's. None: not known, or the interpreter's
               own loop, so that it is Python code
    place   -- the Python function that it was in
    """

    thread: int
    hold_begin_s: float
    at_s: float
    how: str
    stack: tuple[str, ...]
    culprit: str | None
    place: Place | None

    def __repr__(self) -> str:
        return f"<NativeSample at {self.at_s:.6f} s: {shown(self.culprit or self.how)}>"


@dataclass(frozen=True, repr=False)
class LongHold(Model):
    """One of the longest holds: an index into `threads`, when it began after the trace did, how it ended.

    forced -- a drop request was pending when it ended; None: it had not ended
    asked_by -- the thread whose wait timed out; None when nobody's did, or it is not known
    answered_s -- from the first such request to the end of the hold; None: nobody asked. A thread that runs bytecode
                  answers within microseconds, if the system lets it run
    function -- that held it, where it was attributed: the C function of the sample, else the Python function and line
    place  -- where the hold ended, in Python code
    sample -- the look at it from outside while it lasted; None: it was shorter than the threshold, or not attributed
    """

    thread: int
    begin_s: float
    held_s: float
    forced: bool | None
    asked_by: int | None
    answered_s: float | None
    function: str | None = None
    place: Place | None = None
    sample: NativeSample | None = None

    def __repr__(self) -> str:
        return f"<LongHold of thread {self.thread}: {self.held_s:.6f} s>"


@dataclass(frozen=True, repr=False)
class Convoy(Model):
    """A thread that needs the GIL shortly, and whose waiting is mostly waits of an interval; one it waited behind.

    waits -- of `thread` that lasted an interval and ended when `behind` was made to let go
    waits_share -- of all its waits, 0 to 1: the short ones included
    lost_s -- waited in them
    """

    thread: int
    behind: int
    waits: int
    waits_share: float
    median_wait_s: float
    median_hold_s: float
    lost_s: float

    def __repr__(self) -> str:
        return f"<Convoy of thread {self.thread} behind {self.behind}: {self.waits:,} waits>"


@dataclass(frozen=True, repr=False)
class Collection(Model):
    """One run of the cyclic collector, by gc.callbacks: in which thread, when after the trace's beginning, how long.

    trigger -- "allocation": more objects had come than the generation's threshold says; "call": gc.collect(), or C code
               that asks for one. None where this build decides by more than the counters (free-threaded ones, the
               incremental collector of 3.14.0 to 3.14.4)
    """

    thread: int
    generation: int
    begin_s: float
    duration_s: float
    collected: int
    uncollectable: int = 0
    trigger: str | None = None

    def __repr__(self) -> str:
        return f"<Collection of generation {self.generation}: {self.duration_s * 1e3:.3f} ms>"


@dataclass(frozen=True, repr=False)
class Concurrency(Model):
    """How many threads ran Python at once under the main interpreter's GIL, on average, and how many could have.

    achieved   -- the share of the time in which a thread held it: 1 at most
    wanted     -- threads that held it or slept until they would: without a GIL, and with a processor for each, so many
    ideal      -- the same, never counting more at a time than there are processors
    processors -- that the process may use
    waiters_s  -- seconds in which 0, 1, 2, ... threads slept for it; the last of 64 stands for all that are more
    """

    achieved: float
    wanted: float
    ideal: float
    processors: int
    waiters_s: tuple[float, ...]

    def __repr__(self) -> str:
        return f"<Concurrency {self.achieved:.2f} of {self.ideal:.2f}>"


@dataclass(frozen=True, repr=False)
class Timeline(Model):
    """The trace as a picture: its first spans whole, and all of it in tiles of time by thread.

    spans    -- packed mi_gil_span (analysis/hand_offs.py: SPAN), holds and waits that blocked, in the order of their
                ends; threads are rows of the core's table: `rows` has the index into `threads` of each
    left_out -- spans beyond those
    tile_s   -- width of a tile
    tiles    -- an index into `threads` (None: all that have no tiles of their own), and packed pairs "QQ" of
                nanoseconds held and waited in each tile
    holds, waits -- (shortest of a bucket in nanoseconds, count) of all lengths
    """

    spans: bytes
    left_out: int
    rows: dict[int, int]
    tile_s: float
    tiles: tuple[tuple[int | None, bytes], ...]
    holds: tuple[tuple[int, int], ...]
    waits: tuple[tuple[int, int], ...]

    def __repr__(self) -> str:
        return f"<Timeline of {len(self.tiles)} threads, tiles of {self.tile_s:.6f} s>"


@dataclass(frozen=True, repr=False)
class Pauses(Model):
    """The collections of one generation: how long each kept the interpreter, and what they came to.

    by_allocation, by_call -- how many had which trigger; the rest is unknown
    wall_share -- of the duration that they took, 0 to 1
    """

    generation: int
    pauses: Distribution
    collected: int
    uncollectable: int
    by_allocation: int
    by_call: int
    wall_share: float

    def __repr__(self) -> str:
        return f"<Pauses of generation {self.generation}: {self.pauses.count:,}, max {self.pauses.max_s} s>"


@dataclass(frozen=True, repr=False)
class InterpreterTrace(Model):
    """The numbers of one GIL: the main interpreter's (which others may share), or a subinterpreter's own.

    tstate_switches     -- acquired with another last_holder than before: counted by the trace
    switch_number_delta -- the change of CPython's own switch_number meanwhile; None when its end was not seen
    timeouts            -- waits that lasted an interval: each is a request to drop the GIL
    """

    interpreter: int
    hand_offs: HandOffs
    acquisitions: int
    releases: int
    forced_releases: int
    tstate_switches: int
    switch_number_delta: int | None
    timeouts: int
    lost_events: int

    def __repr__(self) -> str:
        return f"<InterpreterTrace of {self.interpreter}: {self.hand_offs.total:,} hand-offs>"


@dataclass(frozen=True, repr=False)
class GilTrace(Model):
    """`gil.trace()`: every event of every GIL of a process (csrc/gil/gil_trace.h).

    hand_offs       -- from one OS thread to another: what a user means by a switch
    tstate_switches -- changes of thread state: what CPython's switch_number counts. Short-lived threads share recycled
                       addresses of thread states, so it may be far below hand_offs
    switch_number_delta -- CPython's own count; equals tstate_switches when exact. None: the process did not live to the
                       trace's end
    lost_events     -- that found no room; hand_offs, tstate_switches and held, waited and acquisitions of each thread
                       are counted apart from the events and miss none of them
    clock           -- "tsc" or "monotonic"; begin_ns is CLOCK_MONOTONIC at the beginning
    held_share      -- of the duration in which some thread held the main interpreter's GIL; None where holds were lost
    collections_omitted, pairs_omitted -- beyond what is listed (65,536)
    timeline        -- for pictures; not in to_dict()
    interpreters    -- one for each GIL; the figures above are their sums
    pauses          -- of the collector, one for each generation that was collected; () without `collections`
    attribution     -- releases name their place: then release_sites has the 100 of most held time, and samples the
                       looks at holds beyond long_hold_s
    """

    duration_s: float
    pid: int
    clock: str
    begin_ns: int
    switch_interval_s: float | None
    hand_offs: HandOffs
    tstate_switches: int
    switch_number_delta: int | None
    lost_events: int
    events: int
    held_share: float | None
    threads: tuple[ThreadShare, ...]
    matrix: tuple[MatrixCell, ...]
    hold_times: Distribution
    wait_times: Distribution
    longest_holds: tuple[LongHold, ...]
    convoys: tuple[Convoy, ...]
    concurrency: Concurrency | None
    collections: tuple[Collection, ...]
    collections_omitted: int
    pairs_omitted: int
    interpreters: tuple[InterpreterTrace, ...]
    findings: tuple[Finding, ...]
    exact: bool
    reason: str | None
    timeline: Timeline
    pauses: tuple[Pauses, ...] = ()
    attribution: bool = False
    long_hold_s: float | None = None
    release_sites: tuple[ReleaseSite, ...] = ()
    samples: tuple[NativeSample, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The figures; the picture is for views alone."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self) if field.name != "timeline"}

    def __repr__(self) -> str:
        return f"<GilTrace of {self.duration_s:.3f} s: {self.hand_offs.total:,} hand-offs, {len(self.threads)} threads>"
