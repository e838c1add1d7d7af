"""The demos on the interpreter at hand, and under other allocators."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import pytest

import meminspect
from meminspect import demos
from meminspect.demos._base import verdict
from meminspect.models.demo import Check, DemoResult
from meminspect.views import demo as view
from meminspect.views.demo_plot import NoPlot, figure

GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
PYMALLOC = GIL and os.environ.get("PYTHONMALLOC", "pymalloc") in ("pymalloc", "pymalloc_debug", "debug", "default")


@pytest.fixture(scope="module")
def results() -> dict[str, DemoResult]:
    return {name: meminspect.demo(name) for name in demos.names()}


def test_the_folder_is_the_list() -> None:
    assert demos.names() == ["references", "small-large", "switch-interval"]
    for name in demos.names():
        one = demos.load(name)
        assert one.name == name
        assert one.claim
        assert one.experiment
        assert one.notes


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(LookupError, match="references, small-large, switch-interval"):
        meminspect.demo("no-such")


def test_every_claim_holds_or_says_why_it_cannot_be_shown(results: dict[str, DemoResult]) -> None:
    for name, result in results.items():
        assert result.held is not False, (name, result.reason)
        assert (result.reason is None) is (result.held is True)
        assert all(check.text for check in result.checks)
    if PYMALLOC:
        assert results["references"].held is True
        assert results["small-large"].held is True
    if not GIL:
        assert results["switch-interval"].held is None


def test_binding_is_shown_in_every_build(results: dict[str, DemoResult]) -> None:
    assert [check.held for check in results["references"].checks][:2] == [True, True]


def test_the_interval_is_put_back() -> None:
    saved = sys.getswitchinterval()
    before = threading.active_count()
    try:
        sys.setswitchinterval(0.0123)
        meminspect.demo("switch-interval")
        assert sys.getswitchinterval() == pytest.approx(0.0123)
    finally:
        sys.setswitchinterval(saved)
    assert threading.active_count() == before


@pytest.mark.skipif(not GIL, reason="this interpreter runs without a GIL")
def test_the_interval_is_put_back_when_a_measurement_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """The failure is planted behind the first change of the interval."""
    from meminspect.demos import switch_interval

    def fails(seconds: float) -> None:
        raise KeyboardInterrupt

    saved, before = sys.getswitchinterval(), threading.active_count()
    monkeypatch.setattr(switch_interval, "rate", fails)
    with pytest.raises(KeyboardInterrupt):
        meminspect.demo("switch-interval")
    assert sys.getswitchinterval() == saved
    assert threading.active_count() == before


def test_verdict() -> None:
    good, bad, unknown = Check("a", True, "t"), Check("b", False, "seen"), Check("c", None, "t", "no way to see")
    assert verdict((good, good)) == (True, None)
    assert verdict((good, bad, unknown)) == (False, "seen")
    assert verdict((good, unknown)) == (None, "no way to see")
    assert verdict(())[0] is None


@pytest.mark.parametrize("name", ["malloc", "pymalloc_debug", "malloc_debug"])
def test_other_allocators(name: str) -> None:
    """Under malloc the edge cannot be shown; with debug hooks it is where their bytes put it."""
    if not GIL:
        pytest.skip("free-threaded builds know only mimalloc")
    code = (
        "import json, meminspect; print(json.dumps([meminspect.demo(n).held for n in ('references', 'small-large')]))"
    )
    environment = {**os.environ, "PYTHONMALLOC": name}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    references, small_large = json.loads(done.stdout)
    assert references is not False
    assert small_large is (True if name == "pymalloc_debug" else None)


def test_views(results: dict[str, DemoResult]) -> None:
    for result in results.values():
        page = view.render(result, width=80)
        assert result.title in page
        assert "The claim was" in page
        assert max(map(len, page.splitlines())) <= 80
        assert view.render(result, unicode=False).isascii()
        assert json.loads(view.render_json(result))["held"] is result.held
        assert "The claim was" in view.render_html(result)


def test_html_is_escaped(results: dict[str, DemoResult]) -> None:
    from dataclasses import replace

    page = view.render_html(replace(results["references"], title="<script>alert(1)</script>\x1b[31m"))
    assert "<script>" not in page
    assert "\x1b" not in page


def test_plot(results: dict[str, DemoResult]) -> None:
    with pytest.raises(NoPlot, match="nothing to plot"):
        figure(results["references"])
    if not GIL:
        with pytest.raises(NoPlot, match="without a GIL"):
            figure(results["switch-interval"])
        return
    pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install 'meminspect[plot]'")
    drawn = figure(results["switch-interval"])
    (axes,) = drawn.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["CPU-bound", "I/O-bound"]


def test_command(tmp_path: object) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "meminspect", "demo", *args]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert [line.split()[0] for line in run().stdout.splitlines()] == demos.names()
    shown = run("references", "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["name"] == "references"
    wrong = run("no-such")
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1
