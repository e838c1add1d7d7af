"""Looks at the GIL of a program that a launcher runs, while it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..analysis.gil_top import between
from ..models.gil_top import GilTop
from .gil_follow import Follower
from .gil_trace import names_of


class Live:
    """What happened between one look and the next, read from the trace's file in memory `fd`."""

    def __init__(self, fd: int) -> None:
        self.follower = Follower(fd)
        self._before: Mapping[str, Any] | None = None
        self._before_ns = 0

    def look(self) -> GilTop | None:
        """None before the trace has begun."""
        self.follower.look()
        if not self.follower.source.begun():
            return None
        figures = self.follower.figures()
        now = time.monotonic_ns() - figures["begin_ns"]
        names = [
            name or f"thread {thread['native_id']}"
            for name, thread in zip(names_of(figures), figures["threads"], strict=True)
        ]
        seen = between(self._before, figures, self._before_ns, now, names)
        self._before, self._before_ns = figures, now
        return seen
