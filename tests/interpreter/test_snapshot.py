"""Snapshots: what is written is what was measured, whole or not there at all; hostile ones are refused in one line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("pyarrow")
import meminspect
from meminspect.errors import SnapshotError
from meminspect.store import folder
from meminspect.store.read import load
from meminspect.store.schema import BY_NAME, FILES, MANIFEST, SEPARATOR, TABLES

pytestmark = pytest.mark.imports_much  # pandas
ROOT = Path(__file__).parents[2]


class Planted:
    pass


@pytest.fixture(scope="module")
def kept() -> list[Planted]:
    return [Planted() for _ in range(1234)]


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory, kept: list[Planted]) -> Path:
    path = tmp_path_factory.mktemp("taken") / "one.mi"
    meminspect.snapshot(path, max_pause=60.0)
    return path


@pytest.fixture
def copy(taken: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(taken, tmp_path / "copy.mi"))


def change_manifest(path: Path, **changes: object) -> None:
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps({**manifest, **changes}))


def test_folder_is_for_its_owner_alone(taken: Path) -> None:
    assert stat.S_IMODE(taken.stat().st_mode) == 0o700
    assert {entry.name for entry in taken.iterdir()} <= FILES
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in taken.iterdir()} == {0o600}
    assert os.listdir(taken.parent) == [taken.name]


def test_this_process_imports_no_pyarrow(tmp_path: Path) -> None:
    code = (
        "import sys, meminspect; meminspect.snapshot(sys.argv[1]);"
        "found = {name.partition('.')[0] for name in sys.modules};"
        "assert not found & {'pyarrow', 'duckdb', 'numpy', 'rich', 'click'}, found"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.mi")], check=True)


def test_figures_are_those_of_this_process(taken: Path) -> None:
    snapshot = load(taken)
    assert (snapshot.pid, snapshot.host) == (os.getpid(), os.uname().nodename)
    assert snapshot.whole
    report = snapshot.report()
    assert report.memory is not None
    assert report.memory.tree.bytes == sum(leaf.bytes for leaf in report.memory.tree.leaves())
    assert abs(report.memory.rss_bytes - report.memory.tree.bytes) <= report.memory.unattributed_bytes
    if "arenas" in snapshot.tables:
        heap = report.pymalloc
        assert heap is not None
        assert sum(row["used_bytes"] for row in snapshot.rows("arenas")) == heap.bytes.used_bytes  # type: ignore[union-attr]
        if "pools" in snapshot.tables:
            assert sum(row["used"] for row in snapshot.rows("pools")) == sum(a.used_blocks for a in heap.arenas)


def test_census_counts_planted_objects(taken: Path, kept: list[Planted]) -> None:
    snapshot = load(taken)
    if not snapshot.has_census:
        pytest.skip(f"no census: {snapshot.missing}")
    [row] = [row for row in snapshot.rows("census") if row["type"] == "Planted"]
    assert (row["module"], row["count"]) == (__name__, len(kept))
    census = snapshot.census()
    assert sum(item.bytes for item in census.types) == sum(row["bytes"] for row in snapshot.rows("census"))


def test_models_come_back_as_they_were(taken: Path, tmp_path: Path) -> None:
    from meminspect import _native
    from meminspect.probes import report
    from meminspect.store.write import census_of_raw, write

    captured = _native.raw_take(stored=True)
    before = report.build(captured, {"pid": os.getpid()})
    census, reason = census_of_raw(captured["census"])
    write(before, census, str(tmp_path / "a.mi"), census_reason=reason)
    snapshot = load(tmp_path / "a.mi")
    after = snapshot.report()
    assert after.to_dict() == before.to_dict()
    if before.pymalloc is not None and before.pymalloc.has_pools and after.pymalloc is not None:
        for arena in before.pymalloc.arenas:
            assert after.pymalloc.pools(arena) == before.pymalloc.pools(arena)
    if snapshot.has_census:
        assert snapshot.census() == census


def test_every_column_is_documented(taken: Path) -> None:
    page = (ROOT / "docs" / "snapshots.md").read_text()
    manifest = json.loads((taken / MANIFEST).read_text())
    for table in TABLES:
        assert f"\n## {table.name}\n" in page
        section = page.partition(f"\n## {table.name}\n")[2].partition("\n## ")[0]
        assert [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| `")] == [
            f"`{column.name}`" for column in table.columns
        ]
        if table.name in manifest["tables"]:
            columns = manifest["tables"][table.name]["columns"]
            assert [column["name"] for column in columns] == [column.name for column in table.columns]
            assert all(column["description"] and column["type"] for column in columns)


def test_a_figure_out_of_range_takes_its_table_alone(taken: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    from meminspect.store.write import write

    report = load(taken).report()
    assert report.gc is not None
    first = replace(report.gc.generations[0], count=1 << 64)
    broken = replace(report, gc=replace(report.gc, generations=(first, *report.gc.generations[1:])))
    write(broken, None, str(tmp_path / "a.mi"))
    snapshot = load(tmp_path / "a.mi")
    assert "out of range" in snapshot.missing["gc"]
    assert snapshot.rows("memory")
    assert not (tmp_path / "a.mi" / "gc.parquet").exists()


def test_existing_one_stays(taken: Path) -> None:
    before = (taken / MANIFEST).read_bytes()
    with pytest.raises(SnapshotError, match="exists; --force"):
        meminspect.snapshot(taken)
    assert (taken / MANIFEST).read_bytes() == before


def test_force_replaces_snapshots_alone(copy: Path) -> None:
    before = json.loads((copy / MANIFEST).read_text())["taken_s"]
    meminspect.snapshot(copy, force=True)
    assert json.loads((copy / MANIFEST).read_text())["taken_s"] > before
    assert os.listdir(copy.parent) == [copy.name]
    (copy / "precious").write_text("mine")
    with pytest.raises(SnapshotError, match="precious"):
        meminspect.snapshot(copy, force=True)
    assert (copy / "precious").read_text() == "mine"


def test_force_without_exchange(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "rename", lambda source, target, flags: False)  # as an older file system
    with folder.new_folder(str(copy), force=True) as made:
        (Path(made) / MANIFEST).write_text("new")
    assert (copy / MANIFEST).read_text() == "new"
    assert os.listdir(tmp_path) == [copy.name]


@pytest.mark.parametrize("name", ["plain", "missing/x.mi", ".mi"])
def test_unfit_names(name: str, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError):
        meminspect.snapshot(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_killed_writer_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    target = tmp_path / "a.mi"
    code = (
        "import sys, time\nfrom meminspect.store import folder\n"
        "with folder.new_folder(sys.argv[1], force=False) as made:\n"
        "    open(made + '/arenas.parquet', 'w').write('half'); print('up', flush=True); time.sleep(600)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, str(target)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"up\n"
    [half] = os.listdir(tmp_path)
    meminspect.snapshot(target)  # another writer does not touch the folder of one that lives
    assert sorted(os.listdir(tmp_path)) == sorted([half, "a.mi"])
    shutil.rmtree(target)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    assert os.listdir(tmp_path) == [half]
    assert half.endswith(folder.UNFINISHED)
    meminspect.snapshot(target)
    assert os.listdir(tmp_path) == ["a.mi"]
    assert load(target).whole


def test_writer_killed_at_any_moment(tmp_path: Path) -> None:
    target = tmp_path / "a.mi"
    command = [sys.executable, "-m", "meminspect", "snapshot", "--force", "-o", str(target), "-c", "pass"]
    for tenths in (3, 6, 9, 12):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        time.sleep(tenths / 10)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if target.exists():
            assert load(target).whole
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    assert os.listdir(tmp_path) == ["a.mi"]


def test_newer_schema(copy: Path) -> None:
    change_manifest(copy, schema=99, meminspect="9.9")
    with pytest.raises(SnapshotError, match=r"from meminspect 9\.9, with schema 99.*readable all the same") as caught:
        load(copy)
    assert "memory" in caught.value.readable
    partial = load(copy, partial=True)
    assert not partial.whole
    assert partial.rows("memory")


def test_damaged_table_is_named_and_the_rest_offered(copy: Path) -> None:
    (copy / "memory.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(SnapshotError, match=r"damaged: memory\.parquet.*checksum") as caught:
        load(copy)
    assert "memory" not in caught.value.readable
    assert "gc" in caught.value.readable
    partial = load(copy, partial=True)
    assert "checksum" in partial.missing["memory"]
    assert partial.report().memory is None
    with pytest.raises(SnapshotError, match="memory"):
        partial.table("memory")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", '{"format": "other"}', "[" * 100_000, "\0", '"x"'])
def test_damaged_manifest(copy: Path, text: str) -> None:
    (copy / MANIFEST).write_text(text)
    with pytest.raises(SnapshotError):
        load(copy)
    partial = load(copy, partial=True)
    assert partial.rows("memory")
    with pytest.raises(SnapshotError, match="tables only"):
        partial.report()


def test_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "empty.mi").mkdir()
    (tmp_path / "file.mi").write_text("")
    for name in ("empty.mi", "file.mi", "none.mi", "other"):
        with pytest.raises(SnapshotError):
            load(tmp_path / name)
        with pytest.raises(SnapshotError):
            load(tmp_path / name, partial=True)


def test_links_and_pipes_are_not_followed(copy: Path) -> None:
    (copy / "gc.parquet").unlink()
    (copy / "gc.parquet").symlink_to("/etc/passwd")
    (copy / "memory.parquet").unlink()
    os.mkfifo(copy / "memory.parquet")  # opening one that nobody writes would wait for ever
    with pytest.raises(SnapshotError):
        load(copy)
    partial = load(copy, partial=True)
    assert "link" in partial.missing["gc"]
    assert "plain file" in partial.missing["memory"]


def test_paths_in_the_manifest_are_not_used(copy: Path, tmp_path: Path) -> None:
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["tables"]["gc"]["file"] = "../../secret"
    manifest["tables"]["../secret"] = manifest["tables"]["gc"]
    (copy / MANIFEST).write_text(json.dumps(manifest))
    assert "../secret" not in load(copy).tables


def rewrite(path: Path, name: str, table: object, **options: object) -> None:
    """Another's table under a manifest that agrees with it."""
    import hashlib

    from pyarrow import parquet

    parquet.write_table(table, path / f"{name}.parquet", **options)
    manifest = json.loads((path / MANIFEST).read_text())
    data = (path / f"{name}.parquet").read_bytes()
    manifest["tables"][name].update(sha256=hashlib.sha256(data).hexdigest(), rows=table.num_rows)  # type: ignore[attr-defined]
    (path / MANIFEST).write_text(json.dumps(manifest))


