"""What other tools say of the GIL in the same workloads, and what they cost, beside ours.

gilknocker, py-spy, viztracer, and from 3.15 on CPython's own sampling profiler. Each workload has a known truth: how
often the GIL changes hands at least, or how long a C call keeps it. It runs in a process of its own, in turns untraced
and under each tool that is there; the slowdown is the median of their ratios, by its own clock. What a tool has no word
for is a dash: holds, waits and hand-offs are what this table is about.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROUNDS, HOLD_S, CPU_S = 20_000, 0.3, 1.0
ROUNDS_OF_EACH = 5
COMMON = """
import queue, sys, threading, time
def run(*functions):
    threads = [threading.Thread(target=function, name=function.__name__) for function in functions]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""
WORKLOADS = {
    f"ping-pong, {2 * ROUNDS:,} hand-offs": f"""
there, back = queue.SimpleQueue(), queue.SimpleQueue()
def ask():
    for number in range({ROUNDS}): there.put(number); back.get()
def answer():
    for _ in range({ROUNDS}): back.put(there.get())
def work(): run(ask, answer)
""",
    f"two threads compute for {CPU_S} s": f"""
def one():
    end = time.monotonic() + {CPU_S}
    while time.monotonic() < end: sum(range(1000))
two = lambda: one()
def work(): run(one, two)
""",
    f"a C call keeps it for {HOLD_S} s": f"""
import ctypes
def hold(): time.sleep(0.1); ctypes.PyDLL(None).usleep({int(HOLD_S * 1e6)})
def spin():
    end = time.monotonic() + 0.8
    while time.monotonic() < end: sum(range(1000))
def work(): run(hold, spin)
""",
}
TIMED = "begin = time.perf_counter(); work(); print('took', time.perf_counter() - begin, file=sys.stderr)\n"
KNOCKED = (
    """
import gilknocker
knocker = gilknocker.KnockKnock(polling_interval_micros=1000, sampling_interval_micros=1000)
knocker.start()
"""
    + TIMED
    + """
knocker.stop()
print(f'said contention {knocker.contention_metric:.2f}', file=sys.stderr)
"""
)
VIZ = (
    """
import viztracer
tracer = viztracer.VizTracer(verbose=0, tracer_entries=2_000_000)
tracer.start()
"""
    + TIMED
    + """
tracer.stop()
tracer.parse()
print(f"said {len(tracer.data['traceEvents']):,} calls, by thread; no GIL", file=sys.stderr)
"""
)


def took(text: str) -> float | None:
    found = [line.split()[1] for line in text.splitlines() if line.startswith("took ")]
    return float(found[0]) if found else None


def python(code: str, *before: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "workload.py")
        script.write_text(COMMON + code)
        return subprocess.run([*(before or (sys.executable,)), str(script)], capture_output=True, text=True).stderr


def said(text: str) -> str:
    return "; ".join(line[5:] for line in text.splitlines() if line.startswith("said ")) or "-"


def ours(code: str) -> tuple[float | None, str]:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "gil.json")
        text = python(code + TIMED, sys.executable, "-m", "meminspect", "gil", "run", "--json", "-o", str(target))
        document = json.loads(target.read_text())
    offs, holds = document["hand_offs"], document["longest_holds"]
    hold = next((one for one in holds if one["asked_by"] is not None), holds[0])  # it kept others waiting
    who = document["threads"][hold["thread"]]["name"]
    return took(text), (
        f"{offs['total']:,} hand-offs, {offs['forced']:,} forced; longest hold {hold['held_s'] * 1e3:.1f} ms by {who}; "
        f"p99 wait {(document['wait_times']['p99_s'] or 0) * 1e3:.3f} ms; {document['lost_events']} lost"
    )


def spy() -> str | None:
    return shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")


def py_spy(code: str) -> tuple[float | None, str]:
    """`py-spy record --gil`: samples of the threads that hold the GIL."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "raw.txt")
        command = [str(spy()), "record", "--gil", "-r", "1000", "-f", "raw", "-o", str(target), "--", sys.executable]
        return sampled(python(code + TIMED, *command), target)


def cpython_sampling(code: str) -> tuple[float | None, str]:
    """`profiling.sampling run --mode gil` (3.15): samples of the threads that hold the GIL."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "collapsed.txt")
        command = [
            "-m",
            "profiling.sampling",
            "run",
            "--mode",
            "gil",
            "-a",
            "-r",
            "1000",
            "--collapsed",
            "-o",
            str(target),
        ]
        return sampled(python(code + TIMED, sys.executable, *command), target)


def sampled(text: str, target: Path) -> tuple[float | None, str]:
    """What a file of collapsed stacks says: a stack and its samples a line."""
    if not target.exists():
        return None, (text.strip().splitlines() or ["it made no file"])[-1][:80]
    stacks = [line.rsplit(" ", 1) for line in target.read_text().splitlines()]
    top = max(stacks, key=lambda one: int(one[1]), default=None)
    where = f"most in {top[0].split(';')[-1]}" if top else "none"
    return took(text), f"{sum(int(one[1]) for one in stacks):,} samples with the GIL, {where}; no waits, no hand-offs"


def main() -> int:
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        print("this build has no GIL")
        return 0
    tools = {
        "gilknocker": lambda code: pair(python(code + KNOCKED)),
        "py-spy --gil": py_spy,
        "viztracer": lambda code: pair(python(code + VIZ)),
        "CPython's": cpython_sampling,
        "meminspect": ours,
    }
    there = {
        "gilknocker": importlib.util.find_spec("gilknocker"),
        "py-spy --gil": spy(),
        "viztracer": importlib.util.find_spec("viztracer"),
        "CPython's": sys.version_info >= (3, 15) and importlib.util.find_spec("profiling.sampling"),
        "meminspect": True,
    }
    for name, code in WORKLOADS.items():
        print(f"\n{name}", flush=True)
        for tool, run in tools.items():
            if not there[tool]:
                print(f"  {tool:13} not there")
                continue
            ratios, words = [], "-"
            for _ in range(ROUNDS_OF_EACH):
                plain = took(python(code + TIMED))
                seconds, words = run(code)
                if plain and seconds:
                    ratios.append(seconds / plain)
            slow = f"x {statistics.median(ratios):.2f}" if ratios else "-"
            print(f"  {tool:13} {slow:>7}  {words}", flush=True)
    return 0


def pair(text: str) -> tuple[float | None, str]:
    return took(text), said(text)


if __name__ == "__main__":
    sys.exit(main())
