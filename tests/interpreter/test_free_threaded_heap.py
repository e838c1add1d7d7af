"""The heaps of free-threaded builds against objects planted here and against CPython's own count of blocks."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from meminspect import _native
from meminspect.models.heap import HeapMap, ThreadHeap
from meminspect.probes import heap_mimalloc
from meminspect.probes.heap_mimalloc import OTHER, read_tables

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
pytestmark = pytest.mark.skipif(not FREE_THREADED, reason="this build has a GIL: no mimalloc heap per thread")

N = 50_000
SLACK = 2_000  # what the test itself, and threads of the test runner, make and release beside the planted objects
MIB = 1 << 20


@pytest.fixture(autouse=True)
def _collector_at_rest() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def heap_map(raw: Any = None) -> HeapMap:
    """The model of a capture; capture first what is to be compared, since models are objects in the heap as well."""
    heap = heap_mimalloc.build(raw or _native.mimalloc_capture())
    assert heap.reason is None
    assert heap.exact
    return heap


def live(heap: HeapMap, tag: str, wanted: Callable[[ThreadHeap], bool] = lambda row: row.exact) -> int:
    return sum(row.used_blocks for row in heap.heaps if row.tag == tag and wanted(row))


def here(row: ThreadHeap) -> bool:
    return row.native_id == threading.get_native_id()


class Instance:
    """Has a managed dictionary: a GC object with a pre-header."""


def test_planted_objects_are_counted_in_the_heap_of_their_tag() -> None:
    raw_before = _native.mimalloc_capture()
    floats = [float(i) for i in range(N)]
    lists = [[i] for i in floats]
    instances = [Instance() for _ in range(N)]
    raw_after = _native.mimalloc_capture()
    before, after = heap_map(raw_before), heap_map(raw_after)
    for tag, planted in (("object", N), ("gc", N), ("gc_pre", N), ("mem", N)):  # mem: the buffers of the lists
        grown = live(after, tag, here) - live(before, tag, here)
        assert abs(grown - planted) < SLACK, tag
    del before, after
    raw_before = _native.mimalloc_capture()
    del floats, lists, instances
    raw_after = _native.mimalloc_capture()
    before, after = heap_map(raw_before), heap_map(raw_after)
    for tag in ("object", "gc", "gc_pre", "mem"):
        assert abs(live(before, tag, here) - live(after, tag, here) - N) < SLACK, tag


def test_all_live_blocks_are_what_cpython_counts() -> None:
    """sys.getallocatedblocks() sums mi_page_t.used over all heaps with code of its own (Objects/obmalloc.c)."""
    for _ in range(20):
        before = sys.getallocatedblocks()
        raw = _native.mimalloc_capture()
        after = sys.getallocatedblocks()
        counted = sum(page.used_raw - page.delayed for page in read_tables(raw).pages if page.owner != OTHER)
        if abs(counted - before) <= 16 and abs(counted - after) <= 16:
            return
    pytest.fail(f"{counted} blocks walked where CPython counted {before} before and {after} after")


def test_every_page_and_every_heap_is_consistent() -> None:
    keep = [bytearray(i % 3000) for i in range(5000)]
    del keep[::3]
    raw = _native.mimalloc_capture()
    assert (raw["inconsistent"], raw["miscounted"], raw["lost_delayed"]) == (0, 0, 0)
    tables = read_tables(raw)
    assert len(tables.pages) > 50
    for page in tables.pages:
        if page.block_size and page.owner != OTHER:
            assert page.used_raw + page.free + page.local_free == page.capacity <= page.reserved
            assert 0 <= page.used <= page.capacity


def test_segments_and_ledger_sum_up() -> None:
    heap = heap_map()
    assert heap.bytes is not None
    parts = heap.bytes.to_dict()
    total = parts.pop("total_bytes")
    assert sum(parts.values()) == total == sum(arena.size_bytes for arena in heap.arenas)
    assert sum(arena.used_blocks for arena in heap.arenas) == sum(size.used for size in heap.size_classes)
    assert sum(arena.used_bytes for arena in heap.arenas) == heap.bytes.used_bytes
    assert sum(arena.free_bytes for arena in heap.arenas) == heap.bytes.free_blocks_bytes
    exact = [row for row in heap.heaps if row.exact]
    assert sum(row.used_bytes for row in exact) == heap.bytes.used_bytes
    assert sum(row.pages for row in exact) == sum(size.pools for size in heap.size_classes)
    for arena in heap.arenas:
        pools = heap.pools(arena)
        assert len(pools) == arena.pools_total
        assert sum(pool.used for pool in pools) == arena.used_blocks
        assert [pool.address for pool in pools] == sorted(pool.address for pool in pools)
    assert heap.cross_check.agrees is None
    assert heap.cross_check.reason


def test_large_and_huge_pages() -> None:
    before = heap_map()
    large, huge = bytes(3 * MIB), bytes(100 * MIB)
    heap = heap_map()
    assert sum(row.large_pages for row in heap.heaps if here(row) and row.tag == "object") - 2 == sum(
        row.large_pages for row in before.heaps if here(row) and row.tag == "object"
    )
    sizes = {size.size: size.used for size in heap.size_classes if size.size >= 3 * MIB}
    assert any(3 * MIB <= size < 4 * MIB for size in sizes)
    assert any(100 * MIB <= size <= 104 * MIB and used == 1 for size, used in sizes.items())
    assert any(arena.size_bytes >= 100 * MIB and arena.used_blocks == 1 for arena in heap.arenas)
    assert any(arena.address <= id(huge) < arena.address + arena.size_bytes for arena in heap.arenas)
    assert large
    assert huge


def run_in_thread(body: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=body)
    thread.start()
    return thread


def test_what_an_ended_thread_made_is_abandoned() -> None:
    kept: list[Any] = []
    before = live(heap_map(), "gc_pre", lambda row: row.owner == "abandoned")
    run_in_thread(lambda: kept.append([Instance() for _ in range(N)])).join()
    after = live(heap_map(), "gc_pre", lambda row: row.owner == "abandoned")
    assert abs(after - before - N) < SLACK
    assert len(kept[0]) == N


def test_a_sleeping_owner_retains_what_others_dropped() -> None:
    made, wake, rested = threading.Event(), threading.Event(), threading.Event()
    kept: list[Any] = []
    native_id = 0

    def owner() -> None:
        nonlocal native_id
        native_id = threading.get_native_id()
        kept.append([float(i) for i in range(N)])
        made.set()
        wake.wait()
        sum(range(1000))  # passes the point at which CPython releases what waits in the merge queue
        rested.set()
        done.wait()

    done = threading.Event()
    thread = run_in_thread(owner)
    try:
        assert made.wait(60)

        def theirs(row: ThreadHeap) -> bool:
            return row.native_id == native_id

        held = live(heap_map(), "object", theirs)
        assert held >= N
        kept.clear()  # the last reference, dropped by another thread than the owner
        heap = heap_map()
        assert live(heap, "object", theirs) == held
        (waiting,) = (row for row in heap.waiting if row.native_id == native_id)
        assert waiting.merge_objects >= 1
        assert waiting.merge_bytes > 0
        assert waiting.asleep is True
        wake.set()
        assert rested.wait(60)
        heap = heap_map()
        assert live(heap, "object", theirs) < held - N + SLACK
        assert not any(row.merge_objects for row in heap.waiting if row.native_id == native_id)
    finally:
        wake.set()
        done.set()
        thread.join()


def test_what_another_thread_freed_is_not_live() -> None:
    """Blocks without a reference count of their own thread go to xthread_free of the page until the owner collects."""
    made, done = threading.Event(), threading.Event()
    kept: list[Any] = []
    native_id = 0

    def owner() -> None:
        nonlocal native_id
        native_id = threading.get_native_id()
        kept.extend(bytes(500) for _ in range(N))
        gc.collect()  # merges the counts, so that another thread frees the objects itself
        made.set()
        done.wait()

    thread = run_in_thread(owner)
    try:
        assert made.wait(60)

        def theirs(row: ThreadHeap) -> bool:
            return row.native_id == native_id and row.tag == "object"

        before = live(heap_map(), "object", theirs)
        freer = run_in_thread(kept.clear)
        freer.join()
        heap = heap_map()
        (row,) = (row for row in heap.heaps if theirs(row))
        waiting = sum(row.merge_objects for row in heap.waiting if row.native_id == native_id)
        # either the freeing thread could free a block (uncollected), or it queued it for the owner
        assert abs(before - row.used_blocks + waiting - N) < SLACK
        assert abs(row.uncollected_blocks + waiting - N) < SLACK
    finally:
        done.set()
        thread.join()


def test_the_pause_is_measured_and_has_a_ceiling() -> None:
    keep = [float(i) for i in range(N)]
    raw = _native.mimalloc_capture()
    assert 0 <= raw["wait_s"] <= raw["pause_s"] < 60
    cut = _native.mimalloc_capture(0.0)
    assert cut["timed_out"]
    assert "partial" in cut["reason"]
    heap = heap_mimalloc.build(cut)
    assert not heap.exact
    assert keep


def test_raw_memory_is_told_apart() -> None:
    """From 3.15 on PyMem_RawMalloc is mimalloc's too, in heaps that no thread state owns."""
    heap = heap_map()
    raw = [row for row in heap.heaps if row.owner == "raw"]
    assert bool(raw) == (sys.version_info >= (3, 15))
    assert not any(row.exact for row in raw)


