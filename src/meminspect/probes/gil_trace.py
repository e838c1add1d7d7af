"""Tracing the GIL: every request, wait, timeout, acquisition and release of every thread, exactly.

Structure: take_gil() and drop_gil() of Python/ceval_gil.c, seen through libpython's calls of pthread functions; see
csrc/gil/gil_trace.h for what is noted where, and for the definition of a forced release.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Literal, overload

from .. import _native
from ..analysis import findings_hand_offs, gil_places, hand_offs
from ..analysis.pauses import pauses
from ..models.gil_trace import GilTrace, HandOffs, InterpreterTrace, NativeSample, Place, ThreadShare, Timeline
from .gc_trace import CollectionLog

DEFAULT_MEMORY_BYTES = 128 << 20
DEFAULT_LONG_HOLD_S = 0.02
STOPPED = 2  # mi_gil_state


class Trace:
    """A trace; made by `gil.trace()`. `result` is the GilTrace once it was stopped, `raw` what that is made of."""

    def __init__(
        self,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        collections: bool = True,
        attribution: bool = False,
        long_hold_s: float = DEFAULT_LONG_HOLD_S,
    ) -> None:
        if memory_bytes < 1:
            raise ValueError("memory_bytes must be positive")
        if long_hold_s < 0:
            raise ValueError("long_hold_s must not be negative")
        self.memory_bytes = memory_bytes
        self.collections = collections
        self.attribution = attribution
        self.long_hold_s = long_hold_s
        self.raw: Mapping[str, Any] | None = None
        self._result: GilTrace | None = None

    @property
    def result(self) -> GilTrace:
        """What the trace says; RuntimeError before it was stopped."""
        if self._result is None:
            if self.raw is None:
                raise RuntimeError("the trace has not been stopped yet")
            self._result = build(self.raw)
        return self._result

    def start(self) -> Trace:
        """Starts; NativeError when it cannot: no GIL, a trace runs already, the calls cannot be found or changed."""
        _native.gil_trace_start(
            self.memory_bytes, attribution=self.attribution, long_hold_ns=round(self.long_hold_s * 1e9)
        )
        if self.collections:
            gc.callbacks.append(_native.gil_trace_collected)
        return self

    def stop(self) -> Trace:
        """Stops, and puts all calls back; NativeError when no trace runs in this process (a child after fork)."""
        if self.collections and _native.gil_trace_collected in gc.callbacks:
            gc.callbacks.remove(_native.gil_trace_collected)
        self.raw = _native.gil_trace_stop()
        self._result = None
        _latest.append(weakref.ref(self))
        del _latest[:-1]
        return self

    def _repr_html_(self) -> str | None:
        """As the result shows itself in a notebook."""
        return None if self.raw is None else self.result._repr_html_()

    def __enter__(self) -> Trace:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if _native.gil_trace_running() or kind is None:
            self.stop()

    def __repr__(self) -> str:
        return f"<Trace {'running' if self.raw is None else self.result!r}>"


_latest: list[weakref.ref[Trace]] = []  # the one that was stopped last; a trace is kept by who took it


def latest() -> GilTrace | None:
    """The result of the trace that was stopped last in this process, while the program keeps it."""
    kept = _latest[-1]() if _latest else None
    return kept.result if kept is not None else None


@overload
def trace(
    *,
    memory_bytes: int = ...,
    collections: bool = ...,
    attribution: bool = ...,
    long_hold_s: float = ...,
    gc_only: Literal[False] = False,
) -> Trace: ...
@overload
def trace(*, gc_only: Literal[True], memory_bytes: int = ...) -> CollectionLog: ...
def trace(
    *,
    memory_bytes: int = DEFAULT_MEMORY_BYTES,
    collections: bool = True,
    attribution: bool = False,
    long_hold_s: float = DEFAULT_LONG_HOLD_S,
    gc_only: bool = False,
) -> Trace | CollectionLog:
    """A trace of every GIL of this process, for a `with` statement: `with meminspect.gil.trace() as t: ...; t.result`.

    memory_bytes -- for events, 32 bytes each; what finds no room is counted in `lost_events`
    collections -- note runs of the collector as well, by gc.callbacks
    attribution -- each release names the Python function and line that it was made in, and a hold that lasts
        `long_hold_s` is looked at once from outside, for the C function that keeps the GIL (0: none is). An event is no
        larger for it, the program gets no signal, and no reference is taken
    gc_only -- no trace of the GIL: only the collections, at no cost between two of them. The result is a GcTrace;
        works in free-threaded builds too

    Entering raises NativeError where it cannot be traced; free-threaded builds have no GIL.
    """
    if gc_only:
        if attribution:
            raise ValueError("gc_only traces no GIL: there is nothing to attribute")
        return CollectionLog(memory_bytes)
    return Trace(memory_bytes, collections, attribution, long_hold_s)


def build(raw: Mapping[str, Any]) -> GilTrace:
    """The model of what `_native.gil_trace_stop` returned, or `launch.gil_follow` gathered."""
    end = raw["end_ns"] - raw["begin_ns"]
    digest = raw["digest"] if "digest" in raw else digest_of(raw)
    rows = [row for row, thread in enumerate(raw["threads"]) if thread["native_id"] or thread["acquisitions"]]
    position = {row: at for at, row in enumerate(rows)}
    names = names_of(raw)
    gils = tuple(_interpreter(gil) for gil in raw["gils"])
    lost = sum(gil.lost_events for gil in gils) + raw["unlogged"]
    deltas = [gil.switch_number_delta for gil in gils]
    known = [delta for delta in deltas if delta is not None]
    places = gil_places.Places(raw.get("codes", ()))
    samples = gil_places.samples(raw, places, position)
    collections = hand_offs.collections(digest["collections"], position)

    def place_of(hold: hand_offs.Span) -> Place | None:
        return places.at(digest["places"].get((hold.gil, hold.begin), 0))

    def sample_of(hold: hand_offs.Span) -> NativeSample | None:
        """By its time: begin and end were told from two readings of the clocks, and may differ by some nanoseconds."""
        thread = position[hold.thread]
        return next(
            (one for gil, one in samples if (gil, one.thread) == (hold.gil, thread)
             and hold.begin <= one.at_s * 1e9 <= hold.end),
            None,
        )  # fmt: skip

    made = GilTrace(
        duration_s=end / 1e9,
        pid=raw["pid"],
        clock=raw["clock"],
        begin_ns=raw["begin_ns"],
        switch_interval_s=raw["interval_s"],
        hand_offs=_sum([gil.hand_offs for gil in gils]),
        tstate_switches=sum(gil.tstate_switches for gil in gils),
        switch_number_delta=sum(known) if len(known) == len(deltas) else None,
        lost_events=lost,
        events=raw["logged"],
        held_share=None if lost or not end else digest["main_held_ns"] / end,
        threads=tuple(
            _thread(raw["threads"][row], names[row], digest["threads"].get(row), end, bool(lost)) for row in rows
        ),
        matrix=hand_offs.matrix(digest["pairs"], position),
        hold_times=hand_offs.distribution(digest["holds"]),
        wait_times=hand_offs.distribution(digest["waits"]),
        longest_holds=hand_offs.longest(digest["longest"], position, place_of, sample_of),
        convoys=hand_offs.convoys(digest, position, raw["interval_s"]),
        concurrency=None if lost else hand_offs.concurrency(digest, end, len(os.sched_getaffinity(0))),
        collections=collections,
        collections_omitted=digest["collections_left_out"],
        pairs_omitted=digest["pairs_left_out"],
        interpreters=gils,
        findings=(),
        exact=False,
        reason=None,
        timeline=Timeline(
            spans=digest["kept"],
            left_out=digest["kept_left_out"],
            rows=position,
            tile_s=digest["tile_ns"] / 1e9,
            tiles=tuple((position.get(row), tiles) for row, tiles in digest["tiles"]),
            holds=tuple(digest["holds"]["buckets"]),
            waits=tuple(digest["waits"]["buckets"]),
        ),
        pauses=pauses(collections, end / 1e9),
        attribution=raw.get("attributed", False),
        long_hold_s=raw["long_hold_ns"] / 1e9 if raw.get("long_hold_ns") else None,
        release_sites=gil_places.sites(digest["sites"], places, position),
        samples=tuple(one for _, one in samples),
    )
    reasons = _reasons(raw, made)
    return dataclasses.replace(
        made, findings=findings_hand_offs.findings(made), exact=not reasons, reason="; ".join(reasons) or None
    )


def digest_of(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the events of a trace come to."""
    digest = _native.GilDigest()
    digest.feed(raw["events"])
    found: Mapping[str, Any] = digest.finish(raw["end_ns"] - raw["begin_ns"])
    return found


