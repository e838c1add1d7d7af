"""Pools of threads: the textbook's ten tasks, and then the question it left open, with many more."""

from __future__ import annotations

import math
import multiprocessing.dummy
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from .. import _native
from ..models.demo import Cell, Chart, Check, Evidence, Series
from ..probes.gil_trace import trace
from ._base import Demo, Observed
from ._measure import NOISE, clearly_less, has_gil, spread

TEN, WORKERS = 10, 4
TRIES = 3
TASK_S, FAST_TASK_S = 1.0, 0.015
COUNTS, FAST_COUNTS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000), (1, 10, 100, 400)
MOST = {"a thread for each": 10_000, "ThreadPoolExecutor": 100_000, "dummy.Pool": 1_000_000}  # more take minutes
REPETITIONS, FAST_REPETITIONS = 3, 3


class Pools(Demo):
    name = "pools"
    chapter = "11"
    title = "Pools of threads"
    claim = (
        "Ten tasks that wait take as long by any four threads, pool or not: the rounds are what counts. For many "
        "small tasks a pool takes far less of the processor than a thread made for each; and "
        "multiprocessing.dummy's map is not slower than ThreadPoolExecutor's, as is often said, but several times "
        "faster, since it sends tasks in chunks."
    )
    title_zh = "线程池"
    claim_zh = (
        "十个等待型任务由四个线程完成，无论用不用线程池耗时都一样：起作用的是轮数；对于大量小任务，"
        "线程池占用的处理器时间远少于为每个任务新建线程；"
        "multiprocessing.dummy 的 map 并不像常说的那样比 ThreadPoolExecutor 慢，而是快好几倍，因为它成批分发任务。"
    )
    summary = (
        "Ten long tasks cannot tell pools apart: sleeping hides all that a pool costs. With many small ones the cost "
        "of handing out a task is all there is, and it differs by factors: a new thread for each is the dearest, a "
        "Future for each comes next, chunks are the cheapest. As tasks grow the difference fades."
    )
    summary_zh = (
        "十个长任务分不出线程池的高下：睡眠掩盖了池的全部开销。任务又多又小时，分发任务的开销就是一切，"
        "而且相差好几倍：每个任务新建线程最贵，每个任务一个 Future 次之，成批分发最便宜。"
        "任务变大，差别就消失了。"
    )
    experiment = (
        f"Ten tasks that sleep are run one after the other, by batches of {WORKERS} threads, by "
        "multiprocessing.dummy.Pool and by ThreadPoolExecutor. Then more and more tasks that do nothing are run by "
        "a thread for each and by both pools, and the CPU time and the hand-offs of the GIL for each task are "
        "measured."
    )
    notes = (
        "The textbook's figures for tasks of one second were 10.0, 3.0, 3.03 and 3.0 seconds.",
        "ThreadPoolExecutor.map makes a Future for every task and passes each through a queue; its argument "
        "chunksize is for processes only.",
        "Where the GIL cannot be traced, and on free-threaded builds, there are no hand-offs to count.",
    )

    def observe(self, fast: bool) -> Observed:
        ten, same = ten_tasks(FAST_TASK_S if fast else TASK_S)
        counts, repetitions = (FAST_COUNTS, FAST_REPETITIONS) if fast else (COUNTS, REPETITIONS)
        measured = costs(counts, repetitions)
        return Observed((ten, table(measured), switched(counts)), (same, *checks(measured)))


def in_batches(task: Callable[[int], None], items: Iterable[int], width: int) -> None:
    """A new thread for each task, as many at a time as the batch is wide."""
    waiting = list(items)
    while waiting:
        batch, waiting = waiting[:width], waiting[width:]
        threads = [threading.Thread(target=task, args=(item,)) for item in batch]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def by_thread(task: Callable[[int], None], count: int) -> None:
    for _ in range(count):
        thread = threading.Thread(target=task, args=(0,))
        thread.start()
        thread.join()


def by_dummy(task: Callable[[int], None], count: int) -> None:
    with multiprocessing.dummy.Pool(WORKERS) as pool:
        pool.map(task, range(count))
        pool.close()
        pool.join()


def by_executor(task: Callable[[int], None], count: int) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in pool.map(task, range(count)):
            pass


RUNS: dict[str, Callable[[Callable[[int], None], int], None]] = {
    "a thread for each": by_thread,
    "ThreadPoolExecutor": by_executor,
    "dummy.Pool": by_dummy,
}


def nothing(_: int) -> None:
    pass


