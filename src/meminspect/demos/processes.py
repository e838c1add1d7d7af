"""Processes: how they are made, what they share, how they talk, and what terminate() leaves behind."""

from __future__ import annotations

import signal
from typing import Any

from ..models.demo import Cell, Check, Evidence
from ._base import Demo, Observed
from ._measure import in_child, spread

MIB = 1 << 20
TERMINATED = -int(signal.SIGTERM)


class Processes(Demo):
    name = "processes"
    chapter = "12"
    title = "Processes"
    claim = (
        "A process shares nothing with its parent but what was made to be shared: by fork it begins with a copy, "
        "by spawn and forkserver with what it imports. A Lock keeps the output of two in order, and stays locked "
        "for ever when its holder is terminated. apply_async returns before its value is there, apply with it."
    )
    title_zh = "进程"
    claim_zh = (
        "进程与父进程之间只共享专门用来共享的东西：用 fork 启动时得到一份副本，"
        "用 spawn 和 forkserver 启动时只有自己导入的内容；Lock 使两个进程的输出有序，"
        "但持有它的进程被 terminate 之后它将永远锁住；apply_async 在值产生之前就返回，apply 则等到有值才返回。"
    )
    summary = (
        "What the child changed stayed in the child; what was made to be shared came back. So everything else travels "
        "as messages, is copied, and costs what the table says. A lock that stays locked and a message "
        "that is torn show that terminate() cleans nothing up: ask a process to end instead."
    )
    summary_zh = (
        "子进程改变的留在子进程里，专门共享的才会回来。其余一切都要作为消息传递、复制，"
        "并付出表中的代价。一直锁着的锁和只写了一半的消息说明 terminate() 什么也不清理：应当请求进程自行结束。"
    )
    experiment = (
        "In a new interpreter: processes are made from a function, as a subclass and by each start method; a list "
        "and a shared array are changed in one; messages are sent by Pipe and Queue; two processes write pairs "
        "with and without a Lock, and two wait on a Condition; a reader that never ends, a holder of a lock and a "
        "sender are terminated; a Pool is asked by apply and apply_async."
    )
    notes = (
        "On Linux fork was the default up to 3.13; from 3.14 on it is forkserver.",
        "A `name` that a subclass sets before the base's constructor is overwritten by it: give it to the constructor.",
        "Queue pickles in a thread of its own: put() returns before the message is in the pipe, and an error while "
        "pickling is printed, not raised.",
    )

    def observe(self, fast: bool) -> Observed:
        try:
            found = in_child(f"{__package__}._multiprocess", "observe", fast)
        except RuntimeError as error:
            return Observed((), (Check("Processes share nothing unasked", None, str(error), str(error)),))
        return Observed(
            (ways(found), starts(found), transport(found), order(found), waiting(found), calls(found)),
            (*made(found), *shared(found), *sent(found), *locked(found), *ended(found), *pooled(found)),
        )


def ways(found: dict[str, Any]) -> Evidence:
    return Evidence(
        title="Two ways to make a process",
        text=f"As the process sees itself; its parent was {found['parent']}.",
        columns=("made by", "name", "pid", "parent's pid", "exit code"),
        rows=tuple((how, name, str(pid), str(parent), code) for how, name, pid, parent, code in found["ways"]),
    )


def starts(found: dict[str, Any]) -> Evidence:
    return Evidence(
        title="Start methods",
        text=f"A global of the module that the parent had changed; the default here is {found['default']}.",
        columns=("method", "the global in the child", "parent is the starter", "ms to the first message"),
        rows=tuple(
            (method, seen, "yes" if direct else "no, the fork server", round(seconds * 1e3, 1))
            for method, seen, direct, seconds in found["starts"]
        ),
    )


def transport(found: dict[str, Any]) -> Evidence:
    costs, rows = found["transport"], list[tuple[Cell, ...]]()
    for by, name in (("pipe", "Pipe"), ("queue", "Queue"), ("shared", "shared memory")):
        small, large = costs["small"].get(by), spread(costs["large"][by]).scaled(1e6)
        rows.append(
            (
                name,
                spread(small).scaled(1e6).text(0) if small else "-",
                f"{1 / spread(small).median:,.0f}" if small else "-",
                large.text(0),
                f"{costs['written'][by] / MIB:.2f}",
            )
        )
    return Evidence(
        title="What a message costs",
        text="Microseconds: median (lowest to highest). What was written by system calls (/proc/self/io) was copied "
        "into the kernel, and out of it by the reader; shared memory is written once, and by no call.",
        columns=("by", "a small message", "a second", "one MiB", "MiB written"),
        rows=tuple(rows),
    )


def order(found: dict[str, Any]) -> Evidence:
    (free, mixed), (kept, none) = found["interleaved"]
    return Evidence(
        title="Two processes write pairs",
        text="a< a> b< b> is in order; a pair that the other one broke into is counted.",
        columns=("", "written", "broken pairs"),
        rows=(("without a Lock", free, mixed), ("with a Lock", kept, none)),
    )


