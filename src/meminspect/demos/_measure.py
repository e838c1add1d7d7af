"""What the experiments share: repeated measurements with their spread, and processes of their own."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ..models.demo import Check, Point

Result = TypeVar("Result")
PACKAGES = Path(__file__).resolve().parents[2]
CHILD = """\
import json, sys
from importlib import import_module
function = getattr(import_module(sys.argv[1]), sys.argv[2])
json.dump(function(*json.loads(sys.argv[3])), sys.stdout)
"""
CHILD_TIMEOUT_S = 600


@dataclass(frozen=True)
class Spread:
    """The median of repeated measurements, between the lowest and the highest of them."""

    median: float
    low: float
    high: float

    def scaled(self, factor: float) -> Spread:
        return Spread(self.median * factor, self.low * factor, self.high * factor)

    def text(self, digits: int = 1) -> str:
        if self.low == self.high:
            return f"{self.median:,.{digits}f}"
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f} to {self.high:,.{digits}f})"

    def point(self, x: float) -> Point:
        return Point(x=x, y=self.median, low=self.low, high=self.high)


def spread(values: Iterable[float]) -> Spread:
    found = sorted(values)
    return Spread(statistics.median(found), found[0], found[-1])


NOISE = "could not be shown here: the measurements are further apart than what they compare (noise of a busy machine)"


def clearly_less(claim: str, less: Sequence[float], more: Sequence[float], text: str, factor: float = 1.0) -> Check:
    """Whether one thing is more than `factor` times another, by measurements of both that were taken in turn.

    Lowest and median must both say so: what a busy machine adds to a time is never less than nothing. The claim is
    false only when each of `more` was below each of `less`; in between it cannot be told (NOISE).
    """
    small, large = spread(less), spread(more)
    if large.low > factor * small.low and large.median > factor * small.median:
        return Check(claim, True, text)
    if large.high < factor * small.low:
        return Check(claim, False, text)
    return Check(claim, None, text, f"{NOISE}: {text}")


def has_gil() -> bool:
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


def free_threaded() -> bool:
    """Of the build: the GIL may be switched on all the same."""
    return bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def own(refcount: int, call_holds: int | None) -> int | None:
    """The references that stay when the measuring call has returned; from header(obj).refcount and .call_holds."""
    return None if call_holds is None else refcount - call_holds


def in_child(module: str, function: str, *arguments: object, **environment: str) -> Any:
    """What a function of an importable module returns in a new interpreter, as JSON values.

    For experiments that fork, that start processes by spawn, or that need another allocator: the reader's own process
    may have threads, and a main module that must not be imported twice. RuntimeError with its last line when it fails.
    """
    search = os.pathsep.join([str(PACKAGES), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(
            [sys.executable, "-c", CHILD, module, function, json.dumps(arguments)],
            env={**os.environ, "PYTHONPATH": search, **environment},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=CHILD_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the experiment's process did not end within {CHILD_TIMEOUT_S} s") from None
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise RuntimeError(f"the experiment's process failed: {last or done.returncode}")
    return json.loads(done.stdout)


def in_thread(function: Callable[[], Result]) -> Result:
    """What a function returns in a new thread: one without an event loop, which a notebook's own thread has."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(function())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="meminspect-demo")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
