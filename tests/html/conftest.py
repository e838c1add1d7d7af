"""A browser for the tests of the HTML page: Debian's chromium, driven by Playwright, one for all of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_MS = 60_000  # a page is drawn in a fraction of a second; a machine under load may take long


class Opened:
    """A page in the browser, and what it said and asked for."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: self.requests.append(request.url))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("chromium is not installed")
    arguments = ["--disable-gpu", *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with api.sync_playwright() as started:
        running = started.chromium.launch(executable_path=path, args=arguments, timeout=TIMEOUT_MS)
        yield running
        running.close()


@pytest.fixture
def show(browser: Any) -> Iterator[Callable[..., Opened]]:
    """Opens a file offline; the context's options are Playwright's."""
    contexts = []

    def opened(path: Path, **options: Any) -> Opened:
        context = browser.new_context(offline=True, **({"viewport": {"width": 1200, "height": 900}} | options))
        contexts.append(context)
        context.set_default_timeout(TIMEOUT_MS)
        result = Opened(context.new_page())
        result.page.goto(path.as_uri())
        result.page.wait_for_selector("html[data-ready]")
        return result

    yield opened
    for context in contexts:
        context.close()
