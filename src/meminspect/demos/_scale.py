"""How memory grows with the number of threads, coroutines and processes: each kind in an interpreter of its own, since
blocks and stacks that one kind left free would be taken by the next and not be seen.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import resource
import threading
import time
from typing import Any

from ._processes import memory_of_this

NUMBERS, FAST_NUMBERS = (1, 10, 100, 1_000, 10_000), (1, 10, 100, 1_000)
MOST_THREADS, FAST_MOST_THREADS = 10_000, 100
PROCESSES, FAST_PROCESSES = (1, 10, 100, 500, 1_000, 2_000, 5_000, 10_000), (1, 2)
SPARE = 0.5  # of the memory that is available at first, which processes leave to others
ENOUGH_S = 20.0  # for one kind


def scale(kind: str, fast: bool) -> dict[str, Any]:
    """Rows of number, private bytes of all, and seconds until all wait; and why it went no further."""
    numbers = FAST_NUMBERS if fast else NUMBERS
    if kind == "coroutine":
        rows, reason = asyncio.run(tasks(numbers)), None
    elif kind == "thread":
        rows, reason = threads(numbers, FAST_MOST_THREADS if fast else MOST_THREADS)
    else:
        rows, reason = processes(FAST_PROCESSES if fast else PROCESSES)
    return {"rows": rows, "reason": reason}


Rows = list[tuple[int, int, float]]


async def tasks(numbers: tuple[int, ...]) -> Rows:
    """Those that wait already stay: each number is reached by adding to the one before."""
    rows: Rows = []
    gate, waiting = asyncio.Event(), list[asyncio.Task[Any]]()
    base, begin = memory_of_this()["uss"], time.perf_counter()
    for number in numbers:
        waiting += [asyncio.create_task(gate.wait()) for _ in range(number - len(waiting))]
        await asyncio.sleep(0)
        rows.append((number, max(0, memory_of_this()["uss"] - base), time.perf_counter() - begin))
    gate.set()
    await asyncio.gather(*waiting)
    return rows


def threads(numbers: tuple[int, ...], most: int) -> tuple[Rows, str | None]:
    rows: Rows = []
    gate, started = threading.Event(), list[threading.Thread]()
    base, begin = memory_of_this()["uss"], time.perf_counter()
    reason = None if most >= max(numbers) else f"no more than {most:,} were tried"
    try:
        for number in (one for one in numbers if one <= most):
            while len(started) < number:
                thread = threading.Thread(target=gate.wait)
                thread.start()
                started.append(thread)
            rows.append((number, memory_of_this()["uss"] - base, time.perf_counter() - begin))
            if rows[-1][2] > ENOUGH_S:
                return rows, f"{number:,} took {rows[-1][2]:,.0f} s to start"
    except RuntimeError as error:
        return rows, f"the system refused more than {len(started):,}: {error}"
    finally:
        gate.set()
        for thread in started:
            thread.join()
    return rows, reason


def wait_for_end(told: int, gate: tuple[int, int]) -> None:
    """Tells its private bytes and waits until the starter closes its end of the gate."""
    os.close(gate[1])
    os.write(told, b"%019d\n" % memory_of_this()["uss"])
    os.read(gate[0], 1)


def processes(numbers: tuple[int, ...]) -> tuple[Rows, str | None]:
    """By fork, the cheapest way; no more than the machine holds, and than are quickly started."""
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))  # a Process keeps two
    room = available() * SPARE
    rows: Rows = []
    for number in numbers:
        if rows and rows[-1][1] / rows[-1][0] * number > room:
            return rows, f"half of the memory that is available holds no {number:,}"
        if rows and rows[-1][2] / rows[-1][0] * number > ENOUGH_S:
            return rows, f"{number:,} would take more than {ENOUGH_S:,.0f} s to start"
        begin = time.perf_counter()
        try:
            rows.append((number, waiting_processes(number), time.perf_counter() - begin))
        except OSError as error:
            return rows, f"the system refused {number:,}: {error.strerror}"
    return rows, f"no more than {numbers[-1]:,} were tried"


def waiting_processes(number: int) -> int:
    """The private bytes of so many that wait at once. OSError when the system refuses one."""
    context: Any = multiprocessing.get_context("fork")
    hear, tell = os.pipe()
    gate = os.pipe()
    started = []
    try:
        for _ in range(number):
            process = context.Process(target=wait_for_end, args=(tell, gate))
            process.start()
            started.append(process)
        with open(hear, encoding="ascii", closefd=False) as lines:
            return sum(int(next(lines)) for _ in started)
    finally:
        os.close(gate[1])
        for process in started:
            process.join()
        for end in (hear, tell, gate[0]):
            os.close(end)


def available() -> int:
    """Bytes that programs may still take: MemAvailable of /proc/meminfo."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
