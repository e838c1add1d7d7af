"""Pools of threads: the textbook's ten tasks, and then the question it left open, with many more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from .. import _native
from ..models.demo import Cell, Chart, Check, Evidence, Point, Series
from ..probes.gil_trace import trace
from ._base import Demo, Observed
from ._measure import NOISE, Spread, clearly_less, has_gil, spread
from ._tasks import RUNS, SIZES, WORKERS, Task, by_dummy, by_executor, in_batches, in_sequence, nothing

TEN = 10
TRIES = 3
TASK_S, FAST_TASK_S = 1.0, 0.015
COUNTS, FAST_COUNTS = (1, 10, 100, 1_000, 10_000, 100_000, 1_000_000), (1, 10, 100, 400)
SIZED, FAST_SIZED = 2_000, 30  # tasks of each size
TRACED = 500
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
        sizes = sized(*((FAST_SIZED, 2) if fast else (SIZED, repetitions)))
        return Observed((ten, table(measured, counts), sizes, switched(counts)), (same, *checks(measured)))


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


def table(measured: Measured, counts: tuple[int, ...]) -> Evidence:
    """What was not measured because it takes minutes or gigabytes is carried on, and marked as such."""
    cells: dict[tuple[str, int], str] = {}
    series = []
    for name, found in measured.items():
        each = {count: spread(one) for count, one in found.items()}
        cells |= {(name, count): one.text() for count, one in each.items()}
        series.append(Series(name, tuple(one.point(count) for count, one in each.items())))
        last = max(each)
        beyond = [count for count in counts if count > last]
        cells |= {(name, count): f"({each[last].median:,.1f})" for count in beyond}
        if beyond:
            flat = Spread(each[last].median, each[last].median, each[last].median)
            series.append(Series(f"{name}, carried on", tuple(flat.point(count) for count in (last, *beyond))))
    return Evidence(
        title="What a task that does nothing costs",
        text="Microseconds of CPU time for each task, pool included: median (lowest to highest). A figure in brackets "
        "was not measured but carried on from the last one: a thread for each takes minutes, a Future for each "
        "gigabytes.",
        columns=("tasks", *measured),
        rows=tuple((f"{count:,}", *(cells[name, count] for name in measured)) for count in counts),
        chart=Chart("tasks", "CPU microseconds for each", log_x=True, log_y=True, series=tuple(series)),
    )


def sized(number: int, repetitions: int) -> Evidence:
    """Tasks a second, by the time that they take one after the other: in sequence and by each way in turn."""
    ways: dict[str, Callable[[Task, int], None]] = {"in sequence": in_sequence, **RUNS}
    rows: list[tuple[Cell, ...]] = []
    points: dict[str, list[Point]] = {name: [] for name in ways}
    for size, task in SIZES.items():
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(repetitions):
            for name, run in ways.items():
                begin = time.perf_counter()
                run(task, number)
                rates[name].append(number / (time.perf_counter() - begin))
        alone = 1e6 / max(rates["in sequence"])
        found = {name: spread(one) for name, one in rates.items()}
        rows.append((size, round(alone, 1), *(round(one.median) for one in found.values())))
        for name, one in found.items():
            points[name].append(one.point(alone))
    return Evidence(
        title=f"{number:,} tasks of each size, tasks a second",
        text=f"By the clock: medians of {repetitions}, which a busy machine lowers; the chart has their spread. Four "
        "threads help where tasks wait.",
        columns=("a task", "µs alone", *ways),
        rows=tuple(rows),
        chart=Chart(
            "microseconds that a task takes alone", "tasks a second", log_x=True, log_y=True,
            series=tuple(Series(name, tuple(sorted(one, key=lambda point: point.x))) for name, one in points.items()),
        ),
    )  # fmt: skip


def switched(counts: tuple[int, ...]) -> Evidence:
    """Hand-offs of the GIL for each task, of each size."""
    number = min(counts[-1] // 4, TRACED)
    text = f"Between any two threads, while {number:,} tasks ran."
    rows: list[tuple[Cell, ...]] = []
    for name, run in RUNS.items():
        found: list[Cell] = []
        for task in SIZES.values():
            try:
                found.append(hand_offs(run, task, number) if has_gil() else None)
            except _native.NativeError as error:
                found.append(None)
                text = f"The GIL could not be traced: {error}"
        rows.append((name, *found))
    if not has_gil():
        text = "This interpreter runs without a GIL."
    return Evidence("Hand-offs of the GIL for each task", text, ("by", *SIZES), tuple(rows))


def hand_offs(run: Callable[[Task, int], None], task: Task, number: int) -> float:
    with trace(collections=False) as traced:
        run(task, number)
    return round(traced.result.hand_offs.total / number, 2)


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
