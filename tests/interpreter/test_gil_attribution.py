"""gil.trace(attribution=True): planted functions are named, with their lines, and C code that keeps the GIL."""

from __future__ import annotations

import ctypes
import itertools
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
#include <execinfo.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#define APART __attribute__((noinline, noclone, noipa))
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static __attribute__((noinline)) long planted_burner(double end) {
    volatile long sum = 0;
    while (now() < end) for (int i = 0; i < 1000000; i++) sum += i;
    return sum;
}
long planted_busy(int ms) { return planted_burner(now() + ms / 1e3) + 1; }
int planted_sleep(int ms) { return usleep(ms * 1000) + 1; }

char planted_frames[8192]; /* what the compiler's own unwinder says */
static APART void note(void) {
    void *frames[32];
    int count = backtrace(frames, 32);
    char **lines = backtrace_symbols(frames, count);
    for (int at = 1; lines && at < count; at++)
        if (strlen(planted_frames) + strlen(lines[at]) + 2 < sizeof planted_frames)
            strcat(strcat(planted_frames, lines[at]), "\\n");
    free(lines);
}
APART int planted_decoy_leaf(void) { volatile char room[64]; room[0] = 1; return room[0]; }
APART int planted_decoy(void) { return planted_decoy_leaf() + 1; } /* its address stays behind on the stack */
APART int planted_end(int ms, int blocks) {
    volatile char room[512];
    room[0] = 1;
    note();
    double end = now() + ms / 1e3;
    if (blocks) usleep(ms * 1000);
    else while (now() < end) for (int i = 0; i < 100000; i++) room[1] = (char)i;
    return room[0];
}
APART int planted_middle(int ms, int blocks) { return planted_decoy() + planted_end(ms, blocks); }
APART int planted_begin(int ms, int blocks) { planted_frames[0] = 0; return planted_middle(ms, blocks) + 1; }
"""


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> ctypes.PyDLL:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    folder = tmp_path_factory.mktemp("planted")
    source, library = folder / "planted.c", folder / "planted.so"
    source.write_text(PLANTED)
    subprocess.run(
        [compiler, "-O1", "-fno-optimize-sibling-calls", "-shared", "-fPIC", str(source), "-o", str(library)],
        check=True,
    )
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


def sampled_hold(function: Callable[[], object]) -> LongHold:
    """A thread that runs is not seen while it, or the one that looks, gets no processor: then it is tried again."""
    for _ in range(5):
        hold = longest_of(run(function), function.__name__)
        if hold.sample is not None:
            break
    return hold


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

    hold = sampled_hold(culprit_thread)
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


def stem_of(line: tuple[str, str]) -> str:
    """The object's file without its version; an executable is known to the C library by the name that it was given."""
    stem = line[0].split(".so")[0]
    return "python" if stem.startswith("python") else stem


@pytest.mark.parametrize("blocks", [1, 0], ids=["blocked", "running"])
def test_callers_are_those_that_the_compiler_s_unwinder_finds(planted: ctypes.PyDLL, blocks: int) -> None:
    planted.planted_begin(0, 1)  # loads the unwinder

    def culprit_thread() -> None:
        planted.planted_begin(2 * HELD_MS, blocks)

    hold = sampled_hold(culprit_thread)
    assert hold.sample is not None
    if hold.sample.how == "refused":
        assert not blocks
        return
    # "path(function+0x12) [0x7f...]"
    said = ctypes.c_char.in_dll(planted, "planted_frames")
    lines = [line for line in ctypes.string_at(ctypes.addressof(said)).decode().splitlines() if "(" in line]
    theirs = [(Path(os.path.realpath(line.split("(")[0])).name, line.split("(")[1].split("+")[0]) for line in lines]
    ours = [(line[line.rindex("(") + 1 : -1], line[: line.rindex(" (")]) for line in hold.sample.stack]
    planted_functions = ["planted_end", "planted_middle", "planted_begin"]
    assert [name for file, name in ours if file == "planted.so" and name.startswith("planted")] == planted_functions
    assert [name for file, name in theirs if file == "planted.so" and name.startswith("planted")] == planted_functions
    if ours[-1] == ("unknown", "?"):
        ours.pop()
    while ours[0] != ("planted.so", "planted_end"):  # what it called
        ours.pop(0)
    while theirs[0] != ("planted.so", "planted_end"):
        theirs.pop(0)
    stems = [[stem for stem, _ in itertools.groupby(map(stem_of, side))] for side in (ours, theirs)]
    assert stems[0] == stems[1][: len(stems[0])], (ours, theirs)


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
    assert culprit(["usleep (libc.so.6)", "? (unknown)"]) == "usleep (libc.so.6)"
    assert culprit(["? (unknown)"]) is None


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
