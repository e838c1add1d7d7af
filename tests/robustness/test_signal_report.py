"""Reports by signal: install() in programs that idle, are stuck in C, fork, and end under a storm of signals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from conftest import SIGNAL, Program, wait_for

RUN = Callable[..., Program]
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()

INSTALLED = """
import os, signal, sys, meminspect
from meminspect import _native
meminspect.install(signal=signal.SIGRTMIN + 5, path="report-{pid}.json")
"""

IDLE = (
    INSTALLED
    + """
print("ready", flush=True)
for line in sys.stdin:
    print(eval(line), flush=True)
"""
)

# Holds the GIL in a C call that the test can end: PyDLL keeps the GIL, and read() waits for the test's line.
STUCK = (
    INSTALLED
    + """
import ctypes
read = ctypes.PyDLL(None).read
print("ready", flush=True)
read(0, ctypes.create_string_buffer(1), 1)
print("returned", flush=True)
sys.stdin.read()
"""
)


def test_idle_program_answers_with_a_whole_report(run: RUN) -> None:
    program = run(IDLE)
    program.line()
    os.kill(program.pid, SIGNAL)
    report = program.report(partial=False)
    assert report["process"]["pid"] == program.pid
    assert program.end() == (0, "")


def test_the_file_is_private_and_nothing_is_left_beside_it(run: RUN) -> None:
    program = run(IDLE)
    program.line()
    os.kill(program.pid, SIGNAL)
    program.report(partial=False)
    assert stat.S_IMODE(program.report_path().stat().st_mode) == 0o600
    assert program.end()[0] == 0
    assert [path.name for path in program.folder.iterdir()] == [program.report_path().name]


def test_the_path_is_the_one_of_the_time_of_install(run: RUN, tmp_path: Path) -> None:
    program = run(INSTALLED + "os.chdir('/')\nprint('ready', flush=True)\nsys.stdin.read()")
    program.line()
    os.kill(program.pid, SIGNAL)
    assert program.report(partial=False)["process"]["pid"] == program.pid


@pytest.mark.skipif(not HAS_GIL, reason="needs a GIL that one thread can keep")
def test_stuck_in_a_c_call_it_answers_with_what_needs_no_gil_and_then_with_the_rest(run: RUN) -> None:
    program = run(STUCK)
    program.line()
    program.asleep()
    os.kill(program.pid, SIGNAL)
    first = program.report(partial=True)
    assert first["process"]["pid"] == program.pid
    assert first["pymalloc"] is None
    assert first["pymalloc_reason"] == "waiting for the GIL"
    assert (first["gil"]["locked"], first["gil"]["holder_native_id"]) == (True, program.pid)
    os.kill(program.pid, SIGNAL)  # requests do not wait behind one another's wait for the GIL
    second = program.report(partial=True, after_s=first["process"]["taken_s"])
    program.say()
    assert program.line() == "returned"
    program.report(partial=False, after_s=second["process"]["taken_s"])
    assert program.end() == (0, "")


@pytest.mark.skipif(not HAS_GIL, reason="needs a GIL that one thread can keep")
def test_stuck_in_python_code_that_never_lets_go(run: RUN) -> None:
    program = run(INSTALLED + "print('ready', flush=True)\nsum(range(10 ** 12))")
    program.line()
    os.kill(program.pid, SIGNAL)
    assert program.report(partial=True)["process"]["pid"] == program.pid
    assert program.process.poll() is None


def leaves(node: dict[str, Any]) -> int:
    assert not node["children"] or node["bytes"] == sum(child["bytes"] for child in node["children"])
    return sum(leaves(child) for child in node["children"]) if node["children"] else int(node["bytes"])


def test_every_resident_byte_has_a_cause_in_both_parts(run: RUN) -> None:
    program = run(STUCK.replace("import ctypes", "import ctypes\nkept = [bytearray(700) for _ in range(20000)]"))
    program.line()
    program.asleep()
    os.kill(program.pid, SIGNAL)
    first = program.report()
    program.say()
    for memory in (first["memory"], program.report(partial=False)["memory"]):
        assert leaves(memory["tree"]) == memory["tree"]["bytes"]
        assert abs(memory["tree"]["bytes"] - memory["rss_bytes"]) <= 0.005 * memory["rss_bytes"]
        assert memory["unattributed_bytes"] <= 0.005 * memory["rss_bytes"]
        if memory["malloc"].startswith("glibc"):
            assert sum(arena["live_bytes"] for arena in memory["malloc_arenas"]) > 20000 * 700 or not HAS_GIL


def test_requests_are_answered_together(run: RUN) -> None:
    program = run(IDLE)
    program.line()
    for _ in range(500):
        os.kill(program.pid, SIGNAL)

    def answered() -> dict[str, Any] | None:
        program.say("_native.signal_state()")
        state: dict[str, Any] = eval(program.line())
        return state if state["requests"] == 500 and state["full_reports"] else None

    state = wait_for(answered, "an answer to 500 signals")
    assert 1 <= state["full_reports"] <= state["partial_reports"] <= 500
    assert state["last_error"] is None
    assert program.end() == (0, "")


@pytest.mark.parametrize("ending", ["pass", "sys.exit(0)", "os.kill(os.getpid(), signal.SIGRTMIN + 5)"])
def test_ending_under_a_storm_of_signals(run: RUN, ending: str) -> None:
    for _ in range(4):
        program = run(INSTALLED + f"print('ready', flush=True)\nsys.stdin.readline()\n{ending}")
        program.line()
        for count in range(2000):
            if count == 20:
                program.say()
            if program.process.poll() is not None:
                break
            with contextlib.suppress(BlockingIOError):  # the kernel's queue of signals is full
                os.kill(program.pid, SIGNAL)
        assert program.end() == (0, "")


def test_a_forked_child_answers_for_itself(run: RUN) -> None:
    program = run(
        INSTALLED
        + """
