"""`tracemalloc-report` against what the program's own tracemalloc tells at its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

PROGRAM = """
import atexit, json, sys, tracemalloc; FILE = __file__
kept = [bytes(1000 + i) for i in range(500)]

def tell():
    lines = tracemalloc.take_snapshot().statistics("lineno")
    [mine] = [s for s in lines if s.traceback[0].filename == FILE and s.traceback[0].lineno == 3]
    limit, peak = tracemalloc.get_traceback_limit(), tracemalloc.get_traced_memory()[1]
    print(json.dumps([mine.size, mine.count, limit, peak]))

atexit.register(tell)
sys.exit(4)
"""


def schema() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    text = files("meminspect").joinpath("schemas", "tracemalloc-report-1.json").read_text("utf-8")
    jsonschema.Draft202012Validator.check_schema(json.loads(text))
    return jsonschema.Draft202012Validator(json.loads(text))


def traced(folder: Path, *options: str, program: str = PROGRAM) -> tuple[dict[str, Any], Any, int, str]:
    script, target = folder / "program.py", folder / "report.json"
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, "-m", "meminspect", "tracemalloc-report", "--json", "-o", str(target), *options, str(script)],
        capture_output=True, text=True, timeout=120, check=False, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    document = json.loads(target.read_text()) if target.exists() else {}
    if document:
        schema().validate(document)
    return document, json.loads(done.stdout) if done.stdout else None, done.returncode, done.stderr


def line_three(document: dict[str, Any]) -> dict[str, Any]:
    [row] = [
        row for row in document["lines"]
        if row["frames"][0]["file"].endswith("program.py") and row["frames"][0]["line"] == 3
    ]  # fmt: skip
    return row


def test_agrees_with_the_programs_own_snapshot(tmp_path: Path) -> None:
    document, (size, count, limit, peak), status, err = traced(tmp_path, "--frames", "7")
    assert (status, err) == (4, "")
    row = line_three(document)
    kept = sum(sys.getsizeof(bytes(1000 + i)) for i in range(500))
    assert kept < row["bytes"] <= size, "the 500 that are kept, and their list"
    assert 500 < row["blocks"] <= count
    assert count - row["blocks"] < 8, "a few temporary ones went when the exit handler looked"
    assert document["frame_limit"] == limit == 7
    assert document["peak_bytes"] >= peak
    assert document["kept_bytes"] == document["traced_bytes"]


def test_growth_since_the_first_line(tmp_path: Path) -> None:
    document, _, _, _ = traced(tmp_path, "--sort", "growth", "--limit", "50")
    row = line_three(document)
    assert row["bytes_grown"] == row["bytes"]
    assert document["traced_bytes"] - document["start_bytes"] > 500 * 1000
    grown = [abs(row["bytes_grown"]) for row in document["lines"]]
    assert grown == sorted(grown, reverse=True)


def test_filters(tmp_path: Path) -> None:
    only, _, _, _ = traced(tmp_path, "--include", "*program.py")
    assert {row["frames"][0]["file"].rpartition("/")[2] for row in only["files"]} == {"program.py"}
    without, _, _, _ = traced(tmp_path, "--exclude", "*program.py")
    assert without["kept_bytes"] + only["kept_bytes"] <= without["traced_bytes"] * 1.01
    assert not [row for row in without["lines"] if row["frames"][0]["file"].endswith("program.py")]


def test_what_is_not_seen(tmp_path: Path) -> None:
    """Live blocks were walked at the same end, so seen and unseen sum to them; what has no figure has a reason."""
    document, _, _, _ = traced(tmp_path)
    unseen = document["unseen"]
    if unseen["pymalloc_live_bytes"] is None:
        assert unseen["reason"]
    else:
        assert unseen["pymalloc_seen_bytes"] + unseen["pymalloc_unseen_bytes"] >= unseen["pymalloc_live_bytes"]
        assert 0 < unseen["pymalloc_unseen_share"] < 1
    if unseen["rss_bytes"] is not None:
        assert 0 < unseen["rss_unseen_bytes"] < unseen["rss_bytes"]


def test_a_program_that_stops_it(tmp_path: Path) -> None:
    document, _, status, err = traced(tmp_path, program="import tracemalloc; tracemalloc.stop()")
    assert document == {}
    assert status == 0
    assert err == "meminspect: tracemalloc is not tracing: the program stopped it\n"


def test_text(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text("kept = [bytes(1000) for _ in range(5000)]\n")
    command = [sys.executable, "-m", "meminspect", "tracemalloc-report", "-o", "-", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "Not seen by tracemalloc" in done.stdout or "Not known" in done.stdout
    assert "program.py:1" in done.stdout
    assert "Tracebacks" in done.stdout
