"""Runs the benchmarks and prints what each printed.

    python -m bench                 all of them
    python -m bench import_cost     those named

A benchmark is a file of this folder that prints a table and ends with status 0; it takes no arguments. Each runs in an
interpreter of its own, one after another, so that none measures another's leftovers.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def main(names: list[str]) -> int:
    files = [path for path in sorted(FOLDER.glob("*.py")) if not path.name.startswith("_")]
    unknown = set(names) - {path.stem for path in files}
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(sorted(unknown))}; there are: {', '.join(p.stem for p in files)}")
    failed = []
    for path in files:
        if names and path.stem not in names:
            continue
        title = (ast.get_docstring(ast.parse(path.read_text())) or path.stem).splitlines()[0]
        print(f"\n== {path.stem}: {title}", flush=True)
        if subprocess.run([sys.executable, str(path)]).returncode != 0:
            failed.append(path.stem)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
