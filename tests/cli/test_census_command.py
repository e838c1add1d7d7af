"""`meminspect census` as it is typed: every option, its errors, and the document against its schema."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
pytestmark = pytest.mark.skipif(FREE_THREADED, reason="the census of mimalloc's heaps is not there yet")
PLANTED = "class Kept: pass\nx = [Kept() for _ in range(20000)]"


PATIENT = ("--max-pause", "60")  # a busy machine takes its time


def census(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "meminspect", "census", *words], capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def checked(text: str) -> dict[str, Any]:
    """A document that its schema accepts."""
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(files("meminspect").joinpath("schemas", "census-1.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    document: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


def kept(document: dict[str, Any]) -> int:
    return sum(row["count"] for row in document["types"] if row["type"] == "Kept")


def test_help_has_every_option_and_an_example() -> None:
    text = census("--help").stdout
    for option in ("--json", "--output", "--no-color", "--top", "--by", "--max-pause", "--consistent"):
        assert option in text
    assert "meminspect census --json -o census.json" in text


@pytest.mark.parametrize("how", [[], ["--consistent"]], ids=["plain", "consistent"])
def test_json_of_a_program_counts_what_it_made(tmp_path: Path, how: list[str]) -> None:
    path = tmp_path / "census.json"
    done = census(
        "--json", "-o", str(path), *PATIENT, *how, "-c", f"{PLANTED}; print('mine'); raise SystemExit(7)", status=7
    )
    assert (done.stdout, done.stderr) == ("mine\n", "")
    document = checked(path.read_text())
    assert (document["program"], document["consistent"], document["exact"]) == ("-c", bool(how), True)
    assert kept(document) == 20000
    assert document["coverage"]["bytes"] > 0.99
    assert (document["frozen"] is not None) == bool(how)
    assert [row["bytes"] for row in document["types"]] == sorted(row["bytes"] for row in document["types"])[::-1]
    for path_totals in filter(None, (document["small"], document["large"])):
        parts = sum(path_totals[f"{part}_bytes"] for part in ("objects", "buffers", "free_lists", "unknown"))
        assert parts == path_totals["bytes"]


def test_json_of_this_interpreter_goes_to_stdout() -> None:
    document = checked(census("--json", "--consistent").stdout)
    assert document["program"] == "this interpreter"
    assert document["types"][0]["count"] > 1000


def test_a_page_beside_a_program_goes_to_stderr_and_top_limits_it() -> None:
    done = census("--top", "1", "--no-color", *PATIENT, "-c", PLANTED)
    assert done.stdout == ""
    table = done.stderr.partition("Objects by type")[2].partition("What objects own")[0]
    assert table.startswith("  1 of ")
    assert [line.split()[:2] for line in table.splitlines()[2:] if line.strip()] == [["__main__.Kept", "20,000"]]
    assert "Measured with the program's other threads waiting" in done.stderr
    assert "\x1b" not in done.stderr


def test_it_is_summed_by_module_or_size_class(tmp_path: Path) -> None:
    page = census("--by", "module", "-o", "-", *PATIENT, "-c", PLANTED).stdout
    [row] = [line.split() for line in page.splitlines() if line.strip().startswith("__main__ ")]
    assert row[2] == "20,000"
    by_size = census("--by", "size-class", "--top", "3").stdout
    assert "Blocks by size class" in by_size


def test_a_pause_of_nothing_leaves_all_out_and_says_so() -> None:
    document = checked(census("--json", "--max-pause", "0").stdout)
    assert not document["exact"]
    assert "max_pause was reached" in document["reason"]


def test_a_snapshot_shows_the_same_census(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = str(tmp_path / "a.mi")
    subprocess.run(
        [sys.executable, "-m", "meminspect", "snapshot", "--consistent", "-o", path, "-c", PLANTED],
        check=True, capture_output=True,
    )  # fmt: skip
    document = checked(census("--json", path).stdout)
    assert kept(document) == 20000
    assert document["consistent"]
    assert document["frozen"]["lived_s"] > 0
    assert "in a frozen copy of the process" in census(path).stdout
    done = census(path, "more", status=2)
    assert "takes no arguments" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--top", "0"], 2, "--top"),
        (["--by", "colour"], 2, "--by"),
        (["--max-pause", "-1"], 2, "--max-pause"),
        (["--unknown", "x.py"], 2, "--unknown"),
        (["missing.py"], 2, "missing.py"),
        pytest.param(
            ["missing.mi"], 1, "missing.mi", marks=pytest.mark.skipif(not find_spec("pyarrow"), reason="no pyarrow")
        ),
        (["-o", "no/such/folder/x", "-c", "print('ran')"], 1, "no/such/folder"),
    ],
)
def test_errors_are_one_line_and_nothing_runs(words: list[str], status: int, said: str) -> None:
    done = census(*words, status=status)
    assert done.stdout == ""
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if line.strip()]) <= 3  # click's usage is above the error


def test_a_result_that_did_not_come_is_said_and_the_status_is_the_programs() -> None:
    done = census("-c", "import os; os._exit(3)", status=3)
    assert "no result" in done.stderr


def test_a_copy_that_has_no_room_is_refused_with_the_figure() -> None:
    """The command as it is, in a process for which less room is found than there is."""
    code = (
        "import sys; from meminspect import _native; from meminspect.__main__ import main\n"
        "take = _native.census_capture\n"
        "def small(**how): return take(**how, room_bytes=1 << 20)\n"
        "_native.census_capture = small\n"
        "sys.argv[1:] = ['census', '--consistent']\n"
        "sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "a frozen copy may need" in done.stderr
    assert "leaves 1048576" in done.stderr
    assert len(done.stderr.splitlines()) == 1
