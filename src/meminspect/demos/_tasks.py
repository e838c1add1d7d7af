"""Tasks of several sizes, and the ways to have threads do them."""

from __future__ import annotations

import multiprocessing.dummy
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

WORKERS = 4
Task = Callable[[int], None]


def in_batches(task: Task, items: Iterable[int], width: int) -> None:
    """A new thread for each task, as many at a time as the batch is wide."""
    waiting = list(items)
    while waiting:
        batch, waiting = waiting[:width], waiting[width:]
        threads = [threading.Thread(target=task, args=(item,)) for item in batch]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def by_thread(task: Task, count: int) -> None:
    for _ in range(count):
        thread = threading.Thread(target=task, args=(0,))
        thread.start()
        thread.join()


def by_dummy(task: Task, count: int) -> None:
    with multiprocessing.dummy.Pool(WORKERS) as pool:
        pool.map(task, range(count))
        pool.close()
        pool.join()


def by_executor(task: Task, count: int) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(task, range(count)):
            pass


RUNS: dict[str, Callable[[Task, int], None]] = {
    "a thread for each": by_thread,
    "ThreadPoolExecutor": by_executor,
    "dummy.Pool": by_dummy,
}


def nothing(_: int) -> None:
    pass


def in_sequence(task: Task, count: int) -> None:
    for item in range(count):
        task(item)


def computes(additions: int) -> Task:
    """A task that holds the GIL for as long as so many additions take."""

    def task(_: int) -> None:
        sum(range(additions))

    return task


def waits(seconds: float) -> Task:
    def task(_: int) -> None:
        time.sleep(seconds)

    return task


SIZES: dict[str, Task] = {
    "does nothing": nothing,
    "adds 1,000 numbers": computes(1_000),
    "adds 30,000 numbers": computes(30_000),
    "waits 1 ms": waits(0.001),
}
