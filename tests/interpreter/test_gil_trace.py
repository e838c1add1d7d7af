"""gil.trace(): held against CPython's own switch_number in every test, and against workloads with known numbers."""

from __future__ import annotations

import ctypes
import gc
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import meminspect
from meminspect import _native, gil
from meminspect.analysis import hand_offs
from meminspect.models.gil_trace import GilTrace
from meminspect.probes.gil_trace import Trace

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
with_gil = pytest.mark.skipif(FREE_THREADED, reason="this build has no GIL to trace")
CYCLES = int(os.environ.get("MEMINSPECT_TRACE_CYCLES", "300"))
INTERVAL_S = sys.getswitchinterval()


@contextmanager
def traced(**options: int | bool) -> Iterator[Trace]:
    """A trace whose numbers are held against CPython's own at its end."""
    trace = gil.trace(**options)  # type: ignore[arg-type]
    with trace:
        yield trace
    check(trace.result)


def check(result: GilTrace) -> None:
    assert result.tstate_switches == result.switch_number_delta
    assert result.hand_offs.total == result.hand_offs.forced + result.hand_offs.voluntary
    for one in result.interpreters:
        assert one.tstate_switches == one.switch_number_delta
        assert 0 <= one.acquisitions - one.releases + 1 <= 2  # it may begin held, and end held
    if not result.lost_events:
        assert result.exact, result.reason
        assert sum(cell.forced for cell in result.matrix) == result.hand_offs.forced
        assert sum(cell.voluntary for cell in result.matrix) == result.hand_offs.voluntary
    assert gil.counters().enabled
    json.dumps(result.to_dict())


