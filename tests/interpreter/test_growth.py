"""growth() and the pytest plugin on it: exact counts of planted objects, and nothing for an empty body."""

from __future__ import annotations

import collections
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import entry_points

import pytest

import meminspect
from meminspect.probes.growth import Span

pytest_plugins = ["pytester"]
INSTALLED = any(point.value == "meminspect.integrations.pytest_plugin" for point in entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "meminspect.integrations.pytest_plugin")


@pytest.fixture(autouse=True)
def package_is_found_in_other_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    if "PYTHONPATH" in os.environ:
        paths = os.environ["PYTHONPATH"].split(os.pathsep)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(path) for path in paths if path))


class Planted:
    __slots__ = ("value",)


def measured() -> Span:
    with meminspect.growth(collect=True) as span:
        pass
    return span


def has_census() -> bool:
    return measured().types is not None


WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
needs_gil = pytest.mark.skipif(not WITH_GIL, reason="without a GIL each thread has heaps of its own")
needs_census = pytest.mark.skipif(not has_census(), reason="no census of this build")


EMPTY = """
import meminspect
for at in range(14):
    with meminspect.growth(collect=True) as span:
        pass
    if at >= 3:
        figures = span.blocks, span.bytes, span.arenas, span.other_blocks or 0
        print(span.exact, *figures, len(span.types or ()), len(span.buffers or ()))
"""


def test_empty_body_leaves_nothing() -> None:
    """In an interpreter of its own: what earlier tests left behind may go at any time."""
    printed = subprocess.run([sys.executable, "-c", EMPTY], capture_output=True, text=True, check=True).stdout
    assert collections.Counter(printed.splitlines()) == {"True 0 0 0 0 0 0": 11}


@needs_census
def test_planted_objects_are_counted() -> None:
    kept: list[object] = [None] * 1000
    made = Planted
    gc.collect()
    with meminspect.growth() as span:
        for at in range(1000):
            kept[at] = made()
    [row] = [row for row in span.types if row.name.endswith("Planted")]
    assert row.count == 1000
    assert row.bytes % 1000 == 0
    assert span.blocks >= 1000
    with meminspect.growth() as span:
        kept.clear()
    [row] = [row for row in span.types if row.name.endswith("Planted")]
    assert row.count == -1000
    assert row not in span.left


def test_blocks_are_those_that_the_interpreter_counts() -> None:
    kept = [b""] * 500
    measured()
    with meminspect.growth() as span:
        before = sys.getallocatedblocks()
        for at in range(500):
            kept[at] = bytes([at & 255]) * 100
        after = sys.getallocatedblocks()
    assert abs(span.blocks - (after - before)) <= 4  # the two numbers themselves
    assert span.bytes >= 500 * 100


@needs_census
def test_garbage_counts_until_it_is_collected() -> None:
    def cycle() -> None:
        made = [Planted() for _ in range(30)]
        made.append(made)  # type: ignore[arg-type]

    gc.disable()
    try:
        with meminspect.growth() as span:
            cycle()
        with meminspect.growth(collect=True) as collected:
            cycle()
    finally:
        gc.enable()
    assert [row.count for row in span.types if row.name.endswith("Planted")] == [30]
    assert [row.count for row in collected.types if row.name.endswith("Planted")] == []


class Worker:
    """A thread that was there before the body, and does one thing in it."""

    def __init__(self, work: Callable[[], object]) -> None:
        self.go, self.done, self.work = threading.Event(), threading.Event(), work
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        self.go.wait(60)
        self.work()
        self.done.set()

    def let_it(self) -> None:
        self.go.set()
        assert self.done.wait(60)


def test_other_threads_are_told_of() -> None:
    worker = Worker(lambda: sum(range(200_000)))
    with meminspect.growth() as span:
        worker.let_it()
    worker.thread.join()
    assert [item.native_id for item in span.threads] == [worker.thread.native_id]
    assert not span.exact
    assert "other thread" in span.reason


@needs_census
@needs_gil
def test_what_other_threads_keep_is_apart() -> None:
    """Objects and a buffer of another thread's are its, those of the body the body's."""
    kept: list[object] = [None] * 700
    own: list[object] = [None] * 300

    def work() -> None:
        for at in range(700):
            kept[at] = Planted()
        kept.append(bytearray(5000))

    worker = Worker(work)
    with meminspect.growth() as span:
        worker.let_it()
        for at in range(300):
            own[at] = Planted()
    worker.thread.join()
    others = span.others
    name = f"{__name__}.Planted"
    assert {row.name: row.count for row in others.types}[name] == 700
    assert {row.name: row.count for row in span.types}[name] == 300
    assert {row.name: row.count for row in others.types}["bytearray"] == 1
    assert "bytearray" not in {row.name for row in span.types}
    # in a buffer of the bytearray's, from 3.15 on in a bytes object
    large = [*(row for row in others.buffers if row.name.startswith("bytearray")),
             *(row for row in others.types if row.name == "bytes")]  # fmt: skip
    assert sum(row.bytes for row in large) >= 5000
    assert 701 <= others.blocks <= 720
    assert 300 <= span.blocks + others.freed <= 330
    assert others.resized
    assert "list: items" in others.resized_owners


@needs_census
@needs_gil
def test_what_other_threads_give_back_is_told() -> None:
    """Blocks of before the body, and blocks that the body made for them."""
    old: list[object] = [Planted() for _ in range(400)]
    queue: list[object] = []

    def work() -> None:
        old.clear()
        queue.clear()

    worker = Worker(work)
    with meminspect.growth() as span:
        queue.extend(Planted() for _ in range(50))
        worker.let_it()
    worker.thread.join()
    assert 450 <= span.others.freed <= 470, span.others.to_dict()
    assert span.others.blocks <= 10
    assert "hide as many" in span.reason


