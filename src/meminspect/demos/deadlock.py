"""A deadlock, found and explained from recorded acquisitions; and what a lock taken twice does."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from ..models.demo import Cell, Check, Evidence
from ._base import Demo, Observed

PATIENCE_S = 30.0  # until a thread gives up on a lock: on a machine that is very busy
PAUSE_S = 0.001
TWICE_S = 0.05


class Deadlock(Demo):
    name = "deadlock"
    chapter = "10"
    title = "A deadlock, explained"
    claim = (
        "Two threads that take two locks in opposite order wait for each other for ever; who waits for whom can be "
        "told from recorded acquisitions. A Lock has no owner: it blocks the thread that holds it, and any thread "
        "may release it. An RLock knows its owner, who may take it again."
    )
    title_zh = "解释一次死锁"
    claim_zh = (
        "两个线程以相反的顺序获取两把锁，就会永远互相等待；根据记录下来的获取操作可以说明谁在等谁；"
        "Lock 没有所有者：持有它的线程再次获取也会被阻塞，任何线程都可以释放它；RLock 认得自己的所有者，"
        "所有者可以重复获取。"
    )
    summary = (
        "The circle in the record is the deadlock: each waits for what the other has, so no time will end it. A plain "
        "Lock cannot tell who has it; that the record can, and that a release by anybody ends it, shows what is "
        "missing in it and why RLock has an owner."
    )
    summary_zh = (
        "记录中的环就是死锁：各自等待对方持有的锁，再久也不会结束。普通的 Lock 说不出谁持有它；"
        "记录能说出来，而任何线程的释放都能打破僵局，这说明了它缺少什么，以及 RLock 为什么要有所有者。"
    )
    experiment = (
        "Each of two threads takes its own lock, and when both have one asks for the other's. Their acquisitions "
        "are recorded; once both wait, the circle is read from the record, and this thread releases one of the "
        "locks to end it. Then a Lock and an RLock are taken twice."
    )
    notes = (
        "repr() of an RLock shows owner and count in every version; a Lock's only whether it is locked.",
        "Taking locks in one agreed order, or with a timeout, prevents the circle.",
    )

    def observe(self, fast: bool) -> Observed:
        stuck, checks = two_locks()
        twice, taken = taken_twice()
        return Observed((stuck, twice), (*checks, *taken))


class RecordedLock:
    """A Lock that writes down who holds it and who waits for it; the record is what a plain Lock does not have."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.owner: str | None = None
        self.waiting: list[str] = []

    def __enter__(self) -> RecordedLock:
        me = threading.current_thread().name
        self.waiting.append(me)
        taken = self.lock.acquire(timeout=PATIENCE_S)
        self.waiting.remove(me)
        if not taken:
            raise TimeoutError(f"{me} gave up on {self.name}")
        self.owner = me
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.owner == threading.current_thread().name:
            self.owner = None
            self.lock.release()


def waits_for(locks: list[RecordedLock]) -> dict[str, str]:
    """Thread -> the thread whose lock it waits for."""
    return {waiter: lock.owner for lock in locks for waiter in lock.waiting if lock.owner is not None}


def circle(edges: dict[str, str]) -> list[str]:
    """The threads of a circle in the order of waiting, the first one again at its end; empty when there is none."""
    for start in edges:
        path = [start]
        while path[-1] in edges and edges[path[-1]] not in path:
            path.append(edges[path[-1]])
        if path[-1] in edges:
            return [*path[path.index(edges[path[-1]]) :], edges[path[-1]]]
    return []


def two_locks() -> tuple[Evidence, tuple[Check, ...]]:
    first, second = RecordedLock("lock A"), RecordedLock("lock B")
    both_have_one = threading.Barrier(2)
    finished: list[str] = []

    def take(mine: RecordedLock, other: RecordedLock) -> None:
        with mine:
            both_have_one.wait(PATIENCE_S)
            with other:
                finished.append(threading.current_thread().name)

    threads = [
        threading.Thread(target=take, args=locks, name=name)
        for name, locks in (("worker 1", (first, second)), ("worker 2", (second, first)))
    ]
    for thread in threads:
        thread.start()
    end = time.monotonic() + PATIENCE_S
    found: list[str] = []
    while not found and time.monotonic() < end:
        time.sleep(PAUSE_S)
        found = circle(waits_for([first, second]))
    rows: list[tuple[Cell, ...]] = [
        (lock.name, lock.owner, ", ".join(lock.waiting), repr(lock.lock).partition(" at ")[0] + ">")
        for lock in (first, second)
    ]
    time.sleep(10 * PAUSE_S)
    still = circle(waits_for([first, second])) == found and not finished
    first.owner = None
    if found:
        first.lock.release()  # not by its owner: a Lock has none
    for thread in threads:
        thread.join()
    evidence = Evidence(
        title="Who has what, and who waits",
        text="Recorded at each acquisition. " + (" waits for ".join(found) + "." if found else "No circle."),
        columns=("lock", "held by", "waited for by", "what Python shows of the lock itself"),
        rows=tuple(rows),
    )
    return evidence, (
        Check(
            "Two threads with two locks in opposite order wait for each other, and the record names the circle",
            len(found) == 3 and found[0] == found[2] and still,
            " waits for ".join(found) + "; neither came on" if found else "no circle was seen",
        ),
        Check(
            "Any thread may release a Lock, and so end it",
            sorted(finished) == ["worker 1", "worker 2"],
            f"after another thread released lock A, {' and '.join(sorted(finished)) or 'none'} finished",
        ),
    )


def taken_twice() -> tuple[Evidence, tuple[Check, ...]]:
    lock, reentrant = threading.Lock(), threading.RLock()
    rows: list[tuple[Cell, ...]] = []
    results: list[bool] = []
    owners: list[bool] = []
    for name, one in (("Lock", lock), ("RLock", reentrant)):
        one.acquire()
        again = one.acquire(timeout=TWICE_S)
        results.append(again)
        shown = repr(one)
        owners.append(f"owner={threading.get_ident()}" in shown)
        by_other: list[str] = []
        thread = threading.Thread(target=release_of_other, args=(one, by_other), name="meminspect-demo")
        thread.start()
        thread.join()
        rows.append((name, "yes" if again else "no, it waited", "yes" if owners[-1] else "no", by_other[0]))
    reentrant.release()
    reentrant.release()
    evidence = Evidence(
        title="Taken twice by one thread",
        text=f"The second time with a timeout of {TWICE_S} s.",
        columns=("", "taken again", "its repr names the owner", "released by another thread"),
        rows=tuple(rows),
    )
    return evidence, (
        Check(
            "A Lock taken twice blocks its holder; an RLock does not",
            results == [False, True],
            f"the second acquire() of a Lock gave {results[0]}, of an RLock {results[1]}",
        ),
        Check(
            "An RLock knows its owner, a Lock does not",
            owners == [False, True] and rows[1][3] == "RuntimeError",
            f"repr() named the owner of {'the RLock only' if owners == [False, True] else owners}; "
            f"another thread's release() of the RLock gave {rows[1][3]}",
        ),
    )


def release_of_other(one: threading.Lock, results: list[str]) -> None:
    """What becomes of a release by a thread that did not acquire."""
    try:
        one.release()
    except RuntimeError as error:
        results.append(type(error).__name__)
    else:
        results.append("yes")