pid = os.fork()
if not pid:
    sys.stdin.readline()
    os._exit(0)
print(pid, flush=True)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
""",
        options=("-W", "error"),
    )
    child = int(program.line())
    os.kill(child, SIGNAL)
    assert program.report(partial=False, pid=child)["process"]["pid"] == child
    assert not program.report_path().exists()
    os.kill(program.pid, SIGNAL)
    assert program.report(partial=False)["process"]["pid"] == program.pid
    program.say()
    assert program.end() == (0, "")


def test_forks_while_signals_come(run: RUN) -> None:
    program = run(
        INSTALLED
        + """
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    pid = os.fork()
    if not pid:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
print("forked", flush=True)
sys.stdin.read()
""",
        options=("-W", "error"),
    )
    program.line()
    program.say()
    for _ in range(200):
        os.kill(program.pid, SIGNAL)
    assert program.line() == "forked"
    last = program.report(partial=False)["process"]["taken_s"]
    os.kill(program.pid, SIGNAL)
    program.report(partial=False, after_s=last)
    assert program.end() == (0, "")


def test_workers_of_a_fork_pool_answer_for_themselves(run: RUN) -> None:
    program = run(
        INSTALLED
        + """
import multiprocessing
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(*(process.pid for process in pool._pool), flush=True)
    sys.stdin.readline()
    assert pool.map(abs, [-1, -2, -3]) == [1, 2, 3]
""",
        options=("-W", "error"),
    )
    workers = [int(pid) for pid in program.line().split()]
    for pid in workers:
        os.kill(pid, SIGNAL)
    assert [program.report(partial=False, pid=pid)["process"]["pid"] for pid in workers] == workers
    program.say()
    assert program.end() == (0, "")


def test_an_executed_child_has_neither_handler_nor_mask(run: RUN) -> None:
    look = """
