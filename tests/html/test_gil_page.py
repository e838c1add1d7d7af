"""The page of a GIL trace in a real browser: drawn, moved by keys and mouse, offline, names escaped, bounded."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meminspect import _native
from meminspect.probes.gil_trace import build
from meminspect.views import gil_trace_html

Show = Callable[..., Any]
WITH_GIL = not sysconfig.get_config_var("Py_GIL_DISABLED")
pytestmark = pytest.mark.skipif(not WITH_GIL, reason="this build has no GIL to trace")
EVIL = "</script><img src=x onerror=alert(1)>"
PROGRAM = f"""
import threading, time
stop = time.monotonic() + 0.4
def work():
    while time.monotonic() < stop: sum(range(100))
def sleep():
    while time.monotonic() < stop: time.sleep(0.001)
threads = [threading.Thread(target=work, name="worker"), threading.Thread(target=sleep, name={EVIL!r})]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
EVENT = struct.Struct("=QQIIIHH")
COLOURS = """() => {
  const canvas = document.getElementById("gil-canvas");
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  const data = context.getImageData(0, 0, copy.width, copy.height).data, seen = {};
  for (let at = 0; at < data.length; at += 4) {
    const key = [data[at], data[at + 1], data[at + 2]].map((one) => one.toString(16).padStart(2, "0")).join("");
    seen[key] = (seen[key] ?? 0) + 1;
  }
  return seen;
}"""
LIGHT, DARK = ("2767ad", "e8590c"), ("69a7ec", "f0803c")  # held, waiting


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    folder = tmp_path_factory.mktemp("gil")
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "meminspect", "gil", "run", "--html", str(folder / "gil.html"), "-o", "/dev/null"]
    done = subprocess.run([*command, str(folder / "program.py")], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "gil.html"


def test_the_file_says_it_all_without_a_browser(made: Path) -> None:
    text = made.read_text()
    assert EVIL not in text
    assert "&lt;/script&gt;&lt;img" in text
    assert "The GIL went from one thread to another" in text
    assert "worker" in text
    markup = re.sub(r"(?s)<script.*?</script>", "", text)
    assert not re.search(r"\s(?:src|href)=\"(?!data:)|\son\w+=\"|\sstyle=\"", markup)


@pytest.mark.ends
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_draws_and_asks_for_nothing(made: Path, show: Show, dark: bool) -> None:
    opened = show(made, color_scheme="dark" if dark else "light")
    assert opened.complaints == []
    assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
    seen = opened.page.evaluate(COLOURS)
    assert all(seen.get(colour, 0) > 100 for colour in (DARK if dark else LIGHT)), seen
    assert opened.page.query_selector("img") is None
    assert opened.page.is_visible("#matrix canvas")
    assert opened.page.is_visible("#lengths canvas")


@pytest.mark.ends
def test_keys_and_mouse_move_it(made: Path, show: Show) -> None:
    page = show(made).page
    view = lambda: page.evaluate("gilTimeline.view()")  # noqa: E731
    whole = view()
    page.focus("#gil-canvas")
    for key in ("+", "+", "+", "+"):
        page.keyboard.press(key)
    near = view()
    assert near["to"] - near["from"] == pytest.approx((whole["to"] - whole["from"]) / 16)
    page.keyboard.press("ArrowLeft")
    assert view()["from"] < near["from"]
    page.keyboard.press("Escape")
    assert view()["to"] == whole["to"]
    page.keyboard.press("n")
    assert view()["chosen"] >= 0
    page.keyboard.press("Enter")
    assert view()["mode"] == "spans"
    assert re.search(r"(held|waited for) the GIL", page.inner_text("#gil-status"))
    page.click("[data-hold] >> nth=0")
    assert view()["chosen"] >= 0
    assert "held the GIL" in page.inner_text("#gil-status")
    page.keyboard.press("0")
    page.click("#gil-in")
    assert view()["to"] - view()["from"] == pytest.approx((whole["to"] - whole["from"]) / 2)
    box = page.locator("#gil-canvas").bounding_box()
    page.mouse.move(box["x"] + 600, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + 400, box["y"] + 30)
    before = view()["from"]
    page.mouse.up()
    assert before > whole["to"] / 4


@pytest.mark.ends
def test_it_fits_a_phone(made: Path, show: Show) -> None:
    page = show(made, viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.getElementById('gil-canvas').getBoundingClientRect().width") <= 340


@pytest.mark.ends
def test_a_long_trace_of_many_threads_stays_small(tmp_path: Path, show: Show) -> None:
    """200,000 events of 300 threads in twelve minutes: all of it in tiles, the first holds one by one."""
    threads, rounds, number = 300, 66_000, 0
    digest, part = _native.GilDigest(), []
    for at in range(rounds):
        time, thread = at * 10_800_000, at % threads + 1
        for kind, when in ((2, time), (4, time + 4_000_000), (5, time + 9_000_000)):
            part.append(EVENT.pack(when, time if kind != 5 else 0, thread, 0, number, 0, kind))
            number += 1
        if len(part) > 60_000:
            digest.feed(b"".join(part))
            part.clear()
    digest.feed(b"".join(part))
    end = rounds * 10_800_000
    row = {"kernel_name": "", "first_ns": 0, "last_ns": end, "lost": 0, "unlogged": 0, "waited_ns": 4 * 10**9,
           "acquisitions": rounds // threads, "held_ns": 5 * 10**9}  # fmt: skip
    gil = {"interpreter": 0, "hand_offs": rounds - 1, "forced_hand_offs": 0, "acquisitions": rounds, "releases": rounds,
           "forced_releases": 0, "tstate_switches": rounds - 1, "switch_number_delta": rounds - 1, "timeouts": 0,
           "lost": 0}  # fmt: skip
    raw = {
        "pid": 1, "begin_ns": 0, "end_ns": end, "clock": "tsc", "state": 2, "interval_s": 0.005, "gils": [gil],
        "threads": [row | {"native_id": None, "given_name": "", "acquisitions": 0, "held_ns": 0, "waited_ns": 0}]
        + [row | {"native_id": 100 + at, "given_name": f"thread number {at}"} for at in range(threads)],
        "names": {}, "logged": number, "unlogged": 0, "strayed": 0, "gils_left_out": 0, "threads_left_out": 0,
        "left_in_place": None, "digest": digest.finish(end),
    }  # fmt: skip
    trace = build(raw)
    page = tmp_path / "long.html"
    page.write_text(gil_trace_html.render(trace))
    assert page.stat().st_size < 10_000_000
    opened = show(page)
    assert opened.complaints == []
    assert opened.page.evaluate("gilTimeline.view()")["mode"] == "tiles"
    assert opened.page.evaluate(COLOURS).get(LIGHT[0], 0) > 1000
    assert "single holds are on this page up to" in opened.page.inner_text("#gil-status")
    opened.page.focus("#gil-canvas")
    opened.page.keyboard.press("Home")
    for _ in range(14):
        opened.page.keyboard.press("+")
        opened.page.keyboard.press("Home")
    assert opened.page.evaluate("gilTimeline.view()")["mode"] == "spans"
