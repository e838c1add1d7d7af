"""What the demo of cores runs, in an interpreter of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import threading
import time
from collections.abc import Callable
from typing import Any

TASKS = 8
TRIES = 5
SLEEP_S, FAST_SLEEP_S = 0.2, 0.02
NUMBER, FAST_NUMBER = 1_000_000, 25_000
PROCESSES = 2


def observe(fast: bool) -> dict[str, Any]:
    """Wall and CPU seconds of each way to do each kind of work, and all of its runs; the shortest run counts."""
    size = (FAST_SLEEP_S, FAST_NUMBER) if fast else (SLEEP_S, NUMBER)
    rows: list[dict[str, Any]] = []
    for work, amount in zip(("waits", "computes"), size, strict=True):
        for way, run in WAYS.items():
            runs = [measured(run, work, amount) for _ in range(2)]
            alone = next((row["wall"] for row in rows if row["work"] == work), 0.0)
            while work == "waits" and alone and min(runs)[0] > alone / 2 and len(runs) < TRIES:
                runs.append(measured(run, work, amount))  # threads may begin late on a busy machine
            wall, cpu = min(runs)
            rows.append({"work": work, "way": way, "wall": wall, "cpu": cpu, "walls": [one[0] for one in runs]})
    return {"tasks": TASKS, "rows": rows}


def measured(run: Callable[[str, float], None], work: str, amount: float) -> tuple[float, float]:
    begin, before = time.perf_counter(), cpu_seconds()
    run(work, amount)
    return time.perf_counter() - begin, cpu_seconds() - before


def cpu_seconds() -> float:
    """Of this process and of its children that were waited for."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in both)


def task(work: str, amount: float) -> None:
    if work == "waits":
        time.sleep(amount)
    else:
        sum(at * at for at in range(int(amount)))


async def as_coroutine(work: str, amount: float) -> None:
    if work == "waits":
        await asyncio.sleep(amount)
    else:
        task(work, amount)


def in_turn(work: str, amount: float) -> None:
    for _ in range(TASKS):
        task(work, amount)


def by_threads(work: str, amount: float) -> None:
    threads = [threading.Thread(target=task, args=(work, amount)) for _ in range(TASKS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def by_coroutines(work: str, amount: float, tasks: int = TASKS) -> None:
    async def main() -> None:
        await asyncio.gather(*(as_coroutine(work, amount) for _ in range(tasks)))

    asyncio.run(main())


def by_processes(work: str, amount: float) -> None:
    finish([fork().Process(target=task, args=(work, amount)) for _ in range(TASKS)])


def by_both(work: str, amount: float) -> None:
    arguments = (work, amount, TASKS // PROCESSES)
    finish([fork().Process(target=by_coroutines, args=arguments) for _ in range(PROCESSES)])


def fork() -> Any:
    return multiprocessing.get_context("fork")


def finish(processes: list[Any]) -> None:
    for process in processes:
        process.start()
    for process in processes:
        process.join()


WAYS: dict[str, Callable[[str, float], None]] = {
    "one after the other": in_turn,
    "threads": by_threads,
    "coroutines": by_coroutines,
    "processes": by_processes,
    f"{PROCESSES} processes with coroutines": by_both,
}