def test_foreign_columns(copy: Path) -> None:
    import pyarrow as pa

    rewrite(copy, "gc", pa.table({"index": [0], "name": [1]}))
    with pytest.raises(SnapshotError, match="column"):
        load(copy)


@pytest.mark.parametrize("column", ["holder_name", "tstate_switches"])  # text, which is read as a dictionary, and not
def test_a_column_that_is_missing_is_named(copy: Path, column: str) -> None:
    from pyarrow import parquet

    rewrite(copy, "gil", parquet.read_table(copy / "gil.parquet").drop_columns([column]))
    with pytest.raises(SnapshotError, match=rf"gil\.parquet has no column '{column}'"):
        load(copy)


def test_text_that_unpacks_to_very_much(copy: Path) -> None:
    import pyarrow as pa

    good = load(copy).table("gil")
    long = pa.array(["x" * 1_000_000])
    table = good.slice(0, 1).set_column(good.column_names.index("holder_name"), "holder_name", long)
    rewrite(copy, "gil", table)
    with pytest.raises(SnapshotError, match="text of more than"):
        load(copy).table("gil")


def test_a_tree_that_is_none(copy: Path) -> None:
    import pyarrow as pa

    table = load(copy).table("memory")
    parents = pa.array([None, 1, *[1] * (len(table) - 2)], pa.int64())
    rewrite(copy, "memory", table.set_column(1, "parent", parents))
    with pytest.raises(SnapshotError, match="no tree"):
        load(copy).report()


