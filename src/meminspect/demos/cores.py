"""Which work takes which way: threads, processes, and processes that each run coroutines."""

from __future__ import annotations

from typing import Any

from ..models.demo import Cell, Check, Evidence
from ._base import Demo, Observed
from ._measure import clearly_less, has_gil, in_child


class Cores(Demo):
    name = "cores"
    chapter = "08"
    title = "Work that computes, and work that waits"
    claim = (
        "Work that waits is done at once by threads, by coroutines and by processes that run coroutines. Work that "
        "computes gets no more than one core by threads under the GIL, however many there are: together they use "
        "about as much CPU time as there is time."
    )
    title_zh = "计算型与等待型的工作"
    claim_zh = (
        "等待型的工作用线程、协程或运行协程的进程都能同时完成；在 GIL 之下，"
        "计算型的工作用再多线程也得不到超过一个核心的时间：它们合计使用的 CPU 时间不超过经过的时间。"
    )
    summary = (
        "Waiting adds up to nothing when it is done at once, whoever waits; computing adds up to what there is of "
        "processors, and under the GIL a process has one. So ask what the work does before choosing: threads and "
        "coroutines for waiting, processes for computing, processes with coroutines for much of both."
    )
    summary_zh = (
        "同时等待时，等待不会累加，不管由谁来等；计算则受限于处理器，而在 GIL 之下一个进程只有一个。"
        "所以先看工作在做什么再选择：等待用线程或协程，计算用进程，两者都多则用运行协程的进程。"
    )
    experiment = (
        "In a new interpreter the same tasks, which sleep or which compute, are run one after the other, by "
        "threads, by coroutines, by processes, and by two processes that each run coroutines; the time, and the "
        "CPU time of all processes together, are measured."
    )
    notes = (
        "Processes that each run an event loop are the usual way to use many cores for work that waits; extensions "
        "that release the GIL, and free-threaded builds, let threads compute in parallel too.",
        "How many cores processes get depends on how busy the machine is: the table shows it, the claim does not "
        "rest on it.",
    )

    def observe(self, fast: bool) -> Observed:
        try:
            found = in_child(f"{__package__}._cores", "observe", fast)
        except RuntimeError as error:
            claim = "Work that waits is done at once"
            return Observed((), (Check(claim, None, str(error), str(error)),))
        return Observed((table(found),), checks(found))


def table(found: dict[str, Any]) -> Evidence:
    rows: list[tuple[Cell, ...]] = [
        (
            row["work"],
            row["way"],
            f"{row['wall'] * 1e3:,.1f}",
            f"{row['cpu'] * 1e3:,.1f}",
            f"{row['cpu'] / row['wall']:.2f}",
        )
        for row in found["rows"]
    ]
    return Evidence(
        title=f"{found['tasks']} tasks",
        text="The shortest of some runs, the start of threads and processes included.",
        columns=("work", "by", "ms", "CPU ms", "cores used"),
        rows=tuple(rows),
    )


def checks(found: dict[str, Any]) -> tuple[Check, ...]:
    by = {(row["work"], row["way"]): row for row in found["rows"]}
    alone = by["waits", "one after the other"]
    made = [
        clearly_less(
            f"Waiting by {way} takes less time than one after the other",
            by["waits", way]["walls"],
            alone["walls"],
            f"{alone['wall'] * 1e3:,.0f} ms one after the other, {by['waits', way]['wall'] * 1e3:,.0f} ms by {way}",
            factor=1.3,
        )
        for way in ("threads", "coroutines")
    ]
    threads = by["computes", "threads"]
    used = threads["cpu"] / threads["wall"]
    if has_gil():
        text = f"{used:.2f} CPU seconds a second by threads"
        made.append(Check("Threads that compute get one core under the GIL", used <= 1.2, text))
    return tuple(made)
