"""What tracing the GIL costs: nanoseconds an event in a tight loop, and whole workloads beside an untraced pair.

An event's cost is that of a loop which lets the GIL go and takes it again (a system call that returns at once, made
through ctypes), traced against untraced, divided by the events of a turn; in CPU time of the thread, which a busy
machine does not lengthen by making it wait. The same loop under callgrind, where valgrind is installed, gives
instructions an event, which do not depend on the machine's mood. Both with attribution as well. A workload's bound is
the highest rate of events that was seen times that cost. Beside it are paired runs, traced and attributed against
untraced and, as control, untraced against untraced: a machine that is busy shows in the control as much as in the pair.
Memory is what the process grew by while it kept the events.
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
TURNS = 5_000  # 2 ms: a tenth of a ring, and short enough to be left alone by others now and then
BURSTS = 40  # of so many turns in one trace
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
    """CPU nanoseconds of a turn that lets the GIL go and takes it again."""
    function = ctypes.CDLL(None).getppid
    begin = time.thread_time()
    for _ in range(TURNS):
        function()
    cost = (time.thread_time() - begin) / TURNS * 1e9
    time.sleep(0.01)  # the ring is emptied meanwhile
    return cost


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def event_cost() -> dict[bool, float]:
    """Nanoseconds an event, with attribution and without: the least of many bursts, which take turns."""
    from meminspect import gil

    plain, traced, events, memory = 1e9, {False: 1e9, True: 1e9}, {}, {}
    for _ in range(LOOPS):
        plain = min(plain, *(turn_ns() for _ in range(BURSTS)))
        for attribution in (False, True):
            before = resident_bytes()
            with gil.trace(collections=False, memory_bytes=64 << 20, attribution=attribution, long_hold_s=0) as trace:
                cost = min(turn_ns() for _ in range(BURSTS))
                grown = resident_bytes() - before
            if trace.result.lost_events:
                continue  # the drain got no processor for so long that the ring was full, and a lost event costs less
            traced[attribution] = min(traced[attribution], cost)
            events[attribution] = trace.result.events / (TURNS * BURSTS)
            memory[attribution] = grown / trace.result.events * 1e6 / (1 << 20)
            del trace  # gives its memory back before the next one is measured
    costs = {how: (traced[how] - plain) / events[how] for how in traced}
    for how, cost in costs.items():
        print(
            f"a turn: {plain:.0f} ns untraced, {traced[how]:.0f} ns traced{' with attribution' if how else ''}: "
            f"{events[how]:.2f} events of {cost:.1f} ns; {memory[how]:.1f} MiB resident a million events"
        )
    return costs


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

    costs = event_cost()
    instruction_cost()
    print(f"\n{PAIRS} runs each against the untraced run before it: medians, and the middle half of the control's")
    print(f"{'workload':<12}{'events/s':>10}{'bound':>8}{'attrib.':>9}{'control':>9}{'middle half':>16}{'traced':>9}"
          f"{'attributed':>12}{'lost':>6}")  # fmt: skip
    for workload in (two_cpu, cpu_and_io, ping_pong, sleep_zero):
        workload()
        controls, pairs = [], {False: list[float](), True: list[float]()}
        rates, lost = {False: 0.0, True: 0.0}, 0
        for _ in range(PAIRS):
            first, second = timed(workload), timed(workload)
            controls.append(second / first)
            for attribution in (False, True):
                plain = timed(workload)
                with gil.trace(collections=False, attribution=attribution) as trace:
                    pairs[attribution].append(timed(workload) / plain)
                result = trace.result
                rates[attribution] = max(rates[attribution], (result.events + result.lost_events) / result.duration_s)
                lost += result.lost_events
        low, _, high = statistics.quantiles(controls, n=4)
        bounds = [f"{rates[attribution] * costs[attribution] / 1e9:.2%}" for attribution in (False, True)]
        print(f"{workload.__name__:<12}{rates[False]:>10,.0f}{bounds[0]:>8}{bounds[1]:>9}"
              f"{statistics.median(controls):>9.3f}{f'{low:.3f} to {high:.3f}':>16}"
              f"{statistics.median(pairs[False]):>9.3f}{statistics.median(pairs[True]):>12.3f}"
              f"{lost:>6,}", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
