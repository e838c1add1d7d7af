"""The demos on the interpreter at hand, and under other allocators."""

from __future__ import annotations

import html
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

import meminspect
from meminspect import demos
from meminspect.demos._base import verdict
from meminspect.demos._measure import NOISE, clearly_less, in_child
from meminspect.models.demo import Check, DemoResult, Graph, GraphEdge, GraphNode
from meminspect.views import demo as view
from meminspect.views import demo_svg
from meminspect.views.demo_plot import NoPlot, figure
from meminspect.views.page import Page
from meminspect.views.sanitize import clean

pytestmark = pytest.mark.imports_much  # matplotlib
GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
PYMALLOC = GIL and os.environ.get("PYTHONMALLOC", "pymalloc") in ("pymalloc", "pymalloc_debug", "debug", "default")
# what needs a GIL or pymalloc: null with the reason where it cannot be shown
NOT_EVERYWHERE = {
    *("references", "counting", "fragmentation", "generations", "race", "coroutines", "costs", "cores"),
    *("hand-offs", "instances", "processes", "small-large", "switch-interval"),
}


@pytest.fixture(scope="module")
def results() -> dict[str, DemoResult]:
    return {name: meminspect.demo(name, fast=True) for name in demos.names()}


@pytest.fixture(scope="module")
def shown(results: dict[str, DemoResult]) -> dict[str, str]:
    """What a notebook shows of each; its charts are drawn, which takes a while."""
    return {name: view.render_html(result) for name, result in results.items()}


def test_the_folder_is_the_list() -> None:
    folder = Path(demos.__file__).parent
    modules = [path.stem.replace("_", "-") for path in folder.glob("[a-z]*.py")]
    assert sorted(demos.names()) == sorted(modules)
    chapters = [demos.load(name).chapter for name in demos.names()]
    assert chapters == sorted(chapters)
    for name in demos.names():
        one = demos.load(name)
        assert one.name == name
        assert one.claim
        assert one.experiment
        assert one.notes
        for english, chinese in (
            (one.title, one.title_zh),
            (one.claim, one.claim_zh),
            (one.summary, one.summary_zh),
        ):
            letters = re.findall("[\u4e00-\u9fff]", chinese)
            assert len(letters) >= min(0.3 * len(chinese), 5 + len(english) / 8), (name, chinese)
            assert not re.search("[\u4e00-\u9fff]", english), (name, english)
            assert "。" in chinese or english == one.title, (name, chinese)
    for field in ("title_zh", "claim_zh", "summary_zh", "summary"):
        assert len({getattr(demos.load(name), field) for name in demos.names()}) == len(demos.names())


def test_what_many_coroutines_take_is_not_hidden_by_memory_that_was_free() -> None:
    async def wait() -> None: ...

    rows = in_child("meminspect.demos._scale", "scale", "coroutine", True)["rows"]
    one = wait()
    least = sys.getsizeof(one)
    one.close()
    assert [number for number, _, _ in rows] == [1, 10, 100, 1_000]
    assert [grown for _, grown, _ in rows] == sorted(grown for _, grown, _ in rows)
    assert 1_000 * least <= rows[-1][1] <= 1_000 * 16 * least, (rows, least)


def test_an_unknown_name_says_what_there_is() -> None:
    with pytest.raises(LookupError, match=r"there are: .*references"):
        meminspect.demo("no-such")


def test_every_claim_holds_or_says_why_it_cannot_be_shown(results: dict[str, DemoResult]) -> None:
    for name, result in results.items():
        assert result.held is not False, (name, result.reason)
        assert (result.reason is None) is (result.held is True)
        assert all(check.text for check in result.checks)
        noise = result.reason is not None and ("noise" in result.reason or "busy" in result.reason)
        assert result.held is True or noise or name in NOT_EVERYWHERE, (name, result.reason)
        if result.held is None:
            warnings.warn(f"{name}: {result.reason}", stacklevel=1)
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
        meminspect.demo("switch-interval", fast=True)
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
        meminspect.demo("switch-interval", fast=True)
    assert sys.getswitchinterval() == saved
    assert threading.active_count() == before


