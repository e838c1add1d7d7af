"""What a piece of a program left behind."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model
from .diff import GrowthRow


@dataclass(frozen=True, repr=False)
class ThreadGrowth(Model):
    """Another thread that ran meanwhile.

    native_id -- of the thread
    cpu_s     -- how long it ran (/proc/PID/task/TID/schedstat); None where the kernel does not tell: it may have run
    blocks, bytes -- what its own heaps grew by; known in free-threaded builds alone, where each thread has its own
    """

    native_id: int
    cpu_s: float | None
    blocks: int | None
    bytes: int | None

    def __repr__(self) -> str:
        return f"<ThreadGrowth {self.native_id}: ran {self.cpu_s} s, {self.blocks} blocks>"


@dataclass(frozen=True, repr=False)
class OtherThreads(Model):
    """What other threads were given in the body and had not given back behind it (csrc/allocators/thread_blocks.h): the
    threads that were there when it began. Threads that began in the body count as the body's.

    types, buffers -- what it holds, the most bytes first
    blocks, bytes  -- of it on the small path
    other_blocks   -- of these, what the census gives no object and no buffer
    resized        -- blocks that they were not given, but resized: what those grew by cannot be told apart
    resized_owners -- names of the types and buffers that these are
    freed          -- blocks that they gave back and were not given in the body: older ones, or the body's own
    lost           -- True: some could not be noted
    """

    types: tuple[GrowthRow, ...]
    buffers: tuple[GrowthRow, ...]
    blocks: int
    bytes: int
    other_blocks: int
    resized: int
    resized_owners: tuple[str, ...]
    freed: int
    lost: bool

    def __repr__(self) -> str:
        return f"<OtherThreads {self.blocks:+} blocks, {self.bytes:+} bytes>"


@dataclass(frozen=True, repr=False)
class Growth(Model):
    """`growth()`: what is alive behind the body and was not before it, from two censuses.

    types, buffers -- what changed, the most bytes first; None when there is no census (`reason`)
    blocks, bytes -- of the small-object heap, as sys.getallocatedblocks() counts them, free lists included
    other_blocks  -- of these, what the census gives no object and no buffer: free lists, and what nothing named
    arenas        -- how many more there are
    threads       -- other threads that ran meanwhile
    others        -- what those of them were given that were there before, in builds with a GIL: it is not in the
                     figures above, but for `arenas`. None: it is not known, and in all figures above
    exact         -- False when a walk was not whole, or when other threads ran; `reason` says which
    """

    types: tuple[GrowthRow, ...] | None
    buffers: tuple[GrowthRow, ...] | None
    blocks: int
    bytes: int
    other_blocks: int | None
    arenas: int
    threads: tuple[ThreadGrowth, ...]
    others: OtherThreads | None
    exact: bool
    reason: str | None

    @property
    def left(self) -> tuple[GrowthRow, ...]:
        """Types and buffers of which there is more, the most bytes first."""
        rows = [row for row in (*(self.types or ()), *(self.buffers or ())) if (row.count or 0) > 0 or row.bytes > 0]
        return tuple(sorted(rows, key=lambda row: -row.bytes))

    def __repr__(self) -> str:
        return f"<Growth {self.blocks:+} blocks, {self.bytes:+} bytes, {self.arenas:+} arenas>"
