"""The report: all of one process at one moment, with what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .base import Model, plain
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
    threads: int
    open_files: int | None
    user_s: float | None
    system_s: float | None
    dumpable: bool | None
    libc: str
    kernel: str
    hooked_by: str | None  # "preload" or "sitecustomize" for a program that we started
    note: str | None  # how the measurement came about, when not in the usual way

    def __repr__(self) -> str:
        return f"<ProcessInfo {self.pid}: {self.program}>"


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
class Finding(Model):
    """One conclusion: a sentence, the figures that it rests on, and what to try."""

    id: str
    text: str
    figures: dict[str, int | float | str]
    try_: str | None

    def to_dict(self) -> dict[str, Any]:
        return {"id": self.id, "text": self.text, "figures": plain(self.figures), "try": self.try_}

    def __repr__(self) -> str:
        return f"<Finding {self.id}>"


@dataclass(frozen=True, repr=False)
class Report(Model):
    """`report()`. Sections that could not be taken are None, with the reason under the same name in `missing`."""

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

    def __repr__(self) -> str:
        return f"<Report of {self.process.pid}: {len(self.findings)} findings>"
