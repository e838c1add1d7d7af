"""What every test folder shares.

A test that may not be left out where everything is installed carries `@pytest.mark.required`. With MEMINSPECT_CI=1, as
.ci/run sets it, a skip of such a test is a failure; on a developer's machine it stays a skip.

A test of what hardly differs between interpreters, and takes its time, carries `@pytest.mark.ends`: .ci/run has it on
the oldest and the newest alone, where a skip of a required one fails. `make test` runs it everywhere.

Many tests read every object of the process that they run in: tests/interpreter goes first, while that is small, and
what imports much there (`@pytest.mark.imports_much`: matplotlib, IPython, pandas) last of all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

IN_CI = os.environ.get("MEMINSPECT_CI") == "1"
SPECIAL = bool(sysconfig.get_config_var("Py_GIL_DISABLED") or hasattr(sys, "gettotalrefcount"))
IS_AN_END = sys.version_info[:2] in ((3, 11), (3, 15)) and not SPECIAL


def place(item: pytest.Item) -> tuple[bool, bool]:
    return item.get_closest_marker("imports_much") is not None, item.path.parent.name != "interpreter"


def left_to_the_ends(item: pytest.Item) -> bool:
    return IN_CI and not IS_AN_END and item.get_closest_marker("ends") is not None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=place)
    for item in items:
        if left_to_the_ends(item):
            item.add_marker(pytest.mark.skip(reason="the oldest and the newest interpreter run it in CI"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    required = item.get_closest_marker("required") is not None and not left_to_the_ends(item)
    if IN_CI and required and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} is required where MEMINSPECT_CI=1, and was skipped: {reason}"
    return report


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Of a source in tests/native, by its name: the path of the shared library that it makes."""
    made: dict[str, str] = {}

    def library(name: str) -> str:
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            pytest.skip("no C compiler")
        if name not in made:
            source = Path(__file__).parent / "native" / f"{name}.c"
            made[name] = str(tmp_path_factory.mktemp("planted") / f"{name}.so")
            subprocess.run([compiler, "-O1", "-shared", "-fPIC", str(source), "-o", made[name], "-pthread"], check=True)
        return made[name]

    return library
