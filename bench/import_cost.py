"""What `import meminspect` costs over a bare interpreter, and what the launcher adds to the program that it measures.

Pairs of interpreters run in turn, so that a busy machine slows both; the median of the pairs' differences is shown. The
goal for `import meminspect` is 15 ms.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PAIRS = 25
GOAL_MS = 15.0
FACTS = """
import sys
blocks = sys.getallocatedblocks() if hasattr(sys, "getallocatedblocks") else 0
with open("/proc/self/statm") as file:
    resident = int(file.read().split()[1])
with open("/proc/self/maps") as file:
    mapped = sum(1 for _ in file)
with open({facts!r}, "w") as file:
    figures = (blocks, resident, len(sys.modules), mapped)
    file.write('{{"blocks": %d, "pages": %d, "modules": %d, "mappings": %d}}' % figures)
"""


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def difference_ms(bare: list[str], other: list[str]) -> tuple[float, float]:
    """Median time of the bare command, and the median of the pairs' differences."""
    timed(bare), timed(other)  # the page cache and the .pyc files
    pairs = [(timed(bare), timed(other)) for _ in range(PAIRS)]
    return statistics.median(pair[0] for pair in pairs), statistics.median(b - a for a, b in pairs)


def facts_of(launcher: list[str], before: str = "") -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        script, facts = Path(folder, "program.py"), Path(folder, "facts.json")
        script.write_text(before + FACTS.format(facts=str(facts)))
        command = [*launcher, str(script)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return json.loads(facts.read_text())


def main() -> int:
    python = [sys.executable]
    bare = [*python, "-c", "pass"]
    cases = {
        "import meminspect": ([*python, "-c", "import meminspect"], "import meminspect\n", python),
        "import meminspect._native": (
            [*python, "-c", "import meminspect._native"],
            "import meminspect._native\n",
            python,
        ),
        "import rich, click, psutil": (
            [*python, "-c", "import rich.console, click, psutil"],
            "import rich.console, click, psutil\n",
            python,
        ),
    }
    plain = facts_of(python)
    print(f"{'':<30}{'ms':>8}{'blocks':>9}{'RSS KiB':>9}{'modules':>9}{'mappings':>10}   over `python -c pass`")
    verdict = 0
    for name, (command, before, launcher) in cases.items():
        base, extra = difference_ms(bare, command)
        row = facts_of(launcher, before)
        delta = {key: row[key] - plain[key] for key in plain}
        held = f"{delta['blocks']:>9,}{delta['pages'] * 4:>9,}{delta['modules']:>9,}{delta['mappings']:>10,}"
        print(f"{name:<30}{extra:>8.1f}{held}")
        if name == "import meminspect" and extra >= GOAL_MS:
            print(f"  above the goal of {GOAL_MS:g} ms", file=sys.stderr)
            verdict = 1
    print(f"(a bare interpreter: {base:.1f} ms, {plain['blocks']:,} blocks, {plain['pages'] * 4:,} KiB)")
    measured = facts_of([*python, "-m", "meminspect", "report", "-o", "/dev/null"])
    delta = {key: measured[key] - plain[key] for key in plain}
    added = ", ".join(f"{delta[key]:+,} {key}" for key in ("blocks", "modules", "mappings", "pages"))
    print(f"a program under `meminspect report` holds, over the same under `python`: {added}")
    return verdict


if __name__ == "__main__":
    sys.exit(main())
