"""The comparison of two snapshots, on rows made by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema

import meminspect
from meminspect.analysis.diff import compare
from meminspect.errors import SnapshotError
from meminspect.models.snapshot import Snapshot, TableInfo
from meminspect.views import diff_json, diff_text

SCHEMA = json.loads((Path(meminspect.__file__).parent / "schemas" / "diff-1.json").read_text())


class Rows:
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def to_pylist(self) -> list[dict[str, Any]]:
        return self.rows


def snapshot(path: str, pid: int = 7, started: float = 5.0, **tables: list[dict[str, Any]]) -> Snapshot:
    return Snapshot(
        path=path, host="here", pid=pid, taken_s=1.0, python="3.13.0",
        tables={name: TableInfo(name, len(rows), "", ()) for name, rows in tables.items()},
        missing={}, whole=True, reason=None, _facts={"process": {"started_s": started}},
        _read=lambda _, name: Rows(tables[name]),
    )  # fmt: skip


def kind(name: str, module: str | None, count: int, size: int) -> dict[str, Any]:
    return {"type": name, "module": module, "count": count, "bytes": size}


def arena(address: int, used: int) -> dict[str, Any]:
    return {"interpreter": 0, "address": address, "used_bytes": used}


BEFORE = {
    "process": [{"rss_bytes": 1000, "arenas": 2, "live_bytes": 10}],
    "census": [kind("A", "m", 1, 10), kind("dict", "builtins", 5, 50), kind("Same", "m", 1, 1)],
    "memory": [
        {"path": "root", "bytes": 90, "count": None, "leaf": False},
        {"path": "x > y", "bytes": 90, "count": 1, "leaf": True},
    ],
    "arenas": [arena(1, 10), arena(2, 20)],
}
AFTER = {
    "process": [{"rss_bytes": 1500, "arenas": 2, "live_bytes": 10}],
    "census": [kind("A", "m", 3, 30), kind("New\x1b[31m", None, 2, 500), kind("Same", "m", 1, 1)],
    "memory": [
        {"path": "root", "bytes": 140, "count": None, "leaf": False},
        {"path": "x > y", "bytes": 140, "count": None, "leaf": True},
    ],
    "arenas": [arena(2, 25), arena(3, 30)],
}


def test_growth_by_name() -> None:
    diff = compare(snapshot("a.mi", **BEFORE), snapshot("b.mi", **AFTER))
    assert diff.types is not None
    assert [(row.name, row.count, row.bytes) for row in diff.types] == [
        ("New\x1b[31m", 2, 500), ("m.A", 2, 20), ("dict", -5, -50)
    ]  # fmt: skip
    assert diff.modules is not None
    assert [(row.name, row.bytes) for row in diff.modules] == [("unknown", 500), ("m", 20), ("builtins", -50)]
    assert diff.causes is not None
    assert [(row.name, row.count, row.bytes) for row in diff.causes] == [("x > y", None, 50)]
    assert diff.rss_bytes == 500
    assert diff.buffers is None
    assert "buffers" in diff.missing


def test_arenas_of_one_process() -> None:
    diff = compare(snapshot("a.mi", **BEFORE), snapshot("b.mi", **AFTER))
    assert diff.arenas is not None
    assert [(row.address, row.state, row.bytes) for row in diff.arenas] == [
        (3, "new", 30), (2, "kept", 5), (1, "gone", -10)
    ]  # fmt: skip
    assert (diff.arenas_new, diff.arenas_gone, diff.arenas_kept) == (1, 1, 1)


def test_arenas_of_two_processes_are_not_compared() -> None:
    for other in (snapshot("b.mi", pid=8, **AFTER), snapshot("b.mi", started=99.0, **AFTER)):
        diff = compare(snapshot("a.mi", **BEFORE), other)
        assert diff.arenas is None
        assert "two processes" in diff.missing["arenas"]


def test_page_gives_the_answer_first_and_is_clean() -> None:
    page = diff_text.render(compare(snapshot("a.mi", **BEFORE), snapshot("b.mi", **AFTER)))
    second = page.splitlines()[1]
    assert second.startswith("RSS grew by 500 bytes to 1.5 KiB, most in x > y (+50 bytes).")
    assert "New\\x1b[31m grew most: +2 objects, +500 bytes." in " ".join(page.split())
    assert "\x1b" not in page


def test_nothing_changed() -> None:
    diff = compare(snapshot("a.mi", **BEFORE), snapshot("b.mi", **BEFORE))
    assert diff.types == diff.causes == diff.arenas == ()
    assert "No type of objects grew" in diff_text.render(diff)


def test_document_fits_its_schema() -> None:
    diff = compare(snapshot("a.mi", **BEFORE), snapshot("b.mi", **AFTER))
    document = json.loads(diff_json.render(diff))
    jsonschema.validate(document, SCHEMA)
    assert document["types"][0]["name"] == "New\\x1b[31m"
    many = {**AFTER, "census": [kind(f"T{number}", "m", 1, number) for number in range(5000)]}
    document = diff_json.document(compare(snapshot("a.mi", **BEFORE), snapshot("b.mi", **many)))
    jsonschema.validate(document, SCHEMA)
    assert len(document["types"]) == 2000
    assert document["types_omitted"] == 5003 - 2000  # A, dict and Same went


def test_unreadable_tables_are_missing() -> None:
    def broken(_: str, name: str) -> Rows:
        raise SnapshotError(f"{name} is damaged")

    first = snapshot("a.mi", **BEFORE)
    object.__setattr__(first, "_read", lambda _, name: Rows(BEFORE[name]) if name == "process" else broken(_, name))
    diff = compare(first, snapshot("b.mi", **AFTER))
    assert diff.types is None
    assert diff.missing["census"] == "census is damaged"
