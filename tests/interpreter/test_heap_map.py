"""The heap map against CPython's own statistics, against planted objects, and against itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from typing import Any

import pytest

from meminspect import _native
from meminspect.models.heap import HeapMap, SizeClass
from meminspect.probes import heap, malloc_stats

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
pymalloc = pytest.mark.skipif(
    FREE_THREADED or not _native.allocator_capture()["allocator"].startswith("pymalloc"),
    reason="needs pymalloc as the allocator of objects",
)


def run(code: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONMALLOC"}
    environment.update(variables, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def class_of(heap_map: HeapMap, size: int) -> SizeClass:
    return next(item for item in heap_map.size_classes if item.size == size)


@pymalloc
def test_agrees_with_the_statistics_of_the_same_moment() -> None:
    keep = [bytes(size) for size in range(500) for _ in range(20)]
    del keep[::3]
    check = heap.heap_map().cross_check
    assert check.agrees is True, check.differences
    assert check.compared >= 3 * 32 + 8


@pymalloc
def test_cross_check_sees_a_difference() -> None:
    """One block too many in one class is told: the check can fail."""
    raw = _native.heap_capture()
    classes = bytearray(raw["own_classes"])
    classes[8:16] = (int.from_bytes(classes[8:16], "little") + 1).to_bytes(8, "little")
    check = heap.build({**raw, "own_classes": bytes(classes)}).cross_check
    assert check.agrees is False
    assert "class 0: used" in {name for name, _, _ in check.differences}


@pymalloc
def test_agrees_with_what_sys_debugmallocstats_prints() -> None:
    """The public function, its text taken from file descriptor 2 of a process that does nothing between the two."""
    code = (
        "import sys, os, json\n"
        "from meminspect import _native\n"
        "from meminspect.probes import heap\n"
        "heap.build(_native.heap_capture())\n"
        "raw = _native.heap_capture()\n"
        "sys._debugmallocstats()\n"
        "classes = {c.index: [c.pools, c.used, c.free] for c in heap.build(raw).size_classes}\n"
        "print(json.dumps(classes))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, timeout=120, check=True)
    ours = {int(index): row for index, row in json.loads(done.stdout).items()}
    theirs = {item.index: item for item in malloc_stats.parse(done.stderr).size_classes}
    assert ours.keys() == theirs.keys()
    # the values of `raw` themselves lie in between: a few blocks, in few classes
    differing = [index for index in ours if abs(ours[index][1] - theirs[index].used) > 0]
    assert sum(abs(ours[index][1] - theirs[index].used) for index in ours) < 120
    assert len(differing) < 12
    assert sum(row[0] for row in ours.values()) == pytest.approx(sum(item.pools for item in theirs.values()), abs=3)


@pymalloc
@pytest.mark.parametrize("payload", [1, 100, 300, 400])
def test_planted_objects_are_counted(payload: int) -> None:
    """N objects of one size raise the class' blocks in use by N, and freeing them lowers it by N."""
    count = 3000
    padding = _native.allocator_capture()["padding_bytes"]
    size = -(-(sys.getsizeof(bytes(payload)) + padding) // 16) * 16
    slots: list[Any] = [None] * count
    before = class_of(heap.heap_map(), size).used
    for place in range(count):
        slots[place] = bytes(payload)
    during = class_of(heap.heap_map(), size).used
    for place in range(count):
        slots[place] = None
    after = class_of(heap.heap_map(), size).used
    assert abs(during - before - count) < 100  # the models of the maps themselves are objects too
    assert abs(during - after - count) < 100


@pymalloc
def test_figures_sum() -> None:
    raw = _native.heap_capture(pools=True)
    found = heap.build(raw)
    assert found.bytes is not None
    parts = found.bytes.to_dict()
    total = parts.pop("total_bytes")
    assert total == len(found.arenas) * found.arena_size
    assert sum(parts.values()) == total
    assert sum(arena.used_bytes for arena in found.arenas) == parts["used_bytes"]
    assert sum(arena.free_bytes for arena in found.arenas) == parts["free_blocks_bytes"]
    by_class: dict[int, list[int]] = {}
    for arena in found.arenas:
        pools = found.pools(arena)
        assert len(pools) == arena.pools_total - arena.pools_never_used
        assert sum(pool.size_class is None for pool in pools) == arena.pools_free
        assert sum(pool.used for pool in pools) == arena.used_blocks
        for pool in pools:
            assert arena.address <= pool.address < arena.address + arena.size_bytes
            if pool.size_class is not None:
                row = by_class.setdefault(pool.size_class, [0, 0, 0, 0])
                for place, value in enumerate((1, pool.used, pool.free, pool.untouched)):
                    row[place] += value
    assert by_class == {c.index: [c.pools, c.used, c.free, c.untouched] for c in found.size_classes}
    json.dumps(found.to_dict())


@pymalloc
def test_bitmap_of_live_blocks() -> None:
    """As many bits as blocks in use, a bit for each planted object, none for a freed one."""
    objects = [bytes(200) for _ in range(5000)]
    addresses = [id(item) for item in objects]
    del objects[::2]
    raw = _native.heap_capture(blocks=True)
    assert not raw["reasons"]
    bits = int.from_bytes(raw["blocks"], "little")
    assert bits.bit_count() == sum(row[1] for row in heap.CLASS.iter_unpack(raw["classes"]))
    places = {row[0]: place for place, row in enumerate(heap.ARENA.iter_unpack(raw["arenas"]))}
    padding = 16 if raw["padding_bytes"] else 0
    stride = raw["arena_size"] // 128

    def is_live(address: int) -> bool:
        arena = next(start for start in places if start <= address < start + raw["arena_size"])
        offset = address - padding - arena
        byte = raw["blocks"][places[arena] * stride + offset // 128]
        return bool(byte >> (offset // 16 % 8) & 1)

    assert all(is_live(address) for address in addresses[1::2])
    assert sum(is_live(address) for address in addresses[0::2]) < 300  # reused since by the capture's own objects


@pytest.mark.parametrize("setting", ["malloc", "malloc_debug", "pymalloc_debug", "mimalloc"])
def test_under_each_allocator(setting: str) -> None:
    if FREE_THREADED:
        pytest.skip("free-threaded builds allow mimalloc only")
    if setting == "mimalloc" and sys.version_info < (3, 13):
        pytest.skip("CPython has mimalloc from 3.13 on")
    code = (
        "import json\n"
        "from meminspect.probes.heap import heap_map\n"
        "h = heap_map()\n"
        "print(json.dumps([h.allocator, h.exact, len(h.arenas), h.padding_bytes, h.cross_check.to_dict()]))\n"
    )
    allocator, exact, arenas, padding, check = json.loads(run(code, PYTHONMALLOC=setting))
    assert allocator == setting
    assert exact is (setting != "mimalloc")  # its heaps are not walked here: nothing is known of them
    assert padding == (24 if setting.endswith("debug") else 0)
    if setting.startswith("pymalloc"):
        assert arenas > 0
        assert check["agrees"] is True
    else:
        assert arenas == 0
        assert check["agrees"] is None
        assert check["reason"]


def test_tracemalloc_before_pymalloc_is_named() -> None:
    if FREE_THREADED:
        pytest.skip("free-threaded builds have no pymalloc")
    code = (
        "import json, tracemalloc\n"
        "tracemalloc.start()\n"
        "from meminspect.probes.heap import heap_map\n"
        "h = heap_map()\n"
        "print(json.dumps([h.allocator, h.reason, len(h.arenas), h.cross_check.to_dict()]))\n"
    )
    allocator, reason, arenas, check = json.loads(run(code, PYTHONMALLOC="pymalloc"))
    assert (allocator, arenas > 0) == ("pymalloc", True)
    assert "tracemalloc" in reason
    assert check["agrees"] is None
    assert "hook" in check["reason"]


SUBINTERPRETER = """
import json
try:
    import _interpreters as interpreters
    made = interpreters.create("isolated")
except ImportError:
    import _xxsubinterpreters as interpreters
    made = interpreters.create()
run = getattr(interpreters, "exec", None) or interpreters.run_string
run(made, "keep = [bytes(100) for _ in range(60000)]")
from meminspect.probes.heap import heap_map
h = heap_map()
print(json.dumps([int(made), sorted({a.interpreter for a in h.arenas}), h.exact, h.reason, h.cross_check.agrees,
                  sum(a.used_bytes for a in h.arenas if a.interpreter), h.bytes.used_bytes,
                  [o.reason for o in h.omitted]]))
"""


@pymalloc
def test_arenas_of_a_subinterpreter() -> None:
    """60,000 objects that a subinterpreter made are in the map, under its own id where it has arenas of its own."""
    made, owners, exact, reason, agrees, others, used, omitted = json.loads(run(SUBINTERPRETER))
    assert exact, reason
    assert omitted == []
    assert agrees is True
    assert used > 60000 * 133
    if sys.version_info >= (3, 12):
        assert owners == [0, made]
        assert others > 60000 * 133
    else:
        assert owners == [0]


RUNNING = """
import json, threading, time
try:
    import _interpreters as interpreters
    made = interpreters.create("isolated")
except ImportError:
    import _xxsubinterpreters as interpreters
    made = interpreters.create()
run = getattr(interpreters, "exec", None) or interpreters.run_string
code = '''
import time
end = time.monotonic() + 4
while time.monotonic() < end:
    keep = [bytes(100) for _ in range(2000)]
'''
thread = threading.Thread(target=run, args=(made, code))
thread.start()
time.sleep(0.5)
from meminspect.probes.heap import heap_map
maps = [heap_map() for _ in range(20)]
thread.join()
print(json.dumps([[h.exact, h.cross_check.agrees, [(o.interpreter, o.reason) for o in h.omitted]] for h in maps]))
"""


@pymalloc
@pytest.mark.skipif(sys.version_info < (3, 12), reason="interpreters have a GIL of their own from 3.12 on")
def test_a_running_interpreter_with_its_own_gil_is_omitted() -> None:
    maps = json.loads(run(RUNNING))
    assert all(agrees is True for _, agrees, _ in maps)
    assert any(omitted for _, _, omitted in maps)
    for exact, _, omitted in maps:
        assert exact is (not omitted)
        assert all(interpreter != 0 and reason for interpreter, reason in omitted)


OUTSIDE = """
import sys, json
keep = [bytes(size) for size in range(400) for _ in range(50)]
from meminspect import _native
from meminspect.probes import heap
raw = _native.heap_capture()
h = heap.build(raw)
print(json.dumps({c.index: c.used for c in h.size_classes}), len(h.arenas), flush=True)
sys.stdin.readline()
"""


@pymalloc
def test_another_process_read_from_outside() -> None:
    """What is read from outside is what the process said of itself, but for what it made to say it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen(
        [sys.executable, "-c", OUTSIDE], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        line = child.stdout.readline()
        try:
            raw = _native.heap_capture(pid=child.pid, pools=True)
        except _native.NativeError as error:
            if error.code == "permission":
                pytest.skip("the kernel refuses to read another process here")
            raise
        finally:
            child.stdin.write("\n")
            child.stdin.close()
    classes, _, arenas = line.rpartition(" ")
    theirs = {int(index): used for index, used in json.loads(classes).items()}
    found = heap.build(raw)
    assert found.exact, found.reason
    assert found.cross_check.agrees is None
    assert found.cross_check.reason == "read from outside"
    assert found.allocator == _native.allocator_capture()["allocator"]
    assert abs(len(found.arenas) - int(arenas)) <= 1
    ours = {item.index: item.used for item in found.size_classes}
    assert sum(abs(ours.get(index, 0) - used) for index, used in theirs.items()) < 1500
    assert sum(theirs.values()) > 20000


def test_a_process_that_is_not_this_python() -> None:
    with subprocess.Popen(["/bin/sleep", "30"]) as child:
        try:
            with pytest.raises(_native.NativeError) as raised:
                _native.heap_capture(pid=child.pid)
        finally:
            child.kill()
    assert raised.value.code in ("absent", "layout", "permission")
