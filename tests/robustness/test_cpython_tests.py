"""CPython's own tests of threads, forks and waiting give the same result with the GIL traced as without.

`make cpython-tests` runs all of them; MEMINSPECT_CPYTHON_TESTS=fast those that take seconds (`.ci/run` does, on one
interpreter), without test_concurrent_futures, test_asyncio and test_subprocess.
"""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import signal
import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest


def modules_of(package: str) -> list[str]:
    """A test package's modules, each of which is run alone, without Windows' own; a plain module is one itself."""
    found = importlib.util.find_spec(f"test.{package}") if importlib.util.find_spec("test") else None
    if found is None or not found.submodule_search_locations:
        return [package]
    inside = sorted(one.name for one in pkgutil.iter_modules(found.submodule_search_locations))
    return [f"test.{package}.{name}" for name in inside if name.startswith("test_") and "windows" not in name]


FAST = ("test_threading", "test_thread", "test_threadsignals", "test_queue", "test_fork1")
SLOW = ("test_concurrent_futures", "test_asyncio", "test_subprocess")
WHICH = os.environ.get("MEMINSPECT_CPYTHON_TESTS", "")
TIMEOUT_S = 1_500
TESTSUITE = f"libpython{sys.version_info[0]}.{sys.version_info[1]}-testsuite"
MODULES = [*FAST, *(one for package in SLOW for one in modules_of(package))] if WHICH == "all" else [*FAST]
pytestmark = [
    pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="this build has no GIL to trace"),
    pytest.mark.skipif(
        importlib.util.find_spec("test.libregrtest") is None or importlib.util.find_spec("test.test_threading") is None,
        reason=f"this interpreter has no tests of CPython's own: Debian's are in {TESTSUITE}, pyenv's come with it",
    ),
    pytest.mark.skipif(WHICH not in ("fast", "all"), reason="MEMINSPECT_CPYTHON_TESTS is not set: make cpython-tests"),
]


def as_in_a_terminal() -> None:
    """A shell's background jobs ignore SIGINT, which tests of KeyboardInterrupt would wait for."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def outcomes(module: str, folder: Path, *front: str) -> dict[str, str]:
    """Of each of the module's tests, as regrtest's own report has it."""
    report = folder / f"{module}{len(front)}.xml"
    command = [sys.executable, *front, "-m", "test", "--junit-xml", str(report), module]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, preexec_fn=as_in_a_terminal
    )
    assert report.exists(), (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    found = {}
    for case in ET.parse(report).getroot().iter("testcase"):
        bad = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        found[case.get("name") or ""] = bad[0] if bad else "passed"
    return found


@pytest.mark.parametrize("module", MODULES)
def test_the_result_is_the_same_with_the_gil_traced(module: str, tmp_path: Path) -> None:
    if importlib.util.find_spec(module if "." in module else f"test.{module}") is None:
        pytest.skip(f"this installation of CPython's tests is without {module}")
    target = tmp_path / "gil.json"
    traced_by = ("-m", "meminspect", "gil", "run", "--attribution", "--json", "-o", str(target))
    for _ in range(2):  # these tests are at the mercy of a busy machine: what differs is tried once more, both ways
        plain = outcomes(module, tmp_path)
        traced = outcomes(module, tmp_path, *traced_by)
        if plain == traced:
            break
    assert plain
    assert plain == traced, {name: (plain.get(name), traced.get(name))
                             for name in {*plain, *traced} if plain.get(name) != traced.get(name)}  # fmt: skip
    assert target.stat().st_size > 0