def _interpreter(gil: Mapping[str, Any]) -> InterpreterTrace:
    total, forced = gil["hand_offs"], gil["forced_hand_offs"]
    return InterpreterTrace(
        interpreter=gil["interpreter"],
        hand_offs=HandOffs(total, forced, total - forced),
        acquisitions=gil["acquisitions"],
        releases=gil["releases"],
        forced_releases=gil["forced_releases"],
        tstate_switches=gil["tstate_switches"],
        switch_number_delta=gil["switch_number_delta"],
        timeouts=gil["timeouts"],
        lost_events=gil["lost"],
    )


def _sum(parts: list[HandOffs]) -> HandOffs:
    return HandOffs(
        total=sum(part.total for part in parts),
        forced=sum(part.forced for part in parts),
        voluntary=sum(part.voluntary for part in parts),
    )


def _thread(
    thread: Mapping[str, Any], name: str | None, digest: Mapping[str, Any] | None, end: int, lossy: bool
) -> ThreadShare:
    held, waited = thread["held_ns"], thread["waited_ns"]
    known = digest or {"forced": 0, "voluntary": 0, "blocked_ns": 0, "holds": None, "waits": None}
    return ThreadShare(
        name=name,
        native_id=thread["native_id"],
        held_s=held / 1e9,
        waited_s=waited / 1e9,
        runnable_s=None if lossy else known["blocked_ns"] / 1e9,
        alive_s=max(0, thread["last_ns"] - thread["first_ns"]) / 1e9,
        held_share=held / end if end else 0.0,
        waited_share=waited / end if end else 0.0,
        acquisitions=thread["acquisitions"],
        forced_releases=None if lossy else known["forced"],
        voluntary_releases=None if lossy else known["voluntary"],
        lost_events=thread["lost"] + thread["unlogged"],
        holds=hand_offs.distribution(known["holds"]),
        waits=hand_offs.distribution(known["waits"]),
    )