def test_verdict() -> None:
    good, bad, unknown = Check("a", True, "t"), Check("b", False, "seen"), Check("c", None, "t", "no way to see")
    assert verdict((good, good)) == (True, None)
    assert verdict((good, bad, unknown)) == (False, "seen")
    assert verdict((good, unknown)) == (None, "no way to see")
    assert verdict(())[0] is None


@pytest.mark.parametrize(
    ("less", "more", "held"),
    [
        ([1.0, 1.1, 9.0], [2.0, 2.1, 2.2], True),  # one outlier of the machine's
        ([1.0, 1.1, 1.2], [1.0, 1.05, 1.3], None),
        ([151.01, 155.0, 160.0], [150.10, 158.0, 170.0], None),
        ([2.0, 2.1, 2.2], [1.0, 1.1, 1.2], False),
    ],
)
def test_noise_is_neither_true_nor_false(less: list[float], more: list[float], held: bool | None) -> None:
    check = clearly_less("a is less than b", less, more, "the figures")
    assert check.held is held
    assert (check.reason == f"{NOISE}: the figures") is (held is None)


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


def test_views(results: dict[str, DemoResult], shown: dict[str, str]) -> None:
    for result in results.values():
        page = view.render(result, width=80)
        assert result.title in page
        assert "The claim was" in page
        assert max(map(len, page.splitlines())) <= 80
        assert view.render(result, unicode=False).isascii()
        assert json.loads(view.render_json(result))["held"] is result.held
        assert "The claim was" in shown[result.name]


def test_html_is_escaped(results: dict[str, DemoResult]) -> None:
    from dataclasses import replace

    page = view.render_html(replace(results["references"], title="<script>alert(1)</script>\x1b[31m"))
    assert "<script>" not in page
    assert "\x1b" not in page


