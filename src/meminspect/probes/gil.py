"""The GIL's own counters, and how long it is waited for.

Structure: struct _gil_runtime_state (pycore_gil.h), written by take_gil and drop_gil (Python/ceval_gil.c).
"""

from __future__ import annotations

import array
import os
from collections.abc import Mapping
from typing import Any

from .. import _native
from ..models.gil import GilCounters, GilRate, GilWait

NO_GIL = "this build runs without a GIL"
PAUSE_S = 0.0005


def counters(pid: int | None = None) -> GilCounters:
    """The counters of the GIL that this interpreter runs under, or of the main interpreter's of process `pid`.

    `tstate_switches` is CPython's switch_number: it counts changes of thread *state*. Threads that end give their
    state's address to the next one, and such hand-offs are not counted: 1,000 threads one after another can raise it by
    2. It is a lower bound of hand-offs between threads.

    In this process the GIL is held by the calling thread while it is read, so the holder is always the caller.

    Raises NativeError when another process cannot be read or runs another build of Python.
    """
    return all_counters(pid)[0]


def all_counters(pid: int | None = None) -> tuple[GilCounters, ...]:
    """The counters of every GIL of the process; the first is the one that counters() gives."""
    return build(_native.gil_capture(pid or 0))


def rate(seconds: float = 1.0) -> GilRate:
    """Thread-state switches a second, counted while this thread sleeps without the GIL.

    The caller's own return to the GIL is not counted. Raises ValueError unless 0 < seconds <= 86400.
    """
    slept, switches = _native.gil_sleep(_span(seconds))
    return GilRate(
        seconds=slept,
        tstate_switches=switches,
        per_second=None if switches is None else switches / slept,
        reason=NO_GIL if switches is None else None,
    )


def wait(seconds: float = 1.0, pause: float = PAUSE_S) -> GilWait:
    """How long this thread waits for the GIL now: it lets go for `pause` seconds and asks again, over and over.

    The waits are measured natively around PyEval_RestoreThread, with CLOCK_MONOTONIC. Raises ValueError unless
    0 < seconds <= 86400 and 0 <= pause <= seconds.
    """
    _span(seconds)
    if not 0 <= pause <= seconds:
        raise ValueError("pause must lie between 0 and seconds")
    if not counters().enabled:
        return GilWait(seconds=0.0, samples=0, median_s=None, p99_s=None, max_s=None, share_waiting=None, reason=NO_GIL)
    spent, packed = _native.gil_wait(seconds, pause)
    return build_wait(spent, packed)


def build_wait(spent: float, packed: bytes) -> GilWait:
    """The model of what `_native.gil_wait` returned: the seconds spent, and each wait in nanoseconds as uint64."""
    waits = array.array("Q", packed)
    ordered = sorted(waits)
    last = len(ordered) - 1
    return GilWait(
        seconds=spent,
        samples=len(ordered),
        median_s=ordered[last // 2] / 1e9,
        p99_s=ordered[(last * 99 + 50) // 100] / 1e9,
        max_s=ordered[last] / 1e9,
        share_waiting=sum(ordered) / 1e9 / spent,
        reason=None,
    )


def build(raw: Mapping[str, Any]) -> tuple[GilCounters, ...]:
    """The models of what `_native.gil_capture` returned, the measured interpreter's own GIL first."""
    if not raw["gils"]:
        return (_unverified(raw),)
    ordered = sorted(raw["gils"], key=lambda gil: not gil["own"])
    return tuple(_one(raw, gil) for gil in ordered)


def _one(raw: Mapping[str, Any], gil: Mapping[str, Any]) -> GilCounters:
    enabled = gil["enabled"] is not False
    reasons = [raw["reason"]] if raw["reason"] else []
    if not enabled:
        reasons.append(NO_GIL)
    elif gil["holder_unknown"]:
        reasons.append("the thread that holds it is not among the live threads, or changed while it was read")
    native_id = gil["holder_native_id"] if enabled else None
    return GilCounters(
        interpreters=tuple(gil["interpreters"]),
        tstate_switches=gil["tstate_switches"] if enabled else None,
        locked=gil["locked"] if enabled else None,
        holder_native_id=native_id,
        holder_name=None if native_id is None else _thread_name(raw, gil["holder_ident"], native_id),
        switch_interval_s=gil["interval_s"],
        enabled=enabled,
        exact=not (enabled and reasons),
        reason="; ".join(reasons) or None,
    )


def _unverified(raw: Mapping[str, Any]) -> GilCounters:
    return GilCounters(
        interpreters=(),
        tstate_switches=None,
        locked=None,
        holder_native_id=None,
        holder_name=None,
        switch_interval_s=raw["interval_s"],
        enabled=not raw["free_threaded"],
        exact=False,
        reason=raw["reason"],
    )


def _thread_name(raw: Mapping[str, Any], ident: int, native_id: int) -> str | None:
    """The name that the program gave the thread, else the kernel's (at most 15 bytes), None when it has gone."""
    name: str | None = raw["names"].get(ident)
    if name is not None:
        return name
    try:
        with open(f"/proc/{raw['pid']}/task/{native_id}/comm", "rb") as file:
            return os.fsdecode(file.read(64).rstrip(b"\n"))
    except OSError:
        return None


def _span(seconds: float) -> float:
    if not 0 < seconds <= 86400:
        raise ValueError("seconds must be more than 0 and at most 86400")
    return seconds
