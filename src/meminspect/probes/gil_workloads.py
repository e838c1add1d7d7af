"""Workloads that show what the switch interval does: threads that compute, and threads that need the GIL for a moment.

Each runs for some seconds and returns a Ran. Nothing here knows of the interval or of a trace.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

CLIENT = """
import array, socket, sys, time
seconds, latencies = float(sys.argv[2]), array.array("d")
with socket.socket(fileno=int(sys.argv[1])) as server:
    server.sendall(b"!")
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        server.sendall(b"echo")
        server.recv(64)
        latencies.append(time.perf_counter() - begin)
sys.stdout.buffer.write(latencies.tobytes())
"""
PIECE = 2000  # numbers that are added up in a piece of computing: some ten microseconds


@dataclass
class Ran:
    """operations; how long each took, in seconds; pieces of computing done beside them, None where there are none; the
    seconds that all took, None where that is the time of the call."""

    operations: int
    latencies: list[float] = field(default_factory=list)
    beside: int | None = None
    seconds: float | None = None


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
    """An echo server for a client in another process, beside a thread that computes."""
    here, there = socket.socketpair()
    command = [sys.executable, "-I", "-c", CLIENT, str(there.fileno()), str(seconds)]
    with here, subprocess.Popen(command, pass_fds=[there.fileno()], stdout=subprocess.PIPE) as client:
        there.close()
        here.recv(1)  # the client is ready
        begin = time.perf_counter()

        def serve() -> None:
            while data := here.recv(64):
                here.sendall(data)

        with computing() as done:
            server = threading.Thread(target=serve, name="echo server")
            server.start()
            server.join()
        took = time.perf_counter() - begin
        assert client.stdout is not None
        latencies = array("d", client.stdout.read())
    if client.returncode:
        raise RuntimeError(f"the client ended with status {client.returncode}")
    return Ran(len(latencies), list(latencies), sum(done), took)


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
    "cpu+echo": Workload(
        cpu_echo, "request", "an echo server for a client in another process, beside a thread that computes"
    ),
    "cpu+sleep": Workload(cpu_sleep, "sleep(0)", "a thread of sleep(0) beside a thread that computes"),
    "ping-pong": Workload(ping_pong, "round", "two threads that hand a number to and fro through queues"),
}
