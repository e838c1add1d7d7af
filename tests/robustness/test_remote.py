"""`report --pid`: what is refused, in one line each, and that what is read is what the other process says of itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Program

from meminspect import _native
from meminspect.models.heap import SizeClass
from meminspect.probes import remote, report
from meminspect.probes.malloc_stats import parse

RUN = Callable[..., Program]

TARGET = """
import gc, sys
gc.set_threshold(1234, 7, 5)
sys.setswitchinterval(0.0123)
print("ready", flush=True)
for line in sys.stdin:
    print(eval(line), flush=True)
"""


def take(pid: int) -> Any:
    return report.build(*remote.take(pid))


def refusal(pid: int) -> str:
    with pytest.raises(remote.RemoteError) as caught:
        remote.take(pid)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_it_reads_what_the_process_says_of_itself(run: RUN) -> None:
    program = run(TARGET)
    program.line()
    page = take(program.pid)
    assert page.process.pid == program.pid
    assert page.gc is not None
    program.say("gc.get_threshold()")
    assert tuple(generation.threshold for generation in page.gc.generations)[:2] == eval(program.line())[:2]
    assert page.gil is not None
    assert page.gil[0].switch_interval_s == pytest.approx(0.0123)
    assert program.end() == (0, "")


# Writes CPython's own statistics, which go to file descriptor 2, into a file.
STATISTICS = """
import os
def statistics(path, saved=os.dup(2)):
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(file, 2)
    sys._debugmallocstats()
    os.dup2(saved, 2)
    os.close(file)
"""


def used_by_class(size_classes: tuple[SizeClass, ...]) -> dict[int, int]:
    return {item.size: item.used for item in size_classes if item.pools}


def test_blocks_are_counted_as_the_process_counts_them(run: RUN, tmp_path: Path) -> None:
    """Every size class, read from outside while the process waits, and as CPython counts it right before and behind.

    All that may differ is what evaluating the line holds while CPython counts (its text, code object and frame, the
    path: 8 blocks or fewer were seen) and has given back when the process waits for the next one.
    """
    program = run(TARGET.replace("print(", STATISTICS + "print(", 1))
    program.line()

    def theirs(name: str) -> dict[int, int]:
        program.say(f"statistics({str(tmp_path / name)!r})")
        program.line()
        return used_by_class(parse((tmp_path / name).read_bytes()).size_classes)

    for ask in ("None", "len(globals().setdefault('kept', [bytes(400) for _ in range(20000)]))"):
        program.say(ask)
        program.line()
        theirs("first")  # fills the free lists and caches of what it runs
        before = theirs("before")
        page = take(program.pid).pymalloc
        if page is None or not page.allocator.startswith("pymalloc"):
            pytest.skip("the heap of this build is not read from outside")
        assert page.exact
        assert theirs("behind") == before
        ours = used_by_class(page.size_classes)
        differences = {size: before.get(size, 0) - ours.get(size, 0) for size in before | ours}
        assert max(map(abs, differences.values())) <= 4, differences
        assert sum(map(abs, differences.values())) <= 16, differences
    assert max(ours.values()) > 20000


BUSY = """
kept = [bytes(300) for _ in range(100_000)]
print("ready", flush=True)
while True:
    passing = [[bytes(100 + i % 400) for i in range(2000)] for _ in range(40)]
    del passing
