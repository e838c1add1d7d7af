"""Waiting in a free-threaded build: what threads parked for, stops of the world, and how long each was attached.

Structure: Python/parking_lot.c's records on the stacks of threads that wait, struct _stoptheworld_state, the state of
each PyThreadState; see csrc/gil/waits.h and csrc/gil/gil_sampler.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from .. import _native
from ..analysis import waiting
from ..models.waits import WaitTrace
from . import gc_trace, gil_sample

DEFAULT_MEMORY_BYTES = 64 << 20
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
        _native.waits_begin(self.memory_bytes, self.rate_hz)
        return self

    def stop(self) -> Waits:
        """Stops, and puts all calls back; NativeError "absent" when none are noted in this process."""
        self.raw = _native.waits_end(self.rate_hz)
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


def build(raw: Mapping[str, Any]) -> WaitTrace:
    """The model of what `_native.waits_end` returned."""
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
