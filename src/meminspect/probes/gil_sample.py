"""Sampling the GIL: a native thread without it looks at a rate who holds it and how many wait.

Structure: struct _gil_runtime_state (pycore_gil.h), and the waiters that glibc counts in its condition variable; see
csrc/gil/gil_sampler.h. In free-threaded builds the state of each PyThreadState.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from .. import _native
from ..models.gil_sample import GilSample, Knock, SampledHolds, SampledThread
from .gil import NO_GIL, counters

DEFAULT_RATE_HZ = 100.0
PAUSE_S = 0.0005
DETACHED, ATTACHED, SUSPENDED = range(3)  # _Py_THREAD_DETACHED, ... of pycore_pystate.h
NORMAL_95 = 1.96


class Sampler:
    """Made by `gil.sample()`. `result` is the GilSample once it was stopped."""

    def __init__(self, rate_hz: float) -> None:
        if not 0.1 <= rate_hz <= 10_000:
            raise ValueError("rate_hz must lie between 0.1 and 10000")
        self.rate_hz = rate_hz
        self.raw: Mapping[str, Any] | None = None
        self._result: GilSample | None = None

    @property
    def result(self) -> GilSample:
        """What was seen; RuntimeError before it was stopped."""
        if self._result is None:
            if self.raw is None:
                raise RuntimeError("sampling has not been stopped yet")
            self._result = build(self.raw, self.rate_hz)
        return self._result

    def start(self) -> Sampler:
        """Starts; NativeError "limit" when the GIL is sampled already."""
        _native.gil_sampler_start(self.rate_hz)
        return self

    def stop(self) -> Sampler:
        """Stops; NativeError "absent" when nothing is sampled in this process (a child after fork)."""
        self.raw = _native.gil_sampler_stop()
        return self

    def __enter__(self) -> Sampler:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if _native.gil_sampler_running() or kind is None:
            self.stop()

    def __repr__(self) -> str:
        return f"<Sampler {'running' if self.raw is None else self.result!r}>"


def sample(rate_hz: float = DEFAULT_RATE_HZ) -> Sampler:
    """Looks at the GIL at a rate, for a `with` statement: `with meminspect.gil.sample() as s: ...; s.result`.

    For where a trace is too much, or cannot be had: nothing is redirected, and 100 looks a second take few thousandths
    of a core (`cpu_share` in the result). What comes of it are estimates; run beside `gil.trace()` the result says how
    far off they were. Threads of other interpreters under the same GIL count as unknown. In free-threaded builds it
    tells how much of the time each thread was attached. Raises ValueError unless 0.1 <= rate_hz <= 10000.
    """
    return Sampler(rate_hz)


def knock(pause_s: float = PAUSE_S) -> Knock:
    """Lets the GIL go for `pause_s`, asks for it again and tells how long that took: what a thread would wait now."""
    if not 0 <= pause_s <= 60:
        raise ValueError("pause_s must lie between 0 and 60")
    if not counters().enabled:
        return Knock(wait_s=None, reason=NO_GIL)
    _, packed = _native.gil_wait(1e-9, pause_s)
    return Knock(wait_s=struct.unpack_from("=Q", packed)[0] / 1e9, reason=None)


def build(raw: Mapping[str, Any], rate_hz: float) -> GilSample:
    """The model of what `_native.gil_sampler_stop` returned."""
    duration_s = (raw["end_ns"] - raw["begin_ns"]) / 1e9
    looks = raw["looks"]
    with_gil = not raw["free_threaded"]
    exact = raw["exact_held_ns"] if with_gil else None
    threads = tuple(_thread(raw, row, looks, duration_s, exact) for row in raw["threads"])
    known = looks and with_gil
    reasons = ["estimated from looks at a rate"]
    if not with_gil:
        reasons.insert(0, NO_GIL)
    elif raw["waiters"] is None:
        reasons.append("this C library's count of waiters was not found")
    if raw["left_out"]:
        reasons.append(f"{raw['left_out']} times a thread found no room in the table")
    return GilSample(
        duration_s=duration_s,
        rate_hz=rate_hz,
        looks=looks,
        failed_looks=raw["failed"],
        held_share=raw["locked"] / looks if known else None,
        held_error=_error(raw["locked"], looks) if known else None,
        exact_held_share=sum(exact.values()) / 1e9 / duration_s if exact is not None else None,
        worst_error=max(
            (abs(one.held_share - one.exact_share) for one in threads
             if one.held_share is not None and one.exact_share is not None), default=0.0)
        if exact is not None else None,
        unknown_share=raw["unknown"] / looks if known else None,
        waiters=_trimmed(raw["waiters"], looks) if known and raw["waiters"] is not None else None,
        mean_waiters=raw["waiting"] / looks if known and raw["waiters"] is not None else None,
        tstate_switches=raw["switches"] if known else None,
        threads=threads,
        threads_omitted=raw["left_out"],
        holds=tuple(SampledHolds(2**at * duration_s / looks, count) for at, count in enumerate(raw["runs"]) if count),
        cpu_s=raw["cpu_ns"] / 1e9,
        cpu_share=raw["cpu_ns"] / 1e9 / duration_s if duration_s else 0.0,
        exact=False,
        reason="; ".join(reasons),
    )  # fmt: skip


def _thread(
    raw: Mapping[str, Any], row: tuple[int, int, list[int], str], looks: int, duration_s: float,
    exact: Mapping[int, int] | None,
) -> SampledThread:  # fmt: skip
    native_id, held, states, kernel_name = row
    main = next((row[3] for row in raw["threads"] if row[0] == raw["pid"]), "")
    there = sum(states)
    name = raw["names"].get(native_id)
    return SampledThread(
        name=name
        or ("MainThread" if native_id == raw["pid"] else (kernel_name if kernel_name != main else "") or None),
        native_id=native_id,
        held_share=held / looks if looks and not raw["free_threaded"] else None,
        error=_error(held, looks) if looks and not raw["free_threaded"] else None,
        exact_share=exact.get(native_id, 0) / 1e9 / duration_s if exact is not None and duration_s else None,
        attached_share=states[ATTACHED] / there if there else None,
        detached_share=states[DETACHED] / there if there else None,
        suspended_share=states[SUSPENDED] / there if there else None,
    )


def _error(count: int, looks: int) -> float:
    share = (count + 2) / (looks + 4)  # Agresti and Coull: no certainty from few looks
    return NORMAL_95 * math.sqrt(share * (1 - share) / (looks + 4))


def _trimmed(counts: list[int], looks: int) -> tuple[float, ...]:
    last = max((at for at, count in enumerate(counts) if count), default=0)
    return tuple(count / looks for count in counts[: last + 1])
