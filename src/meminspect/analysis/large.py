"""The large path: what is allocated past pymalloc, summed up from the walk of the C library's heaps."""

from __future__ import annotations

from ..models.heap import HeapMap
from ..models.memory import MemoryBreakdown
from ..models.report import LargePath

SMALL_REQUEST_THRESHOLD = 512  # Include/internal/pycore_obmalloc.h, the same in 3.11 to 3.15
DYNAMIC = (
    "glibc has no call that tells its mmap threshold; it moves from 128 KiB up to 32 MiB as large chunks are freed"
)


def large_path(memory: MemoryBreakdown, heap: HeapMap | None) -> LargePath:
    """The sums over all malloc arenas; None where this malloc cannot be walked, `reason` says so."""
    arenas = memory.malloc_arenas
    glibc = memory.malloc.startswith("glibc")
    unknown = DYNAMIC if memory.mmap_threshold_bytes is None else None
    return LargePath(
        malloc=memory.malloc,
        threshold_bytes=small_threshold(heap),
        mmap_threshold_bytes=memory.mmap_threshold_bytes,
        live_bytes=sum(arena.live_bytes for arena in arenas) if arenas else None,
        free_bytes=sum(arena.free_bytes + arena.top_bytes for arena in arenas) if arenas else None,
        free_resident_bytes=sum(arena.free_resident_bytes for arena in arenas) if arenas else None,
        mmapped_chunks=memory.mmapped_chunks,
        mmapped_bytes=memory.mmapped_bytes,
        trim_would_return_bytes=memory.trim_would_return_bytes,
        reason=unknown if glibc else f"only glibc's heaps can be walked, and {memory.malloc} is in force",
    )


def small_threshold(heap: HeapMap | None) -> int | None:
    """The largest request that pymalloc serves; a debug allocator's padding counts towards it."""
    if heap is None or not heap.allocator.startswith("pymalloc"):
        return None
    return SMALL_REQUEST_THRESHOLD - heap.padding_bytes
