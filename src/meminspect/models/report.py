"""The report: all of one process at one moment, with what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .base import Model, plain, shown
from .gc import GcState
from .gil import GilCounters
from .heap import HeapMap
from .memory import MemoryBreakdown

SCHEMA = 1


@dataclass(frozen=True, repr=False)
class PythonInfo(Model):
    """The interpreter. allocator: what PYTHONMALLOC resolved to, found by looking, not by the variable."""

    version: str
    implementation: str
    free_threaded: bool
    debug: bool
    allocator: str
    executable: str | None

    def __repr__(self) -> str:
        return f"<PythonInfo {self.implementation} {self.version}, {self.allocator}>"


@dataclass(frozen=True, repr=False)
class ProcessInfo(Model):
    """The process, by psutil where it knows. `program` is a name without arguments unless `--with-argv` was given."""

    pid: int
    program: str
    argv: tuple[str, ...] | None
    started_s: float | None
    taken_s: float
    threads: int | None
    open_files: int | None
    user_s: float | None
    system_s: float | None
    dumpable: bool | None
    libc: str
    kernel: str
    hooked_by: str | None  # "preload" or "sitecustomize" for a program that we started
    note: str | None  # how the measurement came about, when not in the usual way
    reason: str | None = None  # why the fields that are None are unknown

    def __repr__(self) -> str:
        return f"<ProcessInfo {self.pid}: {shown(self.program)}>"


@dataclass(frozen=True, repr=False)
class LargePath(Model):
    """What goes past pymalloc (> 512 bytes), to the raw domain's malloc.

    threshold_bytes -- the largest request that pymalloc serves, None without pymalloc
    mmap_threshold_bytes -- glibc's M_MMAP_THRESHOLD now where it can be told, else None (it is dynamic)
    """

    malloc: str
    threshold_bytes: int | None
    mmap_threshold_bytes: int | None
    live_bytes: int | None
    free_bytes: int | None
    free_resident_bytes: int | None
    mmapped_chunks: int | None
    mmapped_bytes: int | None
    trim_would_return_bytes: int | None
    reason: str | None

    def __repr__(self) -> str:
        return f"<LargePath {self.malloc}: {self.live_bytes} live, {self.free_bytes} free>"


@dataclass(frozen=True, repr=False)
class Keeper(Model):
    """A size class whose live blocks lie in sparse arenas, and so keep them from being given back.

    arenas       -- sparse arenas with at least one block of it
    arenas_alone -- of these, arenas with blocks of no other class: they would go if these blocks went
    blocks       -- its live blocks in sparse arenas
    """

    size_class: int
    size: int
    arenas: int
    arenas_alone: int
    blocks: int

    def __repr__(self) -> str:
        return f"<Keeper {self.size} bytes: {self.blocks} blocks in {self.arenas} sparse arenas>"


@dataclass(frozen=True, repr=False)
class Fragmentation(Model):
    """How far the small-object heap is from being as small as what lives in it (derived from HeapMap).

    fragmentation   -- 1 - bytes in live blocks / bytes of blocks in used pools, over all size classes; None without any
    arenas_kept     -- arenas with at least one live block: pymalloc gives an arena back only when it has none
    arenas_minimum  -- arenas that the live blocks would fill if each size class were packed without a gap; None for
                       mimalloc, whose pages differ in size
    arenas_sparse   -- kept arenas of which live blocks fill less than `sparse_below`
    sparse_blocks, sparse_used_bytes, sparse_free_bytes -- in these: live blocks, their bytes, free blocks and pools
    arenas_examined -- sparse arenas whose pools were looked at for `keepers` (there is a limit)
    keepers         -- size classes by the number of sparse arenas that they keep, the first first
    """

    fragmentation: float | None
    arenas: int
    arenas_kept: int
    arenas_minimum: int | None
    arenas_sparse: int
    sparse_below: float
    sparse_blocks: int
    sparse_used_bytes: int
    sparse_free_bytes: int
    arenas_examined: int
    keepers: tuple[Keeper, ...]

    def __repr__(self) -> str:
        return f"<Fragmentation: {self.arenas_sparse} sparse of {self.arenas_kept} kept arenas>"


@dataclass(frozen=True, repr=False)
class Finding(Model):
    """One conclusion: a sentence, the figures that it rests on, and what to try.

    concern -- "memory" (why it is held), "gc", "gil", or "trust" (what the measurement itself could not do)
    """

    id: str
    text: str
    figures: dict[str, int | float | str]
    try_: str | None
    concern: str = "memory"

    def to_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "concern": self.concern,
            "text": self.text,
            "figures": plain(self.figures),
            "try": self.try_,
        }

    def __repr__(self) -> str:
        return f"<Finding {self.id}>"


@dataclass(frozen=True, repr=False)
class GilTraceSummary(Model):
    """What a trace of the GIL said that this process took and still keeps: in seconds, and as sentences.

    hand_offs, forced -- from one OS thread to another, and those of them that a drop request forced
    waited_s -- by all threads
    """

    duration_s: float
    hand_offs: int
    forced: int
    waited_s: float
    exact: bool
    sentences: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<GilTraceSummary of {self.duration_s:.3f} s: {self.hand_offs:,} hand-offs>"


@dataclass(frozen=True, repr=False)
class Report(Model):
    """`report()`. Sections that could not be taken are None, with the reason under the same name in `missing`.

    The first finding is the answer: where RSS is and why. `fragmentation` is derived from `pymalloc`. `gil_trace` is
    there when this process took a trace of the GIL and keeps it.
    """

    meminspect: str
    python: PythonInfo
    process: ProcessInfo
    memory: MemoryBreakdown | None
    pymalloc: HeapMap | None
    large: LargePath | None
    gc: GcState | None
    gil: tuple[GilCounters, ...] | None
    findings: tuple[Finding, ...]
    missing: dict[str, str] = field(default_factory=dict)
    fragmentation: Fragmentation | None = None
    gil_trace: GilTraceSummary | None = None

    def __repr__(self) -> str:
        return f"<Report of {self.process.pid}: {len(self.findings)} findings>"
