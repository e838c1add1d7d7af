"""What threads of a free-threaded build waited for: locks, and the world that was stopped."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model, shown
from .gil_sample import GilSample
from .gil_trace import Collection, Pauses


@dataclass(frozen=True, repr=False)
class WaitingThread(Model):
    """One thread that waited: parked_s for locks, critical sections and events, stopped_s for the world to go on."""

    name: str | None
    native_id: int
    parks: int
    parked_s: float
    longest_s: float
    stops: int
    stopped_s: float

    @property
    def label(self) -> str:
        return self.name or f"thread {self.native_id}"

    def __repr__(self) -> str:
        return f"<WaitingThread {shown(self.label)}: parked {self.parked_s:.6f} s, stopped {self.stopped_s:.6f} s>"


@dataclass(frozen=True, repr=False)
class ParkedAt(Model):
    """Waits at one address: of a mutex, of an object's lock (the object lies some bytes before), of an event.

    threads -- that waited there, as indices into `threads`; timed_out -- waits that ended without it
    """

    address: int
    parks: int
    timed_out: int
    waited_s: float
    longest_s: float
    threads: tuple[int, ...]

    def __repr__(self) -> str:
        return f"<ParkedAt {self.address:#x}: {self.parks:,} waits, {self.waited_s:.6f} s>"


@dataclass(frozen=True, repr=False)
class StopTheWorld(Model):
    """One time that the world stood still, as the threads that were stopped saw it.

    requester -- name or native id of the thread that stopped it; None: not known
    begin_s   -- when the first thread was seen to wait, after the beginning; length_s -- until the last went on
    victims   -- threads that waited, as indices into `threads`
    stopping_s -- what the requester waited until all stood still; 0.0 when it did not have to
    """

    requester: str | None
    requester_native_id: int | None
    begin_s: float
    length_s: float
    victims: tuple[int, ...]
    stopping_s: float

    def __repr__(self) -> str:
        return f"<StopTheWorld by {shown(self.requester or 'an unknown thread')}: {self.length_s:.6f} s>"


@dataclass(frozen=True, repr=False)
class WaitTrace(Model):
    """`gil.waits()`: what there is to see of waiting in a build without a GIL (csrc/gil/waits.h).

    parked    -- by address, the longest waited for first
    stops     -- of the world; one that no other thread had to wait for is not seen. collections and pauses, which stop
                 it too, are by gc.callbacks
    raw_waits -- on CPython's internal raw mutexes: counted only
    attached  -- looks at a rate: how much of the time each thread was attached; None when `rate_hz` was 0
    lost_waits -- that found no room
    Threads that spin for a lock and get it are not seen, here or by any hook.
    """

    duration_s: float
    threads: tuple[WaitingThread, ...]
    parked: tuple[ParkedAt, ...]
    stops: tuple[StopTheWorld, ...]
    stopped_share: float
    raw_waits: int
    collections: tuple[Collection, ...]
    pauses: tuple[Pauses, ...]
    attached: GilSample | None
    lost_waits: int
    exact: bool
    reason: str | None

    def __repr__(self) -> str:
        waits = sum(thread.parks for thread in self.threads)
        return f"<WaitTrace of {self.duration_s:.3f} s: {waits:,} waits, {len(self.stops):,} stops of the world>"
