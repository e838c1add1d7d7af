"""Where calls may not be redirected the GIL is sampled, and all say so: a preloaded library refuses mprotect for them.

It stands for an interpreter with full RELRO under seccomp, SELinux or mseal: the pages of the calls' slots are
read-only in the memory map that it shows, and who would make them writable is answered EPERM.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="this build has no GIL to trace"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the planted code knows x86-64's relocations"),
]
PROGRAM = """\
import sys, threading, time
def work():
    end = time.monotonic() + 0.5
    while time.monotonic() < end: sum(range(100))
thread = threading.Thread(target=work, name="worker")
thread.start()
thread.join()
print("the program's own")
sys.exit(7)
"""


@pytest.fixture(scope="module")
def refused(planted: Callable[[str], str]) -> dict[str, str]:
    """An environment in which the calls cannot be redirected."""
    return {**os.environ, "LD_PRELOAD": planted("refuses"), "PYTHONPATH": os.pathsep.join(sys.path)}


def run(refused: dict[str, str], folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    script = folder / "program.py"
    script.write_text(PROGRAM)
    command = [sys.executable, "-m", "meminspect", "gil", "run", *options, str(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=refused)


def test_a_trace_says_why_not_and_what_there_is_instead(refused: dict[str, str]) -> None:
    code = """
        import time
        from meminspect import NativeError, gil
        try:
            gil.trace().start()
        except NativeError as error:
            print(error.code, "|", error)
        with gil.sample(rate_hz=200) as sample:
            time.sleep(1)
        assert sample.result.looks > 0 and not sample.result.exact
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60, env=refused
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("permission | ")
    assert "mprotect was refused" in done.stdout
    assert "gil.sample()" in done.stdout


def test_a_program_is_sampled_instead(refused: dict[str, str], tmp_path: Path) -> None:
    done = run(refused, tmp_path, "--trace", str(tmp_path / "gil.json"))
    assert (done.returncode, done.stdout) == (7, "the program's own\n"), done.stderr
    assert "The GIL could not be traced: the pages that hold libpython's calls" in done.stderr
    assert "worker" in done.stderr
    assert "gil.json is not written: the GIL was sampled" in done.stderr
    assert not (tmp_path / "gil.json").exists()


def test_its_document_says_that_it_is_a_sample(refused: dict[str, str], tmp_path: Path) -> None:
    target = tmp_path / "gil.json"
    done = run(refused, tmp_path, "--json", "-o", str(target))
    assert (done.returncode, done.stderr) == (7, "")
    document = json.loads(target.read_text())
    assert document["sampled"] is True
    assert document["exact"] is False
    assert "mprotect was refused" in document["why"]
    [worker] = [thread for thread in document["threads"] if thread["name"] == "worker"]
    assert worker["held_share"] > 0.2


def test_the_environment_variable_says_it_in_one_line(refused: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import meminspect; print('its own')"], capture_output=True, text=True, timeout=60,
        env={**refused, "MEMINSPECT_GIL_TRACE": "-"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "its own\n")
    assert done.stderr.startswith("meminspect: MEMINSPECT_GIL_TRACE: ")
    assert len(done.stderr.splitlines()) == 1
