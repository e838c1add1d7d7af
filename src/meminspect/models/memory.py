"""Where the resident memory of a process is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .base import Model, shown


@dataclass(frozen=True, repr=False)
class MemoryNode(Model):
    """One cause of resident memory; the children of a node sum to its bytes.

    bytes         -- resident bytes (whole pages split by what lies in them)
    virtual_bytes -- address space, resident or not
    count         -- how many things (chunks, stacks, arenas, mappings) it is made of, None where that says nothing
    """

    name: str
    bytes: int
    virtual_bytes: int
    count: int | None
    children: tuple[MemoryNode, ...] = ()

    def leaves(self) -> Iterator[MemoryNode]:
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def find(self, *path: str) -> MemoryNode | None:
        """The node below this one by the names on the way to it, or None."""
        node: MemoryNode | None = self
        for name in path:
            node = next((child for child in node.children if child.name == name), None) if node else None
        return node

    def __repr__(self) -> str:
        return f"<MemoryNode {shown(self.name)}: {self.bytes} bytes resident, {len(self.children)} children>"


@dataclass(frozen=True, repr=False)
class MallocArena(Model):
    """One of glibc's malloc arenas, walked chunk by chunk (malloc/malloc.c: malloc_state, malloc_chunk).

    name -- "main", or "thread 1", ... in order of address
    live_bytes, free_bytes, tcache_bytes, top_bytes -- in chunks, headers included, resident or not
    free_resident_bytes -- resident part of the free chunks and of top
    trim_bytes -- whole resident pages inside free chunks: what malloc_trim(0) would give back
    holder, holder_bytes -- the last chunk in use before top: glibc by itself cuts off only what lies behind it; None
                without one. It may be one that a thread's cache keeps
    holder_type -- of the object in it; None where none begins there: a buffer, or C's
    """

    name: str
    address: int
    size_bytes: int
    live_chunks: int
    live_bytes: int
    free_chunks: int
    free_bytes: int
    free_resident_bytes: int
    tcache_chunks: int
    tcache_bytes: int
    top_bytes: int
    trim_bytes: int
    holder: int | None = None
    holder_bytes: int | None = None
    holder_type: str | None = None

    def __repr__(self) -> str:
        return f"<MallocArena {self.name}: {self.live_bytes} live, {self.free_bytes} free>"


@dataclass(frozen=True, repr=False)
class Cgroup(Model):
    """The control group's limits and use (cgroup v2 memory.* files, or their v1 counterparts); None where not given.

    headroom_bytes -- until the nearest limit that would kill: limit - current, of this group or one above it
    """

    path: str
    version: int
    current_bytes: int | None
    max_bytes: int | None
    high_bytes: int | None
    anon_bytes: int | None
    file_bytes: int | None
    kernel_bytes: int | None
    shmem_bytes: int | None
    oom_events: int | None
    oom_kills: int | None
    headroom_bytes: int | None

    def __repr__(self) -> str:
        return f"<Cgroup {shown(self.path)}: {self.current_bytes} of {self.max_bytes}>"


@dataclass(frozen=True, repr=False)
class MemoryBreakdown(Model):
    """`memory()`: every resident byte of one moment on a named cause.

    tree     -- the root's bytes are the sum of its leaves (/proc/PID/maps and pagemap, split by the walkers)
    rss_bytes -- Rss of /proc/PID/smaps_rollup read beside it; pss, uss and swap from the same file; peak is VmHWM
    unattributed_bytes -- leaf "unattributed" plus any difference of the tree's sum to rss_bytes
    trim_would_return_bytes -- what malloc_trim(0) would give back, predicted, None when it cannot be told
    malloc   -- the malloc in force: "glibc 2.36", "jemalloc", ...
    exact    -- False when pages or chunks could not be read; `reason` says why and how much it concerns
    mmap_threshold_bytes -- glibc's mmap threshold now (mp_ in malloc.c), None where it was not found
    zero_bytes -- pages that are mapped to the kernel's zero page: present, but no memory and not in Rss
    cgroup_reason -- why there is no `cgroup`
    malloc_allocated_bytes, malloc_resident_bytes -- jemalloc's own stats.allocated and stats.resident, to be held
                  against its leaf; None for another malloc, another process and in reports
    """

    pid: int
    rss_bytes: int
    pss_bytes: int | None
    uss_bytes: int | None
    peak_rss_bytes: int | None
    swap_bytes: int | None
    unattributed_bytes: int
    trim_would_return_bytes: int | None
    malloc: str
    mmapped_chunks: int | None
    mmapped_bytes: int | None
    malloc_arenas: tuple[MallocArena, ...]
    cgroup: Cgroup | None
    tree: MemoryNode
    exact: bool
    reason: str | None
    pause_s: float
    mmap_threshold_bytes: int | None = None
    zero_bytes: int | None = None
    cgroup_reason: str | None = None
    malloc_allocated_bytes: int | None = None
    malloc_resident_bytes: int | None = None

    def __repr__(self) -> str:
        return f"<MemoryBreakdown of {self.pid}: RSS {self.rss_bytes}, {self.unattributed_bytes} unattributed>"
