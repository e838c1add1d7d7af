"""What the demo of processes runs, in an interpreter of its own: its workers are here, where every start method finds
them.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

from ._messages import torn, transport

PATIENCE_S = 60.0
ROUNDS = 5
TRIES = 5
STEP_S = 0.002
LOCK_S = 0.05

state = "as imported"


def observe(fast: bool) -> dict[str, Any]:
    """Every scenario's rows and figures, as JSON values."""
    global state
    state = "changed by the parent"
    fork: Any = multiprocessing.get_context("fork")
    return {
        "parent": os.getpid(),
        "ways": ways(fork),
        "names": [Named("mine").name, fork.Process(name="mine").name],
        "starts": [started(method) for method in ("fork", "forkserver", "spawn")],
        "default": multiprocessing.get_context().get_start_method(),
        "shared": shared(fork),
        "transport": transport(fork, 500 if fast else 20_000, 2 if fast else 5),
        "interleaved": [mixed(fork), interleaved(fork, True)],
        "twice": [one.acquire() and one.acquire(timeout=LOCK_S) for one in (fork.Lock(), fork.RLock())],
        "notified": notified(fork),
        "endless": endless(fork),
        "torn": torn(fork),
        "pool": pool_calls(fork),
    }


# ---- two ways to make one


def report(how: str, writer: Connection) -> None:
    me = multiprocessing.current_process()
    writer.send([how, me.name, os.getpid(), os.getppid()])


class Reporting(multiprocessing.get_context("fork").Process):  # type: ignore[misc]
    """A process by subclass."""

    def __init__(self, writer: Connection) -> None:
        super().__init__(name="by subclass")
        self.writer = writer

    def run(self) -> None:
        report("subclass, run()", self.writer)


