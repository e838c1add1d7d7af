"""What threads, processes and coroutines cost: measured in an interpreter of its own, with workers that can be found by
every start method.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from ._processes import memory_of_this

WORK = 300_000


def costs(fast: bool) -> dict[str, Any]:
    """For each contender: how many, private bytes of each, seconds and CPU seconds to start one, seconds for one
    switch. A process's own CPU time until its function begins is counted with its starter's."""
    threads, tasks = (40, 1_000) if fast else (1_000, 10_000)
    switches = 400 if fast else 20_000
    repetitions = 3
    gc.disable()
    by_name: dict[str, Any] = {
        "coroutine": repeated(started_tasks, tasks, task_switch, switches, repetitions),
        "thread": repeated(started_threads, threads, thread_switch, switches, repetitions),
    }
    for method in ("fork", "forkserver", "spawn"):
        number = 5 if not fast else 2 if method == "fork" else 1
        by_name[f"process, {method}"] = started_processes(method, number, switches, repetitions)
    return {"contenders": by_name, "cores": cores(fast)}


def repeated(
    start: Callable[[int], dict[str, Any]], number: int, switch: Callable[[int], float], turns: int, repetitions: int
) -> dict[str, Any]:
    """Memory of the first start, before anything could be reused; times of all."""
    starts = [start(number) for _ in range(repetitions)]
    times = {key: [one[key][0] for one in starts] for key in ("start", "start_cpu")}
    return {**starts[0], **times, "switch": [switch(turns) for _ in range(repetitions)]}


def started_tasks(number: int) -> dict[str, Any]:
    async def main() -> dict[str, Any]:
        gate = asyncio.Event()
        before = memory_of_this()["uss"]
        begin, cpu = time.perf_counter(), time.process_time()
        waiting = [asyncio.create_task(gate.wait()) for _ in range(number)]
        await asyncio.sleep(0)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        grown = memory_of_this()["uss"] - before
        gate.set()
        await asyncio.gather(*waiting)
        return started(number, grown, seconds, cpu)

    return asyncio.run(main())


def started(number: int, grown: int, seconds: float, cpu: float) -> dict[str, Any]:
    each = {"start": [seconds / number], "start_cpu": [cpu / number]}
    return {"number": number, "bytes": grown / number, **each}


def task_switch(number: int) -> float:
    async def turn() -> None:
        for _ in range(number):
            await asyncio.sleep(0)

    async def main() -> float:
        begin = time.perf_counter()
        await asyncio.gather(turn(), turn())
        return (time.perf_counter() - begin) / (2 * number)

    return asyncio.run(main())


def started_threads(number: int) -> dict[str, Any]:
    gate = threading.Event()
    threads = [threading.Thread(target=gate.wait) for _ in range(number)]
    before = memory_of_this()["uss"]
    begin, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    grown = memory_of_this()["uss"] - before
    gate.set()
    for thread in threads:
        thread.join()
    return started(number, grown, seconds, cpu)


def thread_switch(number: int) -> float:
    """Two threads that wait for each other in turn."""
    here, there = threading.Semaphore(0), threading.Semaphore(0)

    def answer() -> None:
        for _ in range(number):
            there.acquire()
            here.release()

    thread = threading.Thread(target=answer)
    thread.start()
    begin = time.perf_counter()
    for _ in range(number):
        there.release()
        here.acquire()
    seconds = time.perf_counter() - begin
    thread.join()
    return seconds / (2 * number)


def answer_bytes(link: Connection) -> None:
    """Tells its CPU time so far and its private memory, then answers each message until it is empty."""
    cpu = time.process_time()
    link.send((cpu, memory_of_this()["uss"]))
    while message := link.recv_bytes():
        link.send_bytes(message)


def started_processes(method: str, number: int, switches: int, repetitions: int) -> dict[str, Any]:
    context: Any = multiprocessing.get_context(method)
    private, starts, cpus, turns = [], [], [], []
    for _ in range(number):
        here, there = context.Pipe()
        process = context.Process(target=answer_bytes, args=(there,))
        begin, cpu = time.perf_counter(), time.process_time()
        process.start()
        childs_cpu, uss = here.recv()
        starts.append(time.perf_counter() - begin)
        cpus.append(time.process_time() - cpu + childs_cpu)
        private.append(uss)
        for _ in range(repetitions):
            begin = time.perf_counter()
            for _ in range(switches):
                here.send_bytes(b"x")
                here.recv_bytes()
            turns.append((time.perf_counter() - begin) / (2 * switches))
        here.send_bytes(b"")
        process.join()
    return {"number": number, "bytes": sum(private) / number, "start": starts, "start_cpu": cpus, "switch": turns}


def compute(number: int) -> int:
    return sum(at * at for at in range(number))


def compute_and_tell(number: int, link: Connection) -> None:
    begin = time.process_time()
    compute(number)
    link.send(time.process_time() - begin)


def cores(fast: bool) -> list[dict[str, Any]]:
    """The same work of two threads and of two processes, on one core and on all: CPU seconds in each second."""
    usable = os.sched_getaffinity(0)
    work = WORK if fast else 10 * WORK
    rows = []
    for where, those in (("one core", {min(usable)}), (f"{len(usable)} cores", usable)):
        os.sched_setaffinity(0, those)
        for who, run in (("two threads", two_threads), ("two processes", two_processes)):
            begin = time.perf_counter()
            cpu = run(work)
            rows.append(
                {"who": who, "where": where, "cores": len(those), "cpu": cpu, "wall": time.perf_counter() - begin}
            )
    os.sched_setaffinity(0, usable)
    return rows


def two_threads(work: int) -> float:
    begin = time.process_time()
    threads = [threading.Thread(target=compute, args=(work,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.process_time() - begin


def two_processes(work: int) -> float:
    context: Any = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    processes = [context.Process(target=compute_and_tell, args=(work, writer)) for _ in range(2)]
    for process in processes:
        process.start()
    total: float = reader.recv() + reader.recv()
    for process in processes:
        process.join()
    return total