def run(*functions: Callable[[], object], names: tuple[str, ...] = ()) -> list[threading.Thread]:
    threads = [
        threading.Thread(target=function, name=names[at] if names else None) for at, function in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return threads


def compute(seconds: float) -> None:
    """Until this thread had a processor for so long: a busy machine gives it late."""
    while time.thread_time() < seconds:
        sum(range(100))


def hold_the_gil(seconds: float) -> None:
    """A C call that keeps the GIL: usleep() through ctypes' PyDLL, which does not let it go."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


@with_gil
def test_a_ping_pong_has_at_least_two_hand_offs_a_round() -> None:
    rounds = 2_000
    there: queue.SimpleQueue[int] = queue.SimpleQueue()
    back: queue.SimpleQueue[int] = queue.SimpleQueue()

    def serve() -> None:
        for number in range(rounds):
            there.put(number)
            back.get()

    def answer() -> None:
        for _ in range(rounds):
            back.put(there.get())

    with traced() as trace:
        threads = run(serve, answer, names=("serve", "answer"))
    result = trace.result
    assert result.hand_offs.total >= 2 * rounds - 2
    assert result.lost_events == 0
    of = {thread.name: thread for thread in result.threads}
    assert {"serve", "answer", "MainThread"} <= set(of)
    assert of["serve"].native_id == threads[0].native_id
    assert min(of["serve"].acquisitions, of["answer"].acquisitions) >= rounds
    pair = [cell for cell in result.matrix if {cell.from_thread, cell.to_thread} == {
        result.threads.index(of["serve"]), result.threads.index(of["answer"])}]  # fmt: skip
    assert sum(cell.forced + cell.voluntary for cell in pair) >= 2 * rounds - 20


@with_gil
def test_threads_one_after_another_hand_it_on_where_cpython_counts_a_handful(planted: Callable[[str], str]) -> None:
    """1,000 native threads that each take the GIL once: their thread states lie at recycled addresses."""
    native = ctypes.CDLL(planted("native_threads"))  # lets the GIL go around the call
    native.one_after_another(1)
    with traced(collections=False) as trace:
        assert native.one_after_another(1_000) == 0
    result = trace.result
    assert result.hand_offs.total == 1_001
    assert result.hand_offs.forced == 0
    assert result.tstate_switches < 1_001
    assert len(result.threads) == 1_001
    assert sorted(thread.acquisitions for thread in result.threads)[:1_000] == [1] * 1_000


@with_gil
def test_holds_of_different_threads_never_overlap_and_fill_the_time() -> None:
    with traced(collections=False) as trace:
        run(*[lambda: compute(0.1)] * 3)
    result = trace.result
    holds = [span for span in hand_offs.spans_of(result.timeline.spans) if span.kind == hand_offs.HOLD]
    assert result.timeline.left_out == 0
    assert all(before.end <= after.begin for before, after in itertools.pairwise(holds))
    assert all(hold.begin <= hold.end for hold in holds)
    held = sum(hold.end - hold.begin for hold in holds)
    assert held == pytest.approx(sum(thread.held_s for thread in result.threads) * 1e9, rel=0.01, abs=1e6)
    assert result.held_share is not None
    assert result.held_share > 0.5
    assert result.hand_offs.forced >= 1


@with_gil
def test_forced_is_told_from_voluntary_and_by_whose_timeout() -> None:
    with traced(collections=False) as trace:
        run(lambda: compute(0.1), lambda: compute(0.1), names=("one", "two"))
    result = trace.result
    forced = [hold for hold in result.longest_holds if hold.forced]
    assert forced
    names = [thread.name for thread in result.threads]
    for hold in forced:
        assert hold.asked_by is not None
        assert hold.asked_by != hold.thread
        assert {names[hold.asked_by], names[hold.thread]} <= {"one", "two", "MainThread"}
        assert hold.held_s >= INTERVAL_S * 0.9  # nobody asks before an interval has passed


@with_gil
def test_sleeping_threads_force_nothing() -> None:
    def sleep() -> None:
        for _ in range(50):
            time.sleep(0.0005)

    with traced(collections=False) as trace:
        threads = run(sleep, sleep)
    result = trace.result
    of = {thread.native_id: thread for thread in result.threads}
    for thread in threads:
        assert thread.native_id is not None
        assert of[thread.native_id].acquisitions >= 50
        assert of[thread.native_id].held_s < 0.5 * result.duration_s


@with_gil
def test_a_c_call_that_keeps_it_is_found_with_its_length() -> None:
    held_s, ready = 0.15, threading.Event()
    hold_the_gil(0)

    def culprit() -> None:
        ready.wait()
        hold_the_gil(held_s)

    def victim() -> None:
        ready.set()
        for _ in range(20):
            time.sleep(0.001)

    with traced(collections=False) as trace:
        run(culprit, victim, names=("culprit", "victim"))
    result = trace.result
    longest = result.longest_holds[0]
    assert result.threads[longest.thread].name == "culprit"
    assert longest.held_s >= held_s
    assert longest.asked_by is not None
    assert max(thread.waits.max_s or 0 for thread in result.threads) >= held_s / 2
    assert any(finding.id == "gil-long-hold" and finding.figures["thread"] == "culprit" for finding in result.findings)


@with_gil
def test_a_convoy_is_named() -> None:
    done, both = threading.Event(), threading.Barrier(2)

    def io() -> None:
        both.wait()
        end, waits = time.monotonic() + 20, 0
        while waits < 30 and time.monotonic() < end:  # until the other thread was in its way often enough
            before = time.monotonic()
            time.sleep(0.0001)
            waits += time.monotonic() - before > INTERVAL_S
        done.set()

    def work() -> None:
        both.wait()
        while not done.is_set():
            sum(range(100))

    with traced(collections=False) as trace:
        run(io, work, names=("io", "work"))
    result = trace.result
    named = [(result.threads[one.thread].name, result.threads[one.behind].name) for one in result.convoys]
    assert ("io", "work") in named, (result.threads, [thread.waits for thread in result.threads], result.matrix)
    assert result.convoys[0].median_wait_s >= INTERVAL_S * 0.8
    assert any(finding.id == "gil-convoy" for finding in result.findings)


@with_gil
def test_collections_are_on_the_same_line() -> None:
    with traced() as trace:
        gc.collect()
        gc.collect(0)
    generations = [one.generation for one in trace.result.collections]
    assert 0 in generations
    assert max(generations) == 2
    assert all(0 <= one.duration_s <= trace.result.duration_s for one in trace.result.collections)
    assert _native.gil_trace_collected not in gc.callbacks


@with_gil
def test_little_memory_is_told_and_the_counts_stay_exact() -> None:
    def sleep() -> None:
        for _ in range(3_000):
            time.sleep(0)

    with traced(memory_bytes=1, collections=False) as trace:
        run(sleep)
    result = trace.result
    assert result.lost_events > 0
    assert not result.exact
    assert result.reason is not None
    assert "found no room" in result.reason
    assert result.lost_events == sum(thread.lost_events for thread in result.threads)
    assert sum(thread.acquisitions for thread in result.threads) >= 3_000


@with_gil
def test_a_second_start_is_refused_and_the_first_goes_on() -> None:
    with traced() as trace:
        with pytest.raises(meminspect.NativeError, match="traced already"):
            gil.trace().start()
        time.sleep(0)
    assert trace.result.interpreters[0].acquisitions >= 1
    with pytest.raises(meminspect.NativeError) as caught:
        _native.gil_trace_stop()
    assert caught.value.code == "absent"
    with traced():
        pass


@with_gil
def test_it_starts_and_stops_over_and_over_under_load() -> None:
    done = threading.Event()

    def sleep() -> None:
        while not done.is_set():
            time.sleep(0)

    def work() -> None:
        while not done.is_set():
            sum(range(100))

    def begin_and_end() -> None:
        while not done.is_set():
            thread = threading.Thread(target=time.sleep, args=(0,))
            thread.start()
            thread.join()

    threads = [threading.Thread(target=function) for function in (sleep, sleep, begin_and_end)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(CYCLES):
            _native.gil_trace_start(1 << 16)
            time.sleep(0)
            raw = _native.gil_trace_stop()
            assert raw["gils"][0]["tstate_switches"] == raw["gils"][0]["switch_number_delta"]
            assert raw["strayed"] == 0
            assert raw["left_in_place"] is None
    finally:
        done.set()
        for thread in threads:
            thread.join()


def python(code: str, *, timeout: float = 60) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, timeout=timeout,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    return done.stdout


@with_gil
def test_a_child_after_fork_is_silent_and_may_trace_itself() -> None:
    said = python("""
        import os, time, warnings
        from meminspect import _native, gil
        warnings.simplefilter("ignore")
        with gil.trace() as outer:
            child = os.fork()
            if not child:
                assert not _native.gil_trace_running()
                time.sleep(0.01)
                with gil.trace() as inner:
                    time.sleep(0)
                assert inner.result.exact and inner.result.pid == os.getpid(), inner.result.reason
                os._exit(0)
            status = os.waitpid(child, 0)[1]
        assert outer.result.exact, outer.result.reason
        print(status, outer.result.pid == os.getpid())
    """)
    assert said.split() == ["0", "True"]


@with_gil
def test_pools_of_forked_processes_work_while_tracing() -> None:
    said = python("""
        import multiprocessing, threading, time
        from meminspect import gil
        def square(number): return number * number
        def churn(stop):
            while not stop.is_set(): time.sleep(0)
        if __name__ == "__main__":
            import warnings
            warnings.simplefilter("ignore")
            stop = threading.Event()
            thread = threading.Thread(target=churn, args=(stop,))
            with gil.trace() as trace:
                thread.start()
                for _ in range(3):
                    with multiprocessing.get_context("fork").Pool(4) as pool:
                        assert pool.map(square, range(50)) == [number ** 2 for number in range(50)]
                stop.set()
                thread.join()
            result = trace.result
            assert result.tstate_switches == result.switch_number_delta
            print(result.exact, result.reason)
    """)
    assert said.split()[0] == "True", said


@with_gil
@pytest.mark.parametrize("ending", ["pass", "import os; os._exit(0)", "import sys; sys.exit(0)"])
def test_an_interpreter_ends_well_while_it_traces(ending: str) -> None:
    python(f"""
        import threading, time
        from meminspect import gil
        def forever():
            while True: time.sleep(0)
        threading.Thread(target=forever, daemon=True).start()
        threading.Thread(target=forever, daemon=True).start()
        gil.trace().start()
        time.sleep(0.05)
        {ending}
    """)


@with_gil
def test_a_program_may_replace_itself_while_it_traces() -> None:
    said = python("""
        import os, sys
        from meminspect import gil
        gil.trace().start()
        os.execv(sys.executable, [sys.executable, "-c", "print('another')"])
    """)
    assert said.strip() == "another"


@with_gil
def test_tracing_needs_no_right_to_change_pages_that_are_writable_and_says_when_it_lacks_it() -> None:
    """Under a filter that refuses mprotect: either the slots are writable and it works, or it is a named error."""
    said = python("""
        import ctypes, struct, time
        from meminspect import NativeError, gil
        libc = ctypes.CDLL(None, use_errno=True)
        number = {"x86_64": 10, "aarch64": 226}[__import__("platform").machine()]
        lines = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000)]
        program = b"".join(struct.pack("=HBBI", *line) for line in lines)
        held = ctypes.create_string_buffer(program)
        filter_ = ctypes.create_string_buffer(struct.pack("=H6xQ", len(lines), ctypes.addressof(held)))
        time.sleep(0)
        libc.prctl(38, 1, 0, 0, 0)
        if libc.prctl(22, 2, filter_, 0, 0):
            print("no-filter")
            raise SystemExit
        try:
            with gil.trace() as trace:
                time.sleep(0)
            print("traced", trace.result.tstate_switches == trace.result.switch_number_delta)
        except NativeError as error:
            print(error.code)
    """)
    assert said.split() in (["traced", "True"], ["permission"], ["os"], ["no-filter"]), said


@with_gil
def test_signals_reach_the_program_while_tracing() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        with traced():
            for _ in range(20):
                os.kill(os.getpid(), signal.SIGUSR1)
                time.sleep(0.001)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(seen) == 20


def test_a_file_that_python_reads_at_its_start_traces_a_program_that_does_not_import_it(tmp_path: Path) -> None:
    """As the guide has it: a line in a .pth file, which is read before the program's first line."""
    guide = (Path(__file__).parent.parent.parent / "docs" / "guides" / "gil.md").read_text()
    [line] = [
        line for line in guide.splitlines() if line.startswith("import os; os.environ.get('MEMINSPECT_GIL_TRACE')")
    ]
    (tmp_path / "gil.pth").write_text(line + "\n")
    (tmp_path / "sitecustomize.py").write_text(f"import site\nsite.addsitedir({str(tmp_path)!r})\n")
    path = os.pathsep.join([str(tmp_path), str(Path(meminspect.__file__).parent.parent), *sys.path])
    code = "import sys; print('meminspect' in sys.modules)"
    for target, imported in (("", "False"), ("-", "True")):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path, "MEMINSPECT_GIL_TRACE": target},
        )  # fmt: skip
        assert (done.returncode, done.stdout.strip()) == (0, imported), done.stderr
        assert ("GIL" in done.stderr) == (target != ""), done.stderr


