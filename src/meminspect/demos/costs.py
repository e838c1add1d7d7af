"""What threads, processes and coroutines cost in memory and time, and what runs in parallel."""

from __future__ import annotations

from typing import Any

from ..models.demo import Cell, Chart, Check, Evidence, Point, Series
from ._base import Demo, Observed
from ._measure import clearly_less, in_child, spread

KIB, MIB = 1 << 10, 1 << 20
KINDS = ("coroutine", "thread", "process")
TIMES = ("start", "start_cpu", "switch")
SHARES = (
    ("coroutine", "all of the process, and the thread", "its frame"),
    ("thread", "all of the process: objects, files, signals", "its stack and its thread state"),
    ("process", "what was made to be shared; by fork pages until they are written to", "everything else"),
)


class Costs(Demo):
    name = "costs"
    chapter = "07"
    title = "What a thread, a process and a coroutine cost"
    claim = (
        "A coroutine takes about a kilobyte, a thread many times as much, a process megabytes; to start a "
        "process takes many times the work of a thread, and a thread several times that of a coroutine. On one "
        "core two processes are concurrent, not parallel: together they get no more than its time."
    )
    title_zh = "线程、进程与协程的开销"
    claim_zh = (
        "一个协程只占大约一 KB，一个线程是它的许多倍，一个进程则以 MB 计；启动进程的工作量是启动线程的许多倍，"
        "启动线程又是启动协程的好几倍；在一个核心上，两个进程只是并发而不是并行："
        "它们合起来得到的时间不超过这个核心的时间。"
    )
    summary = (
        "The three differ by factors, not by percents, in memory and in work to start: tens of thousands of "
        "coroutines are nothing special, as many threads are a burden, as many processes impossible. What runs in "
        "parallel depends on cores and on the GIL, not on which of the three waits in line."
    )
    summary_zh = (
        "三者在内存和启动开销上的差别是倍数，而不是百分比：几万个协程毫不稀奇，同样多的线程是负担，"
        "同样多的进程则不可能。能否并行取决于核心数和 GIL，而不取决于排队的是三者中的哪一种。"
    )
    experiment = (
        "In a new interpreter many coroutines, then many threads wait, and what the private memory of the process "
        "grew by is divided by their number; processes of each start method tell their own. Starts are timed, and "
        "turns between two of a kind. Then the same work is done by two threads and two processes, pinned to one "
        "core and on all."
    )
    notes = (
        "Private memory is USS by /proc/self/smaps_rollup. A process made by fork shares pages with its parent "
        "until either writes to them: its own memory grows as it runs.",
        "A thread reserves 8 MiB of address space for its stack, of which only pages that were touched take memory.",
        "Two threads compute in parallel on free-threaded builds only; the table shows CPU seconds in each second.",
        "forkserver and spawn import what they run; forkserver's first start also starts the server.",
    )

    def observe(self, fast: bool) -> Observed:
        claim = "A coroutine takes less than a thread, a thread less than a process"
        try:
            found = in_child(f"{__package__}._contenders", "costs", fast)
            scale = {kind: in_child(f"{__package__}._scale", "scale", kind, fast) for kind in KINDS}
        except RuntimeError as error:
            return Observed((), (Check(claim, None, str(error), str(error)),))
        contenders = found["contenders"]
        return Observed(
            (table(contenders), grown(scale), spreads(contenders), shares(), parallel(found["cores"])),
            (*cheaper(claim, contenders), pinned(found["cores"])),
        )


def table(contenders: dict[str, Any]) -> Evidence:
    rows: list[tuple[Cell, ...]] = []
    for name, one in contenders.items():
        medians = (round(spread(one[key]).median * 1e6, 1) for key in TIMES)
        rows.append((name, one["number"], round(one["bytes"] / KIB, 1), *medians))
    return Evidence(
        title="One of each",
        text="Private memory; time to start one, CPU time of starter and started, and time for a turn from one to the "
        "other: medians.",
        columns=("", "measured", "KiB each", "start µs", "start CPU µs", "switch µs"),
        rows=tuple(rows),
    )


