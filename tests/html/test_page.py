"""The HTML page as a file: what is in it, what is not, and how large it is; no browser."""

from __future__ import annotations

import hashlib
import json
import re
import stat
import subprocess
import sys
import zlib
from base64 import b64decode, b64encode
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import jsonschema
import pytest

sys.path.append(str(Path(__file__).parent.parent / "unit"))
from report_samples import bare_report, heap_of, memory_of, report_of, scattered_report, tree_of

from meminspect.models.census import BufferRow, Census, Coverage, PathTotals, TypeRow
from meminspect.models.report import Report
from meminspect.views import html_heap, html_page
from meminspect.views.report_head import headline

pytest.importorskip("jinja2", reason="jinja2 is not installed")

EVIL = "</script><img src=x onerror=alert(1)>{{ 7 * 7 }}\x1b[31m\ud800"
ECHARTS = (
    "b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0"  # echarts 6.1.0, dist/echarts.min.js of npm
)


class Reader(HTMLParser):
    """What a browser finds: elements, and the text of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, str]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.elements[-1] if self.elements else ("", {})
        if tag in ("script", "style"):
            self.raw.append((tag if attributes.get("type") != "application/json" else "json", data))
        else:
            self.text.append(data)

    def all_raw(self, kind: str) -> list[str]:
        return [data for tag, data in self.raw if tag == kind and data.strip()]


def embedded(page: str) -> Any:
    return json.loads(Reader(page).all_raw("json")[0])


def column(heap: Any, name: str) -> list[int]:
    found = next(item for item in heap["columns"] if item["name"] == name)
    data = zlib.decompress(b64decode(heap["data"]))
    width = found["width"]
    span = data[found["at"] : found["at"] + found["count"] * width]
    return [int.from_bytes(span[at : at + width], "little") for at in range(0, len(span), width)]


def census(name: str) -> Census:
    totals = PathTotals("pymalloc", 10, 640, 6, 384, 4, 256, 0, 0, 0, 0)
    return Census(
        types=(TypeRow(name, "__main__", 6, 384, 380),),
        buffers=(BufferRow("list: items", 4, 256, 200),),
        free_lists=(),
        unknown=(),
        size_classes=(),
        coverage=Coverage(1.0, 1.0),
        small=totals,
        large=None,
        large_reason="not walked",
        waste_bytes=60,
        padding_bytes=0,
        looked_like_objects=0,
        seconds=0.01,
        pause_s=0.01,
        consistent=False,
        threads=1,
        bitmap_bytes=0,
        table_bytes=0,
        exact=True,
        reason=None,
    )


def evil_report() -> Report:
    heap = heap_of([[(64, 255)] * 63])
    memory = replace(memory_of(tree_of(heap, {EVIL: {EVIL: 3 << 20}})), reason=EVIL, exact=False, malloc=EVIL)
    report = report_of(heap, memory, gc=None, gil=None, missing={"gc": EVIL, "gil": EVIL})
    return replace(report, process=replace(report.process, program=EVIL, argv=(EVIL,), note=EVIL))


def test_the_library_is_the_pinned_one_and_has_its_licence() -> None:
    assets = files("meminspect.views").joinpath("assets")
    assert hashlib.sha256(assets.joinpath("echarts.min.js").read_bytes()).hexdigest() == ECHARTS
    assert "Apache License" in assets.joinpath("echarts.LICENSE").read_text("utf-8")
    assert "Apache Software Foundation" in assets.joinpath("echarts.NOTICE").read_text("utf-8")


@pytest.mark.parametrize("report", [bare_report(), scattered_report(), evil_report()])
def test_the_page_stands_alone(report: Report) -> None:
    """Nothing is loaded, and the policy allows the scripts and the style that are there and nothing else."""
    page = Reader(html_page.render(report))
    assert not [tag for tag, _ in page.elements if tag in ("img", "iframe", "object", "embed", "base", "form")]
    for tag, attributes in page.elements:
        assert not any(name.startswith("on") or name in ("style", "src", "srcset", "action") for name in attributes), (
            tag
        )
    assert [attributes["href"] for tag, attributes in page.elements if tag == "link"] == ["data:,"]
    [policy] = [a["content"] or "" for tag, a in page.elements if tag == "meta" and "http-equiv" in a]
    assert "unsafe" not in policy
    allowed = set(re.findall(r"'sha256-([^']+)'", policy))
    own = {
        b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (*page.all_raw("script"), *page.all_raw("style"))
    }
    assert allowed == own


def test_the_answer_is_that_of_the_text_page() -> None:
    report = scattered_report()
    page = html_page.render(report)
    assert f"<h1>{headline(report)}</h1>" in page
    assert embedded(page)["tree"]["bytes"] == report.memory.rss_bytes  # type: ignore[union-attr]


def test_hostile_names_are_text() -> None:
    page = Reader(html_page.render(evil_report(), census=census(EVIL)))
    shown = "".join(page.text)
    assert "__main__.</script><img src=x onerror=alert(1)>{{ 7 * 7 }}\\x1b[31m\\ud800" in shown
    assert "\x1b" not in shown


def test_pools_are_those_of_the_model() -> None:
    report = scattered_report()
    heap = report.pymalloc
    assert heap is not None
    packed = embedded(html_page.render(report))["heap"]
    assert len(column(packed, "arena_low")) == len(heap.arenas)
    assert sum(column(packed, "arena_blocks")) == sum(item.used for item in heap.size_classes)
    assert sum(column(packed, "pool_used")) == sum(item.used for item in heap.size_classes)
    assert sum(column(packed, "pool_free")) == sum(item.free for item in heap.size_classes)
    first = heap.arenas[0]
    assert column(packed, "arena_high")[0] << 32 | column(packed, "arena_low")[0] == first.address
    assert column(packed, "pool_offset")[:3] == [
        (pool.address - first.address) // 4096 for pool in heap.pools(first)[:3]
    ]


def test_blocks_are_there_for_the_emptiest_arenas_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    random = Random(5)
    heap = heap_of([[(64, random.randrange(1, 255))] * 60 for _ in range(40)])
    bitmaps = {arena.address: random.randbytes(8192) for arena in heap.arenas}
    heap = replace(heap, _blocks=lambda arena: bitmaps[arena.address], pool_header_size=48)
    monkeypatch.setattr(html_heap, "BLOCKS_BYTES", 10 * 8300)
    packed = html_heap.tables(heap)
    drawn = column(packed, "drawn")
    by_address = sorted(heap.arenas, key=lambda arena: arena.address)
    emptiest = sorted(range(40), key=lambda place: by_address[place].occupancy)
    assert drawn == sorted(emptiest[: len(drawn)])
    assert 8 <= len(drawn) <= 10
    assert bytes(column(packed, "blocks")) == b"".join(bitmaps[by_address[place].address] for place in drawn)


def test_a_fragmented_heap_of_a_gibibyte_stays_under_the_limit() -> None:
    """1,024 arenas, each pool with a size and an occupancy of its own, each bitmap as random as it can be."""
    random = Random(7)
    sizes = range(16, 513, 16)
    rows = []
    for _ in range(1024):
        row = []
        for _ in range(63):
            size = random.choice(sizes)
            row.append((size, random.randrange(1, (16384 - 48) // size)))
        rows.append(row)
    heap = heap_of(rows)
    heap = replace(heap, _blocks=lambda arena: random.randbytes(8192), pool_header_size=48)
    tree = tree_of(heap, {"files": {f"lib{number}.so": 4096 * (number + 1) for number in range(300)}})
    page = html_page.render(report_of(heap, memory_of(tree)), census=census("T" * 200))
    assert len(page.encode()) < 5_000_000
    packed = embedded(page)["heap"]
    assert len(column(packed, "pool_used")) == 1024 * 63
    assert len(column(packed, "drawn")) > 100


def run(*args: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "meminspect", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **changes)


def test_the_file_is_private_whole_and_alone(tmp_path: Path) -> None:
    target = tmp_path / "page.html"
    done = run("report", "--html", str(target), "-c", "import sys; print('its own'); sys.exit(3)")
    assert (done.returncode, done.stdout, done.stderr) == (3, "its own\n", "")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    assert target.read_text("utf-8").rstrip().endswith("</html>")


def test_no_file_without_a_result(tmp_path: Path) -> None:
    assert run("report", "--html", str(tmp_path / "page.html"), "-c", "import os; os._exit(5)").returncode == 5
    assert list(tmp_path.iterdir()) == []


def test_html_names_form_and_place(tmp_path: Path) -> None:
    done = run("report", "--html", str(tmp_path / "a"), "--json", "-c", "pass")
    assert done.returncode == 2
    assert "--html" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['jinja2'] = None\n"
        "from meminspect.__main__ import main\n"
        f"sys.argv = ['meminspect', 'report', '--html', {str(tmp_path / 'a')!r}]\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == ["meminspect: the HTML page needs jinja2: pip install 'meminspect[html]'"]


def test_map_of_a_program(tmp_path: Path) -> None:
    """On a terminal, as JSON that its schema describes, and as a page of the heap alone."""
    text = run("map", "-o", "-", "-c", "pass").stdout
    assert "live blocks" in text
    assert "Checked: " in text
    assert "\x1b" not in text
    document = json.loads(run("map", "--json", "-o", "-", "-c", "pass").stdout)
    schema = json.loads(files("meminspect").joinpath("schemas", "map-1.json").read_text("utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)
    heap = document["pymalloc"]
    assert sum(pool[2] for arena in heap["arenas"] for pool in arena["pools"]) == sum(
        item["used"] for item in heap["size_classes"]
    )
    assert run("map", "--html", str(tmp_path / "map.html"), "-c", "pass").returncode == 0
    page = (tmp_path / "map.html").read_text("utf-8")
    assert "Where RSS goes" not in page
    assert embedded(page)["heap"]["columns"]


def test_the_map_is_coloured_on_a_terminal_alone() -> None:
    from meminspect.views import map_text

    plain = map_text.render(scattered_report())
    coloured = map_text.render(scattered_report(), color=True, colors="256")
    assert "\x1b" not in plain
    assert "\x1b[38;5;208m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
    assert map_text.render(scattered_report(), unicode=False).isascii()
