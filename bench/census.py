"""The census of three million elements beside guppy3, pympler, objgraph and a loop over the collector's objects.

    python bench/census.py [--elements 3000000] [--rounds 5] [--only peers,blocks,copy]

Three tables, each from processes of their own:
  peers   one heap, each tool in turn: seconds of the first and the best call, and of the processor in the thread that
          calls (what waiting for a processor adds on a busy machine is not in it; of two native threads it is what is
          not shared and the caller's half), with their ratios to the census on one native thread; how much of the heap
          it names, and how much memory it added at its peak while it ran (VmHWM). Tools that are not installed are left
          out, and said. The last lines hold the census against guppy3 and pympler.
  blocks  nanoseconds a block with 1, 4 and 16 million blocks, and after 60 % of them was freed at random: by the clock
          while the program waited, and by the processor; the bitmap as a share of the live blocks and of the arenas
  copy    a census in a frozen copy of a heap of 1 GiB: how long threads waited for it beside the bare copy, and the
          page faults of a thread that writes meanwhile
All are single calls, or the median of --rounds where a call is short; the machine should do nothing else.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from meminspect import _native, census, heap_map
from meminspect.models.census import Census

MIB = 1 << 20


class Slots:
    __slots__ = ("a", "b")


class Instance:
    def __init__(self, value: int) -> None:
        self.value = value


def element(number: int) -> Any:
    """One of nine kinds; most hold another object or two."""
    kind = number % 9
    if kind == 0:
        return {number: float(number)}
    if kind == 1:
        return [number, str(number)]
    if kind == 2:
        return (number, number + 1)
    if kind == 3:
        return f"text {number}"
    if kind == 4:
        return number.to_bytes(8, "little")
    if kind == 5:
        return number << 40
    if kind == 6:
        return number + 0.5
    if kind == 7:
        made = Slots()
        made.a, made.b = number, -number
        return made
    return Instance(number)


def elements(count: int) -> list[Any]:
    gc.disable()
    made = [element(number) for number in range(count)]
    gc.enable()
    return made


def peak_and_now() -> tuple[int, int]:
    """VmHWM and VmRSS in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) << 10, int(lines["VmRSS"].split()[0]) << 10


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def measured(call: Callable[[], Any], rounds: int) -> dict[str, float]:
    """Seconds of the first and of the best call, the least of this thread's processor, and the most memory added."""
    taken, busy, added = [], [], []
    for _ in range(rounds):
        forget_peak()
        before = peak_and_now()[1]
        start, busy_from = time.perf_counter(), time.thread_time()
        found = call()
        taken.append(time.perf_counter() - start)
        busy.append(time.thread_time() - busy_from)
        added.append(peak_and_now()[0] - before)
        del found
    return {"first": taken[0], "best": min(taken), "cpu": min(busy), "added": max(added)}


# ---- the tools, each on the same heap in a process of its own ------------------------------------------------------


def with_census(threads: int) -> Callable[[int], dict[str, Any]]:
    def run(rounds: int) -> dict[str, Any]:
        found: list[Census] = []

        def call() -> None:
            found[:] = [census(max_pause=None, threads=threads)]

        result = measured(call, max(rounds, 5))
        [taken] = found
        tables = taken.bitmap_bytes + taken.table_bytes
        named = taken.small.count - taken.small.unknown
        return result | {"objects": named, "walk": taken.pause_s, "tables": tables, "bitmap": taken.bitmap_bytes,
                         "heap": taken.small.bytes, "share": taken.coverage.bytes}  # fmt: skip

    return run


def with_guppy(rounds: int) -> dict[str, Any]:
    from guppy import hpy  # type: ignore[import-not-found]

    heap = hpy()
    counts: list[int] = []

    def call() -> None:
        counts[:] = [heap.heap().count]

    return measured(call, min(rounds, 3)) | {"objects": counts[0]}


def with_pympler(_rounds: int) -> dict[str, Any]:
    from pympler import muppy, summary  # type: ignore[import-not-found]

    counts: list[int] = []

    def call() -> None:
        found = muppy.get_objects()
        counts[:] = [len(found)]
        summary.summarize(found)

    return measured(call, 1) | {"objects": counts[0]}


