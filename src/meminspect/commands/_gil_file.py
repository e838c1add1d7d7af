"""The file of `gil run --trace`, made as the events come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meminspect.errors import UsageError
from meminspect.launch.output import Output, OutputFile
from meminspect.probes.gil_follow import Follower
from meminspect.probes.gil_trace import name_of, names_of
from meminspect.views.gil_trace_file import TraceFile, form_of


def check_window(window: tuple[float, float] | None, path: str | None) -> None:
    """UsageError for a window that is none, and for a name that no form has."""
    if path is not None:
        form_of(path)
    if window is None:
        return
    if path is None:
        raise UsageError("--window is of --trace: name its file")
    if not 0 <= window[0] < window[1]:
        raise UsageError("--window needs START before END, in seconds since the beginning")


class FileOfTrace:
    """A TraceFile that begins with the first events: before them the traced process is not known."""

    def __init__(
        self, follower: Follower, output: Output, path: str, program: str, window: tuple[float, float] | None
    ) -> None:
        self._follower = follower
        self._output = output
        self._form = form_of(path)
        self._program = program
        self._window = window
        self._file: TraceFile | None = None
        self._raw: Mapping[str, Any] | None = None
        self._names: list[str | None] = []
        self._pid = 0
        self._kernel_name = ""

    def feed(self, events: bytes) -> None:
        if self._file is None:
            self._file = self._begin(self._follower.figures())
        self._file.feed(events)

    def finish(self, raw: Mapping[str, Any]) -> None:
        """`raw` is the whole trace; its events too where none could be taken on the way."""
        self._raw, self._names = raw, names_of(raw)
        if self._file is None:
            self._file = self._begin(raw)
            self._file.feed(raw["events"])
        self._file.finish(raw["end_ns"] - raw["begin_ns"])

    def _begin(self, raw: Mapping[str, Any]) -> TraceFile:
        self._pid = raw["pid"]
        mine = [thread["kernel_name"] for thread in raw["threads"] if thread["native_id"] == self._pid]
        self._kernel_name = mine[0] if mine else ""
        return TraceFile(
            OutputFile(self._output), self._form, pid=self._pid, begin_ns=raw["begin_ns"], name=self._name,
            program=self._program, window=self._window,
        )  # fmt: skip

    def _name(self, row: int) -> tuple[int, str]:
        thread = self._raw["threads"][row] if self._raw is not None else self._follower.thread(row)
        known = self._names[row] if self._raw is not None else name_of(thread, self._pid, self._kernel_name)
        native_id = thread["native_id"] or 0
        return native_id, known or f"thread {native_id}"
