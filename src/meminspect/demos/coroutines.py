"""Coroutines: what calling one does, what a task costs, how they take turns, and the race that is left."""

from __future__ import annotations

import asyncio
import gc
import inspect
import sys
from collections.abc import Callable, Coroutine, Generator
from itertools import pairwise
from typing import Any

from .. import _native
from ..models.demo import Cell, Check, Evidence
from ..probes.gil_trace import trace
from ._base import Demo, Observed
from ._measure import has_gil, in_child, in_thread

TASKS, FAST_TASKS = 10_000, 1_000
TURNS = 10
DEPOSITS = 200


class Coroutines(Demo):
    name = "coroutines"
    chapter = "13"
    title = "Coroutines"
    claim = (
        "Calling a coroutine function runs nothing: it makes an object that holds its frame. Tasks take turns only "
        "where they await, so no lock is needed in between, and thousands of turns need no hand-off of the GIL; "
        "but a balance that is read, awaited and then written loses updates without asyncio.Lock."
    )
    title_zh = "协程"
    claim_zh = (
        "调用协程函数并不运行任何代码，只创建一个带有自己栈帧的对象；任务只在 await 处轮换，"
        "所以两个 await 之间不需要锁，成千上万次轮换也不需要交出 GIL；但是先读取、再 await、后写入的余额，"
        "如果没有 asyncio.Lock 就会丢失更新。"
    )
    summary = (
        "A coroutine is an object with a frame that somebody else runs: calling makes it, awaiting runs it. Since "
        "turns change only at an await, code without one is safe, and code with one in the wrong place loses updates "
        "as threads do. All of it happens in one thread, which keeps the GIL."
    )
    summary_zh = (
        "协程是一个带有栈帧、由别人来运行的对象：调用产生它，await 运行它。轮换只发生在 await 处，"
        "所以没有 await 的代码是安全的，而 await 放错了位置，就会像线程一样丢失更新。"
        "这一切都发生在同一个线程里，它一直持有 GIL。"
    )
    experiment = (
        "A generator is sent values. A coroutine function is called and its object looked at before it is awaited; "
        "three that await each other are seen while they wait. Tasks are counted pending and finished, and their "
        "memory by the blocks that they take. They take turns with asyncio.sleep(0) while every hand-off of the GIL "
        "is traced. A balance is changed by tasks with and without an await in between and with a lock."
    )
    notes = (
        "asyncio.iscoroutinefunction is deprecated since 3.14; inspect.iscoroutinefunction says the same.",
        "asyncio.get_event_loop() without a running loop made one up to 3.11, warned from 3.12 on, and raises "
        "RuntimeError since 3.14. asyncio.run has been the way since 3.7.",
        "Where the GIL cannot be traced, hand-offs are not counted; free-threaded builds have none.",
    )

    def observe(self, fast: bool) -> Observed:
        return in_thread(lambda: observed(FAST_TASKS if fast else TASKS))


def observed(tasks: int) -> Observed:
    sent, echoed = sent_values()
    made, idle = called()
    chain, up = nested()
    loops = old_calls()
    turned, taken = turns(tasks)
    queue, passed = through_queue()
    balance, race = deposits()
    return Observed((sent, made, chain, turned, queue, balance, loops), (echoed, idle, up, *taken, passed, *race))


def averager() -> Generator[float, float, None]:
    total, count, mean = 0.0, 0, 0.0
    while True:
        value = yield mean
        total, count = total + value, count + 1
        mean = total / count


def sent_values() -> tuple[Evidence, Check]:
    generator = averager()
    next(generator)
    rows: list[tuple[Cell, ...]] = [(value, generator.send(value)) for value in (10.0, 20.0, 60.0)]
    generator.close()
    evidence = Evidence(
        title="A generator that is sent values",
        text="Its frame keeps total and count between two values: the root of coroutines.",
        columns=("sent", "mean so far"),
        rows=tuple(rows),
    )
    held = [row[1] for row in rows] == [10.0, 15.0, 30.0]
    return evidence, Check("A generator keeps its frame between values", held, f"means {[row[1] for row in rows]}")


