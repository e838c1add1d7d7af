"""The census as text and as JSON, from captures made by hand."""

from __future__ import annotations

import json
from dataclasses import fields
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from census_samples import (
    Row,
    bare_census,
    census_with_sites,
    census_without_sites,
    frozen_census,
    partial_census,
    raw_census,
)

from meminspect.models.census import Census
from meminspect.probes.census import build
from meminspect.views import census_json, census_text

EVIL = "\x1b]0;owned\x07[red]x[/red]\u202e\nnext"


def evil_census() -> Census:
    name = EVIL.encode()
    return bare_census(
        types=[(name, name, Row({64: 9}, 500))], reasons=[EVIL], guesses={1: [("object", (name, name), 8, 3)]}
    )


def empty_census() -> Census:
    return build(raw_census(types=[], unknown=Row({}), buffers=[], free_lists=[], guesses={}))


every = pytest.mark.parametrize(
    "make",
    [bare_census, census_with_sites, census_without_sites, frozen_census, partial_census, evil_census, empty_census],
    ids=lambda make: make.__name__,
)


@pytest.fixture(scope="module")
def schema() -> Any:
    text = json.loads(files("meminspect").joinpath("schemas", "census-1.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(text)
    return jsonschema.Draft202012Validator(text)


def page(census: Census, **how: Any) -> str:
    return census_text.render(census, program="app.py", **how)


@every
def test_documents_are_valid(make: Any, schema: Any) -> None:
    text = census_json.render(make(), program="app.py")
    assert text.isascii()
    schema.validate(json.loads(text))


def test_the_schema_names_what_the_model_has_and_no_more(schema: Any) -> None:
    of_document = {"schema", "program", "note"}
    assert set(schema.schema["properties"]) == {field.name for field in fields(Census)} | of_document


def test_the_schema_refuses_what_is_wrong(schema: Any) -> None:
    good = census_json.document(frozen_census(), program="app.py")
    schema.validate(good)
    for path, value in (
        (("schema",), 2),
        (("types", 0, "count"), "many"),
        (("types", 0, "bytes"), -1),
        (("coverage", "bytes"), 1.5),
        (("frozen", "lived_s"), None),
        (("more",), 1),
    ):
        wrong = json.loads(json.dumps(good))
        *way, last = path
        at: Any = wrong
        for key in way:
            at = at[key]
        at[last] = value
        assert not schema.is_valid(wrong), path
    del good["coverage"]
    assert not schema.is_valid(good)


def test_the_answer_comes_first_with_what_is_named() -> None:
    lines = page(bare_census()).splitlines()
    assert lines[0].startswith("meminspect")
    assert "app.py" in lines[0]
    assert "live blocks" in lines[1]
    text = " ".join(" ".join(lines).split())
    assert "most in dict: 1,000 objects, 62 KiB" in text
    assert "Large blocks: malloc's heaps were not walked." in text
    census = bare_census()
    assert f"Named: {(1 - 7 * 32 / census.bytes) * 100:.3f} % of the bytes" in text


def test_rows_are_by_bytes_and_top_cuts_them() -> None:
    text = page(bare_census(), top=1)
    assert "1 of 3" in text
    assert "dict " in text
    assert "Order.Line" not in text
    whole = page(bare_census())
    assert whole.index(" dict ") < whole.index("app.models.Order.Line") < whole.index("nameless")


def test_modules_and_size_classes_are_sums_of_the_types() -> None:
    text = page(bare_census(), by="module")
    [found] = [line.split() for line in text.splitlines() if line.strip().startswith("app.models")]
    assert found[1:3] == ["1", "502"]
    text = page(bare_census(), by="size-class")
    [found] = [line.split() for line in text.splitlines() if line.split()[:1] == ["208"]]
    assert found[1] == "900"


def test_what_is_a_guess_says_so() -> None:
    assert "a guess: pointed to by re.Scanner at offset 40, 5 times" in " ".join(page(bare_census(), width=200).split())


def test_what_is_not_exact_says_why_before_the_rows() -> None:
    text = page(partial_census(), width=200)
    assert text.index("Not exact: max_pause was reached: 256 pools were left out; 1 pools") < text.index(
        "Objects by type"
    )
    assert "Not exact" not in page(bare_census())


def test_the_cost_is_told_at_the_end() -> None:
    text = " ".join(page(bare_census()).split())
    assert "Measured with the program's other threads waiting, in 20 ms on 1 thread, 50 ms in all" in text
    text = " ".join(page(frozen_census()).split())
    assert "Measured in a frozen copy of the process: threads waited 20 ms for it, and it lived 250 ms" in text
    assert "42 page faults of the program's" in text


@pytest.mark.parametrize("by", ["type", "module", "size-class"])
def test_hostile_text_obeys_no_terminal(by: str) -> None:
    text = page(evil_census(), by=by, note=EVIL)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "\nnext" not in text


@pytest.mark.parametrize("width", [40, 80, 200])
@every
def test_pages_keep_their_width(make: Any, width: int) -> None:
    assert max(map(len, page(make(), width=width, unicode=False).splitlines())) <= width


def test_an_empty_heap_has_a_page() -> None:
    assert "0 live blocks" in page(empty_census())


def test_lines_are_by_bytes_and_say_what_most_of_it_is() -> None:
    text = page(census_with_sites(), width=120)
    table = text.partition("Allocated by")[2].splitlines()
    rows = [line.split() for line in table[2:4]]
    assert rows == [
        ["app/models.py:12", "131", "6.7", "KiB", "app.models.Order.Line"],
        ["app/main.py:7", "3", "192", "bytes", "dict"],
    ]
    assert "Not traced: 1,500 blocks, 88 KiB." in text
    assert "No allocation sites: tracemalloc is not tracing." in page(census_without_sites())
    assert "Allocated by" not in page(bare_census())
