"""The doctor's model and views, from facts made by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest
from report_samples import bare_report, process_info, report_of, scattered_heap

from meminspect.models.doctor import Doctor
from meminspect.probes.doctor import build, version_text
from meminspect.views import doctor_json, doctor_text

FACTS = [("a list's ob_size is its length", True), ("the thresholds are gc.get_threshold()", None)]
TRIED = {
    "version": 0x030D00F0,
    "native": True,
    "free_threaded": False,
    "debug": False,
    "verified": True,
    "facts": FACTS,
}
WRONG = TRIED | {"version": 0x030D01F0, "native": False, "verified": False, "facts": [("tp_name reads \x1b", False)]}
BUILT = {"python": "3.13.0", "cython": "3.3.1", "compiler": "12.2.0"}


def made(tried: list[dict[str, Any]], reason: str | None = None, report: Any = None) -> Doctor:
    layout = {"version": 0x030D00F0, "chosen": None if reason else len(tried) - 1, "reason": reason, "tried": tried}
    return build(layout, BUILT, "process_vm_readv", report or bare_report())


def exact(doctor: Doctor) -> dict[str, bool | None]:
    return {feature.name.partition(" (")[0]: feature.exact for feature in doctor.features}


@pytest.mark.parametrize(
    ("number", "text"),
    [(0x030D00F0, "3.13.0"), (0x030F00C1, "3.15.0rc1"), (0x030E07F0, "3.14.7"), (0x030F00A3, "3.15.0a3")],
)
def test_versions(number: int, text: str) -> None:
    assert version_text(number) == text


def test_a_verified_layout_behind_a_refused_one() -> None:
    doctor = made([WRONG, TRIED])
    assert doctor.layout is doctor.layouts[1]
    assert exact(doctor)["object headers"] is True
    page = doctor_text.render(doctor, width=90)
    assert "3.13.1, shipped: refused" in page
    assert "3.13.0, compiled for it: used" in page
    assert "not checked  the thresholds" in page


def test_no_layout_is_said_on_top() -> None:
    doctor = made([WRONG], "no layout of this version is true")
    assert doctor.layout is None
    assert exact(doctor)["object headers"] is False
    assert "object headers" in doctor_text.render(doctor, width=200).split("\n")[1]


def test_sections_that_are_missing_are_not_exact_and_say_why() -> None:
    report = report_of(
        None, None, gc=None, gil=None, missing=dict.fromkeys(("memory", "pymalloc", "gc", "gil"), "refused")
    )
    features = {feature.name: feature for feature in made([TRIED], report=report).features}
    for name in ("small-object heap", "memory tree", "malloc's heaps", "collector", "GIL counters"):
        assert features[name].exact is False
        assert features[name].how == "refused"


def test_what_was_not_compared_is_not_called_wrong() -> None:
    heap = scattered_heap(9)
    silent = replace(heap, arenas=(), cross_check=replace(heap.cross_check, agrees=None, reason="prints nothing"))
    report = replace(bare_report(), pymalloc=silent)
    assert exact(made([TRIED], report=report))["small-object heap"] is None
    wrong = replace(heap, cross_check=replace(heap.cross_check, agrees=False))
    assert exact(made([TRIED], report=replace(bare_report(), pymalloc=wrong)))["small-object heap"] is False


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("unicode", [True, False])
def test_the_page_fits_and_is_clean(width: int, unicode: bool) -> None:
    report = replace(bare_report(), process=process_info(kernel="\x1b[2J"))
    page = doctor_text.render(made([WRONG, TRIED], report=report), width=width, unicode=unicode)
    assert unicode or page.isascii()
    for line in page.split("\n"):
        assert len(line) <= width
        assert line.isprintable()


def test_the_document_has_every_fact() -> None:
    document = doctor_json.document(made([TRIED]))
    assert document["schema"] == 1
    assert document["layouts"][0]["facts"] == [{"text": text, "verdict": verdict} for text, verdict in FACTS]
    assert set(document["extras"]) == {"plot", "notebook", "test"}
    assert [row["name"] for row in document["features"]]


def test_documents_with_and_without_a_layout_are_valid_by_the_schema() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(files("meminspect").joinpath("schemas", "doctor-1.json").read_text("utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    for doctor in (made([WRONG, TRIED]), made([WRONG], reason="no layout is true")):
        document = doctor_json.document(doctor)
        validator.validate(document)
        for key in document:
            assert not validator.is_valid({name: value for name, value in document.items() if name != key})