def called() -> tuple[Evidence, Check]:
    ran: list[int] = []

    async def work() -> int:
        ran.append(1)
        return 42

    coroutine: Any = work()
    before, state = list(ran), inspect.getcoroutinestate(coroutine)
    frame = coroutine.cr_frame
    at = frame.f_lineno if frame is not None else None
    size = sys.getsizeof(coroutine)
    del frame
    result = asyncio.run(coroutine)
    after = inspect.getcoroutinestate(coroutine)
    evidence = Evidence(
        title="A coroutine function that was called",
        text="The object holds the frame: nothing of its body has run before it is awaited.",
        columns=("moment", "state", "body ran", "bytes of the object", "line"),
        rows=(("called", state, len(before), size, at), ("awaited", after, len(ran), None, None)),
    )
    held = not before and state == "CORO_CREATED" and result == 42 and after == "CORO_CLOSED" and ran == [1]
    return evidence, Check(
        "Calling a coroutine function runs nothing",
        held and inspect.iscoroutinefunction(work),
        f"after the call its body had run {len(before)} times ({state}), after awaiting it {len(ran)} ({after})",
    )


def nested() -> tuple[Evidence, Check]:
    """outer() awaits middle(), which awaits inner(), which waits; seen from another task."""
    seen: list[tuple[Cell, ...]] = []

    async def inner(gate: asyncio.Future[int]) -> int:
        return await gate

    async def middle(gate: asyncio.Future[int]) -> int:
        return await inner(gate)

    async def outer(gate: asyncio.Future[int]) -> int:
        return await middle(gate)

    async def main() -> tuple[int, int]:
        gate: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        coroutine: Any = outer(gate)
        task = asyncio.create_task(coroutine)
        await asyncio.sleep(0)
        one = coroutine
        while inspect.iscoroutine(one):
            seen.append((one.__name__, inspect.getcoroutinestate(one), getattr(one.cr_await, "__name__", "the future")))
            one = one.cr_await
        tasks = len(asyncio.all_tasks()) - 1
        gate.set_result(42)
        return await task, tasks

    value, tasks = asyncio.run(main())
    evidence = Evidence(
        title="Awaits inside awaits",
        text="One task, seen while it waits: each coroutine is suspended in a frame of its own.",
        columns=("coroutine", "state", "awaits"),
        rows=tuple(seen),
    )
    names = [str(row[0]) for row in seen]
    held = names == ["outer", "middle", "inner"] and value == 42 and tasks == 1
    return evidence, Check(
        "Nested awaits are one task with a chain of suspended frames, and the value comes up through all of them",
        held and all(row[1] == "CORO_SUSPENDED" for row in seen),
        f"{' -> '.join(names)} in {tasks} task, which gave {value}",
    )


def old_calls() -> Evidence:
    return Evidence(
        title="Old and new calls",
        text="Called on this version, in the main thread of a new process.",
        columns=("call", "here", "today"),
        rows=tuple(map(tuple, in_child(f"{__package__}._loop_calls", "fates"))),
    )


async def take_turns(order: list[int], number: int, gate: asyncio.Event) -> None:
    await gate.wait()
    for _ in range(TURNS):
        order.append(number)
        await asyncio.sleep(0)


