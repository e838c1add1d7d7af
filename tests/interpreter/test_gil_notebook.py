"""%%gil in IPython, and what traces show of themselves: well-formed, escaped, and in the report while they are kept."""

from __future__ import annotations

import gc
import json
import sysconfig
import threading
import time
import xml.etree.ElementTree as ElementTree
from importlib.resources import files
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import meminspect
from meminspect import gil
from meminspect.views import report_json, report_text

pytestmark = pytest.mark.imports_much  # IPython
WITH_GIL = not sysconfig.get_config_var("Py_GIL_DISABLED")
with_gil = pytest.mark.skipif(not WITH_GIL, reason="this build has no GIL to trace")
EVIL = "</svg><script>alert(1)</script>\x1b[31m"


def parsed(shown: str | None) -> ElementTree.Element:
    assert shown is not None
    return ElementTree.fromstring(f"<div>{shown}</div>")


def sleep() -> None:
    for _ in range(50):
        time.sleep(0.0005)


@with_gil
def test_a_trace_shows_its_timeline() -> None:
    with gil.trace() as trace:
        thread = threading.Thread(target=sleep, name=EVIL)
        thread.start()
        thread.join()
    page = parsed(trace.result._repr_html_())
    assert parsed(trace._repr_html_()) is not None
    words = "".join(page.itertext())
    assert "The GIL went from one thread to another" in words
    assert "MainThread" in words
    assert page.find(".//script") is None
    assert "\x1b" not in words
    held = next(path for path in page.iter("path") if path.attrib["fill"] == "#2767ad")
    assert held.attrib["d"].count("M") >= 10


@with_gil
def test_the_report_has_a_trace_while_it_is_kept() -> None:
    with gil.trace() as trace:
        thread = threading.Thread(target=sleep)
        thread.start()
        thread.join()
    report = meminspect.report()
    assert report.gil_trace is not None
    assert report.gil_trace.hand_offs == trace.result.hand_offs.total > 0
    assert "Traced for" in report_text.render(report)
    document = json.loads(report_json.render(report))
    schema = json.loads(files("meminspect").joinpath("schemas", "report-1.json").read_text("utf-8"))
    Draft202012Validator(schema).validate(document)
    assert document["gil_trace"]["hand_offs"] == report.gil_trace.hand_offs
    del trace
    gc.collect()
    after = meminspect.report()
    assert after.gil_trace is None
    assert "gil_trace" not in json.loads(report_json.render(after))


@pytest.fixture
def shell() -> Any:
    api = pytest.importorskip("IPython.testing.globalipapp", reason="IPython is not installed")
    made = api.start_ipython() or api.get_ipython()
    made.run_line_magic("load_ext", "meminspect")
    return made


def test_the_magic_runs_a_cell_and_returns_its_trace(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    begins = "import threading, time\nt = threading.Thread(target=time.sleep, args=(0.01,)); t.start(); t.join()"
    cell = begins + "\nvalue = 41 + 1"
    made = shell.run_cell_magic("gil", "", cell)
    assert shell.user_ns["value"] == 42
    if not WITH_GIL:
        assert made is None
        assert "not traced" in capsys.readouterr().err
        return
    assert made.hand_offs.total >= 2
    assert made.exact
    assert "<svg" in made._repr_html_()
    assert shell.run_line_magic("gil", "value += 1") is not None
    assert shell.user_ns["value"] == 43


def test_the_magic_says_what_it_does_not_know(shell: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert shell.run_cell_magic("gil", "--nothing", "value = 0") is None
    assert "--nothing" in capsys.readouterr().err
