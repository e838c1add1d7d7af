"""Reports made by hand, for tests of analysis and views: a bare interpreter, and one with scattered survivors."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

from meminspect.analysis.findings import find
from meminspect.analysis.fragmentation import fragmentation
from meminspect.analysis.large import large_path
from meminspect.models.gc import GcState, Generation
from meminspect.models.gil import GilCounters
from meminspect.models.heap import Arena, CrossCheck, HeapBytes, HeapMap, Pool, SizeClass
from meminspect.models.memory import Cgroup, MallocArena, MemoryBreakdown, MemoryNode
from meminspect.models.report import ProcessInfo, PythonInfo, Report

KIB, MIB = 1 << 10, 1 << 20
POOL = 16 * KIB
HEADER = 48
POOLS = 63  # of an arena whose address is no multiple of a pool


def heap_of(arenas_pools: list[list[tuple[int, int]]]) -> HeapMap:
    """A heap of arenas given as lists of (size of block, live blocks) per pool; the rest of POOLS pools is free."""
    pools: dict[int, tuple[Pool, ...]] = {}
    totals: dict[int, list[int]] = {}
    arenas = []
    for number, rows in enumerate(arenas_pools):
        address = 0x7F0000000000 + number * MIB
        made = []
        used_bytes = free_bytes = 0
        for at, (size, used) in enumerate(rows):
            free = (POOL - HEADER) // size - used
            made.append(Pool(address + at * POOL, size // 16 - 1, used, free, 0))
            used_bytes += used * size
            free_bytes += free * size
            total = totals.setdefault(size, [0, 0, 0])
            for place, value in enumerate((1, used, free)):
                total[place] += value
        pools[number] = tuple(made)
        blocks = sum(pool.used for pool in made)
        free_pools = POOLS - len(made)
        arenas.append(
            Arena(number, 0, address, MIB, POOLS, free_pools, 0, blocks, used_bytes, free_bytes, used_bytes / MIB)
        )
    classes = tuple(SizeClass(size // 16 - 1, size, *totals[size], 0) for size in sorted(totals))
    used_bytes = sum(item.used_bytes for item in classes)
    free_bytes = sum(item.free_bytes for item in classes)
    used_pools = sum(item.pools for item in classes)
    ledger = HeapBytes(
        used_bytes=used_bytes,
        free_blocks_bytes=free_bytes,
        free_pools_bytes=(len(arenas) * POOLS - used_pools) * POOL,
        pool_headers_bytes=used_pools * HEADER,
        quantization_bytes=used_pools * (POOL - HEADER) - used_bytes - free_bytes,
        alignment_bytes=len(arenas) * POOL,
        total_bytes=len(arenas) * MIB,
    )
    return HeapMap(
        allocator="pymalloc",
        exact=True,
        reason=None,
        arena_size=MIB,
        pool_size=POOL,
        padding_bytes=0,
        arenas=tuple(arenas),
        size_classes=classes,
        bytes=ledger,
        cross_check=CrossCheck("CPython's own statistics", True, None, 32, ()),
        omitted=(),
        pause_s=0.0012,
        _pools=lambda one: pools[one.index],
    )


@cache
def scattered_heap(arenas: int = 815) -> HeapMap:
    """One survivor of 208 bytes in most pools of nearly every arena, and a handful of full arenas."""
    sparse = [[(208, 1)] * 49 for _ in range(arenas - 5)]
    full = [[(48, 340)] * 40 + [(64, 255)] * 20 for _ in range(5)]
    return heap_of(sparse + full)


def tree_of(heap: HeapMap, others: dict[str, int | dict[str, int]]) -> MemoryNode:
    assert heap.bytes is not None
    ledger = heap.bytes
    parts = {
        "live blocks": ledger.used_bytes,
        "free blocks": ledger.free_blocks_bytes,
        "free pools": ledger.free_pools_bytes,
        "headers and the rest": ledger.pool_headers_bytes + ledger.quantization_bytes + ledger.alignment_bytes,
    }
    children = [parent("pymalloc", parts, len(heap.arenas))]
    for name, value in others.items():
        children.append(parent(name, value) if isinstance(value, dict) else MemoryNode(name, value, value, None))
    return MemoryNode("RSS", sum(child.bytes for child in children), 0, None, tuple(children))


def parent(name: str, parts: dict[str, int], count: int | None = None) -> MemoryNode:
    children = tuple(MemoryNode(part, value, value, None) for part, value in parts.items())
    total = sum(parts.values())
    return MemoryNode(name, total, total, count, children)


def malloc_arena(name: str = "main", *, live: int = MIB, free: int = 0, trim: int = 0, **changes: Any) -> MallocArena:
    values: dict[str, Any] = {
        "name": name,
        "address": 0x7E0000000000,
        "size_bytes": live + free,
        "live_chunks": max(1, live // 600),
        "live_bytes": live,
        "free_chunks": free // 4096,
        "free_bytes": free,
        "free_resident_bytes": free,
        "tcache_chunks": 20,
        "tcache_bytes": 4096,
        "top_bytes": 0,
        "trim_bytes": trim,
    }
    return MallocArena(**(values | changes))


def memory_of(tree: MemoryNode, **changes: Any) -> MemoryBreakdown:
    unattributed = tree.find("unattributed")
    values: dict[str, Any] = {
        "pid": 4711,
        "rss_bytes": tree.bytes,
        "pss_bytes": tree.bytes - MIB,
        "uss_bytes": tree.bytes - 2 * MIB,
        "peak_rss_bytes": tree.bytes + MIB,
        "swap_bytes": 0,
        "unattributed_bytes": unattributed.bytes if unattributed else 0,
        "trim_would_return_bytes": 0,
        "malloc": "glibc 2.36",
        "mmapped_chunks": 1,
        "mmapped_bytes": 256 * KIB,
        "malloc_arenas": (malloc_arena(),),
        "cgroup": Cgroup("/app", 2, 300 * MIB, 2048 * MIB, None, 200 * MIB, 90 * MIB, 10 * MIB, 0, 0, 0, 1748 * MIB),
        "tree": tree,
        "exact": True,
        "reason": None,
        "pause_s": 0.004,
    }
    return MemoryBreakdown(**(values | changes))


def gc_state(**changes: Any) -> GcState:
    generations = (
        Generation(0, "young", 812, 812, 2000, 31, 420, 0, None, None),
        Generation(1, "middle", 4100, 3, 10, 2, 12, 0, None, None),
        Generation(2, "old", 21034, 0, 10, 0, 0, 0, None, None),
    )
    values: dict[str, Any] = {
        "kind": "generational",
        "enabled": True,
        "collecting": False,
        "generations": generations,
        "frozen": 0,
        "long_lived_total": 18000,
        "long_lived_pending": 900,
        "trigger": "The next collection starts after 1,189 more allocations than deallocations (812 of 2,000 so far).",
        "exact": True,
        "reason": None,
    }
    return GcState(**(values | changes))


def gil_counters(**changes: Any) -> GilCounters:
    values: dict[str, Any] = {
        "interpreters": (0,),
        "tstate_switches": 1234,
        "locked": True,
        "holder_native_id": 4711,
        "holder_name": "MainThread",
        "switch_interval_s": 0.005,
        "enabled": True,
        "exact": True,
        "reason": None,
    }
    return GilCounters(**(values | changes))


def process_info(**changes: Any) -> ProcessInfo:
    values: dict[str, Any] = {
        "pid": 4711,
        "program": "worker.py",
        "argv": None,
        "started_s": 1700000000.0,
        "taken_s": 1700000090.0,
        "threads": 3,
        "open_files": 12,
        "user_s": 1.25,
        "system_s": 0.31,
        "dumpable": True,
        "libc": "glibc 2.36",
        "kernel": "Linux 6.1",
        "hooked_by": None,
        "note": None,
    }
    return ProcessInfo(**(values | changes))


def report_of(heap: HeapMap | None, memory: MemoryBreakdown | None, **changes: Any) -> Report:
    """A report with its findings, as build() makes it."""
    values: dict[str, Any] = {
        "meminspect": "0.1.0",
        "python": PythonInfo("3.13.0", "CPython", False, False, heap.allocator if heap else "unknown", None),
        "process": process_info(),
        "memory": memory,
        "pymalloc": heap,
        "large": large_path(memory, heap) if memory else None,
        "gc": gc_state(),
        "gil": (gil_counters(),),
        "findings": (),
        "missing": {},
        "fragmentation": fragmentation(heap) if heap else None,
    }
    whole = Report(**(values | changes))
    return replace(whole, findings=find(whole))


@cache
def bare_report() -> Report:
    """A small process that holds nothing back."""
    heap = heap_of([[(48, 330)] * 30 + [(64, 250)] * 20 + [(512, 31)] * 12, [(80, 200)] * 40])
    tree = tree_of(
        heap,
        {
            "glibc malloc": {"live chunks": 1200 * KIB, "free chunks": 90 * KIB, "top of heap": 40 * KIB},
            "files": {"libpython3.13.so.1.0": 4200 * KIB, "libc.so.6": 1500 * KIB, "math.so": 60 * KIB},
            "thread stacks": {"MainThread": 48 * KIB},
            "unattributed": 0,
        },
    )
    return report_of(heap, memory_of(tree))


@cache
def scattered_report() -> Report:
    """The case of 99 % freed: free memory that pymalloc cannot give back."""
    heap = scattered_heap()
    tree = tree_of(heap, {"glibc malloc": {"live chunks": 9 * MIB}, "files": {"libpython3.13.so.1.0": 7 * MIB}})
    return report_of(heap, memory_of(tree))
