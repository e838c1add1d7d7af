"""How memory grows with the number of threads, coroutines and processes: in an interpreter of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from multiprocessing.connection import Connection
from typing import Any

from ._processes import memory_of_this

NUMBERS, FAST_NUMBERS = (1, 10, 100, 1_000, 10_000), (1, 10, 100, 1_000)
MOST_THREADS, FAST_MOST_THREADS = 10_000, 100
PROCESSES, FAST_PROCESSES = (1, 10, 100, 500), (1, 2)
SPARE = 0.5  # of the memory that is available at first, which processes leave to others
ENOUGH_S = 20.0  # for one kind


def scale(fast: bool) -> dict[str, Any]:
    """For each kind: rows of number, private bytes of all, and seconds until all wait; and why it went no further."""
    numbers = FAST_NUMBERS if fast else NUMBERS
    return {
        "numbers": numbers,
        "coroutine": asyncio.run(tasks(numbers)),
        "thread": threads(numbers, FAST_MOST_THREADS if fast else MOST_THREADS),
        "process": processes(FAST_PROCESSES if fast else PROCESSES),
    }


def kind(rows: list[tuple[int, int, float]], reason: str | None = None) -> dict[str, Any]:
    return {"rows": rows, "reason": reason}


async def tasks(numbers: tuple[int, ...]) -> dict[str, Any]:
    rows = []
    base = memory_of_this()["uss"]
    for number in numbers:
        gate, begin = asyncio.Event(), time.perf_counter()
        waiting = [asyncio.create_task(gate.wait()) for _ in range(number)]
        await asyncio.sleep(0)
        rows.append((number, max(0, memory_of_this()["uss"] - base), time.perf_counter() - begin))
        gate.set()
        await asyncio.gather(*waiting)
    return kind(rows)


def threads(numbers: tuple[int, ...], most: int) -> dict[str, Any]:
    rows: list[tuple[int, int, float]] = []
    base = memory_of_this()["uss"]
    for number in (one for one in numbers if one <= most):
        gate, begin, started = threading.Event(), time.perf_counter(), list[threading.Thread]()
        try:
            for _ in range(number):
                thread = threading.Thread(target=gate.wait)
                thread.start()
                started.append(thread)
            rows.append((number, memory_of_this()["uss"] - base, time.perf_counter() - begin))
            reason = f"{number:,} took {rows[-1][2]:,.0f} s to start" if rows[-1][2] > ENOUGH_S else None
        except RuntimeError as error:
            reason = f"the system refused more than {len(started):,}: {error}"
        finally:
            gate.set()
            for thread in started:
                thread.join()
        if reason is not None:
            return kind(rows, reason)
    return kind(rows, None if most >= max(numbers) else f"no more than {most:,} were tried")


def wait_for_end(link: Connection) -> None:
    link.send(memory_of_this()["uss"])
    link.recv()


def processes(numbers: tuple[int, ...]) -> dict[str, Any]:
    """By fork, the cheapest way; no more than the machine holds."""
    context: Any = multiprocessing.get_context("fork")
    room = available() * SPARE
    rows: list[tuple[int, int, float]] = []
    for number in numbers:
        if rows and rows[-1][1] / rows[-1][0] * number > room:
            return kind(rows, f"the memory that is available holds no {number:,}")
        begin, links = time.perf_counter(), []
        for _ in range(number):
            here, there = context.Pipe()
            process = context.Process(target=wait_for_end, args=(there,))
            process.start()
            links.append((here, process))
        private = sum(here.recv() for here, _ in links)
        rows.append((number, private, time.perf_counter() - begin))
        for here, process in links:
            here.send(None)
            process.join()
        if rows[-1][2] > ENOUGH_S:
            return kind(rows, f"{number:,} took {rows[-1][2]:,.1f} s to start")
    return kind(rows, f"no more than {numbers[-1]:,} were tried")


def available() -> int:
    """Bytes that programs may still take: MemAvailable of /proc/meminfo."""
    with open("/proc/meminfo", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:"))