CODE_GIL = """
import sys
import meminspect, meminspect._native
meminspect._native.mimalloc_capture()
assert not sys._is_gil_enabled()
"""


def test_importing_leaves_the_gil_off() -> None:
    run = subprocess.run([sys.executable, "-W", "error", "-c", CODE_GIL], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


CODE_DEBUG = """
from meminspect import _native
from meminspect.probes import heap_mimalloc
floats = [float(i) for i in range(20000)]
heap = heap_mimalloc.build(_native.mimalloc_capture())
assert heap.exact, heap.reason
assert sum(row.used_blocks for row in heap.heaps if row.tag == "object") >= 20000
"""


@pytest.mark.parametrize("allocator", ["mimalloc", "mimalloc_debug", "debug"])
def test_every_allocator_that_this_build_allows(allocator: str) -> None:
    env = {**os.environ, "PYTHONMALLOC": allocator}
    run = subprocess.run([sys.executable, "-c", CODE_DEBUG], capture_output=True, text=True, env=env)
    assert (run.returncode, run.stderr) == (0, "")


CODE_SUB = """
import _interpreters as interpreters
from meminspect import _native
from meminspect.probes import heap_mimalloc
sub = interpreters.create()
interpreters.exec(sub, "keep = [float(i) for i in range(30000)]")
heap = heap_mimalloc.build(_native.mimalloc_capture())
assert not heap.exact
assert [omitted.interpreter for omitted in heap.omitted] == [sub], heap.omitted
found = sum(row.used_blocks for row in heap.heaps if row.owner == "other interpreter" and row.tag == "object")
assert found >= 30000, found
interpreters.destroy(sub)
"""


def test_another_interpreter_is_named_as_omitted() -> None:
    run = subprocess.run([sys.executable, "-c", CODE_SUB], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
