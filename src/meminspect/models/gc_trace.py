"""Collections alone, without a trace of the GIL."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model, shown
from .gil_trace import Collection, Pauses


@dataclass(frozen=True, repr=False)
class CollectingThread(Model):
    """A thread that collected: its name as the program gave it, None when it has ended; the kernel's id."""

    name: str | None
    native_id: int

    def __repr__(self) -> str:
        return f"<CollectingThread {shown(self.name or str(self.native_id))}>"


@dataclass(frozen=True, repr=False)
class GcTrace(Model):
    """`gil.trace(gc_only=True)`: every collection of the interpreter that started it, by gc.callbacks.

    begin_ns    -- CLOCK_MONOTONIC at the beginning
    collections -- in the order of their ends; `thread` is an index into `threads`
    pauses      -- one for each generation that was collected
    wall_share  -- of the duration that was spent in collections, 0 to 1
    lost_collections -- that found no room; they are in none of the figures
    """

    duration_s: float
    begin_ns: int
    threads: tuple[CollectingThread, ...]
    collections: tuple[Collection, ...]
    pauses: tuple[Pauses, ...]
    wall_share: float
    lost_collections: int
    exact: bool
    reason: str | None

    def __repr__(self) -> str:
        return f"<GcTrace of {self.duration_s:.3f} s: {len(self.collections):,} collections, {self.wall_share:.1%}>"