def waiting(found: dict[str, Any]) -> Evidence:
    one = found["notified"]
    return Evidence(
        title="Two consumers wait on a Condition",
        text=f"For {one['waited_s'] * 1e3:,.0f} ms there is nothing; then one item is made and notified, then another.",
        columns=("consumer", "woken", "CPU ms while it waited"),
        rows=tuple(
            (name, woken, round(cpu * 1e3, 2)) for name, (woken, cpu) in zip("ab", one["consumers"], strict=True)
        ),
    )


def calls(found: dict[str, Any]) -> Evidence:
    pool = found["pool"]
    return Evidence(
        title="Pool.apply_async",
        text="The task waits until the parent lets it go.",
        columns=("event", "ms"),
        rows=(
            ("the result object was there", round(pool["returned_s"] * 1e3, 3)),
            ("its value was there", round(pool["value_s"] * 1e3, 3)),
        ),
    )


def made(found: dict[str, Any]) -> tuple[Check, ...]:
    rows, (overwritten, given) = found["ways"], found["names"]
    parent = found["parent"]
    held = [row[1] for row in rows] == ["by function", "by subclass"] and all(
        row[2] != parent and row[3] == parent and row[4] == 0 for row in rows
    )
    return (
        Check(
            "A function and a subclass both run in a process of their own, children of this one",
            held,
            f"pids {rows[0][2]} and {rows[1][2]}, both children of {parent}",
        ),
        Check(
            "The base's constructor overwrites a name that was set before it",
            overwritten != "mine" and given == "mine",
            f"set before: {overwritten}; given to the constructor: {given}",
        ),
    )


def shared(found: dict[str, Any]) -> tuple[Check, ...]:
    plain, array = found["shared"]
    states = {row[0]: row[1] for row in found["starts"]}
    return (
        Check(
            "What a process changes is its own, unless it was made to be shared",
            (plain, array) == (0, 42),
            f"the child wrote 42 to both; the parent's list holds {plain}, the shared array {array}",
        ),
        Check(
            "fork begins with a copy of the parent, spawn and forkserver with what they import",
            states == {"fork": "changed by the parent", "forkserver": "as imported", "spawn": "as imported"},
            "; ".join(f"{method}: {seen}" for method, seen in states.items()),
        ),
    )


def sent(found: dict[str, Any]) -> tuple[Check, ...]:
    written = {by: number / MIB for by, number in found["transport"]["written"].items()}
    return (
        Check(
            "A message is copied through the kernel, shared memory is not",
            written["pipe"] >= 1 and written["queue"] >= 1 and written["shared"] < 0.01,
            "; ".join(f"{number:.2f} MiB written for each MiB by {by}" for by, number in written.items()),
        ),
    )


def locked(found: dict[str, Any]) -> tuple[Check, ...]:
    (_, mixed), (text, none) = found["interleaved"]
    one = found["notified"]
    seen = f"{mixed} pairs were broken without it, {none} with it"
    in_order = none == 0 and len(text) == 40
    beside = mixed > 0 or not in_order
    return (
        Check(
            "Without a Lock the output of two processes mixes, with one it does not",
            in_order if beside else None,
            seen,
            None if beside else f"the machine is busy: the two never ran beside each other, {seen}",
        ),
        Check(
            "A Lock taken twice blocks, an RLock does not",
            found["twice"] == [False, True],
            f"the second acquire() gave {found['twice'][0]} of a Lock, {found['twice'][1]} of an RLock",
        ),
        Check(
            "Each notify() of a Condition lets one waiting process go on, and waiting takes no time of the processor",
            one["finished"] == [1, 2]
            and one["left"] == 0
            and all(cpu < one["waited_s"] / 2 for _, cpu in one["consumers"]),
            f"after the first item {one['finished'][0]} of 2 had ended, after the second {one['finished'][1]}; at most "
            f"{max(cpu for _, cpu in one['consumers']) * 1e3:.2f} ms of CPU time in {one['waited_s'] * 1e3:.0f} ms",
        ),
    )


def ended(found: dict[str, Any]) -> tuple[Check, ...]:
    endless, torn = found["endless"], found["torn"]
    return (
        Check(
            "A reader waits for ever, terminate() ends it, and a lock held by a terminated process stays locked",
            endless["alive"] and endless["exitcode"] == TERMINATED and not endless["lock_free"],
            f"exit code {endless['exitcode']}; the lock of the terminated holder could "
            f"{'' if endless['lock_free'] else 'not '}be taken",
        ),
        Check(
            "A message whose sender is terminated half-way is torn",
            torn["begun"] and torn["error"] is not None,
            f"the reader got {torn['error']}" if torn["error"] else "the reader got all of it",
        ),
    )


def pooled(found: dict[str, Any]) -> tuple[Check, ...]:
    pool = found["pool"]
    return (
        Check(
            "apply returns the value, apply_async before there is one",
            pool["apply"] == 42 and not pool["ready"] and pool["value"] == 7,
            f"apply gave {pool['apply']}; apply_async was {'' if pool['ready'] else 'not '}ready when it returned, and "
            f"gave {pool['value']} later",
        ),
    )
