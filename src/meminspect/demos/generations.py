"""Generations: where new objects are, what starts a collection, what it costs, and gc.freeze before a fork."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from ..models.demo import Cell, Chart, Check, Evidence, Series
from ..probes.gc import gc_state
from ..probes.header import header
from ._base import Demo, Observed
from ._measure import clearly_less, free_threaded, in_child, spread

THRESHOLD = 2000
SLACK = 50  # containers that others make meanwhile, and the evaluation loop's own moment
THREAD_BUFFER = 512  # allocations that a thread of a free-threaded build counts by itself before it tells
REPETITIONS, FAST_REPETITIONS = 7, 4
CONTAINERS, FAST_CONTAINERS = 1_000_000, 200_000
FORKED, FAST_FORKED = 400_000, 60_000
MIB = 1 << 20


class Generations(Demo):
    name = "generations"
    chapter = "04"
    title = "Generations, thresholds, and gc.freeze"
    claim = (
        "A collection starts by itself when more containers were made than freed since the last one, by more than "
        "the threshold; making and freeing any number starts none. What survives is promoted. A full collection "
        "costs time in proportion to the objects that live, and in a forked child it copies their pages unless "
        "gc.freeze() came before the fork."
    )
    title_zh = "分代、阈值与 gc.freeze"
    claim_zh = (
        "自上次回收以来，新建的容器比释放的多出超过阈值时，回收自动开始；成对的新建和释放再多也不会触发；"
        "幸存者升入老一代。完整回收的耗时与存活对象成正比，在 fork 出的子进程里它会复制这些对象的内存页，"
        "除非 fork 之前调用了 gc.freeze()。"
    )
    summary = (
        "The number at which a collection starts shows that the net growth of containers is counted, not the traffic. "
        "Times that grow with what lives show why long-lived data makes full collections dear, and the private pages "
        "of the children show why gc.freeze() belongs before the fork of a server."
    )
    summary_zh = (
        "回收开始时的数字说明被计数的是容器的净增长，而不是流量。耗时随存活对象增长，说明长寿数据会使完整回收变贵；"
        "子进程的私有页则说明为什么服务器应在 fork 之前调用 gc.freeze()。"
    )
    experiment = (
        f"The threshold is set to {THRESHOLD:,}; containers are made until a callback of the collector tells that "
        "it started, then many are made and freed one after the other. An object's generation is read from its "
        "header after each collection. In a new process full collections are timed by turns with and without many "
        "more containers; another one makes containers and forks children that collect, and the kernel tells their "
        "private memory."
    )
    notes = (
        "CPython 3.11 to 3.13 and 3.15 keep three generations; 3.14.0 to 3.14.4 collect the old one in small "
        "steps, and know only young and old.",
        "From 3.12 on a collection starts at the next check of the evaluation loop, not inside the allocation.",
        "Free-threaded builds have one generation. A collection also needs as many new containers as a quarter of "
        "all that outlived the last full one, and threads count up to 512 by themselves first.",
        "With three generations the oldest is collected only when its newcomers are a quarter of it: "
        "gc.get_threshold() alone does not tell when.",
    )

    def observe(self, fast: bool) -> Observed:
        with collector_as_it_was():
            started, when = automatic()
            promoted, ages = promotion()
        costs, cost = collections(fast)
        forked, copied = before_fork(fast)
        evidence = [started, *([promoted] if promoted else []), costs, forked]
        return Observed(tuple(evidence), (*when, *([ages] if ages else []), cost, copied))


@contextmanager
def collector_as_it_was() -> Iterator[None]:
    enabled, thresholds = gc.isenabled(), gc.get_threshold()
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        (gc.enable if enabled else gc.disable)()


def automatic() -> tuple[Evidence, tuple[Check, ...]]:
    kept: list[set[int]] = []  # sets: a list may come from the free list, which the collector does not count
    starts: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            starts.append(len(kept))

    rows: list[tuple[Cell, ...]] = []
    counts: list[int] = []
    gc.set_threshold(THRESHOLD, 10, 10)
    gc.enable()
    for _ in range(3):
        gc.collect()
        kept.clear()
        gc.callbacks.append(note)
        try:
            starts.clear()
            while not starts and len(kept) < 200 * THRESHOLD:
                kept.append(set())
        finally:
            gc.callbacks.remove(note)
        counts.append(starts[0] if starts else -1)
        rows.append(("made and kept", len(kept), len(starts), starts[0] if starts else None))
    trigger = gc_state().trigger
    gc.collect()
    kept.clear()
    gc.collect()
    gc.callbacks.append(note)
    try:
        starts.clear()
        for _ in range(10 * THRESHOLD):
            len({0})
    finally:
        gc.callbacks.remove(note)
    rows.append(("made and freed at once", 10 * THRESHOLD, len(starts), None))
    evidence = Evidence(
        title=f"Containers until a collection starts, threshold {THRESHOLD:,}",
        text=f"The collector itself says: {trigger}",
        columns=("containers", "number", "collections started", "at"),
        rows=tuple(rows),
    )
    low, high = THRESHOLD - SLACK, THRESHOLD + SLACK
    claim = "A collection starts when the allocations less the deallocations pass the threshold"
    found = sorted(counts)[1]
    text = f"after {', '.join(f'{count:,}' for count in counts)} containers, the threshold is {THRESHOLD:,}"
    if free_threaded():
        claim = "No collection starts before the threshold is passed"
        held = found == -1 or found >= low - THREAD_BUFFER
    else:
        held = low <= found <= high
    return evidence, (
        Check(claim, held, text),
        Check(
            "Containers that are freed again start none, however many they are",
            not starts,
            f"{10 * THRESHOLD:,} were made and freed, {len(starts)} collections started",
        ),
    )


def promotion() -> tuple[Evidence | None, Check | None]:
    """An object's generation, from the collector's own lists."""
    if free_threaded():
        return None, None
    gc.disable()
    gc.collect()
    watched = [[]]  # type: list[list[int]]
    rows: list[tuple[Cell, ...]] = []
    ages: list[int | None] = []
    for step in ("made", "gc.collect(0)", "gc.collect(1)", "gc.collect(2)"):
        if step != "made":
            gc.collect(int(step[-2]))
        seen = header(watched[0])
        ages.append(seen.generation)
        rows.append((step, seen.generation, seen.generation_reason))
    evidence = Evidence(
        title="The generation of one list",
        text="Read along the collector's lists; 0 is the youngest.",
        columns=("after", "generation", "reason"),
        rows=tuple(rows),
    )
    claim = "What survives a collection of its generation is promoted"
    if None in ages:
        reason = next(str(row[2]) for row in rows if row[1] is None)
        return evidence, Check(claim, None, reason, reason)
    known = [age for age in ages if age is not None]
    held = known[0] == 0 and known[1] > 0 and known == sorted(known) and known[-1] == max(known)
    return evidence, Check(claim, held, f"generations {', '.join(map(str, known))}")


def collections(fast: bool) -> tuple[Evidence, Check]:
    claim = "A full collection costs time in proportion to what lives"
    sizes = (FAST_CONTAINERS, FAST_REPETITIONS) if fast else (CONTAINERS, REPETITIONS)
    try:
        found = in_child(f"{__package__}._processes", "timed_collections", *sizes)
    except RuntimeError as error:
        return Evidence("What gc.collect() costs", str(error), (), ()), Check(claim, None, str(error), str(error))
    costs = {int(number): spread(seconds) for number, seconds in found.items()}
    (_, few), *_, (most, many) = costs.items()
    evidence = Evidence(
        title="What gc.collect() costs",
        text=f"CPU milliseconds of the thread: median, lowest and highest of {sizes[1]} full collections, taken in "
        "turn in a new process.",
        columns=("containers beside the program's own", "ms", "lowest", "highest"),
        rows=tuple(
            (number, *(round(value * 1e3, 2) for value in (one.median, one.low, one.high)))
            for number, one in costs.items()
        ),
        chart=Chart(
            x_label="containers",
            y_label="milliseconds of a full collection",
            log_x=False,
            log_y=False,
            series=(Series("gc.collect()", tuple(one.scaled(1e3).point(number) for number, one in costs.items())),),
        ),
    )
    text = (
        f"{few.low * 1e3:,.2f} ms without and {many.low * 1e3:,.2f} ms with {most:,} more containers, "
        f"{(many.low - few.low) / most * 1e9:,.0f} ns each"
    )
    without, *_, with_all = found.values()
    return evidence, clearly_less(claim, without, with_all, text, factor=1.5)


def before_fork(fast: bool) -> tuple[Evidence, Check]:
    claim = "After gc.freeze() a collection in a forked child copies far fewer pages"
    try:
        found = in_child(f"{__package__}._processes", "forked_collections", FAST_FORKED if fast else FORKED)
    except RuntimeError as error:
        return Evidence("A collection in a forked child", str(error), (), ()), Check(
            claim, None, str(error), str(error)
        )
    plain, frozen = found["plain"], found["frozen"]
    evidence = Evidence(
        title=f"A forked child that collects, beside a parent of {found['objects']:,} containers",
        text="What gc.collect() added to its private memory (USS) and to its share (PSS), by /proc/self/smaps_rollup.",
        columns=("before the fork", "objects frozen", "USS added MiB", "PSS added MiB"),
        rows=(
            ("nothing", 0, round(plain["uss"] / MIB, 2), round(plain["pss"] / MIB, 2)),
            ("gc.freeze()", found["frozen_objects"], round(frozen["uss"] / MIB, 2), round(frozen["pss"] / MIB, 2)),
        ),
    )
    held = plain["uss"] > 20 * found["objects"] and frozen["uss"] < plain["uss"] / 2
    text = f"{plain['uss'] / MIB:,.1f} MiB without gc.freeze(), {frozen['uss'] / MIB:,.1f} MiB with it"
    if not held and free_threaded() and plain["uss"] <= 20 * found["objects"]:
        reason = "this build's collector wrote to few of the objects it looked at"
        return evidence, Check(claim, None, text, reason)
    return evidence, Check(claim, held, text)
