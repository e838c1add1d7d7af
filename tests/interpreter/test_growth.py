"""growth() and the pytest plugin on it: exact counts of planted objects, and nothing for an empty body."""

from __future__ import annotations

import collections
import gc
import os
import subprocess
import sys
import threading
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


def test_other_threads_are_told_of() -> None:
    go, done = threading.Event(), threading.Event()

    def work() -> None:
        go.wait()
        sum(range(200_000))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    with meminspect.growth() as span:
        go.set()
        done.wait()
    thread.join()
    assert [item.native_id for item in span.threads] == [thread.native_id]
    assert not span.exact
    assert "other thread" in span.reason


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
import pytest
KEPT, CACHE = [], {}
class Thing: pass

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
    result.assert_outcomes(passed=5, failed=2)
    result.stdout.fnmatch_lines_random(
        ["no_leaks: the test left * blocks, * bytes and 0 arenas behind", "*+50 *Thing, *bytes", "*its own*"]
    )
    if WITH_GIL:
        result.stdout.fnmatch_lines_random(["*held: module test_plugin.KEPT*(Thing)*; by list at 0x*"])
    else:
        result.stdout.fnmatch_lines_random(["*who holds it is not known: *free-threaded*"])


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
