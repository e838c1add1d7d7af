"""What the standard library's tracemalloc has traced, and what it does not see."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model, shown
from .report import PythonInfo


@dataclass(frozen=True, repr=False)
class TracedFrame(Model):
    """A line of a file; tracemalloc knows no functions."""

    file: str
    line: int

    def __repr__(self) -> str:
        return f"<TracedFrame {self.file}:{self.line}>"


@dataclass(frozen=True, repr=False)
class TracedSum(Model):
    """The live blocks of one file, line or traceback.

    frames       -- of a file or a line one frame (of a file with line 0); of a traceback the most recent first
    blocks       -- traced blocks that are alive
    bytes        -- as asked for, without the allocator's rounding
    blocks_grown, bytes_grown -- since the program's first line; None when growth was not asked for
    """

    frames: tuple[TracedFrame, ...]
    frames_dropped: int
    blocks: int
    bytes: int
    blocks_grown: int | None
    bytes_grown: int | None

    def __repr__(self) -> str:
        return f"<TracedSum {self.frames[0].file}:{self.frames[0].line}: {self.bytes} bytes in {self.blocks} blocks>"


@dataclass(frozen=True, repr=False)
class TracedUnseen(Model):
    """What tracemalloc does not see: memory that was taken before it began, past Python's allocators, or by itself.

    pymalloc_live_bytes   -- live blocks in pymalloc's arenas, as walked; None without pymalloc
    pymalloc_seen_bytes   -- traced blocks of up to 512 bytes, rounded up to pymalloc's; among them are a few that the
                             raw domain put elsewhere
    pymalloc_unseen_bytes -- the difference, hence a lower bound; pymalloc_unseen_share is its share of the live bytes
    rss_bytes             -- resident memory at the same time
    rss_unseen_bytes      -- what of it is neither traced nor tracemalloc's own; rss_unseen_share is its share
    reason                -- why a figure is None
    """

    pymalloc_live_bytes: int | None
    pymalloc_seen_bytes: int | None
    pymalloc_unseen_bytes: int | None
    pymalloc_unseen_share: float | None
    rss_bytes: int | None
    rss_unseen_bytes: int | None
    rss_unseen_share: float | None
    reason: str | None

    def __repr__(self) -> str:
        return f"<TracedUnseen {self.pymalloc_unseen_share} of pymalloc, {self.rss_unseen_share} of RSS>"


@dataclass(frozen=True, repr=False)
class TracemallocReport(Model):
    """A program under tracemalloc, at its end (tracemalloc's own figures: Python/tracemalloc.c).

    program        -- a name without arguments
    frame_limit    -- frames that tracemalloc keeps of each traceback
    traced_bytes, peak_bytes -- tracemalloc.get_traced_memory(), of all that is traced whatever the filters leave
    overhead_bytes -- tracemalloc.get_tracemalloc_memory()
    start_bytes    -- traced before the program's first line, None when growth was not asked for
    kept_bytes, kept_blocks -- live blocks that the filters leave; lines, files and tracebacks each sum to them
    lines, files, tracebacks -- the largest, by `sorted_by`; `*_total` says how many there are
    """

    meminspect: str
    python: PythonInfo
    pid: int
    program: str
    hooked_by: str | None
    note: str | None
    frame_limit: int
    traced_bytes: int
    peak_bytes: int
    overhead_bytes: int
    start_bytes: int | None
    kept_bytes: int
    kept_blocks: int
    sorted_by: str
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    lines: tuple[TracedSum, ...]
    lines_total: int
    files: tuple[TracedSum, ...]
    files_total: int
    tracebacks: tuple[TracedSum, ...]
    tracebacks_total: int
    unseen: TracedUnseen

    def __repr__(self) -> str:
        return f"<TracemallocReport of {shown(self.program)}: {self.traced_bytes} bytes traced, peak {self.peak_bytes}>"
