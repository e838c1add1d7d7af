"""The threading module: each of its tools in a small scenario, with what goes wrong without it."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable
from contextlib import suppress

from ..models.demo import Cell, Check, Evidence
from ._base import Demo, Observed
from ._timeline import Recorder, run_threads

STEP_S = 0.01
THREADS = 4
PATIENCE_S = 30.0
OLD_NAMES = (
    ("Thread.getName", "Thread.name"),
    ("Thread.setName", "Thread.name"),
    ("Thread.isDaemon", "Thread.daemon"),
    ("Thread.setDaemon", "Thread.daemon"),
    ("Thread.isAlive", "Thread.is_alive"),
    ("currentThread", "current_thread"),
    ("activeCount", "active_count"),
    ("Condition.notifyAll", "Condition.notify_all"),
    ("Event.isSet", "Event.is_set"),
)


class Primitives(Demo):
    name = "primitives"
    chapter = "09"
    title = "The tools of threading"
    claim = (
        "A Lock admits one thread, a Semaphore as many as it was made for, an RLock its owner again; a Condition's "
        "waiter wakes with the lock and finds what it waited for; an Event lets all go; a Barrier holds everyone "
        "until the last has come; a cancelled Timer does nothing. Without them more threads are inside at once."
    )
    title_zh = "threading 模块的工具"
    claim_zh = (
        "Lock 只放一个线程进入，Semaphore 放设定数目的线程进入，RLock 允许所有者再次进入；"
        "Condition 的等待者醒来时持有锁，并且条件已经成立；Event 一次放行所有线程；Barrier 等到最后一个到达才放行；"
        "被取消的 Timer 什么也不做。没有它们，就会有更多线程同时进入。"
    )
    summary = (
        "Each tool is a promise about who may go on when, and the counts show it kept; without it the same threads "
        "were inside together, or went on too early. None of it depends on how long anything took."
    )
    summary_zh = (
        "每一种工具都是一个关于谁在何时可以继续的承诺，计数表明承诺得到了遵守；没有它时，"
        "同样的线程会同时进入，或者过早继续。这一切都与耗时长短无关。"
    )
    experiment = (
        f"{THREADS} threads pass through a section with and without each tool, and the most that were inside at "
        "once are counted, along with the order of what happened. Threads are made from a function and as a "
        "subclass. The old names of methods are looked up and called."
    )
    notes = (
        "isAlive is gone since Python 3.9. getName, setName, isDaemon, setDaemon, currentThread, activeCount, "
        "notifyAll and isSet still work and are deprecated since 3.10: the table says what this version does.",
        "A Timer is a thread of its own that waits for an Event: it fires no earlier than asked, and as late as "
        "the machine is busy.",
    )

    def observe(self, fast: bool) -> Observed:
        made, threads = two_ways()
        names = old_names()
        recorder = Recorder()
        rows: list[tuple[Cell, ...]] = []
        checks = [threads]
        for scenario in SCENARIOS:
            row, check = scenario(recorder)
            rows.append(row)
            checks.append(check)
        table = Evidence(
            title="Each tool, and what happens without it",
            text=f"Counted while {THREADS} threads use it. The timeline has all of it, one after the other.",
            columns=("tool", "with it", "without it"),
            rows=tuple(rows),
            timeline=recorder.timeline(),
        )
        return Observed((made, table, names), tuple(checks))


def two_ways() -> tuple[Evidence, Check]:
    """A thread from a function, and as a subclass."""
    seen: list[tuple[Cell, ...]] = []

    def note(how: str) -> None:
        me = threading.current_thread()
        seen.append((how, me.name, "yes" if me.ident == threading.get_ident() else "no", me.native_id, str(me.daemon)))

    class Worker(threading.Thread):
        def run(self) -> None:
            note("subclass, run()")

    threads = [threading.Thread(target=note, args=("target=function",), name="by function"), Worker(name="by subclass")]
    states = []
    for thread in threads:
        before = thread.is_alive()
        thread.start()
        thread.join()
        states.append((before, thread.is_alive()))
    evidence = Evidence(
        title="Two ways to make a thread",
        text="As the thread sees itself. native_id is the kernel's.",
        columns=("made by", "name", "ident is get_ident()", "native_id", "daemon"),
        rows=tuple(seen),
    )
    held = [row[1] for row in seen] == ["by function", "by subclass"] and states == [(False, False)] * 2
    native = {row[3] for row in seen} | {threading.get_native_id()}
    return evidence, Check(
        "A function and a subclass both run in a thread of the system's, alive from start() to its end",
        held and threading.get_native_id() not in {row[3] for row in seen},
        f"{len(native)} kernel threads with this one; is_alive() before start and after join: {states}",
    )


def old_names() -> Evidence:
    """What has become of the names that books use."""
    objects = {"Thread": threading.current_thread(), "Condition": threading.Condition(), "Event": threading.Event()}
    rows = []
    for old, new in OLD_NAMES:
        owner, _, method = old.rpartition(".")
        found = getattr(objects[owner] if owner else threading, method, None)
        rows.append((old, new, "gone" if found is None else fate(found, method)))
    return Evidence(
        title="The old names",
        text="Looked up and called on this version.",
        columns=("name", "today", "here"),
        rows=tuple(rows),
    )


def fate(function: Callable[..., object], name: str) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with suppress(RuntimeError):  # of a running thread, or without the lock: the warning comes first
            function(*{"setName": (threading.current_thread().name,), "setDaemon": (True,)}.get(name, ()))
    return (
        "works, and is deprecated" if any(issubclass(one.category, DeprecationWarning) for one in caught) else "works"
    )


Scenario = Callable[[Recorder], tuple[tuple[Cell, ...], Check]]


def inside_at_once(
    recorder: Recorder, label: str, guard: threading.Lock | threading.Semaphore | None, room: int
) -> int:
    """The most that were inside. Everyone stays until as many came in as there is room for: the machine may be busy."""

    def stay() -> None:
        with recorder.span(label):
            end = time.monotonic() + PATIENCE_S
            while recorder.most[label] < room and time.monotonic() < end:
                time.sleep(STEP_S / 10)
            time.sleep(STEP_S)

    def pass_through() -> None:
        if guard is None:
            stay()
        else:
            with guard:
                stay()

    run_threads(*[pass_through] * THREADS)
    return recorder.most[label]


def with_lock(recorder: Recorder) -> tuple[tuple[Cell, ...], Check]:
    free = inside_at_once(recorder, "no lock", None, THREADS)
    locked = inside_at_once(recorder, "Lock", threading.Lock(), 1)
    text = f"at most {locked} inside at once with it, {free} without"
    row = ("Lock", f"{locked} inside at once", f"{free} inside at once")
    return row, Check("A Lock lets one thread in at a time", locked == 1 and free > 1, text)


def with_semaphore(recorder: Recorder) -> tuple[tuple[Cell, ...], Check]:
    two = inside_at_once(recorder, "Semaphore(2)", threading.Semaphore(2), 2)
    plain, bounded = threading.Semaphore(1), threading.BoundedSemaphore(1)
    plain.release()
    grown = plain.acquire(blocking=False) and plain.acquire(blocking=False)
    try:
        bounded.release()
    except ValueError:
        refused = True
    else:
        refused = False
    text = (
        f"at most {two} inside with Semaphore(2); a release too many: {'ValueError' if refused else 'accepted'} of "
        f"BoundedSemaphore, {'accepted' if grown else 'refused'} of Semaphore"
    )
    row = ("Semaphore(2), BoundedSemaphore", f"{two} inside at once", "a release too many lets one more in")
    claim = "A Semaphore lets as many in as it was made for; a BoundedSemaphore refuses a release too many"
    return row, Check(claim, two == 2 and refused and grown, text)


def with_rlock(recorder: Recorder) -> tuple[tuple[Cell, ...], Check]:
    lock, plain = threading.RLock(), threading.Lock()

    def nested(depth: int) -> int:
        if depth == 0:
            return 0
        with lock:
            return 1 + nested(depth - 1)

    with recorder.span("RLock, 5 deep"):
        depth = nested(5)
    with plain:
        again = plain.acquire(blocking=False)
    row = ("RLock", f"taken {depth} deep", "a Lock taken again is refused, or waits for ever")
    text = f"taken {depth} times by one thread; a Lock the second time: {'taken' if again else 'refused'}"
    return row, Check("An RLock may be taken again by its owner", depth == 5 and not again, text)


def with_condition(recorder: Recorder) -> tuple[tuple[Cell, ...], Check]:
    condition, items, got = threading.Condition(), list[int](), list[int]()
    number = 5

    def consume() -> None:
        for _ in range(number):
            with condition:
                with recorder.span("waits for an item"):
                    condition.wait_for(lambda: bool(items), timeout=PATIENCE_S)
                got.append(items.pop(0))

    def produce() -> None:
        for item in range(number):
            time.sleep(STEP_S / 5)
            with condition:
                items.append(item)
                condition.notify()

    run_threads(consume, produce)
    text = f"{len(got)} of {number} items came, in order: {got == sorted(got)}; none was missed, none taken twice"
    row = ("Condition", f"{len(got)} items in order", "the consumer must look again and again")
    return row, Check("A Condition's waiter wakes when there is something", got == list(range(number)), text)


def with_event(recorder: Recorder) -> tuple[tuple[Cell, ...], Check]:
    event, order = threading.Event(), list[str]()
    ready = threading.Barrier(THREADS)

    def wait() -> None:
        ready.wait(PATIENCE_S)
        with recorder.span("waits for the event"):
            event.wait(PATIENCE_S)
        order.append("goes")

    def give() -> None:
        ready.wait(PATIENCE_S)
        time.sleep(STEP_S)
        order.append("set")
        event.set()

    run_threads(*[wait] * (THREADS - 1), give)
    row = ("Event", f"{order.count('goes')} go after set()", "each needs a signal of its own")
    held = order == ["set"] + ["goes"] * (THREADS - 1)
    return row, Check("An Event lets all who wait go, and none before", held, " ".join(order))


def with_barrier(recorder: Recorder) -> tuple[tuple[Cell, ...], Check]:
    barrier, arrived, left = threading.Barrier(THREADS), list[float](), list[float]()

    def meet(delay: float) -> None:
        time.sleep(delay)
        arrived.append(time.perf_counter())
        with recorder.span("waits at the barrier"):
            barrier.wait(PATIENCE_S)
        left.append(time.perf_counter())

    run_threads(*[lambda delay=STEP_S / 2 * n: meet(delay) for n in range(THREADS)])
    held = len(left) == THREADS and min(left) >= max(arrived)
    spare = (min(left) - max(arrived)) * 1e3
    row = ("Barrier", f"{len(left)} leave after the last came", "the first would be ahead")
    text = f"the first left {spare:,.3f} ms after the last had come"
    return row, Check("A Barrier lets nobody leave before everybody has come", held, text)


def with_timer(recorder: Recorder) -> tuple[tuple[Cell, ...], Check]:
    fired: list[float] = []
    begin = time.perf_counter()
    timer = threading.Timer(STEP_S, lambda: fired.append(time.perf_counter() - begin))
    cancelled = threading.Timer(PATIENCE_S, lambda: fired.append(-1.0))  # however busy the machine is
    with recorder.span("Timer", "timer"):
        timer.start()
        cancelled.start()
        cancelled.cancel()
        timer.join(PATIENCE_S)
        cancelled.join(PATIENCE_S)
    row = ("Timer", f"fired after {fired[0] * 1e3:,.1f} ms" if fired else "did not fire", "-")
    held = len(fired) == 1 and fired[0] >= STEP_S * 0.99
    return row, Check(
        "A Timer fires no earlier than asked, once; a cancelled one never",
        held,
        f"{row[1]}, {STEP_S * 1e3:g} ms were asked; the cancelled one {'did not' if -1.0 not in fired else 'fired'}",
    )


SCENARIOS: tuple[Scenario, ...] = (
    with_lock,
    with_semaphore,
    with_rlock,
    with_condition,
    with_event,
    with_barrier,
    with_timer,
)
