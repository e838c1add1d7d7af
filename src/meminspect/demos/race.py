"""A shared balance: what two threads see, when updates are lost, and what locks do about it."""

from __future__ import annotations

import dis
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..models.demo import Cell, Check, Evidence
from ._base import Demo, Observed
from ._measure import has_gil

INTERVAL = 1e-6  # of switching: as often as it can be
PLAIN, FAST_PLAIN = 1_000_000, 150_000
LOCKED, FAST_LOCKED = 50_000, 4_000
TRY_S, FAST_TRY_S = 3.0, 1.0  # until an update is lost, at most
ROUND = 50_000  # of one try: longer than a thread runs before the system lets another one run
BOOK_ROUNDS = 20
TRIES = 10
BOOK_SLEEP_S = 0.0002  # times the amount, so that the two do not keep step
BREAKS = ("CALL", "RESUME", "JUMP_BACKWARD")  # instructions at which a thread may be made to let go of the GIL


class Race(Demo):
    name = "race"
    chapter = "10"
    title = "A race for a balance"
    claim = (
        "A thread that sleeps between writing and printing prints what the other one wrote: that is no lost "
        "update. A bare `balance += 1` loses none under the GIL, at any switch interval, since no switch falls "
        "inside it; with a call between read and write updates are lost, and with a lock around them none."
    )
    title_zh = "争用余额的线程"
    claim_zh = (
        "线程在写入和打印之间睡眠，就会打印出另一个线程写入的值，但这并不是丢失更新；在 GIL 之下，"
        "单独的 balance += 1 无论切换间隔多短都不会丢失更新，因为其间不会发生切换；如果在读和写之间有一次调用，"
        "更新就会丢失；加锁之后则一次也不丢。"
    )
    summary = (
        "A foreign value in a print is a matter of when one looks; a lost update is a matter of where a switch may "
        "fall. The instructions tell where that is: nowhere in a bare +=, and at the call between read and write. A "
        "lock around both is what holds on every version and build."
    )
    summary_zh = (
        "打印出别人的值，取决于何时去看；丢失更新，则取决于切换可能落在哪里。指令列表说明了位置："
        "裸的 += 之中没有，而读与写之间的调用处有。把两者放在锁里，才是在每个版本和每种构建上都成立的做法。"
    )
    experiment = (
        "Two threads change one variable at the shortest switch interval, in the book's way (add, sleep, print), "
        "by a bare augmented assignment, with a call between read and write, and with Lock, RLock and try/finally. "
        "What the balance should be is counted against what it is. The instructions in between are listed from the "
        "code object."
    )
    notes = (
        "Up to CPython 3.9 a switch could fall between any two instructions, and a bare += did lose updates: since "
        "3.10 it may only at calls, at the beginning of functions and at jumps back. This is no promise of the "
        "language.",
        "Free-threaded builds have no such shelter: a bare += loses updates there as soon as two threads run at once.",
    )

    def observe(self, fast: bool) -> Observed:
        seconds = FAST_TRY_S if fast else TRY_S
        with shortest_interval():
            book, foreign = the_book()
            number = FAST_PLAIN if fast else PLAIN
            counted = [
                ("balance += 1", *(lost(bare, number) if has_gil() else until_lost(bare, seconds))),
                ("balance = add_one(balance)", *until_lost(with_call, seconds)),
            ]
            number = FAST_LOCKED if fast else LOCKED
            counted += [(name, *lost(function, number)) for name, function in GUARDED.items()]
        table = Evidence(
            title="Updates by two threads",
            text="What each thread adds, one at a time, against what the balance is in the end.",
            columns=("update", "updates", "lost"),
            rows=tuple(counted),
        )
        return Observed((book, instructions(), table), (foreign, *checks(counted)))


balance = 0
lock, reentrant = threading.Lock(), threading.RLock()


@contextmanager
def shortest_interval() -> Iterator[None]:
    saved = sys.getswitchinterval()
    sys.setswitchinterval(INTERVAL)
    try:
        yield
    finally:
        sys.setswitchinterval(saved)


def add_one(value: int) -> int:
    return value + 1


def bare(times: int) -> None:
    global balance
    for _ in range(times):
        balance += 1


def with_call(times: int) -> None:
    global balance
    for _ in range(times):
        balance = add_one(balance)


def with_lock(times: int) -> None:
    global balance
    for _ in range(times):
        with lock:
            balance = add_one(balance)


def with_reentrant(times: int) -> None:
    global balance
    for _ in range(times):
        with reentrant, reentrant:
            balance = add_one(balance)


def with_finally(times: int) -> None:
    global balance
    for _ in range(times):
        lock.acquire()
        try:
            balance = add_one(balance)
        finally:
            lock.release()


