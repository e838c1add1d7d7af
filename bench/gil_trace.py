"""What tracing the GIL costs: nanoseconds an event in a tight loop, and whole workloads beside an untraced pair.

An event's cost is that of a loop which lets the GIL go and takes it again (a system call that returns at once, made
through ctypes), traced against untraced, divided by the events of a turn; in CPU time of the thread, which a busy
machine does not lengthen by making it wait. The same loop under callgrind, where valgrind is installed, gives
instructions an event, which do not depend on the machine's mood. Both with attribution as well. A workload's bound is
its event rate times that cost, with attribution. Beside it are paired runs, traced against untraced and, as control,
untraced against untraced: a machine that is busy shows in the control as much as in the pair.
"""

from __future__ import annotations

import ctypes
import os
import queue
import re
import shutil
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

PAIRS = 15
TURNS = 200_000
LOOPS = 5
CALLGRIND_TURNS = (500, 2_500)  # the difference leaves out what starting takes


def run(*functions: Callable[[], object]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def compute() -> None:
    for _ in range(400):
        sum(range(5_000))


def two_cpu() -> None:
    run(compute, compute)


def cpu_and_io() -> None:
    left, right = socket.socketpair()
    done = threading.Event()

    def serve() -> None:
        while data := right.recv(64):
            right.sendall(data)

    def ask() -> None:
        for _ in range(400):
            left.sendall(b"x")
            left.recv(64)
        left.close()
        done.set()

    def work() -> None:
        while not done.is_set():
            sum(range(1_000))

    run(serve, ask, work)
    right.close()


def ping_pong() -> None:
    there: queue.SimpleQueue[int] = queue.SimpleQueue()
    back: queue.SimpleQueue[int] = queue.SimpleQueue()

    def serve() -> None:
        for number in range(10_000):
            there.put(number)
            back.get()

    def answer() -> None:
        for _ in range(10_000):
            back.put(there.get())

    run(serve, answer)


def sleep_zero() -> None:
    def sleep() -> None:
        for _ in range(5_000):
            time.sleep(0)

    run(sleep, sleep, sleep, sleep)


def timed(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def turn_ns() -> float:
    """CPU nanoseconds of a turn that lets the GIL go and takes it again: the least of some loops."""
    function = ctypes.CDLL(None).getppid

    def loop() -> float:
        begin = time.thread_time()
        for _ in range(TURNS):
            function()
        return time.thread_time() - begin

    return min(loop() for _ in range(LOOPS)) / TURNS * 1e9


def event_cost() -> float:
    from meminspect import gil

    plain = turn_ns()
    costs = []
    for attribution in (False, True):
        with gil.trace(collections=False, memory_bytes=64 << 20, attribution=attribution, long_hold_s=0) as trace:
            traced = turn_ns()
        result = trace.result
        events = (result.events + result.lost_events) / (LOOPS * TURNS)
        costs.append((traced - plain) / events)
        how = " with attribution" if attribution else ""
        each = f"{events:.2f} events of {costs[-1]:.1f} ns"
        print(f"a turn: {plain:.0f} ns untraced, {traced:.0f} ns traced{how}: {each}")
    print(f"clock: {result.clock}; memory: 32 bytes an event, attributed or not: {32e6 / (1 << 20):.1f} MiB a million")
    return max(costs)


def instructions(turns: int, how: str) -> int:
    """That were executed in the functions in the place of pthread's, theirs included, by callgrind."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "callgrind.out")
        program = [sys.executable, str(Path(__file__).with_name("_callgrind.py")), str(turns), how]
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        command += [f"--toggle-collect=mi_gil_{name}_in_place" for name in ("lock", "unlock", "timedwait")] + program
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": "0"})
        found = re.search(r"^(?:summary|totals): *(\d+)", out.read_text() if out.exists() else "", re.MULTILINE)
    if done.returncode or not found:
        raise RuntimeError(f"callgrind failed: {done.stderr[-300:]}")
    return int(found[1])


def instruction_cost() -> None:
    if shutil.which("valgrind") is None:
        print("instructions: valgrind is not installed")
        return
    few, many = CALLGRIND_TURNS
    for how in ("traced", "attributed"):
        per_turn = (instructions(many, how) - instructions(few, how)) / (many - few)
        print(f"instructions a turn (a release, an acquisition, and pthread's own), {how}: {per_turn:,.0f}")


def main() -> int:
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        print("this build has no GIL to trace")
        return 0
    from meminspect import gil

    cost = event_cost()
    instruction_cost()
    print(f"\n{'workload':<12}{'hand-offs':>10}{'tstate':>9}{'CPython':>9}{'lost':>6}{'events/s':>11}{'bound':>9}"
          f"{'traced':>9}{'control':>9}")  # fmt: skip
    for workload in (two_cpu, cpu_and_io, ping_pong, sleep_zero):
        workload()
        pairs, controls = [], []
        for _ in range(PAIRS):
            first, second = timed(workload), timed(workload)
            with gil.trace(collections=False) as trace:
                traced = timed(workload)
            pairs.append(traced / second)
            controls.append(second / first)
        result = trace.result
        rate = (result.events + result.lost_events) / result.duration_s
        print(f"{workload.__name__:<12}{result.hand_offs.total:>10,}{result.tstate_switches:>9,}"
              f"{result.switch_number_delta:>9,}{result.lost_events:>6,}{rate:>11,.0f}{rate * cost / 1e9:>9.2%}"
              f"{statistics.median(pairs):>9.3f}{statistics.median(controls):>9.3f}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
