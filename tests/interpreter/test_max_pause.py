"""max_pause: what is held is let go in time, and the result says that it is partial, and by how much."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

import meminspect
from meminspect import _native

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
SCHEMA = Path(meminspect.__file__).parent / "schemas" / "report-1.json"
with_a_gil = pytest.mark.skipif(FREE_THREADED, reason="nothing is held in a free-threaded build")


@with_a_gil
def test_heap_map_says_how_many_arenas_it_left_out() -> None:
    whole = meminspect.heap_map(max_pause=None)
    if not whole.arenas:
        pytest.skip("pymalloc is not in force: there are no arenas")
    part = meminspect.heap_map(max_pause=0)
    assert not part.exact
    assert part.arenas == ()
    assert part.bytes.total_bytes == 0
    assert part.reason is not None
    left, of = (int(word) for word in part.reason.split() if word.isdigit())
    assert left == of > 0
    assert part.cross_check.agrees is None  # half of a heap is held against nothing
    assert not any(item.pools for item in part.size_classes)


@with_a_gil
def test_gc_state_leaves_lists_uncounted() -> None:
    part = meminspect.gc_state(max_pause=0)
    assert not part.exact
    assert [generation.objects for generation in part.generations] == [None] * 3
    assert part.frozen is None
    assert part.reason == "max_pause was reached: the objects of 4 of 4 lists were not counted"
    assert part.generations[0].threshold > 0  # the counters are read all the same


@with_a_gil
def test_memory_goes_on_without_the_gil() -> None:
    whole, part = meminspect.memory(max_pause=None), meminspect.memory(max_pause=0)
    assert not part.exact
    assert part.reason is not None
    assert "max_pause was reached: the process went on while the rest was read" in part.reason
    assert "max_pause" not in (whole.reason or "")
    assert sum(leaf.bytes for leaf in part.tree.leaves()) == part.tree.bytes
    assert abs(part.tree.bytes - whole.tree.bytes) < whole.tree.bytes / 10
    arenas = whole.tree.find("pymalloc", "live blocks")
    if arenas is not None:  # the arenas are read by copies, and split as before
        copied = part.tree.find("pymalloc", "live blocks")
        assert copied is not None
        assert abs(copied.bytes - arenas.bytes) < arenas.bytes / 10


@with_a_gil
def test_memory_while_other_threads_run() -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            dropped = [[number] for number in range(20_000)], bytearray(1 << 20)
            del dropped

    threads = [threading.Thread(target=work) for _ in range(2)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)  # or the three wait for one another most of the time
    for thread in threads:
        thread.start()
    try:
        for pause in (0, 0.001, 0.01) * 3:
            memory = meminspect.memory(max_pause=pause)
            assert sum(leaf.bytes for leaf in memory.tree.leaves()) == memory.tree.bytes
    finally:
        stop.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join()


@with_a_gil
def test_enough_time_is_no_limit() -> None:
    assert meminspect.gc_state(max_pause=600).exact
    assert "max_pause" not in (meminspect.heap_map(max_pause=600).reason or "")
    assert "max_pause" not in (meminspect.memory(max_pause=600).reason or "")


@pytest.mark.parametrize("pause", [-1, float("nan")])
def test_no_such_time(pause: float) -> None:
    for take in (meminspect.heap_map, meminspect.gc_state, meminspect.memory):
        with pytest.raises(ValueError, match="max_pause"):
            take(max_pause=pause)


@pytest.mark.skipif(not FREE_THREADED, reason="a build with a GIL")
def test_free_threaded_heap_map_is_partial() -> None:
    raw = _native.heap_capture(max_pause=0)
    assert raw["reason"] is not None


@with_a_gil
@pytest.mark.parametrize("program", [[], ["-c", "pass"]])
def test_a_report_that_is_partial_fits_the_schema(program: list[str]) -> None:
    validate = pytest.importorskip("jsonschema").validate
    command = [sys.executable, "-m", "meminspect", "report", "--json", "--max-pause", "0", *program]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stderr if program else done.stdout)
    validate(report, json.loads(SCHEMA.read_text()))
    for section in ("memory", "pymalloc", "gc"):
        assert report[section]["exact"] is False
        assert "max_pause was reached" in report[section]["reason"]
    assert any(finding["id"] == "partial" for finding in report["findings"])