@pytest.mark.parametrize(
    ("key", "value"),
    [("memory", {"rss_bytes": "many"}), ("process", []), ("python", None), ("gil", [{"enabled": 3}]), ("gc", {"a": 1})],
)
def test_foreign_facts(copy: Path, key: str, value: object) -> None:
    facts = json.loads((copy / MANIFEST).read_text())["facts"]
    change_manifest(copy, facts={**facts, key: value})
    with pytest.raises(SnapshotError):
        load(copy).report()


@pytest.mark.ends  # files are read; each kind of damage has a test of its own above, on every interpreter
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_is_one_error(taken: Path, tmp_path: Path, data: st.DataObject) -> None:
    path = Path(shutil.copytree(taken, tmp_path / f"{time.monotonic_ns()}.mi"))
    name = data.draw(st.sampled_from(sorted(entry.name for entry in path.iterdir())))
    content = bytearray((path / name).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    (path / name).write_bytes(content)
    if name != MANIFEST:
        with pytest.raises(SnapshotError, match="damaged"):
            load(path)
    without_checksums = data.draw(st.booleans())
    if without_checksums:
        (path / MANIFEST).unlink(missing_ok=True)
    try:
        snapshot = load(path, partial=True)
        for table in snapshot.tables:
            snapshot.table(table)
        snapshot.report()
        said = ""
    except SnapshotError as error:
        said = str(error)
    assert "\n" not in said
    shutil.rmtree(path)


def test_others_read_the_tables(taken: Path) -> None:
    expected = sum(row["bytes"] for row in load(taken).rows("memory") if row["leaf"])
    read = 0
    for library in ("pandas", "polars", "duckdb"):
        file = str(taken / "memory.parquet")
        try:
            module = __import__(library)
        except ImportError:
            continue
        read += 1
        if library == "duckdb":
            [(found,)] = module.sql(f"select sum(bytes) from '{file}' where leaf").fetchall()
        else:
            frame = module.read_parquet(file)
            found = frame["bytes"][frame["leaf"]].sum() if library == "pandas" else frame.filter("leaf")["bytes"].sum()
        assert int(found) == expected
    if not read:
        pytest.skip("none of pandas, polars and duckdb is installed")


def test_paths_are_joined(taken: Path) -> None:
    rows = {row["id"]: row for row in load(taken).rows("memory")}
    for row in rows.values():
        if row["depth"] > 1:
            assert row["path"] == rows[row["parent"]]["path"] + SEPARATOR + row["name"]
    assert set(BY_NAME) >= {"census", "arenas", "memory"}
