"""`gil top`: what is between two looks, and the view itself under Textual's own pilot, of a program that runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import sysconfig
from typing import Any

import pytest

from meminspect.analysis.gil_top import between
from meminspect.launch.background import Background
from meminspect.launch.gil_order import order_trace
from meminspect.launch.program import Program
from meminspect.probes.gil_live import Live

WITH_GIL = not sysconfig.get_config_var("Py_GIL_DISABLED")
PROGRAM = """
import threading, time
stop = time.monotonic() + 30
def work():
    while time.monotonic() < stop: sum(range(100))
threading.Thread(target=work, name="[red]work\\x1b[31m", daemon=True).start()
print("the program's own", flush=True)
while time.monotonic() < stop: time.sleep(0.001)
"""


def figures(held: int, waited: int, taken: int, offs: int, since: int | None) -> dict[str, Any]:
    gil = {
        "holder": 1 if since else 0,
        "held_since_ns": since,
        "hand_offs": offs,
        "forced_hand_offs": offs // 2,
        "lost": 0,
    }
    rows = [
        {"native_id": None, "held_ns": 0, "waited_ns": 0, "acquisitions": 0},
        {"native_id": 5, "held_ns": held, "waited_ns": waited, "acquisitions": taken},
    ]
    return {"gils": [gil | {"lost": 0}], "threads": rows, "unlogged": 0}


def test_two_looks_are_told_apart() -> None:
    first, second = figures(100, 10, 3, 4, 900), figures(700, 110, 8, 24, 1_900)
    seen = between(first, second, 1_000, 2_000, ["", "a"])
    [thread] = seen.threads
    assert thread.held_share == pytest.approx((700 + 100 - 100 - 100) / 1000)  # what was and is going on included
    assert thread.waited_share == pytest.approx(0.1)
    assert thread.acquisitions_per_s == pytest.approx(5e6)
    assert seen.hand_offs_per_s == pytest.approx(2e7)
    assert seen.forced_share == 0.5
    assert (seen.holder, seen.holding_s) == ("a", 1e-7)
    alone = between(None, figures(0, 0, 0, 0, None), 0, 1_000, ["", "a"])
    assert (alone.holder, alone.forced_share, alone.threads[0].held_share) == (None, None, 0.0)


@pytest.mark.skipif(not WITH_GIL, reason="this build has no GIL to trace")
def test_the_view_shows_a_running_program() -> None:
    pytest.importorskip("textual", reason="textual is not installed")
    from textual.widgets import DataTable, Static

    from meminspect.views.gil_top import TopApp

    fd = os.memfd_create("test")
    with Background(Program("-c", PROGRAM, ()), *order_trace(fd, 16 << 20)) as started:
        live = Live(fd)
        app = TopApp(live.look, lambda: started.ended, "program", 0.1)

        async def drive() -> None:
            async with app.run_test(size=(100, 30)) as pilot:
                for _ in range(300):
                    await pilot.pause(0.1)
                    if app.last is not None and len(app.last.threads) >= 2 and app.last.hand_offs_per_s:
                        break
                table = app.query_one(DataTable)
                names = [str(table.get_row_at(at)[0]) for at in range(table.row_count)]
                assert any(name.startswith("[red]work\\x1b") for name in names), names
                assert "MainThread" in names
                head = str(app.query_one("#head", Static).render())
                assert "hand-offs/s" in head
                assert "now held by" in head
                await pilot.press("n")
                names = [str(table.get_row_at(at)[0]) for at in range(table.row_count)]
                assert names == sorted(names)
                await pilot.press("p")
                shown = app.last
                await pilot.pause(0.5)
                assert app.last is shown
                await pilot.press("p")
                for _ in range(100):
                    await pilot.pause(0.1)
                    if app.last is not shown:
                        break
                assert app.last is not shown
                await pilot.press("q")

        asyncio.run(drive())
        assert not started.ended
        outcome = started.stop()
        trace = live.follower.finish(None)
        assert outcome.status != 0
        assert trace["digest"]["holds"]["count"] > 10
    os.close(fd)


def test_it_says_what_it_needs() -> None:
    def said(*arguments: str) -> str:
        command = [sys.executable, "-m", "meminspect", "gil", "top", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode != 0
        assert done.stdout == ""
        return done.stderr

    assert "name a program" in said()
    assert "terminal" in said("-c", "pass") or "textual" in said("-c", "pass")