def turns(tasks: int) -> tuple[Evidence, tuple[Check, ...]]:
    order: list[int] = []
    found: dict[str, Any] = {}

    async def main() -> None:
        gate = asyncio.Event()
        gc.collect()
        blocks = sys.getallocatedblocks()
        heap = used_bytes()
        waiting = [asyncio.create_task(take_turns(order, number, gate)) for number in range(tasks)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        found["blocks"] = (sys.getallocatedblocks() - blocks) / tasks
        grown = used_bytes()
        found["bytes"] = None if heap is None or grown is None else (grown - heap) / tasks
        found["pending"] = sum(not task.done() for task in waiting)
        gate.set()
        await asyncio.gather(*waiting)
        found["done"] = sum(task.done() for task in waiting)

    hand_offs, reason = None, None
    if has_gil():
        try:
            with trace(collections=False) as traced:
                asyncio.run(main())
            hand_offs = traced.result.hand_offs.total
        except _native.NativeError as error:
            reason = str(error)
    if not found:
        asyncio.run(main())
    number = len(order)
    switches = sum(a != b for a, b in pairwise(order))
    evidence = Evidence(
        title=f"{tasks:,} tasks, {TURNS} turns each",
        text="Memory of a task that waits, with its coroutine; a switch is a turn of another task than before.",
        columns=(
            "pending at first",
            "done at the end",
            "blocks each",
            "bytes each",
            "switches of tasks",
            "GIL hand-offs",
        ),
        rows=(
            (
                found["pending"],
                found["done"],
                round(found["blocks"], 1),
                None if found["bytes"] is None else round(found["bytes"]),
                switches,
                hand_offs,
            ),
        ),
    )
    checks = [
        Check(
            "Tasks wait as objects until they are let go, and all of them finish",
            (found["pending"], found["done"], number) == (tasks, tasks, tasks * TURNS) and found["blocks"] >= 2,
            f"{found['pending']:,} pending and {found['done']:,} done of {tasks:,}; {found['blocks']:,.1f} blocks each",
        )
    ]
    claim = "Tasks take turns without a hand-off of the GIL"
    if hand_offs is not None:
        # other threads of this process may take the GIL now and then
        text = f"{switches:,} switches of tasks, {hand_offs:,} hand-offs of the GIL"
        checks.append(Check(claim, switches >= tasks and hand_offs < switches / 10, text))
    elif reason is not None:
        checks.append(Check(claim, None, f"{switches:,} switches of tasks", f"the GIL could not be traced: {reason}"))
    return evidence, tuple(checks)


def used_bytes() -> int | None:
    from ..probes.heap import heap_map

    heap = heap_map()
    return heap.bytes.used_bytes if heap.bytes is not None else None


def through_queue() -> tuple[Evidence, Check]:
    sizes: list[int] = []
    got: list[int] = []

    async def produce(queue: asyncio.Queue[int | None], items: range) -> None:
        for item in items:
            await queue.put(item)
            sizes.append(queue.qsize())

    async def consume(queue: asyncio.Queue[int | None]) -> None:
        while (item := await queue.get()) is not None:
            got.append(item)
            await asyncio.sleep(0)

    async def main() -> None:
        queue: asyncio.Queue[int | None] = asyncio.Queue(maxsize=3)
        consumer = asyncio.create_task(consume(queue))
        await asyncio.gather(produce(queue, range(10)), produce(queue, range(10, 20)))
        await queue.put(None)
        await consumer

    asyncio.run(main())
    evidence = Evidence(
        title="asyncio.Queue(maxsize=3), two producers and a consumer",
        text="The size after each put: a producer waits while the queue is full.",
        columns=("put", "size"),
        rows=tuple(enumerate(sizes[:8], 1)),
    )
    held = sorted(got) == list(range(20)) and max(sizes) <= 3
    return evidence, Check(
        "A bounded queue makes its producers wait",
        held,
        f"{len(got)} of 20 items came through, at most {max(sizes)} were in the queue",
    )


def deposits() -> tuple[Evidence, tuple[Check, ...]]:
    balance = 0

    async def straight() -> None:
        nonlocal balance
        value = balance
        balance = value + 1
        await asyncio.sleep(0)

    async def awaiting() -> None:
        nonlocal balance
        value = balance
        await asyncio.sleep(0)
        balance = value + 1

    async def locked(lock: asyncio.Lock) -> None:
        async with lock:
            await awaiting()

    async def together(make: Callable[[asyncio.Lock], Coroutine[Any, Any, None]]) -> int:
        nonlocal balance
        balance, lock = 0, asyncio.Lock()
        await asyncio.gather(*(make(lock) for _ in range(DEPOSITS)))
        return balance

    plain = asyncio.run(together(lambda lock: straight()))
    raced = asyncio.run(together(lambda lock: awaiting()))
    guarded = asyncio.run(together(locked))
    evidence = Evidence(
        title=f"{DEPOSITS} tasks add one to a balance",
        text="Read, and written back.",
        columns=("between read and write", "balance", "lost"),
        rows=(
            ("nothing is awaited", plain, DEPOSITS - plain),
            ("await asyncio.sleep(0)", raced, DEPOSITS - raced),
            ("the same under asyncio.Lock", guarded, DEPOSITS - guarded),
        ),
    )
    return evidence, (
        Check(
            "Between two awaits no lock is needed",
            plain == DEPOSITS,
            f"{DEPOSITS - plain} of {DEPOSITS} updates were lost",
        ),
        Check(
            "An await between read and write loses updates, an asyncio.Lock around it none",
            raced < DEPOSITS and guarded == DEPOSITS,
            f"{DEPOSITS - raced} lost without the lock, {DEPOSITS - guarded} with it",
        ),
    )
