"""The trace of a program that a launcher runs, taken out of its file in memory while it runs and after it has ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .. import _native
from ..errors import MeminspectError

PART = 1 << 16  # events taken at a time
LOOK_EVERY_S = 0.05

Sink = Callable[[bytes], None]


class Follower:
    """Takes events out of the file in memory `fd`, so that a long trace needs no more room than its log has.

    sinks -- get the packed events too, part by part; what one of them raises is kept in `failures`, and it gets no more
    """

    def __init__(self, fd: int, *sinks: Sink) -> None:
        self.source = _native.GilFollower(fd)
        self.failures: list[Exception] = []
        self._digest = _native.GilDigest()
        self._sinks = list(sinks)
        self._final: Mapping[str, Any] | None = None

    def add(self, sink: Sink) -> None:
        self._sinks.append(sink)

    def figures(self) -> Mapping[str, Any]:
        """The trace's figures as they are now, without events."""
        if self._final is not None:
            return self._final
        now: Mapping[str, Any] = self.source.figures()
        return now

    def thread(self, row: int) -> Mapping[str, Any]:
        """One row of their threads."""
        if self._final is not None:
            known: Mapping[str, Any] = self._final["threads"][row]
            return known
        now: Mapping[str, Any] = self.source.thread(row)
        return now

    def look(self) -> None:
        """Takes what there is; raises nothing of the sinks'."""
        while events := self.source.take(PART):
            self._pass_on(events)

    def _pass_on(self, events: bytes) -> None:
        self._digest.feed(events)
        for sink in tuple(self._sinks):
            try:
                sink(events)
            except (MeminspectError, OSError) as error:
                self.failures.append(error)
                self._sinks.remove(sink)

    def finish(self, final: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """The raw trace, for `gil_trace.build`, once the process has ended.

        final -- what the process left at its end, None where it did not come to it
        Raises NativeError when no trace was begun in the file.
        """
        if final is not None and final["events"]:  # it could not open the file
            self._final = final
            self._pass_on(final["events"])
            return {**final, "digest": self._digest.finish(final["end_ns"] - final["begin_ns"])}
        self.source.recover()
        self.look()
        raw: dict[str, Any] = self.source.figures()
        for key in ("names", "interval_s", "left_in_place", "strayed"):
            if final is not None:
                raw[key] = final[key]
        raw["complete"] = final is not None
        raw["digest"] = self._digest.finish(raw["end_ns"] - raw["begin_ns"])
        return raw
