"""What grew from one snapshot to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .base import Model, shown

SCHEMA = 1


@dataclass(frozen=True, repr=False)
class GrowthRow(Model):
    """One thing in both snapshots: 0 where it was not there.

    name -- of the type, module, owner, size class ("64 bytes"), or cause (its path in the tree)
    count_before, count_after -- objects or blocks (causes: what they are made of); None where that says nothing
    bytes_before, bytes_after -- as allocated; causes: resident
    """

    name: str
    count_before: int | None
    count_after: int | None
    bytes_before: int
    bytes_after: int

    @property
    def count(self) -> int | None:
        """How many more there are."""
        if self.count_before is None or self.count_after is None:
            return None
        return self.count_after - self.count_before

    @property
    def bytes(self) -> int:
        """How many bytes more it has."""
        return self.bytes_after - self.bytes_before

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "count": self.count, "bytes": self.bytes}

    def __repr__(self) -> str:
        return f"<GrowthRow {shown(self.name)}: {self.bytes:+} bytes>"


@dataclass(frozen=True, repr=False)
class ArenaGrowth(Model):
    """An arena that is in one snapshot alone, or whose live bytes changed.

    state -- "new", "gone" or "kept"; by interpreter and address, so an arena that went and came back is "kept"
    """

    address: int
    interpreter: int
    state: str
    used_bytes_before: int
    used_bytes_after: int

    @property
    def bytes(self) -> int:
        return self.used_bytes_after - self.used_bytes_before

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "bytes": self.bytes}

    def __repr__(self) -> str:
        return f"<ArenaGrowth {self.address:#x}: {self.state}, {self.bytes:+} bytes>"


@dataclass(frozen=True, repr=False)
class Moment(Model):
    """One side of a comparison. None: its snapshot does not tell."""

    path: str
    host: str | None
    pid: int | None
    taken_s: float | None
    python: str | None
    rss_bytes: int | None
    arenas: int | None
    live_bytes: int | None

    def __repr__(self) -> str:
        return f"<Moment {shown(self.path)}: RSS {self.rss_bytes}>"


@dataclass(frozen=True, repr=False)
class Diff(Model):
    """`diff(before, after)`: growth, the most bytes first; rows that did not change are left out.

    same_process -- both are of one process, so that arenas can be followed by their addresses
    types, modules, buffers -- from the census: objects by type, and by module of the type; buffers by owner
    size_classes -- live blocks of the small-object heap
    causes       -- leaves of the memory tree; they sum to the growth of the tree
    arenas       -- None when the two are of different processes
    arenas_new, arenas_gone, arenas_kept -- how many
    missing      -- what could not be compared, and why
    """

    before: Moment
    after: Moment
    same_process: bool
    types: tuple[GrowthRow, ...] | None
    modules: tuple[GrowthRow, ...] | None
    buffers: tuple[GrowthRow, ...] | None
    size_classes: tuple[GrowthRow, ...] | None
    causes: tuple[GrowthRow, ...] | None
    arenas: tuple[ArenaGrowth, ...] | None
    arenas_new: int | None
    arenas_gone: int | None
    arenas_kept: int | None
    missing: dict[str, str]

    @property
    def rss_bytes(self) -> int | None:
        """How much RSS grew."""
        if self.before.rss_bytes is None or self.after.rss_bytes is None:
            return None
        return self.after.rss_bytes - self.before.rss_bytes

    def to_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, **super().to_dict(), "rss_bytes": self.rss_bytes}

    def __repr__(self) -> str:
        return f"<Diff {shown(self.before.path)} to {shown(self.after.path)}: RSS {self.rss_bytes}>"
