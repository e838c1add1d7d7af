"""Writes down what threads do and when, for a timeline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..models.demo import Span, Timeline


class Recorder:
    """Spans of the threads that use it; the lane is the thread's name, or the one given."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()
        self.spans: list[Span] = []
        self.inside: dict[str, int] = {}
        self.most: dict[str, int] = {}  # at the same time in spans of one label
        self._count = threading.Lock()

    @contextmanager
    def span(self, label: str, lane: str | None = None) -> Iterator[None]:
        with self._count:
            self.inside[label] = self.inside.get(label, 0) + 1
            self.most[label] = max(self.most.get(label, 0), self.inside[label])
        begin = time.perf_counter()
        try:
            yield
        finally:
            end = time.perf_counter()
            with self._count:
                self.inside[label] -= 1
            name = lane or threading.current_thread().name
            self.spans.append(Span(name, label, begin - self.begin, end - self.begin))

    def timeline(self) -> Timeline:
        spans = tuple(sorted(self.spans, key=lambda span: span.begin_s))
        return Timeline(tuple(dict.fromkeys(sorted(span.lane for span in spans))), spans)


def run_threads(*targets: Callable[[], None], prefix: str = "thread") -> None:
    """Runs each in a thread of its own, named `prefix 1`, `prefix 2`, ..., and waits for all of them."""
    threads = [threading.Thread(target=target, name=f"{prefix} {n}") for n, target in enumerate(targets, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
