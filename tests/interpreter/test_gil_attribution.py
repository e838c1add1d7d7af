"""gil.trace(attribution=True): planted functions are named, with their lines, and C code that keeps the GIL."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from meminspect import _native, gil
from meminspect.analysis.gil_places import culprit
from meminspect.models.gil_trace import GilTrace, LongHold

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
pytestmark = pytest.mark.skipif(FREE_THREADED, reason="this build has no GIL to trace")
HELD_MS = 200
PLANTED = """
#include <time.h>
#include <unistd.h>
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static __attribute__((noinline)) long planted_burner(double end) {
    volatile long sum = 0;
    while (now() < end) for (int i = 0; i < 1000000; i++) sum += i;
    return sum;
}
long planted_busy(int ms) { return planted_burner(now() + ms / 1e3) + 1; }
int planted_sleep(int ms) { return usleep(ms * 1000) + 1; }
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> ctypes.PyDLL:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("planted")
    source, library = folder / "planted.c", folder / "planted.so"
    source.write_text(PLANTED)
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    return ctypes.PyDLL(str(library))  # keeps the GIL during calls


def run(*functions: Callable[[], object]) -> GilTrace:
    with gil.trace(attribution=True, collections=False) as trace:
        threads = [threading.Thread(target=function, name=function.__name__) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    result = trace.result
    assert result.exact, result.reason
    assert result.tstate_switches == result.switch_number_delta
    json.dumps(result.to_dict())
    return result


def longest_of(result: GilTrace, name: str) -> LongHold:
    return next(hold for hold in result.longest_holds if result.threads[hold.thread].name == name)


@pytest.mark.xfail(
    sys.version_info < (3, 12) and "/libpython3" not in Path("/proc/self/maps").read_text(),
    reason="static 3.11: a word left on the stack is taken for the caller",
    strict=False,
)
def test_a_c_function_that_sleeps_with_the_gil_is_named(planted: ctypes.PyDLL) -> None:
    def culprit_thread() -> None:
        planted.planted_sleep(HELD_MS)

    def victim() -> None:
        for _ in range(10):
            time.sleep(0.001)

    hold = longest_of(run(culprit_thread, victim), "culprit_thread")
    assert hold.held_s >= HELD_MS / 1e3
    assert hold.sample is not None
    assert hold.sample.how == "blocked"
    assert hold.sample.culprit == "planted_sleep (planted.so)"
    assert hold.sample.stack[0].endswith("(libc.so.6)") or "libc" in hold.sample.stack[0]
    assert hold.sample.place is not None
    assert hold.sample.place.function.endswith("culprit_thread")
    assert hold.sample.place.line == culprit_thread.__code__.co_firstlineno + 1
    assert hold.function is not None
    assert "planted_sleep" in hold.function


def test_a_c_function_that_computes_with_the_gil_is_named(planted: ctypes.PyDLL) -> None:
    def culprit_thread() -> None:
        planted.planted_busy(2 * HELD_MS)

    hold = longest_of(run(culprit_thread), "culprit_thread")
    assert hold.held_s >= 2 * HELD_MS / 1e3
    assert hold.sample is not None
    if hold.sample.how == "refused":
        assert hold.sample.culprit is None
        assert hold.function is not None
        assert "culprit_thread" in hold.function
        return
    assert hold.sample.culprit is not None
    named = {"planted_burner (planted.so)", "now (planted.so)", "[vdso]", "clock_gettime"}
    assert any(name in line for name in named for line in hold.sample.stack[:2]), hold.sample
    assert "planted.so" in hold.sample.culprit


def test_a_python_loop_is_named_with_its_lines() -> None:
    def loop() -> None:
        end = time.monotonic() + 0.15
        while time.monotonic() < end:
            sum(range(50))

    result = run(loop, loop)
    first = loop.__code__.co_firstlineno
    sites = [site for site in result.release_sites if site.place and site.place.function.endswith("<locals>.loop")]
    assert sum(site.forced for site in sites) >= 1
    for site in sites:
        assert site.place is not None
        assert site.place.file == __file__
        assert site.place.line in range(first, first + 4)


def test_every_release_of_python_code_has_its_place_and_counts_are_whole() -> None:
    def sleep() -> None:
        for _ in range(100):
            time.sleep(0)

    result = run(sleep, sleep)
    sites = [site for site in result.release_sites if site.place and site.place.function.endswith("<locals>.sleep")]
    assert sum(site.voluntary + site.forced for site in sites if site.place and
               site.place.line == sleep.__code__.co_firstlineno + 2) >= 200  # fmt: skip
    in_all = sum(site.forced + site.voluntary for site in result.release_sites)
    assert in_all >= 0.9 * sum(one.releases for one in result.interpreters)


def test_functions_at_recycled_addresses_are_told_apart_and_no_reference_is_kept() -> None:
    names = [f"passing_{number}" for number in range(300)] + ["größe", "名前", chr(0x1D4BB)]
    _native.gil_trace_start(1 << 22, attribution=True)
    kept = 0
    try:
        for name in names:
            space: dict[str, Callable[[], None]] = {}
            exec(f"import time\ndef {name}(): time.sleep(0)", space)
            function = space.popitem()[1]
            before = sys.getrefcount(function.__code__)
            function()
            kept += sys.getrefcount(function.__code__) - before
    finally:
        raw = _native.gil_trace_stop()
    assert kept == 0
    assert {unicodedata.normalize("NFKC", name) for name in names} <= {code[0] for code in raw["codes"]}
    assert raw["codes_left_out"] == 0


def test_the_culprit_is_the_innermost_that_is_not_the_c_library() -> None:
    assert culprit(["write (libc.so.6)", "_flush (planted.so)", "x (libpython3.13.so)"]) == "_flush (planted.so)"
    assert culprit(["clock_nanosleep (libc.so.6)", "usleep (libc.so.6)", "? (libffi.so.8)", "call (_ctypes.so)"]) == (
        "usleep (libc.so.6)"
    )
    assert culprit(["_PyEval_EvalFrameDefault (libpython3.13.so.1.0)"]) is None
    assert culprit(["memcpy (libc.so.6)"]) == "memcpy (libc.so.6)"
    assert culprit([]) is None


def test_without_attribution_nothing_is_named() -> None:
    with gil.trace() as trace:
        time.sleep(0)
    assert trace.raw is not None
    assert trace.raw["codes"] == []
    assert not trace.result.attribution
    assert trace.result.release_sites == ()


def test_a_killed_program_leaves_its_names(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent("""
        import os, signal, time
        def doomed():
            for _ in range(20):
                time.sleep(0.001)
        doomed()
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)
        """)
    )
    target = tmp_path / "gil.json"
    done = subprocess.run(
        [sys.executable, "-m", "meminspect", "gil", "run", "--attribution", "--json", "-o", str(target), str(script)],
        capture_output=True, text=True, timeout=120, env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    document = json.loads(target.read_text())
    assert document["attribution"] is True
    places = [site["place"] for site in document["release_sites"] if site["place"]]
    assert {"function": "doomed", "file": str(script), "line": 5} in places
