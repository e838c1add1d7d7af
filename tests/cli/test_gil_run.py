"""`meminspect gil run`: the program runs as under python, and its trace comes whole, or as far as the program came."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import sysconfig
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
with_gil = pytest.mark.skipif(FREE_THREADED, reason="this build has no GIL to trace")
PROGRAM = """\
import os, signal, sys, threading, time

def sleeper():
    for _ in range(200):
        time.sleep(0.0001)

def main():
    threads = [threading.Thread(target=sleeper, name=f"sleeper-{number}") for number in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()

main()
print("the program's own", *sys.argv[1:])
sys.stdout.flush()
time.sleep(0.1)
exec(os.environ["ENDING"])
"""


def run(tmp_path: Path, *options: str, ending: str = "sys.exit(7)") -> subprocess.CompletedProcess[str]:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    return subprocess.run(
        [sys.executable, "-m", "meminspect", "gil", "run", *options, str(script), "--json", "-o", "its-own"],
        capture_output=True, text=True, timeout=120, env={**os.environ, "ENDING": ending},
    )  # fmt: skip


def check(document: dict[str, Any]) -> None:
    keys = {
        "duration_s", "hand_offs", "tstate_switches", "switch_number_delta", "lost_events", "threads", "matrix",
        "longest_holds", "collections", "findings",
    }  # fmt: skip
    assert keys <= set(document)
    assert document["hand_offs"]["total"] == document["hand_offs"]["forced"] + document["hand_offs"]["voluntary"]
    named = {thread["name"]: thread for thread in document["threads"]}
    assert {"MainThread", "sleeper-0", "sleeper-1", "sleeper-2"} <= set(named)
    for number in range(3):
        assert named[f"sleeper-{number}"]["acquisitions"] >= 200
        assert named[f"sleeper-{number}"]["native_id"] > 0
    assert all({"held_s", "waited_s"} <= set(thread) for thread in document["threads"])


@with_gil
def test_the_summary_is_on_stderr_and_the_program_has_its_own_streams(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 7
    assert done.stdout == "the program's own --json -o its-own\n"
    assert "The GIL went from one thread to another" in done.stderr
    assert "sleeper-1" in done.stderr
    assert ": equal." in done.stderr


@with_gil
def test_the_document_has_every_figure(tmp_path: Path) -> None:
    target = tmp_path / "gil.json"
    done = run(tmp_path, "--json", "-o", str(target))
    assert (done.returncode, done.stderr) == (7, "")
    document = json.loads(target.read_text())
    check(document)
    schema = json.loads(files("meminspect").joinpath("schemas", "gil-1.json").read_text("utf-8"))
    Draft202012Validator(schema).validate(document)
    assert document["exact"] is True
    assert document["reason"] is None
    assert document["concurrency"]["achieved"] <= 1
    assert document["concurrency"]["ideal"] <= document["concurrency"]["wanted"]
    assert document["tstate_switches"] == document["switch_number_delta"]


@with_gil
@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("import ctypes; os.kill(os.getpid(), signal.SIGSEGV); time.sleep(9)", -signal.SIGSEGV),
        ("os._exit(5)", 5),
        ("os.execv(sys.executable, [sys.executable, '-c', 'raise SystemExit(6)'])", 6),
    ],
    ids=["SIGKILL", "SIGSEGV", "os._exit", "exec"],
)
def test_what_does_not_end_well_leaves_its_trace(tmp_path: Path, ending: str, status: int) -> None:
    target = tmp_path / "gil.json"
    done = run(tmp_path, "--json", "-o", str(target), ending=ending)
    assert done.returncode == status
    document = json.loads(target.read_text())
    check(document)
    assert document["exact"] is False
    assert "did not live" in document["reason"]
    assert document["switch_number_delta"] is None


@with_gil
def test_forks_of_the_program_stay_silent(tmp_path: Path) -> None:
    ending = "child = os.fork(); print('child' if not child else os.waitpid(child, 0)[1]); sys.exit(0)"
    target = tmp_path / "gil.json"
    done = run(tmp_path, "--json", "-o", str(target), ending=ending)
    assert done.returncode == 0
    assert "child" in done.stdout
    document = json.loads(target.read_text())
    check(document)
    assert document["exact"] is True


@with_gil
@pytest.mark.parametrize("ending", ["sys.exit(7)", "os.kill(os.getpid(), signal.SIGKILL)"], ids=["exit", "SIGKILL"])
def test_a_trace_file_is_written_as_the_program_runs(tmp_path: Path, ending: str) -> None:
    target, summary = tmp_path / "gil.json.gz", tmp_path / "summary.json"
    done = run(tmp_path, "--json", "-o", str(summary), "--trace", str(target), ending=ending)
    assert done.returncode in (7, -signal.SIGKILL), done.stderr
    document = json.loads(summary.read_text())
    check(document)
    events = json.loads(gzip.decompress(target.read_bytes()))["traceEvents"]
    names = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert {"MainThread", "sleeper-0", "sleeper-1", "sleeper-2"} <= names
    arrows = [event for event in events if event["ph"] == "f"]
    assert len(arrows) == document["hand_offs"]["total"]
    assert target.stat().st_mode & 0o777 == 0o600


@with_gil
def test_a_log_that_is_followed_holds_more_events_than_it_has_room_for(tmp_path: Path) -> None:
    code = "import time\nfor _ in range(40): [time.sleep(0) for _ in range(1_000)]; time.sleep(0.02)"
    done = subprocess.run(
        [sys.executable, "-m", "meminspect", "gil", "run", "--json", "--memory", "1", "-c", code],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    document = json.loads(done.stderr)
    assert document["events"] > 2 * (1 << 20) // 32
    assert document["events"] + document["lost_events"] >= 80_000
    assert document["tstate_switches"] == document["switch_number_delta"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--trace", "trace.txt"], "ends in .pftrace, .json or .json.gz"),
        (["--window", "1", "2"], "--window is of --trace"),
        (["--window", "2", "1", "--trace", "x.json"], "START before END"),
        (["--trace", "no/such/folder/x.json"], "cannot write no/such/folder/x.json"),
    ],
)
def test_what_cannot_be_is_said_before_the_program_starts(tmp_path: Path, options: list[str], said: str) -> None:
    done = run(tmp_path, *options)
    assert (done.returncode, done.stdout) in ((2, ""), (1, ""))
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_command_line_without_a_program_is_an_error() -> None:
    done = subprocess.run([sys.executable, "-m", "meminspect", "gil", "run"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "name a program" in done.stderr


@pytest.mark.skipif(not FREE_THREADED, reason="this build has a GIL")
def test_a_free_threaded_build_says_that_there_is_no_gil_and_shows_what_it_has(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 7
    assert "the program's own" in done.stdout
    assert "There is no GIL in this build" in done.stderr
    assert "sleeper-1" in done.stderr or "MainThread" in done.stderr
    target = tmp_path / "waits.json"
    assert run(tmp_path, "--json", "-o", str(target)).returncode == 7
    document = json.loads(target.read_text())
    assert document["gil"] is False
    assert {"threads", "parked", "stops", "collections", "attached"} <= set(document)
    assert document["attached"]["looks"] > 0


@with_gil
def test_with_attribution_the_summary_says_where(tmp_path: Path) -> None:
    code = "import ctypes, threading, time\ndef culprit(): ctypes.PyDLL(None).usleep(100_000)\n"
    code += "thread = threading.Thread(target=culprit); thread.start(); time.sleep(0.01); thread.join()"
    page = tmp_path / "gil.html"
    command = [sys.executable, "-m", "meminspect", "gil", "run", "--attribution", "--html", str(page), "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Where it was let go" in done.stderr
    assert "culprit (<string>:2)" in done.stderr
    assert "Where it was let go" in page.read_text()
