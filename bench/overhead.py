"""What a program holds at its end under `meminspect report` that it would not hold under plain `python`.

The program counts for itself, in the exit handler that it registered first (so the last of its own to run, right before
ours): sys.getallocatedblocks(), resident pages, modules, mappings, descriptors. Both ways into a program are shown, and
what the measurement itself then loads (`own_blocks` of the capture: in the heap that is measured, not the program's).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 7
PROGRAM = """
import atexit, gc, os, sys
modules = len(sys.modules)

def count():
    gc.collect()  # else the figure tells when the last collection happened to run
    blocks = sys.getallocatedblocks()
    with open("/proc/self/statm") as file:
        resident = int(file.read().split()[1])
    with open("/proc/self/maps") as file:
        mappings = sum(1 for _ in file)
    descriptors = len(os.listdir("/proc/self/fd"))
    with open(sys.argv[1], "w") as file:
        file.write(f"[{blocks}, {resident}, {modules}, {mappings}, {descriptors}]")

atexit.register(count)
"""
NAMES = ("blocks", "resident pages", "modules", "mappings", "descriptors")
WAYS = ("preload", "sitecustomize")


def run(script: Path, counted: Path, way: str | None) -> tuple[list[int], float]:
    """The program's own counts and its run time in ms; `way` None is plain python."""
    env = {**os.environ, "PYTHONHASHSEED": "0"}
    command = [sys.executable, str(script), str(counted)]
    if way is not None:
        env["MEMINSPECT_HOOK"] = way
        command[1:1] = ["-m", "meminspect", "report", "--json", "-o", os.devnull]
    start = time.perf_counter()
    subprocess.run(command, check=True, env=env)
    return json.loads(counted.read_text()), (time.perf_counter() - start) * 1000


def own_blocks(script: Path, counted: Path) -> int:
    """Blocks that loading the native core adds before the heap is walked, told by the capture itself."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
    from meminspect.launch.hook import Order
    from meminspect.launch.measured import run as run_measured
    from meminspect.launch.program import Program

    outcome = run_measured(Program(None, str(script), (str(counted),)), Order())
    if outcome.last is None:
        raise SystemExit(outcome.note)
    return int(outcome.last.value()["own_blocks"])


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        script, counted = Path(folder, "program.py"), Path(folder, "counted.json")
        script.write_text(PROGRAM)
        found = {way: [run(script, counted, way) for _ in range(RUNS)] for way in (None, *WAYS)}
        middle = {
            way: [statistics.median(counts[at] for counts, _ in runs) for at in range(len(NAMES))]
            for way, runs in found.items()
        }
        print(f"{'':16s}{'python':>10s}" + "".join(f"{way:>16s}" for way in WAYS))
        for at, name in enumerate(NAMES):
            more = "".join(f"{middle[way][at] - middle[None][at]:>+16.0f}" for way in WAYS)
            print(f"{name:16s}{middle[None][at]:>10.0f}{more}")
        times = {way: statistics.median(ms for _, ms in runs) for way, runs in found.items()}
        longer = "".join(f"{times[way] - times[None]:>+16.0f}" for way in WAYS)
        print(f"{'whole run, ms':16s}{times[None]:>10.0f}{longer}")
        print(f"loading the native core to measure: {own_blocks(script, counted):+d} blocks, told in the capture")
    return 0


if __name__ == "__main__":
    sys.exit(main())