def test_a_notebook_shows_the_charts(results: dict[str, DemoResult], shown: dict[str, str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is missing: pip install 'meminspect[plot]'")
    for result in results.values():
        charts = [one for one in result.evidence if one.chart]
        assert shown[result.name].count("data:image/svg+xml;base64,") == len(charts)
    assert sum(bool(one.chart) for one in results["pools"].evidence) == 2


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


def test_command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from meminspect.__main__ import main

    def run(*args: str) -> str:
        monkeypatch.setattr(sys, "argv", ["meminspect", "demo", *args])
        with pytest.raises(SystemExit) as ended:
            raise SystemExit(main())
        assert not ended.value.code, capfd.readouterr().err
        return capfd.readouterr().out

    assert [line.split()[1] for line in run().splitlines()] == demos.names()
    assert [row["name"] for row in json.loads(run("--json"))] == demos.names()
    assert demos.load("deadlock").title_zh in run("deadlock", "--fast", "--lang", "zh")
    assert json.loads(run("references", "--json"))["name"] == "references"
    command = [sys.executable, "-m", "meminspect", "demo", "no-such"]
    wrong = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1


def test_all_of_them_by_the_command(
    results: dict[str, DemoResult], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As JSON: a list of what each demo claims, whether it held, and its evidence. They have run already."""
    from meminspect.__main__ import main

    asked: list[tuple[str, bool | None]] = []

    def measured_before(name: str, fast: bool | None = None) -> DemoResult:
        asked.append((name, fast))
        return results[name]

    monkeypatch.setattr(demos, "demo", measured_before)
    monkeypatch.setattr(sys, "argv", ["meminspect", "demo", "--all", "--fast", "--json", "-o", str(tmp_path / "all")])
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main())
    assert not ended.value.code
    rows = json.loads((tmp_path / "all").read_text())
    assert asked == [(name, True) for name in demos.names()]
    assert [(row["name"], row["held"]) for row in rows] == [(one.name, one.held) for one in results.values()]
    assert {"name", "chapter", "claim", "held", "evidence"} <= set(rows[0])


def test_page_for_a_browser(results: dict[str, DemoResult]) -> None:
    pytest.importorskip("jinja2", reason="jinja2 is missing: pip install 'meminspect[html]'")
    from meminspect.views.demo_page import render

    page = render(list(results.values()))
    for result in results.values():
        assert f'id="{result.name}"' in page
        for evidence in result.evidence:
            assert html.escape(evidence.title, quote=False).replace("'", "&#39;").replace('"', "&#34;") in page
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])
    drawn = [one for result in results.values() for one in result.evidence if one.chart or one.timeline]
    assert len(data["pictures"]) >= len(drawn)
    assert all(f'<div id="{picture["id"]}"' in page for picture in data["pictures"])
    assert page.count("<svg") == len(drawings(results))


def test_every_claim_has_a_line_of_its_own(results: dict[str, DemoResult]) -> None:
    page = view.render_all(list(results.values()), width=100)
    assert all(f"{result.chapter} {result.name}" in page for result in results.values())
    assert f"of {len(results)} claims held, 0 did not" in page


def drawings(results: dict[str, DemoResult]) -> list[Graph]:
    return [one.graph for result in results.values() for one in result.evidence if one.graph]


def test_a_drawing_has_each_object_once(results: dict[str, DemoResult]) -> None:
    """A list that is twice in another is one node with two references to it."""
    assert {name for name, result in results.items() if drawings({name: result})} >= {
        "references",
        "counting",
        "sharing",
    }
    for graph in drawings(results):
        ids = [node.id for node in graph.nodes]
        assert len(ids) == len(set(ids))
        assert {edge.source for edge in graph.edges} | {edge.target for edge in graph.edges} <= set(ids)
    (graph,) = drawings({"sharing": results["sharing"]})
    pairs = [(edge.source, edge.target) for edge in graph.edges]
    assert any(pairs.count(pair) == 2 for pair in pairs)


def test_a_drawing_tells_count_and_block() -> None:
    """Against sys.getrefcount, by the difference that five references make, and the block's own probe."""
    from meminspect.demos._drawing import drawn

    thing = object()
    before = sys.getrefcount(thing)
    kept = [thing] * 4
    name = thing
    graph = drawn({"caller()": {"thing": thing, "name": name, "kept": kept}, "callee()": {"argument": thing}})
    (node,) = [one for one in graph.nodes if one.id == f"{id(thing):#x}"]
    assert sys.getrefcount(thing) - before == 5
    size = meminspect.block(thing).size
    assert size is None or f"block of {size} bytes" in " ".join(node.lines)
    assert "shared by 7" in node.lines  # three names and four places
    if GIL and meminspect.header(thing).call_holds is not None:
        assert "6 references" in node.lines
    assert [one.label for one in graph.nodes if one.kind == "frame"] == ["caller()", "callee()"]


HOSTILE = Graph((GraphNode("a", "<b>&\x1b", 0, "frame"), GraphNode("o", ']]>"<', 1)), (GraphEdge("a", "o", "<x"),))


@pytest.mark.required  # .ci/run installs Graphviz
@pytest.mark.parametrize("by_dot", [True, False], ids=["dot", "boxes"])
def test_drawings_are_pictures(results: dict[str, DemoResult], monkeypatch: pytest.MonkeyPatch, by_dot: bool) -> None:
    """With Graphviz, and without: well-formed, with each name, and nothing of the program's text as markup."""
    from xml.etree import ElementTree

    from meminspect.views import demo_graph

    if not by_dot:
        monkeypatch.setenv("PATH", "/nonexistent")
    elif shutil.which("dot") is None or importlib.util.find_spec("graphviz") is None:
        pytest.skip("Graphviz is missing: apt-get install graphviz, pip install 'meminspect[graph]'")
    for graph in (*drawings(results), HOSTILE):
        picture = demo_graph.svg(graph)
        assert ('class="graph"' in picture) is by_dot
        drawing = ElementTree.fromstring(picture)
        words = {text.text for text in drawing.iter() if text.text}
        assert {clean(node.label, 60) for node in graph.nodes if node.kind != "object"} <= words


def test_a_hostile_drawing_is_text() -> None:
    from meminspect.views import demo_graph

    assert "<x" not in demo_graph.dot_source(HOSTILE)
    assert "<x" not in demo_svg.boxes(HOSTILE)
    page = Page(80, color=False, unicode=False)
    demo_graph.draw(page, HOSTILE)
    assert str(page).isascii()
    assert "\x1b" not in str(page)