def with_objgraph(rounds: int) -> dict[str, Any]:
    import objgraph  # type: ignore[import-not-found]

    counts: list[int] = []

    def call() -> None:
        counts[:] = [sum(objgraph.typestats().values())]

    return measured(call, min(rounds, 3)) | {"objects": counts[0]}


def with_loop(rounds: int) -> dict[str, Any]:
    counts: list[int] = []

    def call() -> None:
        sums: dict[type, list[int]] = {}
        objects = gc.get_objects()
        for item in objects:
            row = sums.setdefault(type(item), [0, 0])
            row[0] += 1
            row[1] += sys.getsizeof(item)
        counts[:] = [len(objects)]

    return measured(call, min(rounds, 3)) | {"objects": counts[0]}


TOOLS: dict[str, tuple[str | None, Callable[[int], dict[str, Any]]]] = {
    "census, one native thread": (None, with_census(1)),
    "census, two native threads": (None, with_census(2)),
    "guppy3 hpy().heap()": ("guppy", with_guppy),
    "pympler muppy + summary": ("pympler", with_pympler),
    "objgraph.typestats()": ("objgraph", with_objgraph),
    "loop over gc.get_objects()": (None, with_loop),
}


def tool(name: str, count: int, rounds: int) -> dict[str, Any]:
    held = elements(count)
    try:
        return TOOLS[name][1](rounds)
    finally:
        del held


# ---- the cost of a block -------------------------------------------------------------------------------------------


def blocks(millions: int, freed: bool) -> dict[str, Any]:
    """A census of so many million blocks: floats, tuples and lists of one; then with 60 % of them freed at random."""
    gc.disable()
    held: list[Any] = [
        (float(number),) if number % 3 == 0 else [number] for number in range(int(millions * MIB / 2.66))
    ]
    gc.enable()
    if freed:
        generator = random.Random(7)
        for place in range(len(held)):
            if generator.random() < 0.6:
                held[place] = None
    result: dict[str, Any] = {"arenas": sum(row.size_bytes for row in heap_map().arenas)}
    for threads in (1, 2):
        found: list[Census] = []
        taken = measured(lambda: found.append(census(max_pause=None, threads=threads)), 5)  # noqa: B023
        best = min(found, key=lambda taken: taken.pause_s)
        result[str(threads)] = [best.pause_s, taken["cpu"]]
        result |= {"blocks": best.small.count, "bitmap": best.bitmap_bytes, "heap": best.small.bytes}
    return result


# ---- the pause of a frozen copy ------------------------------------------------------------------------------------


def copy(rounds: int) -> dict[str, Any]:
    held = elements(9_500_000)
    bare, pauses, calls, lived, faults, walked = [], [], [], [], [], []
    byte = ctypes.create_string_buffer(1)
    stop = threading.Event()
    written = bytearray(16 * MIB)

    def write() -> None:  # a program that goes on: one byte of each page, over and over
        place = 0
        while not stop.is_set():
            written[place] = (written[place] + 1) & 0xFF
            place = (place + 4096) % len(written)

    for _ in range(rounds):
        bare.append(_native._clone_probe("sum", ctypes.addressof(byte), 1)["pause_s"])
        walked.append(census(max_pause=None).pause_s)
    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(rounds):
        taken = census(consistent=True)
        frozen = taken.frozen
        assert frozen is not None
        pauses.append(taken.pause_s)
        calls.append(frozen.call_s)
        lived.append(frozen.lived_s)
        faults.append(frozen.minor_faults + frozen.major_faults)
    stop.set()
    writer.join()
    resident = peak_and_now()[1]
    del held
    return {"rss": resident, "bare": median(bare), "pause": median(pauses), "call": median(calls),
            "lived": median(lived), "faults": median(faults), "walked": median(walked)}  # fmt: skip


# ---- the tables ----------------------------------------------------------------------------------------------------


