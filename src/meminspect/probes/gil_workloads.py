"""Workloads that show what the switch interval does: threads that compute, and threads that need the GIL for a moment.

Each runs for some seconds and returns a Ran. Nothing here knows of the interval or of a trace.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

PIECE = 2000  # numbers that are added up in a piece of computing: some ten microseconds


@dataclass
class Ran:
    """operations; how long each took, in seconds; pieces of computing done beside them, None where there are none."""

    operations: int
    latencies: list[float] = field(default_factory=list)
    beside: int | None = None


@dataclass(frozen=True)
class Workload:
    """A built-in workload. operation -- what is counted; about -- one line for --help."""

    run: Callable[[float], Ran]
    operation: str
    about: str


def compute(stop: threading.Event, done: list[int]) -> None:
    """Counts pieces of computing until it is stopped."""
    pieces = 0
    numbers = range(PIECE)
    while not stop.is_set():
        sum(numbers)
        pieces += 1
    done.append(pieces)


@contextlib.contextmanager
def computing(threads: int = 1) -> Iterator[list[int]]:
    """Threads that compute meanwhile; afterwards the list has the pieces of each."""
    stop, done = threading.Event(), []  # type: threading.Event, list[int]
    running = [threading.Thread(target=compute, args=(stop, done), name=f"computing-{at}") for at in range(threads)]
    for thread in running:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in running:
            thread.join()


def cpu_cpu(seconds: float) -> Ran:
    """Two threads that compute."""
    with computing(2) as done:
        time.sleep(seconds)
    return Ran(sum(done))


def cpu_echo(seconds: float) -> Ran:
    """An echo server and its client, beside a thread that computes."""
    here, there = socket.socketpair()

    def serve() -> None:
        while data := there.recv(64):
            there.sendall(data)

    def ask() -> float:
        begin = time.perf_counter()
        here.sendall(b"echo")
        here.recv(64)
        return time.perf_counter() - begin

    with here, there:
        server = threading.Thread(target=serve, name="echo server")
        server.start()
        try:
            return beside_computing(seconds, ask)
        finally:
            here.shutdown(socket.SHUT_WR)
            server.join()


def cpu_sleep(seconds: float) -> Ran:
    """A thread that sleeps for no time, beside a thread that computes."""

    def sleep() -> float:
        begin = time.perf_counter()
        time.sleep(0)
        return time.perf_counter() - begin

    return beside_computing(seconds, sleep)


def ping_pong(seconds: float) -> Ran:
    """Two threads that hand a number to and fro through queues."""
    there: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    back: queue.SimpleQueue[int] = queue.SimpleQueue()

    def answer() -> None:
        while (number := there.get()) is not None:
            back.put(number)

    def ask() -> float:
        begin = time.perf_counter()
        there.put(0)
        back.get()
        return time.perf_counter() - begin

    thread = threading.Thread(target=answer, name="answer")
    thread.start()
    try:
        latencies = repeated(seconds, ask)
    finally:
        there.put(None)
        thread.join()
    return Ran(len(latencies), latencies)


def beside_computing(seconds: float, operation: Callable[[], float]) -> Ran:
    with computing() as done:
        latencies = repeated(seconds, operation)
    return Ran(len(latencies), latencies, sum(done))


def repeated(seconds: float, operation: Callable[[], float]) -> list[float]:
    end, latencies = time.perf_counter() + seconds, []
    while time.perf_counter() < end:
        latencies.append(operation())
    return latencies


WORKLOADS = {
    "cpu+cpu": Workload(cpu_cpu, "piece", "two threads that compute"),
    "cpu+echo": Workload(cpu_echo, "request", "an echo server and its client beside a thread that computes"),
    "cpu+sleep": Workload(cpu_sleep, "sleep(0)", "a thread of sleep(0) beside a thread that computes"),
    "ping-pong": Workload(ping_pong, "round", "two threads that hand a number to and fro through queues"),
}