@needs_census
@needs_gil
def test_thread_that_begins_in_the_body_is_the_bodys() -> None:
    kept: list[object] = []
    worker = Worker(lambda: None)
    with meminspect.growth() as span:
        thread = threading.Thread(target=lambda: kept.extend([Planted() for _ in range(100)]))
        thread.start()
        thread.join()
    worker.let_it()
    worker.thread.join()
    assert {row.name: row.count for row in span.types}[f"{__name__}.Planted"] == 100
    assert not [row for row in span.others.types if row.name.endswith("Planted")]


HOOKS = """
import threading, tracemalloc
import meminspect
go = threading.Event()
thread = threading.Thread(target=go.wait, args=(60,), daemon=True)
thread.start()
class Planted: __slots__ = ()
kept = [None] * 100
def body():
    for at in range(100):
        kept[at] = Planted()
def grew(span):
    return [row.count for row in span.types if row.name == "__main__.Planted"]
with meminspect.growth() as span:
    tracemalloc.start()
    body()
assert grew(span) == [100] and span.others is not None
with meminspect.growth() as outer:
    with meminspect.growth() as inner:
        kept[:50] = [None] * 50
assert grew(inner) == [-50] == grew(outer) and inner.others is None and outer.others is not None
with meminspect.growth() as span:
    tracemalloc.stop()
    kept[:] = [None] * 100
assert grew(span) == [-50]
with meminspect.growth() as span:
    body()
assert grew(span) == [100] and span.others is not None
before = meminspect._native.allocator_capture()["hook"]
with meminspect.growth() as span:
    pass
assert meminspect._native.allocator_capture()["hook"] == before is None
go.set()
print("as before")
"""


@needs_census
@needs_gil
def test_allocators_are_left_as_they_were() -> None:
    """tracemalloc may begin and end in a body, and bodies may lie in one another."""
    done = subprocess.run([sys.executable, "-c", HOOKS], capture_output=True, text=True)
    assert done.stdout == "as before\n", done.stderr


def test_result_is_known_behind_the_body() -> None:
    with meminspect.growth() as span, pytest.raises(RuntimeError):
        _ = span.result
    assert span.result is span.result


def test_body_that_fails() -> None:
    span = meminspect.growth()
    with pytest.raises(KeyError), span:
        raise KeyError
    assert span.result is not None


TESTS = """
import threading
import pytest
KEPT, CACHE, OTHERS = [], {}, [None] * 100_000
SERVERS = []
class Thing: pass

class Server(threading.Thread):
    def __init__(self, amount=100):
        super().__init__(daemon=True)
        self.amount, self.filled = amount, 0
        self.go, self.done = threading.Event(), threading.Event()
        self.start()
    def run(self):
        while True:
            self.go.wait()
            self.go.clear()
            for at in range(self.filled, self.filled + self.amount):
                OTHERS[at] = Thing()
            self.filled += self.amount
            self.done.set()

@pytest.fixture
def server():
    return Server()

def test_server(server, no_leaks):
    server.done.clear()
    server.go.set()
    server.done.wait()

def test_arenas_of_a_server(no_leaks):
    if not SERVERS:
        SERVERS.append(Server(30_000))
    SERVERS[0].done.clear()
    SERVERS[0].go.set()
    SERVERS[0].done.wait()

@pytest.mark.no_leaks
def test_clean():
    CACHE.setdefault("filled once", [Thing()])
    [Thing() for _ in range(100)]

@pytest.mark.no_leaks
def test_leaks():
    KEPT.append([Thing() for _ in range(50)])

def test_cycle(no_leaks, tmp_path):
    cycle = []
    cycle.append(cycle)

@pytest.mark.no_leaks(allow=["list", "list: items"])
@pytest.mark.parametrize("number", [1, 2])
def test_allowed(number):
    KEPT[:] = [None] * 4
    CACHE["kept"] = [CACHE.get("kept")]

@pytest.mark.no_leaks(warmup=3, blocks=1000)
def test_fails_by_itself():
    assert False, "its own"

def test_plain():
    KEPT.append(Thing())
"""


@needs_census
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_plugin(pytester: pytest.Pytester, workers: tuple[str, ...]) -> None:
    if workers:
        pytest.importorskip("xdist")
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess(*PLUGIN, *workers, "-p", "no:cacheprovider")
    result.assert_outcomes(passed=7 if WITH_GIL else 5, failed=2 if WITH_GIL else 4)
    result.stdout.fnmatch_lines_random(
        ["no_leaks: the test left * blocks, * bytes and 0 arenas behind", "*+50 *Thing, *bytes", "*its own*"]
    )
    result.stdout.fnmatch_lines_random(["*held: module test_plugin.KEPT*(Thing)*; by list at 0x*"])


def test_plugin_refuses_coroutines(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n@pytest.mark.no_leaks\nasync def test_it(): pass\n")
    result = pytester.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*plain test functions*"])


def test_plugin_that_is_not_used_imports_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys
        def test_it():
            assert "meminspect.integrations.pytest_plugin" in sys.modules
            ours = {name for name in sys.modules if name.startswith("meminspect")}
            assert ours == {"meminspect", "meminspect.integrations", "meminspect.integrations.pytest_plugin"}
            assert not {"rich", "click", "psutil", "pyarrow"} & sys.modules.keys()
        """
    )
    pytester.runpytest_subprocess(*PLUGIN, "-p", "no:rich").assert_outcomes(passed=1)
