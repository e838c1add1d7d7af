"""Waiting in a free-threaded build: what threads parked for, stops of the world, and how long each was attached.

Structure: Python/parking_lot.c's records on the stacks of threads that wait, struct _stoptheworld_state, the state of
each PyThreadState; see csrc/gil/waits.h and csrc/gil/gil_sampler.h.
"""

from __future__ import annotations

import gc
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from .. import _native
from ..analysis import waiting
from ..models.waits import WaitTrace
from . import gc_trace, gil_sample

DEFAULT_MEMORY_BYTES = 64 << 20
GC_SHARE = 16  # of the memory, for collections
MAIN_THREAD = "MainThread"


class Waits:
    """Made by `gil.waits()`. `result` is the WaitTrace once it was stopped, `raw` what that is made of."""

    def __init__(self, memory_bytes: int, rate_hz: float) -> None:
        if memory_bytes < 1:
            raise ValueError("memory_bytes must be positive")
        self.memory_bytes = memory_bytes
        self.rate_hz = rate_hz
        self.raw: Mapping[str, Any] | None = None
        self._result: WaitTrace | None = None

    @property
    def result(self) -> WaitTrace:
        """What was seen; RuntimeError before it was stopped."""
        if self._result is None:
            if self.raw is None:
                raise RuntimeError("waits are still being noted")
            self._result = build(self.raw)
        return self._result

    def start(self) -> Waits:
        """Starts; NativeError "absent" in builds with a GIL, "limit" when waits are noted already."""
        start(self.memory_bytes, self.rate_hz)
        return self

    def stop(self) -> Waits:
        """Stops, and puts all calls back; NativeError "absent" when none are noted in this process."""
        self.raw = stop(self.rate_hz)
        return self

    def __enter__(self) -> Waits:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if _native.waits_running() or kind is None:
            self.stop()

    def __repr__(self) -> str:
        return f"<Waits {'running' if self.raw is None else self.result!r}>"


def waits(*, memory_bytes: int = DEFAULT_MEMORY_BYTES, rate_hz: float = gil_sample.DEFAULT_RATE_HZ) -> Waits:
    """What threads of a free-threaded build wait for: `with meminspect.gil.waits() as w: ...; w.result`.

    memory_bytes -- for the notes, 48 bytes a wait; what finds no room is counted in `lost_waits`
    rate_hz -- of the looks at which threads are attached (gil.sample()); 0: none

    Entering raises NativeError "absent" in builds with a GIL, where `gil.trace()` tells everything.
    """
    return Waits(memory_bytes, rate_hz)


def start(memory_bytes: int, rate_hz: float) -> None:
    _native.waits_start(memory_bytes)
    if rate_hz:
        _native.gil_sampler_start(rate_hz)
    _native.gc_log_start(max(1, memory_bytes // GC_SHARE))
    gc.callbacks.append(_native.gc_log_collected)


def stop(rate_hz: float) -> dict[str, Any]:
    if _native.gc_log_collected in gc.callbacks:
        gc.callbacks.remove(_native.gc_log_collected)
    raw: dict[str, Any] = _native.waits_stop()
    raw["gc"] = _native.gc_log_stop()
    raw["sample"] = _native.gil_sampler_stop() if rate_hz else None
    raw["rate_hz"] = rate_hz
    return raw


def build(raw: Mapping[str, Any]) -> WaitTrace:
    """The model of what `stop` returned."""
    begin, end = raw["begin_ns"], raw["end_ns"]
    found = list(waiting.waits_of(raw["waits"]))
    sample = gil_sample.build(raw["sample"], raw["rate_hz"]) if raw["sample"] else None
    names = {one.native_id: one.name for one in sample.threads if one.name} if sample else {}
    names.update(raw["names"])
    names.setdefault(raw["pid"], MAIN_THREAD)
    threads = waiting.threads(found, names)
    position = {thread.native_id: at for at, thread in enumerate(threads)}
    stops = waiting.stops(found, begin, position, names)
    collected = gc_trace.build(raw["gc"])
    reasons = []
    if raw["lost"]:
        reasons.append(f"{raw['lost']:,} waits found no room")
    if raw["left_in_place"]:
        reasons.append(f"the calls could not be put back, and are passed on: {raw['left_in_place']}")
    return WaitTrace(
        duration_s=(end - begin) / 1e9,
        threads=threads,
        parked=waiting.parked(found, position),
        stops=stops,
        stopped_share=min(1.0, sum(one.length_s for one in stops) / ((end - begin) / 1e9)) if end > begin else 0.0,
        raw_waits=sum(wait.kind == waiting.RAW for wait in found),
        collections=collected.collections,
        pauses=collected.pauses,
        attached=sample,
        lost_waits=raw["lost"],
        exact=not reasons,
        reason="; ".join(reasons) or None,
    )
