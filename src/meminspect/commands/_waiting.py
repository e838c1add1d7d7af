"""A bar on the terminal while a measurement takes its time: shown after a second, gone when it is done."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

AFTER_S = 1.0


class Waiting:
    """To be told some times a second whether the measurement is under way. Silent where stderr is no terminal."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._since: float | None = None
        self._bar: Progress | None = None
        self._shown = sys.stderr is not None and sys.stderr.isatty()

    def look(self, under_way: bool) -> None:
        if not under_way:
            self.end()
        elif self._since is None:
            self._since = time.monotonic()
        elif self._bar is not None:
            self._bar.refresh()
        elif self._shown and time.monotonic() - self._since > AFTER_S:
            self._begin()

    def _begin(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,
        )
        self._bar.add_task(self._text, total=None)
        self._bar.start()

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._since = None
