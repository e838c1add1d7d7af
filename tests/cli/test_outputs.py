"""Where results go: places, files that are whole or not there, statuses that stay the program's."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from meminspect.launch.output import open_output

COMMAND = [sys.executable, "-m", "meminspect", "report"]
TIMEOUT_S = 120


def report(*args: str, stdout: int = subprocess.PIPE, **changes: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **changes}
    return subprocess.run(
        [*COMMAND, *args], stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False, env=env
    )


def test_places(tmp_path: Path) -> None:
    """Without a program stdout; with one stderr, or a file; `-o -` is stdout."""
    alone = report("--json")
    assert json.loads(alone.stdout)["schema"] == 1
    assert alone.stderr == ""
    beside = report("--json", "-c", "print('its own')")
    assert beside.stdout == "its own\n"
    assert json.loads(beside.stderr)["process"]["hooked_by"] == "preload"
    dash = report("--json", "-o", "-", "-c", "pass")
    assert json.loads(dash.stdout)["process"]["program"] == "-c"
    assert dash.stderr == ""


def test_file_is_private_and_whole(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("before")
    target.chmod(0o644)
    link = tmp_path / "link"
    link.symlink_to(target)
    assert report("--json", "-o", str(link), "-c", "import sys; sys.exit(3)").returncode == 3
    assert link.is_symlink()
    assert json.loads(target.read_text())["schema"] == 1
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "target"]


def test_nothing_is_left_without_a_result(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("before")
    done = report("-o", str(target), "-c", "import os; os._exit(5)")
    assert done.returncode == 5
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_fifo_and_descriptor(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    assert report("--json", "-o", str(fifo), "-c", "pass").returncode == 0
    reader.join(TIMEOUT_S)
    assert json.loads(read[0])["schema"] == 1
    out = tmp_path / "out"
    with out.open("w") as file:
        done = report("--json", "-o", "/dev/fd/1", "-c", "print('first', flush=True)", stdout=file.fileno())
    assert done.returncode == 0
    first, rest = out.read_text().split("\n", 1)
    assert first == "first"
    assert json.loads(rest)["schema"] == 1


def test_a_failed_write_keeps_the_status() -> None:
    done = report("-o", "/dev/full", "-c", "import sys; sys.exit(7)")
    assert done.returncode == 7
    assert done.stderr == "meminspect: cannot write /dev/full: No space left on device\n"
    alone = report("-o", "/dev/full")
    assert alone.returncode == 1
    assert len(alone.stderr.splitlines()) == 1


def test_broken_pipe_is_one_line() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    done = report(stdout=theirs)
    os.close(theirs)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_reports_on_the_way(tmp_path: Path) -> None:
    target = tmp_path / "reports.jsonl"
    target.write_text("")
    program = f"import time\nwhile open({str(target)!r}).read().count('\\n') < 2: time.sleep(0.05)"
    done = report("--json", "--every", "0.1", "-o", str(target), "-c", program)
    assert done.returncode == 0, done.stderr
    documents = [json.loads(line) for line in target.read_text().splitlines()]
    assert len(documents) >= 3
    times = [document["process"]["taken_s"] for document in documents]
    assert times == sorted(times)
    assert {document["process"]["threads"] for document in documents} == {1}


def test_the_last_one_on_the_way_tells_its_age(tmp_path: Path) -> None:
    target = tmp_path / "reports.jsonl"
    target.write_text("")
    program = (
        f"import time, os\nwhile not open({str(target)!r}).read().count('\\n'): time.sleep(0.05)\n"
        "os.kill(os.getpid(), 9)"
    )
    done = report("--json", "--every", "0.1", "-o", str(target), "-c", program)
    assert done.returncode == -signal.SIGKILL
    assert "killed by SIGKILL; this is the last one on the way, taken" in done.stderr
    *_, last = [json.loads(line) for line in target.read_text().splitlines()]
    assert "taken" in last["process"]["note"]


def test_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    path = os.ttyname(theirs)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with open_output(path, beside_program=True) as terminal:
        assert terminal.is_terminal
        assert terminal.color()
        assert not terminal.color(False)
        monkeypatch.setenv("NO_COLOR", "1")
        assert not terminal.color()
    monkeypatch.delenv("NO_COLOR")
    with open_output(str(tmp_path / "file"), beside_program=True) as file:
        assert not file.color()
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("to_group", [True, False])
def test_signals(to_group: bool, tmp_path: Path) -> None:
    """What is sent to the launcher alone is passed on, what is sent to the group arrives once."""
    ready = tmp_path / "ready"
    program = (
        "import signal, sys, time\nseen = []\n"
        "signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(len(seen)))\n"
        f"open({str(ready)!r}, 'w').close()\n"
        "while True: time.sleep(0.02)"
    )
    child = subprocess.Popen([*COMMAND, "-o", str(tmp_path / "report"), "-c", program], start_new_session=True)
    try:
        deadline = time.monotonic() + TIMEOUT_S
        while not ready.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        for number in (signal.SIGUSR1, signal.SIGTERM):
            os.killpg(child.pid, number) if to_group else os.kill(child.pid, number)
            time.sleep(0.5)
        assert child.wait(TIMEOUT_S) == 1
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    assert (tmp_path / "report").exists()


def test_a_killed_launcher_takes_the_program_along(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = f"import os, time\nopen({str(pid_file)!r}, 'w').write(f'{{os.getpid()}}\\n')\ntime.sleep(600)"
    child = subprocess.Popen([*COMMAND, "-o", os.devnull, "-c", program])
    deadline = time.monotonic() + TIMEOUT_S
    while not (pid_file.exists() and pid_file.read_text().endswith("\n")) and time.monotonic() < deadline:
        time.sleep(0.02)
    pid = int(pid_file.read_text())
    child.kill()
    child.wait()
    while time.monotonic() < deadline:
        state = Path(f"/proc/{pid}/stat")
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.02)
    pytest.fail("the program outlived the launcher")
