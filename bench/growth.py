"""What growth() costs around a test: an empty body beside others that compare two moments, and each object made in it.

One table is of heaps of several sizes: the median time of `with growth(): pass` beside the collector's gc.collect(),
which many test suites run for each test, objgraph's and pympler's comparison, and two snapshots of tracemalloc. The
others see objects that the collector sees, or were allocated since they were started; growth() all blocks. The second
table is the time for each small object that a body makes and frees, bare and under what counts them.
"""

from __future__ import annotations

import importlib.util
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable

SIZES = (100_000, 400_000, 1_600_000)
SLOW = ("pympler", "tracemalloc")  # once each: seconds on the largest
ROUNDS = 5
MADE = 500_000
HEAP = """
import gc, json, statistics, sys, time
heap = [[str(n), float(n), (n, str(n))] for n in range({count} // 6)]
def median(measure):
    times = []
    for _ in range({rounds}):
        start = time.perf_counter()
        measure()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
"""
COMPARED = {
    "growth()": """
import meminspect
def measure():
    with meminspect.growth(): pass
""",
    "gc.collect()": """
measure = gc.collect
""",
    "objgraph": """
import objgraph
def measure():
    objgraph.growth(); objgraph.growth()
""",
    "pympler": """
from pympler import muppy, summary
def measure():
    before = summary.summarize(muppy.get_objects())
    summary.get_diff(before, summary.summarize(muppy.get_objects()))
""",
    "tracemalloc": """
import tracemalloc
tracemalloc.start()
kept = [[str(n), float(n), (n, str(n))] for n in range({count} // 6)]
def measure():
    before = tracemalloc.take_snapshot()
    tracemalloc.take_snapshot().compare_to(before, "lineno")
""",
}


def seconds(tool: str, count: int) -> float | None:
    """The median of one tool on a heap of so many objects, in an interpreter of its own; None: it is not installed."""
    if tool in ("objgraph", "pympler") and importlib.util.find_spec(tool) is None:
        return None
    rounds = 1 if tool in SLOW else ROUNDS
    program = (HEAP + COMPARED[tool]).format(count=count, rounds=rounds) + "print(json.dumps(median(measure)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def make() -> float:
    """Nanoseconds for one of MADE small objects that come and go."""
    start = time.perf_counter_ns()
    for number in range(MADE):
        str(number)
    return (time.perf_counter_ns() - start) / MADE


def in_growth() -> float:
    from meminspect import growth

    with growth():
        return make()


def beside_a_thread() -> float:
    """Where there are others, functions of ours stand before the allocators, to tell their blocks apart."""
    done = threading.Event()
    other = threading.Thread(target=done.wait)
    other.start()
    try:
        return in_growth()
    finally:
        done.set()
        other.join()


def in_tracemalloc() -> float:
    import tracemalloc

    tracemalloc.start()
    try:
        return make()
    finally:
        tracemalloc.stop()


def main() -> int:
    print(f"{'objects':>10}" + "".join(f"{tool:>18}" for tool in COMPARED) + "   (ms; in brackets: times growth())")
    for count in SIZES:
        own = 0.0
        cells = []
        for tool in COMPARED:
            took = seconds(tool, count)
            own = own or took or 0.0
            cells.append("-" if took is None else f"{took * 1000:,.1f} ({took / own:.1f})")
        print(f"{count:>10,}" + "".join(f"{cell:>18}" for cell in cells))
    ways: dict[str, Callable[[], float]] = {
        "bare": make,
        "growth()": in_growth,
        "growth(), another thread is there": beside_a_thread,
        "tracemalloc": in_tracemalloc,
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):  # in turn, so that a busy machine slows all
        for name, way in ways.items():
            taken[name].append(way())
    bare = statistics.median(taken["bare"])
    print("\na small object that is made and freed in the body, ns (in brackets: times bare)")
    for name, times in taken.items():
        print(f"{name:>34}{statistics.median(times):>9.1f} ({statistics.median(times) / bare:.2f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