import subprocess
command = ["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]
print(subprocess.run(command, capture_output=True, text=True).stdout.split(), flush=True)
"""
    child, plain = eval(run(INSTALLED + look).line()), eval(run(look).line())
    assert child == plain
    assert not int(child[child.index("SigCgt:") + 1], 16) >> (SIGNAL - 1) & 1


def test_the_program_s_signals_never_land_in_our_threads(run: RUN) -> None:
    program = run(IDLE)
    program.line()
    os.kill(program.pid, SIGNAL)
    program.report(partial=False)  # both threads have named themselves
    ours = 0
    for status in Path(f"/proc/{program.pid}/task").glob("*/status"):
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        if fields["Name"].strip().startswith("meminspect"):
            ours += 1
            blocked = int(fields["SigBlk"], 16)
            asynchronous = [signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM, signal.SIGPROF, SIGNAL]
            assert all(blocked >> (number - 1) & 1 for number in asynchronous)
    assert ours == 2


def refusal(run: RUN, code: str) -> str:
    """The message of what install() raised, and that the program is none the worse for it."""
    program = run(f"""
import os, signal, sys, meminspect
try:
    {code}
except Exception as error:
    print(type(error).__name__, error, sep=": ", flush=True)
else:
    print("accepted", flush=True)
print(len(os.listdir("/proc/self/task")), flush=True)
""")
    message, threads = program.line(), program.line()
    assert threads == "1" or message == "accepted"
    assert program.end() == (0, "")
    return message


@pytest.mark.parametrize(
    "how",
    [
        "signal.signal(S, print)",
        "signal.signal(S, signal.SIG_IGN)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, [S])",
        "import faulthandler; faulthandler.register(S)",
    ],
)
def test_a_signal_that_is_taken_is_an_error(run: RUN, how: str) -> None:
    message = refusal(run, f"S = signal.SIGRTMIN + 5; {how}; meminspect.install(signal=S)")
    assert message.startswith("ValueError: SIGRTMIN+5 is taken: ")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGCHLD", "SIGKILL", "SIGSEGV", "SIGALRM"])
def test_a_reserved_signal_is_an_error(run: RUN, name: str) -> None:
    assert refusal(run, f"meminspect.install(signal=signal.{name})").startswith(f"ValueError: {name} is reserved")


@pytest.mark.parametrize("number", ["0", "-1", "32", "33", "1000", "2 ** 40"])
def test_a_number_that_is_no_signal_of_ours_is_an_error(run: RUN, number: str) -> None:
    assert refusal(run, f"meminspect.install(signal={number})").startswith("ValueError: signal ")


def test_the_signal_must_be_given(run: RUN) -> None:
    assert refusal(run, "meminspect.install()").startswith("TypeError: ")
    assert refusal(run, "meminspect.install(signal='SIGUSR1')").startswith("TypeError: signal must be a number")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere/report.json", "no such folder"),
        ("report-{name}.json", "placeholder"),
        ("{pid}/report.json", "file's name only"),
        ("sub/", "names no file"),
        (".", "is not a regular file"),
        ("/dev/null", "is not a regular file"),
        ("x\\0y", "null character"),
    ],
)
def test_a_path_that_cannot_be_written_is_an_error(run: RUN, path: str, message: str) -> None:
    assert message in refusal(run, f"meminspect.install(signal=signal.SIGUSR1, path='{path}')")


def test_a_second_install(run: RUN) -> None:
    twice = "meminspect.install(signal=signal.SIGUSR1, path='a'); meminspect.install(signal=signal.{}, path='{}')"
    assert refusal(run, twice.format("SIGUSR1", "a")) == "accepted"
    program = run(IDLE)
    program.line()
    program.say("meminspect.install(signal=signal.SIGRTMIN + 5, path='report-{pid}.json')")
    assert program.line() == "None"
    program.say("meminspect.install(signal=signal.SIGUSR1)")
    status, errors = program.end()
    assert status == 1
    assert "RuntimeError: a report is installed on SIGRTMIN+5" in errors


def test_after_uninstall_a_late_signal_does_nothing(run: RUN) -> None:
    program = run(IDLE)
    program.line()
    program.say("meminspect.uninstall()")
    assert program.line() == "None"
    os.kill(program.pid, SIGNAL)
    program.say("len(os.listdir('/proc/self/task'))")
    assert program.line() == "1"
    assert not program.report_path().exists()
    program.say("meminspect.uninstall()")
    assert program.line() == "None"
    for number in (SIGNAL, SIGNAL + 1):
        program.say(f"meminspect.install(signal={number}, path='report-{{pid}}.json')")
        assert program.line() == "None"
        os.kill(program.pid, number)
        program.report(partial=False)
        program.report_path().unlink()
        program.say("meminspect.uninstall()")
        program.line()
    assert program.end() == (0, "")


def test_a_folder_that_vanished_is_told_and_harms_nothing(run: RUN, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    program = run(IDLE.replace("report-{pid}", "sub/report-{pid}"))
    program.line()
    (tmp_path / "sub").rmdir()
    os.kill(program.pid, SIGNAL)

    def error() -> str | None:
        program.say("_native.signal_state()['last_errno']")
        return program.line() == "2" and "told"

    wait_for(error, "the error of a missing folder")
    assert program.end() == (0, "")


def test_the_gil_stays_as_it_was(run: RUN) -> None:
    if not hasattr(sys, "_is_gil_enabled"):
        pytest.skip("sys._is_gil_enabled is new in 3.13")
    look = "print(sys._is_gil_enabled(), flush=True)\n"
    program = run(f"import sys\n{look}{INSTALLED}{look}")
    assert program.line() == program.line()


def test_in_a_subinterpreter_it_says_why_not(run: RUN) -> None:
    program = run("""
import sys, textwrap
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
code = textwrap.dedent('''
    try:
        import signal, meminspect
        meminspect.install(signal=signal.SIGRTMIN + 5)
    except Exception as error:
        print(type(error).__name__, error, sep=": ", flush=True)
    else:
        print("accepted", flush=True)
''')
interpreters.run_string(interpreters.create(), code)
""")
    message = program.line()
    assert message.startswith(("RuntimeError: reports by signal", "ImportError: "))
    assert program.end()[0] == 0


def test_partial_and_whole_reports_are_valid_by_the_schema(run: RUN) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(files("meminspect").joinpath("schemas", "report-1.json").read_text())
    program = run(STUCK)
    program.line()
    program.asleep()
    os.kill(program.pid, SIGNAL)
    jsonschema.validate(program.report(), schema)
    program.say()
    jsonschema.validate(program.report(partial=False), schema)


BIG = """
kept = [[number] for number in range(200_000)]
print("ready", flush=True)
for line in sys.stdin:
    print(eval(line), flush=True)
"""


@pytest.mark.skipif(not HAS_GIL, reason="nothing is held in a free-threaded build")
@pytest.mark.parametrize("ceiling", [None, 1e-6])
def test_a_ceiling_on_the_pause_is_kept_and_what_it_cost_is_said(run: RUN, ceiling: float | None) -> None:
    """A worker with a big heap: without a ceiling all of it is told, with a tiny one it is told what was left out."""
    program = run(INSTALLED.replace('.json")', f'.json", max_pause={ceiling})') + BIG)
    program.line()
    os.kill(program.pid, SIGNAL)
    report = program.report(partial=False)
    sections = {name: report[name] for name in ("memory", "pymalloc", "gc")}
    reasons = {name: section["reason"] or "" for name, section in sections.items()}
    cut = {name for name, reason in reasons.items() if "max_pause was reached" in reason}
    if ceiling is None:
        assert cut == set()
        assert sum(generation["objects"] for generation in report["gc"]["generations"]) >= 200_000
    else:
        assert {"memory", "gc"} <= cut
        assert not any(sections[name]["exact"] for name in cut)
        assert [generation["objects"] for generation in report["gc"]["generations"]] == [None] * 3
        assert any(finding["id"] == "partial" for finding in report["findings"])
        if report["python"]["allocator"].startswith("pymalloc"):
            assert "pymalloc" in cut
            assert report["pymalloc"]["cross_check"]["agrees"] is None
    program.say("len(kept)")
    assert program.line() == "200000"
