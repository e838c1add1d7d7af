"""What every test folder shares.

A test that may not be left out where everything is installed carries `@pytest.mark.required`. With MEMINSPECT_CI=1, as
.ci/run sets it, a skip of such a test is a failure; on a developer's machine it stays a skip.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

IN_CI = os.environ.get("MEMINSPECT_CI") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("required"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} is required where MEMINSPECT_CI=1, and was skipped: {reason}"
    return report