"""


def test_memory_of_a_process_that_allocates_busily(run: RUN) -> None:
    """Arenas come and go between the page map and the walk: their memory keeps its name, and what is left is said."""
    program = run(BUSY)
    program.line()
    shares = []
    for _ in range(10):
        memory = take(program.pid).memory
        assert memory is not None
        assert "CPython's own heaps" not in (memory.reason or "")
        if memory.tree.find("pymalloc") is None:
            pytest.skip("the heap of this build is not pymalloc's")
        leaf = memory.tree.find("unattributed")
        share = leaf.bytes / memory.tree.bytes if leaf is not None else 0.0
        shares.append(share)
        assert share <= 0.002 or "bytes belong to nothing that is known, or changed" in (memory.reason or "")
        moved = abs(memory.rss_bytes - memory.tree.bytes)
        assert moved <= memory.tree.bytes / 500 or f"by {moved} bytes between" in (memory.reason or "")
    assert sorted(shares)[4] <= 0.002, shares


def test_the_holder_of_the_gil_is_named(run: RUN) -> None:
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("this build runs without a GIL")
    program = run("print('ready', flush=True)\nsum(range(10 ** 12))")
    program.line()
    deadline = time.monotonic() + 30
    while True:  # print() gave the GIL up to write the line; from sum() on it is held for ever
        gil = take(program.pid).gil
        assert gil is not None
        if gil[0].locked or time.monotonic() > deadline:
            break
    assert (gil[0].locked, gil[0].holder_native_id) == (True, program.pid)


def test_nothing_traces_or_stops_it(run: RUN) -> None:
    program = run(TARGET)
    program.line()
    take(program.pid)
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{program.pid}/status").read_text().splitlines())
    assert fields["TracerPid"].strip() == "0"
    assert fields["State"].split()[0] in "SR"
    program.say("1 + 1")
    assert program.line() == "2"


def test_no_such_process() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert refusal(gone.pid) == f"there is no process {gone.pid}"
    assert refusal(0) == "there is no process 0"
    assert refusal(-1) == "there is no process -1"


def test_a_zombie() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        assert "has ended" in refusal(child)
    finally:
        os.waitpid(child, 0)


def test_itself() -> None:
    assert "leave --pid out" in refusal(os.getpid())


def test_not_a_python() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        wait_for_exec(sleeper.pid, "sleep")
        try:
            assert refusal(sleeper.pid).startswith(f"process {sleeper.pid} is not a Python: it runs /")
        finally:
            sleeper.kill()


def wait_for_exec(pid: int, name: str) -> None:
    from conftest import wait_for

    wait_for(lambda: Path(f"/proc/{pid}/comm").read_text().strip() == name, f"the start of {name}")


def other_python() -> str | None:
    """Another build of Python on this machine."""
    ours = Path(os.readlink("/proc/self/exe")).resolve()
    names = [f"/usr/bin/python3{minor}" for minor in ("", ".15", ".14", ".13", ".12", ".11")]
    for path in [*names, shutil.which("python3.11"), shutil.which("python3.12"), shutil.which("python3.13")]:
        if path is None or not os.path.exists(path) or Path(path).resolve() == ours:
            continue
        version = subprocess.run([path, "-c", "import sys; print(sys.hexversion)"], capture_output=True, text=True)
        if version.returncode == 0 and int(version.stdout) != sys.hexversion:
            return path
    return None


def test_another_build_of_python() -> None:
    other = other_python()
    if other is None:
        pytest.skip("there is no second build of Python at hand")
    code = "print('ready', flush=True); input()"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    with subprocess.Popen(
        [other, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        text = refusal(process.pid)
        process.kill()
    assert text.startswith(f"process {process.pid} runs another build of Python: ")


def test_not_permitted(run: RUN) -> None:
    """Root gives up its rights for it; anybody else looks at process 1."""
    if os.geteuid():
        assert "not permitted" in refusal(1)
        return
    target = run(TARGET)
    target.line()
    reader = run(
        """
import os, sys
from meminspect.probes import remote
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    remote.take(int(sys.argv[1]))
except remote.RemoteError as error:
    print(error)
""",
        str(target.pid),
    )
    text = reader.line()
    assert text.startswith(f"not permitted to read process {target.pid}: it belongs to user 0, this is user 65534")


@pytest.mark.parametrize("section", ["heap", "gc", "gil", "process", "memory"])
def test_it_vanishes_half_way(run: RUN, monkeypatch: pytest.MonkeyPatch, section: str) -> None:
    name = f"{section}_capture"
    program = run(TARGET)
    program.line()
    capture = getattr(_native, name)

    def after_its_end(pid: int) -> Any:
        program.process.kill()
        program.process.wait()
        return capture(pid=pid)

    monkeypatch.setattr(_native, name, after_its_end)
    assert refusal(program.pid) == f"process {program.pid} ended while it was read"


LEAVING = "import json, os, sys; os.read(0, 1); import decimal, email.message"


def test_processes_that_come_and_go() -> None:
    """Whatever the moment: a report, or one line that says why not.

    Each is looked at from its first moment on until it is gone. Every second one stays until a report was made of it.
    """
    reports = 0
    refusals: list[str] = []
    for number in range(20):
        process = subprocess.Popen([sys.executable, "-c", LEAVING], stdin=subprocess.PIPE)
        assert process.stdin is not None
        stays = bool(number % 2)
        deadline = time.monotonic() + 60
        try:
            if not stays:
                process.stdin.close()
            while process.poll() is None and time.monotonic() < deadline:
                try:
                    assert take(process.pid).process.pid == process.pid
                    reports += 1
                    process.stdin.close()
                except remote.RemoteError as error:
                    refusals.append(str(error))
        finally:
            process.kill()
            status = process.wait()
            process.stdin.close()
        assert status == 0
    assert reports >= 10
    assert not [text for text in refusals if "\n" in text]


# Its newest threads end all the time: whoever follows their list comes to one whose memory was given back.
ENDING_THREADS = """
import threading
from _thread import start_new_thread
def end(): pass
print("ready", flush=True)
while True:
    for _ in range(20): start_new_thread(end, ())
"""


def test_threads_that_end_while_they_are_listed(run: RUN) -> None:
    """The interpreter runs all the time, so that none runs is never said."""
    program = run(ENDING_THREADS)
    program.line()
    for _ in range(300):
        _native.remote_verify(program.pid)


def command_line(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "meminspect", "report", *arguments], capture_output=True, text=True)


def test_the_command_line(run: RUN) -> None:
    program = run(TARGET)
    program.line()
    done = command_line("--json", "--pid", str(program.pid))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["process"]["pid"] == program.pid
    assert command_line("--pid", str(program.pid)).returncode == 0


def test_the_command_line_refuses_in_one_line() -> None:
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        wait_for_exec(sleeper.pid, "sleep")
        done = command_line("--pid", str(sleeper.pid))
        os.kill(sleeper.pid, signal.SIGKILL)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "is not a Python" in done.stderr
    assert command_line("--pid", "1", "script.py").returncode == 2
    assert command_line("--pid", "x").returncode == 2
