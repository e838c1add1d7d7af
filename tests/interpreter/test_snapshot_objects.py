"""Every object and reference of a snapshot: its columns come back as they were captured, and are what was made."""

from __future__ import annotations

import json
import marshal
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")
import pyarrow as pa

import meminspect
from meminspect.errors import SnapshotError
from meminspect.store import objects
from meminspect.store.read import load
from meminspect.store.schema import BY_NAME
from meminspect.store.why import loss
from meminspect.store.write import arrow_schema

CHAIN = """
class Node:
    __slots__ = ("next", "text")
first = None
for number in range(1000):
    node = Node()
    node.next, node.text = first, f"a text of its own {number}"
    first = node
del node
"""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    (folder / "chain.py").write_text(CHAIN)
    command = [sys.executable, "-m", "meminspect", "snapshot", "--objects", "--max-pause", "60", "-o", "chain.mi"]
    done = subprocess.run([*command, "chain.py"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "chain.mi"


def test_a_chain_is_found_link_by_link(chain: Path) -> None:
    graph = objects.graph(load(chain))
    nodes = [at for at in range(graph.objects) if graph.names[graph.types[at]] == ("__main__", "Node")]
    assert len(nodes) == 1000
    following = {at: list(graph.edges[graph.offsets[at] : graph.offsets[at + 1]]) for at in nodes}
    kinds = [sorted(graph.names[graph.types[to]][1] for to in to_all) for to_all in following.values()]
    assert kinds.count(["Node", "str", "type"]) == 999
    ends = [at for at in nodes if not any(to in following for to in following[at])]
    starts = set(nodes) - {to for to_all in following.values() for to in to_all}
    assert (len(ends), len(starts)) == (1, 1)
    [at] = starts
    for _ in range(999):
        [at] = [to for to in following[at] if to in following]
    assert [at] == ends
    assert all(graph.sizes[at] >= 48 for at in nodes)  # GC head, header, two slots
    assert list(graph.addresses) == sorted(graph.addresses)


@pytest.fixture(scope="module")
def captured() -> dict[str, Any]:
    """What the core captures of a small process: this one has a million objects by now, and each would be compared."""
    program = "import marshal, sys\nfrom meminspect import _native\n"
    program += "sys.stdout.buffer.write(marshal.dumps(_native.graph_capture(None)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    raw: dict[str, Any] = marshal.loads(done.stdout)
    return raw


def test_the_columns_come_back_as_they_were_captured(captured: dict[str, Any]) -> None:
    raw = captured
    assert raw["objects"] > 5000
    tables = {}
    for name in ("objects", "edges"):
        schema = arrow_schema(BY_NAME[name])
        parts = [pa.Table.from_arrays(part, schema=schema) for part in objects.batches(name, raw)]
        tables[name] = pa.concat_tables(parts)
    graph = objects.graph_of("here", tables["objects"], tables["edges"])
    assert graph.objects == raw["objects"]
    assert graph.roots == tuple(raw["roots"])
    assert graph.addresses.tobytes() == raw["addresses"]
    assert graph.offsets.tobytes() == raw["offsets"]
    assert array("I", graph.edges).tobytes() == raw["edges"]
    assert array("I", (size // raw["unit"] for size in graph.sizes)).tobytes() == raw["sizes"]
    assert array("I", graph.unexplained).tobytes() == raw["unexplained"]
    theirs = array("I", raw["types"])
    for at in range(0, graph.objects, 97):
        assert graph.names[graph.types[at]] == tuple(map(objects.shown, raw["names"][theirs[at]]))


def why(*words: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "meminspect", "why", "--json", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout or done.stderr)
    return answer


def test_why_answers_as_of_the_program_itself(chain: Path) -> None:
    """The program's answer is the core's, the snapshot's is from its tables."""
    kept, live = why("Node", chain.name, folder=chain.parent), why("Node", "chain.py", folder=chain.parent)
    for key in ("objects", "own_bytes", "retained_objects", "retained_bytes", "holder_count", "unexplained_references"):
        assert kept[key] == live[key], key
    assert {row["type"]: row["count"] for row in kept["holders"]} == {
        row["type"]: row["count"] for row in live["holders"]
    }
    assert kept["path_to_root"]["root"] == "modules"
    assert [step["type"] for step in kept["path_to_root"]["steps"]][-2:] == ["dict", "Node"]
    assert kept["arenas"] is None
    one = why(hex(kept["sample"]["address"]), chain.name, folder=chain.parent)
    assert one["objects"] == 1
    assert one["sample"] == kept["sample"]


def test_why_says_what_is_not_there(chain: Path, tmp_path: Path) -> None:
    assert "no object of this type" in why("NoSuchType", chain.name, folder=chain.parent)["reason"]
    meminspect.snapshot(tmp_path / "bare.mi")
    command = [sys.executable, "-m", "meminspect", "why", "Node", str(tmp_path / "bare.mi")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "was taken without --objects" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_sql_asks_who_refers_to_whom(chain: Path) -> None:
    pytest.importorskip("duckdb")
    sql = (
        "select count(*) as links from edges e join objects a on a.id = e.source join objects b on b.id = e.target "
        "where a.type = 'Node' and b.type = 'Node'"
    )
    command = [sys.executable, "-m", "meminspect", "query", "--json", sql, str(chain)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "999" in done.stdout


def test_of_the_process_that_takes_it(tmp_path: Path) -> None:
    program = (
        "import json, meminspect\n"
        "kept = [{'key': number} for number in range(500)]\n"
        "meminspect.snapshot('own.mi', objects=True, max_pause=None)\n"
        "print(json.dumps([id(item) for item in kept]))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
    addresses = set(objects.graph(load(tmp_path / "own.mi")).addresses)
    assert set(json.loads(done.stdout)) <= addresses


def test_without_objects_it_says_so(tmp_path: Path) -> None:
    meminspect.snapshot(tmp_path / "own.mi")
    snapshot = load(tmp_path / "own.mi")
    assert "objects" not in snapshot.tables
    assert "objects" not in snapshot.missing
    with pytest.raises(SnapshotError, match="was taken without --objects"):
        objects.graph(snapshot)


def test_what_contradicts_itself_is_refused(chain: Path) -> None:
    snapshot = load(chain)
    nodes, edges = snapshot.table("objects"), snapshot.table("edges")
    outside = edges.set_column(1, "target", pa.array([nodes.num_rows] * edges.num_rows, pa.int64()))
    backwards = edges.take(list(range(edges.num_rows - 1, -1, -1)))
    for changed_nodes, changed_edges in ((nodes, outside), (nodes, backwards), (nodes.slice(1), edges)):
        with pytest.raises(SnapshotError, match="is damaged"):
            objects.graph_of("x.mi", changed_nodes, changed_edges)


def test_what_retains_most_is_the_cores_answer(captured: dict[str, Any]) -> None:
    """The tree over a snapshot's arrays, against what is lost when an object is taken out of them."""
    from meminspect.store.retained import top_retained

    tables = {}
    for name in ("objects", "edges"):
        schema = arrow_schema(BY_NAME[name])
        parts = [pa.Table.from_arrays(part, schema=schema) for part in objects.batches(name, captured)]
        tables[name] = pa.concat_tables(parts)
    graph = objects.graph_of("here", tables["objects"], tables["edges"])
    top = top_retained(graph, 10)
    assert top.total_bytes == sum(graph.sizes)
    assert len(top.rows) == 10
    assert [row.retained_bytes for row in top.rows] == sorted((row.retained_bytes for row in top.rows), reverse=True)
    for row in top.rows[:2]:
        if row.path.steps:
            at = graph.addresses.index(row.node.address)
            assert row.retained_bytes == sum(graph.sizes[lost] for lost in loss(graph, [at]))
            assert row.path.steps[-1].node == row.node


CHURN = """
import json, sys, threading
import meminspect
from meminspect import _native
class Passing:
    __slots__ = ("value",)
class Still: pass
kept, count = [Passing() for _ in range(5000)], sys.getrefcount(Still)
stop = False
def churn(size):
    while not stop:
        held = [Passing() for _ in range(size)]
        for item in held: item.value = [item]
        for item in held: item.value = None
        del held, item
threads = [threading.Thread(target=churn, args=(size,)) for size in (700, 1100, 1900)]
for thread in threads: thread.start()
try:
    for number in range(3):
        meminspect.snapshot(f"{number}.mi", objects=True, consistent=True, max_pause=None)
    meminspect.snapshot("live.mi", objects=True, max_pause=None)
    alone = _native.graph_capture(None, True)
    assert alone["consistent"] and not alone["with_census"] and alone["objects"] > 5000
finally:
    stop = True
    for thread in threads: thread.join()
assert sys.getrefcount(Still) == count  # types were held while copies were read, and are no more
"""


def test_census_and_references_of_a_copy_are_of_one_moment(tmp_path: Path) -> None:
    """Threads make and drop objects all the while: what both count agrees to the object, type by type."""
    subprocess.run([sys.executable, "-c", CHURN], cwd=tmp_path, check=True)
    seen = set()
    for number in range(3):
        snapshot = load(tmp_path / f"{number}.mi")
        assert snapshot.one_moment is True
        manifest = json.loads((tmp_path / f"{number}.mi" / "manifest.json").read_text())
        assert manifest["objects"]["consistent"] is manifest["objects"]["with_census"] is True
        assert manifest["objects"]["reasons"] == []
        assert snapshot.census().consistent
        counted = {row.name: row.count for row in snapshot.census().types}
        graph = objects.graph(snapshot)
        kinds = [".".join(filter(None, graph.names[kind])) for kind in graph.types]
        assert counted["__main__.Passing"] == kinds.count("__main__.Passing") >= 5000
        for name in ("threading.Thread", "threading.Event", "threading.Condition", "_io.TextIOWrapper"):
            assert counted[name] == kinds.count(name) > 0, name
        seen.add(counted["__main__.Passing"])
    assert len(seen) > 1, "nothing changed meanwhile"
    live = load(tmp_path / "live.mi")
    assert live.one_moment is False
    assert live.census().consistent is False


def test_no_copy_no_census_and_no_references(tmp_path: Path) -> None:
    """Both were asked for of one moment: neither is taken from the process itself, and the manifest says why."""
    program = (
        "import meminspect\nfrom meminspect import _native\n"
        "_native.clone_room = lambda: (0, 'a test')\n"
        "meminspect.snapshot('none.mi', objects=True, consistent=True, max_pause=None)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    snapshot = load(tmp_path / "none.mi")
    assert snapshot.one_moment is None
    assert "objects" not in snapshot.tables
    assert "a test" in snapshot.missing["objects"]
    assert "a test" in snapshot.missing["census"]
