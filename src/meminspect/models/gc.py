"""The cyclic garbage collector."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model


@dataclass(frozen=True, repr=False)
class Generation(Model):
    """One generation, or its counterpart in this version.

    name    -- "young", "middle", "old"; "old (pending)", "old (visited)" while 3.14.0-3.14.4 collect incrementally
    objects -- walked along the generation's own list, None where there is none (free-threaded builds)
    count, threshold -- the collector's own (gc.get_count(), gc.get_threshold())
    collections, collected, uncollectable, candidates, duration_s -- gc.get_stats(), None where this version has none
    """

    index: int
    name: str
    objects: int | None
    count: int
    threshold: int
    collections: int | None
    collected: int | None
    uncollectable: int | None
    candidates: int | None
    duration_s: float | None

    def __repr__(self) -> str:
        return f"<Generation {self.index} ({self.name}): {self.objects} objects, count {self.count}/{self.threshold}>"


@dataclass(frozen=True, repr=False)
class GcState(Model):
    """`gc_state()` (struct _gc_runtime_state).

    kind    -- "generational", "incremental" or "free-threaded"
    frozen  -- objects in the permanent generation
    trigger -- one sentence with figures: when the next automatic collection starts
    exact   -- False when a list could not be walked, or not to its end: its objects are None then
    pause_s -- how long the GIL was held for it
    """

    kind: str
    enabled: bool
    collecting: bool
    generations: tuple[Generation, ...]
    frozen: int | None
    long_lived_total: int | None
    long_lived_pending: int | None
    trigger: str
    exact: bool
    reason: str | None
    pause_s: float | None = None

    def __repr__(self) -> str:
        return f"<GcState {self.kind}: {sum(g.objects or 0 for g in self.generations)} objects>"
