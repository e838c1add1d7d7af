"""A trace of the GIL as a file that a viewer of timelines opens, written as the events come: none of them is kept.

`.pftrace` is Perfetto's protobuf, for a trace of any length (ui.perfetto.dev); `.json` and `.json.gz` are Chrome's
trace events, for a short one or a window. One track for each thread with `held` and `waiting` slices (waits in which it
slept, since another thread held the GIL), an arrow for each hand-off from the hold that ended to the one that began, a
counter of threads that wait, a track of collections.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Protocol

from .. import _native
from ..errors import UsageError
from . import gil_trace_chrome, gil_trace_perfetto
from .sanitize import clean

NAMES = (".pftrace", ".json", ".json.gz")
FOREVER = 0xFFFF_FFFF_FFFF_FFFF


class Sink(Protocol):
    """Where bytes go."""

    def write(self, part: bytes, /) -> int: ...


def form_of(path: str) -> str:
    """The form that a file's name asks for; UsageError when it is none of NAMES."""
    for name in sorted(NAMES, key=len, reverse=True):
        if path.endswith(name):
            return name
    raise UsageError(f"{path}: a trace file's name ends in {', '.join(NAMES[:-1])} or {NAMES[-1]}")


class TraceFile:
    """Events in, a file out.

    sink   -- gets the bytes
    form   -- one of NAMES
    pid, begin_ns -- of the traced process; CLOCK_MONOTONIC at the trace's beginning
    name   -- (native id, name) of a row of the core's table of threads
    window -- seconds since the beginning: what lies outside is left out, what crosses its ends is cut
    """

    def __init__(
        self,
        sink: Sink,
        form: str,
        *,
        pid: int,
        begin_ns: int,
        name: Callable[[int], tuple[int, str]],
        program: str | None = None,
        window: tuple[float, float] | None = None,
    ) -> None:
        self._form = gil_trace_perfetto if form == ".pftrace" else gil_trace_chrome
        self._zip = gzip.GzipFile(fileobj=sink, mode="wb", compresslevel=5, mtime=0) if form.endswith(".gz") else None  # type: ignore[call-overload]
        self._sink = sink
        self._pid = pid
        self._name = name
        self._names: dict[int, tuple[int, str]] = {}
        first, last = (0, FOREVER) if window is None else (round(window[0] * 1e9), round(window[1] * 1e9))
        self._encoder = _native.GilEncoder(form != ".pftrace", pid, begin_ns, first, last)
        self._write(self._form.head(pid, None if program is None else clean(program)))

    def feed(self, events: bytes) -> None:
        """Takes packed events, as the core has them."""
        done, more = 0, True
        while more:
            done, records, thread, gil = self._encoder.encode(events, done)
            self._write(records)
            self._introduce(thread, gil)
            more = bool(records) or thread is not None or gil is not None

    def finish(self, end_ns: int) -> None:
        """Ends what had not ended at `end_ns` since the beginning, corrects names that came late, closes the file."""
        more = True
        while more:
            more, records, thread, gil = self._encoder.end(end_ns)
            self._write(records)
            self._introduce(thread, gil)
        for row, before in self._names.items():
            if self._said(row) != before:
                self._write(self._form.thread(self._pid, row, *self._said(row)))
        self._write(self._form.foot())
        if self._zip is not None:
            self._zip.close()

    def _said(self, row: int) -> tuple[int, str]:
        native_id, name = self._name(row)
        return native_id, clean(name)

    def _introduce(self, thread: int | None, gil: int | None) -> None:
        if thread is not None:
            said = self._names[thread] = self._said(thread)
            self._write(self._form.thread(self._pid, thread, *said))
            self._encoder.know_thread(thread, said[0])
        if gil is not None:
            self._write(self._form.gil(self._pid, gil))
            self._encoder.know_gil(gil)

    def _write(self, part: bytes) -> None:
        if part:
            (self._zip or self._sink).write(part)
