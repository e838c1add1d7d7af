"""`snapshot`, `diff` and `query` as they are typed, and snapshots where other commands take them."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest

import meminspect
from meminspect.__main__ import run_command_line

pytest.importorskip("pyarrow")
SCHEMAS = Path(meminspect.__file__).parent / "schemas"
SQL = "select type, sum(bytes) from census group by type order by 2 desc limit 10"


def run(*words: str, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "meminspect", *words], capture_output=True, text=True, env={**os.environ, **env}
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


Read = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def read(capfd: pytest.CaptureFixture[str]) -> Read:
    """As run(), for what only reads snapshots, in this process: Arrow and DuckDB take a second to import."""

    def in_this_process(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        capfd.readouterr()
        ended = run_command_line(words, "meminspect")
        done = subprocess.CompletedProcess(words, ended, *capfd.readouterr())
        assert done.returncode == status, done.stdout + done.stderr
        return done

    return in_this_process


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("pair")
    paths = str(folder / "a.mi"), str(folder / "b.mi")
    for path, count in zip(paths, (0, 20000), strict=True):
        done = run("snapshot", "-o", path, "-c", f"class Kept: pass\nx = [Kept() for _ in range({count})]; print(7)")
        assert done.stdout == "7\n"
        assert path in done.stderr
    return paths


def census_or_skip(path: str) -> None:
    snapshot = meminspect.load(path)
    if not snapshot.has_census:
        pytest.skip(f"no census: {snapshot.missing}")


def test_status_is_the_programs(tmp_path: Path) -> None:
    run("snapshot", "-o", str(tmp_path / "a.mi"), "-c", "raise SystemExit(7)", status=7)
    assert meminspect.load(tmp_path / "a.mi").report().process.program == "-c"
    done = run("snapshot", "-o", str(tmp_path / "b.mi"), "-c", "import os; os._exit(3)", status=3)
    assert "no result" in done.stderr
    assert os.listdir(tmp_path) == ["a.mi"]


def test_of_another_process(tmp_path: Path) -> None:
    code = "import time; print('up', flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    try:
        done = run("snapshot", "-o", str(tmp_path / "a.mi"), "--pid", str(process.pid))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert str(tmp_path / "a.mi") in done.stdout
    snapshot = meminspect.load(tmp_path / "a.mi")
    assert snapshot.pid == process.pid
    census_or_skip(str(tmp_path / "a.mi"))
    assert snapshot.census().pid == process.pid


def test_of_itself_and_force(tmp_path: Path) -> None:
    path = str(tmp_path / "a.mi")
    run("snapshot", "-o", path)
    marker = tmp_path / "ran"
    program = f"open({str(marker)!r}, 'w')"
    done = run("snapshot", "-o", path, "-c", program, status=1)
    assert done.stderr.count("\n") == 1
    assert "--force" in done.stderr
    assert not marker.exists()
    run("snapshot", "--force", "-o", path, "-c", program)
    assert marker.exists()


def test_missing_extra_is_named_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name in ('pyarrow', 'duckdb') else find(name, *a)\n"
    )
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = run("snapshot", "-o", str(tmp_path / "a.mi"), "-c", "print('ran')", status=1, PYTHONPATH=path)
    assert done.stdout == ""
    assert "pip install 'meminspect[store]'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_diff(pair: tuple[str, str], read: Read) -> None:
    document = json.loads(run("diff", "--json", *pair).stdout)
    jsonschema.validate(document, json.loads((SCHEMAS / "diff-1.json").read_text()))
    assert document["rss_bytes"] > 0
    page = read("diff", *pair).stdout
    assert page.splitlines()[1].startswith("RSS grew by ")
    census_or_skip(pair[0])
    [kept] = [row for row in document["types"] if row["name"] == "__main__.Kept"]
    assert kept["count"] == 20000
    assert "__main__.Kept" in page


def test_causes_sum_to_the_growth_of_the_tree(pair: tuple[str, str], read: Read) -> None:
    causes = json.loads(read("diff", "--json", *pair).stdout)["causes"]
    trees = [meminspect.load(path).report().memory.tree.bytes for path in pair]  # type: ignore[union-attr]
    assert sum(row["bytes"] for row in causes) == trees[1] - trees[0]


def test_query(pair: tuple[str, str], read: Read) -> None:
    pytest.importorskip("duckdb")
    census_or_skip(pair[0])
    assert "Kept" in run("query", SQL, *pair).stdout
    rows = json.loads(read("query", "--json", SQL, *pair).stdout)["rows"]
    by_hand: dict[str, int] = {}
    for path in pair:
        for row in meminspect.load(path).rows("census"):
            by_hand[row["type"]] = by_hand.get(row["type"], 0) + row["bytes"]
    assert [row["sum(bytes)"] for row in rows] == sorted(by_hand.values(), reverse=True)[:10]
    text = read("query", "--csv", "select snapshot, count(*) n from process group by 1 order by 1", *pair).stdout
    assert list(csv.DictReader(io.StringIO(text))) == [{"snapshot": "a.mi", "n": "1"}, {"snapshot": "b.mi", "n": "1"}]


def test_query_is_cut_at_its_limit(pair: tuple[str, str], read: Read) -> None:
    pytest.importorskip("duckdb")
    done = read("query", "--json", "--limit", "2", "select * from memory", *pair)
    document = json.loads(done.stdout)
    assert len(document["rows"]) == 2
    assert document["cut"]
    assert "--limit" in done.stderr


@pytest.mark.parametrize(
    "sql",
    ["selec", "select * from nowhere", "select 1; select 2", "", "select * from read_csv('/etc/passwd')",
     "select * from '/etc/passwd'", "copy memory to 'out.csv'", "attach 'out.db'", "install httpfs", "load httpfs",
     "set enable_external_access = true", "set lock_configuration = false", "export database 'out'",
     "select * from snapshots", "select * from sql", "select error('x\ny')", "pragma database_list; select 1"],
)  # fmt: skip
def test_sql_that_is_refused(
    sql: str, pair: tuple[str, str], read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("duckdb")
    monkeypatch.chdir(tmp_path)
    done = read("query", sql, *pair, status=1)
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []


def test_report_and_map_of_a_snapshot(pair: tuple[str, str], read: Read) -> None:
    document = json.loads(run("report", "--json", pair[1]).stdout)
    jsonschema.validate(document, json.loads((SCHEMAS / "report-1.json").read_text()))
    assert document["findings"]
    snapshot = meminspect.load(pair[1])
    assert document["process"]["pid"] == snapshot.pid
    assert str(snapshot.pid) in read("map", pair[1]).stdout
    assert "is a snapshot" in read("report", pair[1], "argument", status=2).stderr


def test_damaged_ones_are_one_line(pair: tuple[str, str], read: Read, tmp_path: Path) -> None:
    import shutil

    bad = str(tmp_path / "bad.mi")
    shutil.copytree(pair[0], bad)
    Path(bad, "memory.parquet").write_bytes(b"")
    for words in (["diff", bad, pair[1]], ["report", bad], ["map", bad]):
        done = read(*words, status=1)
        assert done.stderr.count("\n") == 1
        assert "readable all the same" in done.stderr
    assert "not compared" in read("diff", "--partial", bad, pair[1]).stdout