def grown(scale: dict[str, Any]) -> Evidence:
    """Measured as far as the machine goes, and carried on from there by what one more took."""
    measured = {kind: {row[0]: row[1] for row in one["rows"]} for kind, one in scale.items() if one["rows"]}
    numbers = sorted({number for rows in measured.values() for number in rows})
    cells: dict[tuple[str, int], str] = {}
    series = []
    for name, rows in measured.items():
        points = [Point(number, total / MIB, total / MIB, total / MIB) for number, total in rows.items() if total]
        series.append(Series(name, tuple(points)))
        cells |= {(name, number): f"{total / MIB:,.2f}" for number, total in rows.items()}
        last = max(rows)
        beyond = {number: rows[last] / last * number / MIB for number in numbers if number > last}
        cells |= {(name, number): f"({mib:,.1f})" for number, mib in beyond.items()}
        if beyond:
            carried = {last: rows[last] / MIB, **beyond}
            series.append(
                Series(f"{name}, carried on", tuple(Point(number, mib, mib, mib) for number, mib in carried.items()))
            )
    ends = "; ".join(f"of {name}es: {one['reason']}" if name == "process" else f"of {name}s: {one['reason']}"
                     for name, one in scale.items() if one["reason"])  # fmt: skip
    return Evidence(
        title="Many of each",
        text="Private MiB of all that wait at once. In brackets: not measured, but carried on from the last one "
        f"({ends}).",
        columns=("number", *KINDS),
        rows=tuple((f"{number:,}", *(cells.get((kind, number), "-") for kind in KINDS)) for number in numbers),
        chart=Chart("number at once", "private MiB of all", log_x=True, log_y=True, series=tuple(series)),
    )


def spreads(contenders: dict[str, Any]) -> Evidence:
    return Evidence(
        title="Lowest to highest of these times",
        text="Microseconds. CPU time is what the claim rests on: a busy machine adds to the others.",
        columns=("", "start", "start CPU", "switch"),
        rows=tuple((name, *(between(one[key]) for key in TIMES)) for name, one in contenders.items()),
    )


def between(seconds: list[float]) -> str:
    one = spread(seconds).scaled(1e6)
    return f"{one.low:,.1f} to {one.high:,.1f}"


def shares() -> Evidence:
    return Evidence(
        title="What each shares",
        text="And what it has for itself.",
        columns=("", "shared", "its own"),
        rows=SHARES,
    )


def parallel(cores: list[dict[str, Any]]) -> Evidence:
    return Evidence(
        title="Concurrent or parallel",
        text="The same work by two; above 1 CPU second a second they ran at the same moment.",
        columns=("who", "on", "seconds", "CPU seconds", "CPU seconds a second"),
        rows=tuple(
            (row["who"], row["where"], f"{row['wall']:.3f}", f"{row['cpu']:.3f}", f"{row['cpu'] / row['wall']:.2f}")
            for row in cores
        ),
    )


def cheaper(claim: str, contenders: dict[str, Any]) -> tuple[Check, ...]:
    task, thread = contenders["coroutine"], contenders["thread"]
    processes = [one for name, one in contenders.items() if name.startswith("process")]
    least = min(one["bytes"] for one in processes)
    cpu = {name: spread(one["start_cpu"]).scaled(1e6) for name, one in contenders.items()}
    quickest = min(processes, key=lambda one: min(one["start_cpu"]))["start_cpu"]
    text = ", ".join(f"{one.low:,.1f} µs by {name}" for name, one in cpu.items())
    return (
        Check(
            claim,
            0 < task["bytes"] * 2 < thread["bytes"] and thread["bytes"] * 2 < least,
            f"{task['bytes'] / KIB:,.1f} KiB, {thread['bytes'] / KIB:,.1f} KiB, and {least / KIB:,.0f} KiB at least",
        ),
        clearly_less("To start a process takes more CPU time than a thread", thread["start_cpu"], quickest, text),
        clearly_less(
            "To start a thread takes more CPU time than a coroutine", task["start_cpu"], thread["start_cpu"], text
        ),
    )


def pinned(cores: list[dict[str, Any]]) -> Check:
    one = [row for row in cores if row["cores"] == 1]
    most = max(row["cpu"] / row["wall"] for row in one)
    return Check(
        "On one core nothing is parallel",
        most <= 1.1,
        f"at most {most:.2f} CPU seconds a second on one core; on all "
        + ", ".join(f"{row['cpu'] / row['wall']:.2f} by {row['who']}" for row in cores if row["cores"] > 1),
    )