@with_gil
def test_no_thread_of_ours_is_there_while_the_program_forks() -> None:
    """Else CPython warns of a fork beside threads; afterwards there are both again, and nothing was lost."""
    code = """
        import os, time, warnings
        from pathlib import Path
        from meminspect import gil
        warnings.simplefilter("error")

        def ours():
            names = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
            return sorted(name for name in names if name.startswith("meminspect"))

        seen = []
        os.register_at_fork(before=lambda: seen.append(ours()))
        with gil.trace(collections=False) as trace, gil.sample(rate_hz=500) as sample:
            for _ in range(5):
                time.sleep(0.01)
                child = os.fork()
                if not child: os._exit(len(ours()))
                assert os.waitpid(child, 0)[1] == 0
            until = time.monotonic() + 30
            while ours() != ["meminspect-gil", "meminspect-look"]:  # they begin, and then name themselves
                assert time.monotonic() < until, ours()
                time.sleep(0.01)
            time.sleep(0.05)
        assert seen == [[]] * 5, seen
        assert ours() == []
        result = trace.result
        assert result.tstate_switches == result.switch_number_delta and result.exact, result.reason
        assert sample.result.looks > 0
        with gil.trace(collections=False) as again: time.sleep(0.01)
        assert again.result.events > 0
        print("well")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("well\n", "")  # CPython's warning would stand in the second


@pytest.mark.skipif(not FREE_THREADED, reason="this build has a GIL")
def test_a_free_threaded_build_says_that_there_is_no_gil() -> None:
    with pytest.raises(meminspect.NativeError, match=r"no GIL|GIL switched on") as caught, gil.trace():
        pass
    assert caught.value.code == "absent"


@pytest.mark.parametrize("target", ["-", "gil.json", "nowhere/gil.json", "gil.txt"])
def test_an_environment_variable_starts_it_as_the_package_is_imported(target: str, tmp_path: Path) -> None:
    code = """
        import meminspect, os, subprocess, sys, time
        assert "MEMINSPECT_GIL_TRACE" not in os.environ
        time.sleep(0.01)
        if sys.argv[1:] == ["-"]:  # the summary of one that was traced as well would be there twice
            subprocess.run([sys.executable, "-c", "import meminspect"], check=True)
        child = os.fork()
        if not child:
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print("its own")
    """
    path = os.pathsep.join([*sys.path, str(Path(meminspect.__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), target], capture_output=True, text=True, timeout=120,
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": path, "MEMINSPECT_GIL_TRACE": target},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "its own\n"), done.stderr
    if FREE_THREADED:
        assert "GIL" in done.stderr
        assert len(done.stderr.splitlines()) == 1
    elif target == "-":
        assert done.stderr.count("The GIL went from one thread to another") == 1
    elif target == "gil.json":
        assert done.stderr == ""
        assert json.loads((tmp_path / target).read_text())["traceEvents"]
    else:
        assert done.stderr.startswith("meminspect: MEMINSPECT_GIL_TRACE: ")
        assert len(done.stderr.splitlines()) == 1
