"""The report as text and as JSON, from reports made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from report_samples import (
    MIB,
    bare_report,
    gil_counters,
    heap_of,
    malloc_arena,
    memory_of,
    process_info,
    report_of,
    scattered_heap,
    scattered_report,
    tree_of,
)

from meminspect.models.heap import ThreadHeap, WaitingFrees
from meminspect.models.memory import MemoryNode
from meminspect.models.report import Report
from meminspect.probes.report import build
from meminspect.views import report_json, report_text

EVIL = "\x1b]0;owned\x07[red]x[/red]\u202e\ud800\nnext"


@cache
def evil_report() -> Report:
    heap = heap_of([[(64, 255)] * 63])
    tree = tree_of(heap, {EVIL: {EVIL * 40: 3 * MIB}})
    memory = replace(memory_of(tree), reason=EVIL, exact=False, malloc=EVIL)
    return report_of(
        heap,
        memory,
        process=process_info(program=EVIL, argv=(EVIL, "-x")),
        gil=(gil_counters(holder_name=EVIL),),
        gc=None,
        missing={"gc": EVIL},
    )


def empty_report() -> Report:
    return build({}, {"pid": 1, "alive": False})


@cache
def big_report() -> Report:
    heap = scattered_heap(9_000)
    tree = tree_of(heap, {"files": {f"lib{n}.so": 4096 * (n + 1) for n in range(3000)}})
    arenas = tuple(malloc_arena(f"thread {n}") for n in range(3000))
    return report_of(heap, memory_of(tree, malloc_arenas=arenas))


REPORTS = {
    "bare": bare_report,
    "scattered": scattered_report,
    "evil": evil_report,
    "empty": empty_report,
    "no memory": lambda: report_of(scattered_heap(9), None, missing={"memory": "refused", "large": "refused"}),
    "no heap": lambda: report_of(None, bare_report().memory, missing={"pymalloc": "refused"}),
    "two gils": lambda: replace(bare_report(), gil=(gil_counters(interpreters=(2,)), gil_counters())),
}
every = pytest.mark.parametrize("make", REPORTS.values(), ids=REPORTS.keys())


@pytest.fixture(scope="module")
def schema() -> Any:
    text = files("meminspect").joinpath("schemas", "report-1.json").read_text()
    jsonschema.Draft202012Validator.check_schema(json.loads(text))
    return jsonschema.Draft202012Validator(json.loads(text))


@every
def test_documents_are_valid(make: Any, schema: Any) -> None:
    schema.validate(json.loads(report_json.render(make())))


def test_the_schema_refuses_what_is_wrong(schema: Any) -> None:
    good = report_json.document(bare_report())
    for path, value in (
        (("memory", "rss_bytes"), "many"),
        (("memory",), None),
        (("pymalloc", "cross_check", "agrees"), None),
        (("pymalloc", "size_classes", 0, "used"), -1),
        (("schema",), 2),
        (("findings", 0, "id"), "Not An Id"),
    ):
        wrong = json.loads(json.dumps(good))
        *way, last = path
        at: Any = wrong
        for key in way:
            at = at[key]
        at[last] = value
        assert not schema.is_valid(wrong), path


def test_a_document_is_one_line_when_asked_and_ascii_always() -> None:
    text = report_json.render(evil_report(), indent=None)
    assert text.isascii()
    assert "\n" not in text
    assert "\\ud800" not in text.replace("\\\\", "")


@pytest.mark.ends  # a pure function, and a schema that takes long to check six megabytes
def test_documents_of_big_processes_are_bounded_and_say_what_they_left_out(schema: Any) -> None:
    document = report_json.document(big_report())
    schema.validate(document)
    assert len(json.dumps(document)) < 6_000_000
    heap, memory = document["pymalloc"], document["memory"]
    assert len(heap["arenas"]) + heap["arenas_omitted"] == heap["arenas_total"] == 9_000
    assert len(memory["malloc_arenas"]) + memory["malloc_arenas_omitted"] == 3000
    libraries = memory["tree"]["children"][1]
    assert sum(child["bytes"] for child in libraries["children"]) == libraries["bytes"]
    assert len(libraries["children"]) < 1000


def test_several_gils_have_the_main_one_on_top() -> None:
    gil = report_json.document(REPORTS["two gils"]())["gil"]
    assert gil["interpreter_ids"] == [0]
    assert [item["interpreter_ids"] for item in gil["interpreters"]] == [[2], [0]]
    assert "interpreters" not in report_json.document(bare_report())["gil"]


@every
@pytest.mark.parametrize("width", [40, 80, 120, 500])
@pytest.mark.parametrize("unicode", [True, False])
def test_no_line_is_too_wide_and_none_carries_control(make: Any, width: int, unicode: bool) -> None:
    page = report_text.render(make(), width=width, unicode=unicode)
    assert unicode or page.isascii()
    for line in page.split("\n"):
        assert len(line) <= width
        assert line == line.rstrip()
        assert line.isprintable()
    page.encode("utf-8")


@every
def test_colour_adds_sequences_and_changes_nothing_else(make: Any) -> None:
    import re

    report = make()
    plain = report_text.render(report, width=90)
    coloured = report_text.render(report, width=90, color=True)
    assert "\x1b[" in coloured
    stripped = "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", coloured).split("\n"))
    assert stripped == plain


def test_the_environment_does_not_change_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    before = report_text.render(bare_report(), width=80), report_text.render(bare_report(), width=80, color=True)
    for name, value in {"TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "33", "FORCE_COLOR": "1", "LINES": "2"}.items():
        monkeypatch.setenv(name, value)
    assert before == (
        report_text.render(bare_report(), width=80),
        report_text.render(bare_report(), width=80, color=True),
    )


def test_the_answer_comes_first() -> None:
    lines = report_text.render(scattered_report(), width=120).split("\n")
    assert lines[0].startswith("meminspect · worker.py · pid 4711 · CPython 3.13.0, pymalloc, glibc 2.36")
    assert lines[1].startswith("RSS is 831 MiB. pymalloc holds 784 MiB (94 % of RSS) that is free")


@pytest.mark.parametrize("title", ["Process", "Where RSS goes", "pymalloc", "Large path", "GC", "GIL", "What to do"])
@every
def test_every_section_is_there_whatever_is_missing(make: Any, title: str) -> None:
    page = report_text.render(make())
    assert any(line == title or line.startswith(title + "  ") for line in page.split("\n"))
    assert "Checked: " in page


def test_small_parts_are_summed_and_every_cause_at_the_root_is_a_line() -> None:
    heap = heap_of([[(64, 255)] * 63])
    libraries = {f"lib{n}.so": MIB - n for n in range(40)}
    report = report_of(heap, memory_of(tree_of(heap, {"files": libraries, "tiny": 4096})))
    page = report_text.render(report, width=100)
    assert "lib5.so" in page
    assert "lib6.so" not in page
    assert "34 smaller" in page
    assert "tiny" in page
    assert "unattributed" in page


def test_a_disagreement_is_on_top_and_in_the_verdict() -> None:
    heap = scattered_heap(9)
    check = replace(heap.cross_check, agrees=False, differences=(("used of 208", 441, 440),))
    heap = replace(heap, cross_check=check)
    page = report_text.render(report_of(heap, memory_of(tree_of(heap, {}))), width=160)
    head = page.split("Process")[0]
    assert "do not trust the pymalloc figures" in head
    assert "31 of 32 figures of the heap agree" in page


def test_the_tree_that_does_not_sum_says_by_how_much() -> None:
    memory = bare_report().memory
    assert memory is not None
    page = report_text.render(
        replace(bare_report(), memory=replace(memory, rss_bytes=memory.rss_bytes + 8192)), width=160
    )
    assert "8,192 fewer than RSS" in page


def test_a_deep_tree_is_cut() -> None:
    node = MemoryNode("leaf", MIB, MIB, None)
    for number in range(300):
        node = MemoryNode(f"level {number}", MIB, MIB, None, (node,))
    report = report_of(scattered_heap(9), memory_of(MemoryNode("RSS", MIB, 0, None, (node,))))
    assert len(report_text.render(report)) < 20_000
    json.dumps(report_json.document(report))


def test_heaps_of_threads_and_what_they_have_still_to_free() -> None:
    """Of free-threaded builds; a heap that could not be stopped is marked, and the smallest are summed."""
    heaps = [
        ThreadHeap("thread", 0, 7, 4000 + at, "gc", 2, 0, 0, 100, (20 - at) * MIB, MIB, at, at * 64, exact=at != 1)
        for at in range(11)
    ]
    waits = (WaitingFrees(7, 4000, True, 5, MIB, 12, 2 * MIB), WaitingFrees(None, None, None, 0, 0, 0, 0))
    heap = replace(scattered_heap(), allocator="mimalloc", heaps=tuple(heaps), waiting=waits)
    lines = report_text.render(replace(bare_report(), pymalloc=heap), width=100).split("\n")
    rows = [" ".join(line.split()) for line in lines]
    assert "thread 4000 gc 2 100 20.00 1.00 0" in rows
    assert "thread 4001 * gc 2 100 19.00 1.00 1" in rows
    assert "3 more 6 300 33.00 3.00 27" in rows
    assert "* could not be stopped, so it was copied while it may have changed" in rows
    assert "thread 4000, asleep 5 1.00 12 2.00" in rows
    assert not [row for row in rows if row.startswith("the interpreter (of ended")]
    assert "Heaps of" not in report_text.render(bare_report())
