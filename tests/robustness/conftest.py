"""Programs in processes of their own, driven line by line: what they print says when to go on, no time is guessed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SIGNAL = signal.SIGRTMIN + 5
PATIENCE_S = 60.0  # only ever spent by a test that fails


def wait_for(what: Callable[[], Any], name: str) -> Any:
    """The first true value of what(), or a failure that says what did not happen."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = what()
        if value:
            return value
        time.sleep(0.01)
    pytest.fail(f"{name} did not happen within {PATIENCE_S:.0f} s")


class Program:
    """A Python program in a process of its own; its standard input and output are lines of text."""

    def __init__(self, code: str, folder: Path, arguments: tuple[str, ...] = (), options: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, *options, "-c", textwrap.dedent(code), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder,
        )  # fmt: skip
        self.pid = self.process.pid

    def line(self) -> str:
        """The next line that it prints; fails when it ends instead."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        if not text:
            pytest.fail(f"the program ended with {self.process.wait()}: {self.errors()}")
        return text.rstrip("\n")

    def asleep(self) -> None:
        """Waits until its main thread sleeps in a call of the system, and went on sleeping for a while."""

        def sleeps() -> bool:
            return Path(f"/proc/{self.pid}/task/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"

        wait_for(lambda: sleeps() and not time.sleep(0.1) and sleeps(), f"process {self.pid} to sleep")

    def say(self, text: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def errors(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.read()

    def end(self) -> tuple[int, str]:
        """Lets it end; its exit status and what it wrote to stderr."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait(PATIENCE_S)
        return status, self.errors()

    def report_path(self, pid: int | None = None) -> Path:
        return self.folder / f"report-{pid or self.pid}.json"

    def report(self, partial: bool | None = None, pid: int | None = None, after_s: float = 0.0) -> dict[str, Any]:
        """The report of the process (or of a child of its), when it is there; a partial or a whole one."""

        def there() -> dict[str, Any] | None:
            try:
                document: dict[str, Any] = json.loads(self.report_path(pid).read_bytes())
            except FileNotFoundError:
                return None
            fits = partial is None or document["partial"] is partial
            return document if fits and document["process"]["taken_s"] > after_s else None

        kind = {None: "a", True: "a partial", False: "a whole"}[partial]
        return dict(wait_for(there, f"{kind} report of process {pid or self.pid}"))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """run(code, *arguments, options=()) starts a program in the test's folder; all are ended after the test."""
    started: list[Program] = []

    def start(code: str, *arguments: str, options: tuple[str, ...] = ()) -> Program:
        started.append(Program(code, tmp_path, arguments, options))
        return started[-1]

    yield start
    for program in started:
        program.close()


@pytest.fixture(autouse=True, scope="session")
def children_find_the_package() -> Iterator[None]:
    """The package as this process has it: children have the same path, also when they start in another folder."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)
    yield
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before
