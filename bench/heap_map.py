"""The heap map of a fragmented heap against sys._debugmallocstats() and a memcpy of the same bytes, in one run.

    python bench/heap_map.py [--mib 1024]

Fills pymalloc with objects of mixed sizes, frees 60 % of them at random, and measures each in turn, several rounds.
Before each measurement 64 MiB are copied and a mapping comes and goes, so that all of them begin with cold caches, as
a single call of them does; else the one that repeats itself without a system call in between wins by its warm TLB.
Printed are the medians, and their ratios.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable
from statistics import median

from meminspect import _native
from meminspect.probes import heap

SIZES = (16, 40, 72, 100, 180, 300, 450)


def fill(mib: int) -> list[bytes | None]:
    """About `mib` MiB of bytes objects, of which 60 % were freed again at random."""
    mean = sum(SIZES) / len(SIZES) + 33
    generator = random.Random(7)
    objects: list[bytes | None] = [bytes(generator.choice(SIZES)) for _ in range(int(mib * 2**20 / mean))]
    for place in range(len(objects)):
        if generator.random() < 0.6:
            objects[place] = None
    return objects


def timed(function: Callable[[], object]) -> Callable[[], float]:
    def measure() -> float:
        start = time.perf_counter()
        function()
        return time.perf_counter() - start

    return measure


def silent_statistics() -> float:
    """sys._debugmallocstats() with file descriptor 2 on /dev/null, its time alone."""
    saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        return timed(sys._debugmallocstats)()
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


COLD = bytearray(64 << 20)


def cool_down() -> None:
    bytes(COLD)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="size of the heap (default 1024)")
    parser.add_argument("--rounds", type=int, default=9, help="how often each is measured (default 9)")
    options = parser.parse_args()
    rounds = options.rounds
    objects = fill(options.mib)
    found = heap.heap_map()
    size = len(found.arenas) * found.arena_size
    source, target = bytearray(size), bytearray(size)
    measures: dict[str, Callable[[], float]] = {
        "statistics": silent_statistics,
        "headers": lambda: float(_native.heap_capture(statistics=False)["pause_s"]),
        "pools": lambda: float(_native.heap_capture(pools=True, statistics=False)["pause_s"]),
        "bitmap": lambda: float(_native.heap_capture(blocks=True, statistics=False)["pause_s"]),
        "whole": timed(heap.heap_map),
        "copy": timed(lambda: memoryview(target).__setitem__(slice(None), source)),
    }
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            cool_down()
            taken[name].append(measure())
    statistics, headers, pools, bitmap, whole, copy = (median(taken[name]) for name in measures)
    print(
        f"CPython {sys.version.split()[0]}, {len(found.arenas)} arenas, {size / 2**20:.0f} MiB, agrees: "
        f"{found.cross_check.agrees}, {sum(item is not None for item in objects)} live objects"
    )
    print(f"sys._debugmallocstats()      {statistics * 1e3:9.2f} ms")
    print(f"walk of the headers          {headers * 1e3:9.2f} ms   {headers / statistics:6.2f} x _debugmallocstats")
    print(f"... and a record of each     {pools * 1e3:9.2f} ms   {pools / statistics:6.2f} x _debugmallocstats")
    print(f"heap_map(), models and all   {whole * 1e3:9.2f} ms   {whole / statistics:6.2f} x _debugmallocstats")
    print(f"memcpy of the arenas' bytes  {copy * 1e3:9.2f} ms")
    print(f"walk with the block bitmap   {bitmap * 1e3:9.2f} ms   {bitmap / copy:6.2f} x memcpy")


if __name__ == "__main__":
    main()