def apart(*what: object) -> dict[str, Any]:
    """One measurement in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--one", json.dumps(what)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def show_peers(count: int, rounds: int) -> None:
    missing = [name for name, (module, _) in TOOLS.items() if module is not None and find_spec(module) is None]
    found = {name: apart("tool", name, count, rounds) for name in TOOLS if name not in missing}
    one = found["census, one native thread"]
    print(f"CPython {sys.version.split()[0]}, {count:,} elements, {one['heap'] / MIB:.0f} MiB of live blocks")
    print(f"{'':27} {'first':>8} {'best':>8} {'ratio':>8} {'processor':>10} {'ratio':>8} {'named':>11} {'added':>12}")
    for name, row in found.items():
        print(
            f"{name:27} {row['first'] * 1e3:5.0f} ms {row['best'] * 1e3:5.0f} ms {row['best'] / one['best']:6.1f} x "
            f"{row['cpu'] * 1e3:7.0f} ms {row['cpu'] / one['cpu']:6.1f} x {row['objects']:11,} "
            f"{row['added'] / MIB:8.1f} MiB"
        )
    print(
        f"the census names {one['share']:.4%} of the bytes; its bitmap {one['bitmap'] / one['heap']:.2%} of the heap, "
        f"and other tables {(one['tables'] - one['bitmap']) / MIB:.2f} MiB; the walk alone {one['walk'] * 1e3:.0f} ms"
    )
    two = found["census, two native threads"]
    for name, row in found.items():
        if name.startswith(("guppy3", "pympler")):
            print(
                f"{name}: by the clock {row['best'] / one['best']:.1f} times the census on one native thread, "
                f"{row['best'] / two['best']:.1f} on two; by the processor {row['cpu'] / one['cpu']:.1f} and "
                f"{row['cpu'] / two['cpu']:.1f}"
            )
    if missing:
        print(f"not installed: {', '.join(missing)}")


def show_blocks() -> None:
    print(
        f"\n{'live blocks':>12} {'one thread':>11} {'a block':>8} {'processor':>10} {'two':>9} {'a block':>8} "
        f"{'processor':>10}  {'of live':>7} {'of arenas':>9}"
    )
    for millions, freed in ((1, False), (4, False), (16, False), (16, True)):
        row = apart("blocks", millions, freed)
        cells = [f"{row['blocks']:12,}"]
        for threads, width in (("1", 8), ("2", 6)):
            wall, busy = row[threads]
            cells += [f"{wall * 1e3:{width}.1f} ms", f"{wall / row['blocks'] * 1e9:5.1f} ns"]
            cells.append(f"{busy / row['blocks'] * 1e9:7.1f} ns")
        cells.append(f" {row['bitmap'] / row['heap']:7.2%} {row['bitmap'] / row['arenas']:9.2%}")
        print(*cells, "  (60 % of 16 million freed at random)" if freed else "")


def show_copy(rounds: int) -> None:
    row = apart("copy", rounds)
    print(f"\nA frozen copy of a process of {row['rss'] / MIB:,.0f} MiB:")
    print(f"the bare copy, its system call  {row['bare'] * 1e3:8.1f} ms")
    print(f"a consistent census: the call   {row['call'] * 1e3:8.1f} ms, threads waited {row['pause'] * 1e3:.1f} ms")
    print(
        f"the copy lived                  {row['lived'] * 1e3:8.1f} ms, with {row['faults']:,.0f} page faults meanwhile"
    )
    print(f"a census under the GIL          {row['walked'] * 1e3:8.1f} ms of pause")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=3_000_000, help="of the heap for the peers (default 3000000)")
    parser.add_argument("--rounds", type=int, default=5, help="how often what is short is measured (default 5)")
    parser.add_argument("--only", default="peers,blocks,copy", help="which tables, by commas")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, *arguments = json.loads(options.one)
        functions: dict[str, Callable[..., dict[str, Any]]] = {"tool": tool, "blocks": blocks, "copy": copy}
        print(json.dumps(functions[name](*arguments)))
        sys.stdout.flush()
        os._exit(0)  # taking the heap down would take longer than all of it
    wanted = options.only.split(",")
    if "peers" in wanted:
        show_peers(options.elements, options.rounds)
    if "blocks" in wanted:
        show_blocks()
    if "copy" in wanted:
        show_copy(options.rounds)


if __name__ == "__main__":
    main()