class Named(multiprocessing.Process):
    """Sets its name before the base's constructor does."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__()


def ways(context: Any) -> list[list[Any]]:
    reader, writer = context.Pipe(duplex=False)
    rows = []
    for process in (
        context.Process(target=report, args=("target=function", writer), name="by function"),
        Reporting(writer),
    ):
        process.start()
        rows.append(reader.recv())
        process.join()
        rows[-1].append(process.exitcode)
    return rows


# ---- start methods


def tell_state(writer: Connection) -> None:
    writer.send([state, os.getppid()])


def started(method: str) -> list[Any]:
    context: Any = multiprocessing.get_context(method)
    reader, writer = context.Pipe(duplex=False)
    begin = time.perf_counter()
    process = context.Process(target=tell_state, args=(writer,))
    process.start()
    seen, parent = reader.recv()
    seconds = time.perf_counter() - begin
    process.join()
    return [method, seen, parent == os.getpid(), seconds]


# ---- what is shared


def change(plain: list[int], array: Any) -> None:
    plain[0] = array[0] = 42


def shared(context: Any) -> list[int]:
    plain, array = [0], context.RawArray("i", 1)
    process = context.Process(target=change, args=(plain, array))
    process.start()
    process.join()
    return [plain[0], array[0]]


# ---- locks


def write_pairs(who: str, gate: Any, lock: Any, writer: int) -> None:
    gate.wait(PATIENCE_S)
    for _ in range(ROUNDS):
        if lock is not None:
            lock.acquire()
        try:
            os.write(writer, f"{who}<".encode())
            time.sleep(STEP_S)
            os.write(writer, f"{who}>".encode())
        finally:
            if lock is not None:
                lock.release()


def mixed(context: Any) -> list[Any]:
    """Without a lock, again while one happened to be done before the other began: the machine may be busy."""
    for _ in range(TRIES):
        found = interleaved(context, False)
        if found[1]:
            break
    return found


def interleaved(context: Any, locked: bool) -> list[Any]:
    """What two processes wrote, and how many beginnings were not followed by their own end."""
    gate, lock = context.Barrier(2), context.Lock() if locked else None
    reader, writer = os.pipe()
    processes = [context.Process(target=write_pairs, args=(who, gate, lock, writer)) for who in "ab"]
    for process in processes:
        process.start()
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    for process in processes:
        process.join()
    return [text, sum(text[at + 1] == "<" and text[at + 2 : at + 4] != text[at] + ">" for at in range(0, len(text), 2))]


def consume(condition: Any, stock: Any, told: Connection) -> None:
    """Waits for one item, takes it, and tells how often it woke and the CPU time that waiting took."""
    woken, cpu = 0, time.process_time()
    with condition:
        told.send("waits")
        while not stock.value:
            condition.wait(PATIENCE_S)
            woken += 1
        stock.value -= 1
    told.send([woken, time.process_time() - cpu])


def notified(context: Any) -> dict[str, Any]:
    """Two consumers wait on a Condition; the producer makes one item, and later another."""
    condition, stock = context.Condition(), context.RawValue("i", 0)
    links = [context.Pipe(duplex=False) for _ in range(2)]
    processes = [context.Process(target=consume, args=(condition, stock, told)) for _, told in links]
    for process in processes:
        process.start()
    for hears, _ in links:
        hears.recv()
    finished: list[int] = []
    begin = time.perf_counter()
    time.sleep(LOCK_S)
    waited = time.perf_counter() - begin
    for _ in processes:
        with condition:
            stock.value += 1
            condition.notify()
        finished.append(ended(processes, len(finished) + 1))
    told = [hears.recv() for hears, _ in links]
    return {"finished": finished, "left": stock.value, "waited_s": waited, "consumers": told}


def ended(processes: list[Any], number: int) -> int:
    """How many have ended, as soon as the number is reached and a moment has passed for more."""
    until = time.monotonic() + PATIENCE_S
    while sum(process.exitcode is not None for process in processes) < number and time.monotonic() < until:
        time.sleep(STEP_S)
    time.sleep(LOCK_S)
    return sum(process.exitcode is not None for process in processes)


# ---- a reader that never ends


def read_for_ever(reader: Connection) -> None:
    while True:
        reader.recv()


def hold_and_sleep(lock: Any, told: Connection) -> None:
    with lock:
        told.send("holds it")
        time.sleep(PATIENCE_S)


def endless(context: BaseContext) -> dict[str, Any]:
    """terminate() of a reader that waits for ever, and of a process that holds a lock."""
    any_context: Any = context
    reader, writer = any_context.Pipe(duplex=False)
    process = any_context.Process(target=read_for_ever, args=(reader,))
    process.start()
    writer.send("a message")
    process.join(LOCK_S)
    alive = process.is_alive()
    process.terminate()
    process.join()
    lock, (hears, told) = any_context.Lock(), any_context.Pipe(duplex=False)
    holder = any_context.Process(target=hold_and_sleep, args=(lock, told))
    holder.start()
    hears.recv()
    holder.terminate()
    holder.join()
    return {"alive": alive, "exitcode": process.exitcode, "lock_free": lock.acquire(timeout=LOCK_S)}


# ---- Pool

gate_of_worker: Any = None


def keep_gate(gate: Any) -> None:
    global gate_of_worker
    gate_of_worker = gate


def wait_for_gate(value: int) -> int:
    gate_of_worker.wait(PATIENCE_S)
    return value


def double(value: int) -> int:
    return 2 * value


def pool_calls(context: Any) -> dict[str, Any]:
    """When the result object of apply_async comes, and when its value does."""
    gate = context.Event()
    with context.Pool(2, keep_gate, (gate,)) as pool:
        applied = pool.apply(double, (21,))
        begin = time.perf_counter()
        result = pool.apply_async(wait_for_gate, (7,))
        returned_s = time.perf_counter() - begin
        before = result.ready()
        gate.set()
        value = result.get(PATIENCE_S)
        value_s = time.perf_counter() - begin
    return {"apply": applied, "ready": before, "value": value, "returned_s": returned_s, "value_s": value_s}