GUARDED: dict[str, Callable[[int], None]] = {
    "with lock: balance = add_one(balance)": with_lock,
    "with rlock, rlock: ...": with_reentrant,
    "lock.acquire(), try, finally": with_finally,
}


def both(target: Callable[..., None], *arguments: object) -> None:
    """Runs it in two threads that begin together."""
    gate = threading.Barrier(2)

    def run() -> None:
        gate.wait()
        target(*arguments)

    threads = [threading.Thread(target=run, name=f"meminspect-demo-{number}") for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def lost(function: Callable[[int], None], times: int) -> tuple[int, int]:
    """Updates made by two threads, and how many of them the balance does not show."""
    global balance
    balance = 0
    both(function, times)
    return 2 * times, 2 * times - balance


def until_lost(function: Callable[[int], None], seconds: float) -> tuple[int, int]:
    """The same, with more and more updates until some are lost or the time is over."""
    made = missing = 0
    end = time.monotonic() + seconds
    while not missing and time.monotonic() < end:
        now, gone = lost(function, ROUND)
        made, missing = made + now, missing + gone
    return made, missing


def the_book() -> tuple[Evidence, Check]:
    """Add, sleep, print, in two threads: whose value is printed?"""
    printed: list[tuple[int, int]] = []
    gate = threading.Barrier(2)

    def spend(amount: int) -> None:
        global balance
        gate.wait()
        for _ in range(BOOK_ROUNDS):
            balance += amount
            wrote = balance
            time.sleep(BOOK_SLEEP_S * amount)
            printed.append((wrote, balance))
            balance -= amount

    global balance
    balance = 0
    foreign = 0
    for _ in range(TRIES):  # one may be through before the other begins, on a busy machine
        threads = [threading.Thread(target=spend, args=(amount,), name="meminspect-demo") for amount in (5, 8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        foreign = sum(wrote != seen for wrote, seen in printed)
        if foreign:
            break
    rows: list[tuple[Cell, ...]] = [(wrote, seen) for wrote, seen in printed[:6]]
    evidence = Evidence(
        title="Add, sleep, print, subtract",
        text=f"The first of {len(printed)} prints; at the end the balance is {balance}.",
        columns=("the thread wrote", "and printed"),
        rows=tuple(rows),
    )
    text = f"{foreign} of {len(printed)} prints showed another value than the thread had written"
    return evidence, Check(
        "What is printed after a sleep is often the other thread's balance",
        True if foreign else None,
        text,
        None if foreign else f"the machine is busy: the two threads never ran beside each other, and {text}",
    )


def between(function: Callable[..., object]) -> list[str]:
    """The instructions from the first reading of the balance to its writing."""
    names: list[str] = []
    for one in dis.get_instructions(function):
        if one.argval == "balance" and one.opname.startswith("STORE_GLOBAL"):
            return [*names, one.opname]
        if names or (one.argval in ("balance", "add_one") and one.opname.startswith("LOAD_GLOBAL")):
            names.append(one.opname)
    return names


def instructions() -> Evidence:
    rows = []
    for text, function in (("balance += 1", bare), ("balance = add_one(balance)", with_call)):
        names = between(function)
        stops = [name for name in names if name.startswith(BREAKS)]
        rows.append((text, " ".join(names), ", ".join(stops) or "none"))
    return Evidence(
        title="From read to write",
        text="A thread lets go of the GIL only at a call, at the beginning of a function, and at a jump back.",
        columns=("update", "instructions", "of these, where a switch may fall"),
        rows=tuple(rows),
    )


def checks(counted: list[tuple[str, int, int]]) -> tuple[Check, ...]:
    plain, called, *guarded = counted
    switch_free = not any(name.startswith(BREAKS) for name in between(bare))
    if has_gil():
        first = Check(
            "A bare += loses no update under the GIL, since no switch can fall inside it",
            plain[2] == 0 and switch_free,
            f"{plain[2]:,} of {plain[1]:,} updates were lost at an interval of {INTERVAL:g} s",
        )
    else:
        text = f"{plain[2]:,} of {plain[1]:,} updates were lost"
        reason = None if plain[2] else "the two threads never ran at the same moment"
        first = Check("Without a GIL a bare += loses updates", True if plain[2] else None, text, reason)
    text = f"{called[2]:,} of {called[1]:,} updates were lost"
    reason = None if called[2] else "no switch fell between read and write in the time there was: try without --fast"
    return (
        first,
        Check("With a call between read and write updates are lost", True if called[2] else None, text, reason),
        Check(
            "With a lock around read and write none is lost",
            all(row[2] == 0 for row in guarded),
            "; ".join(f"{row[0]}: {row[2]} of {row[1]:,}" for row in guarded),
        ),
    )