def names_of(raw: Mapping[str, Any]) -> list[str | None]:
    """The name of each row of the core's table of threads, None where none is known."""
    threads = raw["threads"]
    latest = {thread["native_id"]: row for row, thread in enumerate(threads)}  # ids are given again
    first = next((thread["kernel_name"] for thread in threads if thread["native_id"] == raw["pid"]), "")
    return [
        raw["names"][thread["native_id"]]
        if latest[thread["native_id"]] == row and thread["native_id"] in raw["names"]
        else name_of(thread, raw["pid"], first)
        for row, thread in enumerate(threads)
    ]


def name_of(thread: Mapping[str, Any], pid: int, kernel_name: str) -> str | None:
    """The program's name as the thread began; else the kernel's, unless it is only the process' own `kernel_name`."""
    native_id = thread["native_id"]
    if native_id is None:
        return "threads beyond the table's room"
    given: str = thread["given_name"]
    if given or native_id == pid:
        return given or "MainThread"
    kernel: str = thread["kernel_name"]
    return kernel if kernel and kernel != kernel_name else None


def _reasons(raw: Mapping[str, Any], made: GilTrace) -> list[str]:
    """What keeps the trace from being the whole truth."""
    reasons = []
    if not raw.get("complete", True) or raw["state"] != STOPPED or made.switch_number_delta is None:
        reasons.append("the process did not live to stop the trace, which goes as far as it came")
    elif made.tstate_switches != made.switch_number_delta:
        reasons.append("CPython counted another number of thread-state switches: calls were missed")
    if made.lost_events:
        reasons.append(
            f"{made.lost_events:,} events found no room: distributions, matrix and longest holds are partial"
        )
    if raw["strayed"]:
        reasons.append(f"{raw['strayed']} times a call had been taken away from the trace by someone else")
    if raw["gils_left_out"]:
        reasons.append(f"{raw['gils_left_out']} GILs of subinterpreters are left out: there were too many")
    if raw["threads_left_out"]:
        reasons.append(f"{raw['threads_left_out']} threads are counted together: there were too many")
    if raw.get("codes_left_out"):
        reasons.append(f"{raw['codes_left_out']} times a function found no room in the table, and is not named")
    if raw.get("long_holds_left_out"):
        reasons.append(f"{raw['long_holds_left_out']} long holds were not looked at: there were too many")
    if raw["left_in_place"]:
        reasons.append(f"the calls could not be put back, and are passed on: {raw['left_in_place']}")
    return reasons
