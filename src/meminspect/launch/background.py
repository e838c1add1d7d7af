"""A program started beside us, with streams of its own: for views that take the terminal (`gil top`)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO

from meminspect.launch import hook
from meminspect.launch.measured import Collector, Outcome, note_on
from meminspect.launch.program import Program, command_line
from meminspect.launch.records import RecordFile

GRACE_S = 3.0  # after SIGTERM


class Background:
    """A program that runs measured; what it writes waits until `pass_on`. Use as a context: it does not outlive it.

    Raises UsageError for a script that is not there, MeminspectError when there is no way into the interpreter.
    """

    def __init__(self, program: Program, order: hook.Order, word: str) -> None:
        program.check()
        way, self._obstacle = hook.choose(order)
        self._results = RecordFile()
        self._results.order(word)
        self._collector = Collector(self._results, None)
        self._written: tuple[IO[bytes], IO[bytes]] = (tempfile.TemporaryFile(), tempfile.TemporaryFile())  # noqa: SIM115
        self.process = subprocess.Popen(
            command_line(program),
            executable=sys.executable,
            stdin=subprocess.DEVNULL,
            stdout=self._written[0],
            stderr=self._written[1],
            env=hook.environment(way, order, self._results.fd, os.environ),
            pass_fds=(self._results.fd,),
        )

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def stop(self) -> Outcome:
        """Ends the program, first by SIGTERM, and tells what came of it."""
        if not self.ended:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(GRACE_S)
        if not self.ended:
            self.process.kill()
        code = self.process.wait()
        self._collector.look()
        outcome = self._collector.outcome
        outcome.status = -code if code < 0 else code << 8
        outcome.note = note_on(self._collector, self._obstacle, time.monotonic_ns())
        return outcome

    def pass_on(self) -> None:
        """What the program wrote, to our own stdout and stderr."""
        for file, stream in zip(self._written, (sys.stdout, sys.stderr), strict=True):
            file.seek(0)
            with contextlib.suppress(BrokenPipeError):
                shutil.copyfileobj(file, stream.buffer)
                stream.flush()

    def __enter__(self) -> Background:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.ended:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for file in self._written:
            file.close()
        self._results.close()