def ten_tasks(seconds: float) -> tuple[Evidence, Check]:
    def wait(_: int) -> None:
        time.sleep(seconds)

    ways: dict[str, Callable[[], None]] = {
        "one after the other": lambda: in_batches(wait, range(TEN), 1),
        f"batches of {WORKERS} threads": lambda: in_batches(wait, range(TEN), WORKERS),
        f"multiprocessing.dummy.Pool({WORKERS})": lambda: by_dummy(wait, TEN),
        f"ThreadPoolExecutor({WORKERS})": lambda: by_executor(wait, TEN),
    }
    rounds = math.ceil(TEN / WORKERS)
    took = [math.inf] * len(ways)
    for _ in range(TRIES):  # the shortest of a few: a busy machine starts threads late
        for place, way in enumerate(ways.values()):
            begin = time.perf_counter()
            way()
            took[place] = min(took[place], time.perf_counter() - begin)
        if max(took[1:]) < (rounds + 1) * seconds:
            break
    rows: list[tuple[Cell, ...]] = [
        (name, round(one * 1e3, 1), round(one / seconds, 2), expected)
        for name, one, expected in zip(ways, took, (TEN, rounds, rounds, rounds), strict=True)
    ]
    evidence = Evidence(
        title=f"Ten tasks of {seconds:g} s",
        text="In tasks: the time divided by that of one task.",
        columns=("by", "ms", "in tasks", "rounds"),
        rows=tuple(rows),
    )
    one_by_one, *together = took
    text = ", ".join(f"{one / seconds:,.2f}" for one in took) + " tasks"
    claim = "Four threads need three rounds for ten tasks, whatever starts them"
    # who sleeps is never early, but may be late on a busy machine
    if one_by_one < 0.99 * TEN * seconds or any(one < 0.99 * rounds * seconds for one in together):
        return evidence, Check(claim, False, text)
    if max(together) < (TEN - 1) * seconds:
        return evidence, Check(claim, True, text)
    return evidence, Check(claim, None, text, f"{NOISE}: {text}")


Measured = dict[str, dict[int, list[float]]]


def costs(counts: tuple[int, ...], repetitions: int) -> Measured:
    """CPU microseconds for each of `count` tasks that do nothing, by each way in turn."""
    found: Measured = {name: {count: [] for count in counts if count <= MOST[name]} for name in RUNS}
    for count in counts:
        for _ in range(repetitions):
            for name in RUNS:
                if count in found[name]:
                    begin = time.process_time()
                    RUNS[name](nothing, count)
                    found[name][count].append((time.process_time() - begin) / count * 1e6)
    return found


def table(measured: Measured) -> Evidence:
    counts = sorted({count for costs in measured.values() for count in costs})
    return Evidence(
        title="What a task that does nothing costs",
        text="Microseconds of CPU time for each task, pool included: median (lowest to highest).",
        columns=("tasks", *measured),
        rows=tuple(
            (f"{count:,}", *(spread(costs[count]).text() if count in costs else "-" for costs in measured.values()))
            for count in counts
        ),
        chart=Chart(
            x_label="tasks",
            y_label="CPU microseconds for each",
            log_x=True,
            log_y=True,
            series=tuple(
                Series(name, tuple(spread(one).point(count) for count, one in costs.items()))
                for name, costs in measured.items()
            ),
        ),
    )


def switched(counts: tuple[int, ...]) -> Evidence:
    """Hand-offs of the GIL for each task."""
    number = min(counts[-1], 1_000)
    rows: list[tuple[Cell, ...]] = []
    text = f"Between any two threads, while {number:,} tasks ran."
    for name, run in RUNS.items():
        per_task = None
        if has_gil():
            try:
                with trace(collections=False) as traced:
                    run(nothing, number)
                per_task = round(traced.result.hand_offs.total / number, 2)
            except _native.NativeError as error:
                text = f"The GIL could not be traced: {error}"
        else:
            text = "This interpreter runs without a GIL."
        rows.append((name, per_task))
    return Evidence(
        title="Hand-offs of the GIL for each task", text=text, columns=("by", "hand-offs"), rows=tuple(rows)
    )


def checks(measured: Measured) -> tuple[Check, ...]:
    threads, executor, dummy = measured.values()
    many = max(set(threads) & set(executor) & set(dummy))
    new, future, chunk = (min(costs[many]) for costs in (threads, executor, dummy))
    text = (
        f"{many:,} tasks: {new:,.1f} µs each by new threads, {future:,.1f} by ThreadPoolExecutor, {chunk:,.1f} by "
        "dummy.Pool"
    )
    return (
        clearly_less(
            "For many small tasks dummy.Pool costs less than a thread for each", dummy[many], threads[many], text
        ),
        clearly_less("So does ThreadPoolExecutor", executor[many], threads[many], text),
        clearly_less(
            "ThreadPoolExecutor is not faster than multiprocessing.dummy for many small tasks",
            dummy[many],
            executor[many],
            f"{future / chunk:,.1f} times the CPU time of dummy.Pool.map",
        ),
    )
