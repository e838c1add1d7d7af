"""The report of real processes: its sections agree with each other, and its answer is the one that was planted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import meminspect
from meminspect import _native
from meminspect.analysis.tree import deepest_mismatch
from meminspect.models.report import Report
from meminspect.probes import heap, raw
from meminspect.probes.report import build
from meminspect.views import report_json

PROGRAM = Path(__file__).parent.parent / "programs" / "scattered.py"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
COUNT, STRIDE = 400_000, 100
MIB = 1 << 20

with_gil = pytest.mark.skipif(FREE_THREADED, reason="a free-threaded build has no pymalloc arenas")


@pytest.fixture(scope="module")
def schema() -> Any:
    text = files("meminspect").joinpath("schemas", "report-1.json").read_text("utf-8")
    return jsonschema.Draft202012Validator(json.loads(text))


@pytest.fixture(scope="module")
def report() -> Report:
    return meminspect.report()


def test_a_report_of_this_process_is_complete_and_valid(report: Report, schema: Any) -> None:
    assert report.missing == {}
    schema.validate(json.loads(report_json.render(report)))
    assert report.process.pid == os.getpid()
    assert meminspect.render(report, width=80).startswith("meminspect · ")


def test_the_tree_sums_to_rss_and_every_node_to_its_children(report: Report) -> None:
    assert report.memory is not None
    assert deepest_mismatch(report.memory.tree) is None
    assert abs(report.memory.tree.bytes - report.memory.rss_bytes) <= 0.005 * report.memory.rss_bytes


def test_the_first_finding_is_about_memory(report: Report) -> None:
    assert report.findings[0].concern == "memory"
    assert not [finding for finding in report.findings if finding.id in ("cross_check", "tree_sum")]


@with_gil
def test_live_blocks_by_class_are_those_of_the_pools() -> None:
    found = heap.build(_native.heap_capture(pools=True))
    for arena in found.arenas:
        pools: dict[int, int] = {}
        for pool in found.pools(arena):
            if pool.size_class is not None and pool.used:
                pools[pool.size_class] = pools.get(pool.size_class, 0) + pool.used
        assert found.live_by_class(arena) == pools
        assert sum(pools.values()) == arena.used_blocks


@with_gil
def test_a_drawn_capture_has_each_pool_and_block_and_hides_neither() -> None:
    """The bitmap of an arena has as many bits as it has live blocks; both tables are named in the tree as ours."""
    kept = [str(number) * 4 for number in range(200_000)][::50]
    found = build(raw.take(drawn=True))
    heap_map, memory = found.pymalloc, found.memory
    assert heap_map is not None
    assert memory is not None
    assert heap_map.has_pools
    tables = 0
    for arena in heap_map.arenas:
        bitmap = heap_map.live_blocks(arena)
        assert bitmap is not None
        assert int.from_bytes(bitmap, "little").bit_count() == arena.used_blocks
        tables += len(bitmap)
    ours = memory.tree.find("meminspect")
    assert ours is not None
    assert ours.bytes >= tables
    plain = build(raw.take()).pymalloc
    assert plain is not None
    assert not plain.has_pools
    assert plain.live_blocks(plain.arenas[0]) is None
    assert len(kept) == 4000


def points(*args: str, **env: str) -> dict[str, Any]:
    run = subprocess.run(
        [sys.executable, str(PROGRAM), str(COUNT), str(STRIDE), *args],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | env,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return {row["point"]: row["report"] for row in map(json.loads, run.stdout.splitlines())}


@pytest.fixture(scope="module")
def scattered() -> dict[str, Any]:
    return points(PYTHONMALLOC="pymalloc")


@with_gil
def test_scattered_survivors_are_named_as_what_keeps_the_arenas(scattered: dict[str, Any], schema: Any) -> None:
    for document in scattered.values():
        schema.validate(document)
        assert document["pymalloc"]["cross_check"]["agrees"] is True
    document = scattered["scattered"]
    lead = document["findings"][0]
    assert lead["id"] == "pymalloc_fragmentation"
    figures = lead["figures"]
    assert COUNT // STRIDE * 0.95 <= figures["keeper_blocks"] <= COUNT // STRIDE * 1.5
    kept = document["pymalloc"]["fragmentation"]["arenas_kept"]
    assert kept >= 0.9 * len(scattered["made"]["pymalloc"]["arenas"])
    assert figures["arenas_sparse"] >= 0.6 * kept
    assert f"live blocks of {figures['keeper_size']} bytes" in lead["text"]
    assert lead["try"]


@with_gil
def test_the_other_two_points_hold_nothing_back(scattered: dict[str, Any]) -> None:
    made, freed = scattered["made"], scattered["freed"]
    assert made["findings"][0]["id"] == "rss_composition"
    assert made["pymalloc"]["fragmentation"]["fragmentation"] < 0.1
    assert freed["pymalloc"]["arenas_total"] < 0.6 * made["pymalloc"]["arenas_total"]
    assert freed["findings"][0]["id"] != "pymalloc_fragmentation"
    assert freed["memory"]["rss_bytes"] < made["memory"]["rss_bytes"] - COUNT * 40


@with_gil
@pytest.mark.skipif(not os.confstr("CS_GNU_LIBC_VERSION"), reason="the C library is not glibc")
def test_under_pythonmalloc_malloc_glibc_is_named_before_and_after_a_trim() -> None:
    documents = points("trim", PYTHONMALLOC="malloc")
    for document in documents.values():
        assert document["pymalloc"]["cross_check"]["agrees"] is None
        assert document["python"]["allocator"] == "malloc"
    before, after = documents["scattered"], documents["scattered, trimmed"]
    lead = before["findings"][0]
    assert lead["id"] == "glibc_retained"
    predicted = lead["figures"]["trim_would_return_bytes"]
    returned = before["memory"]["rss_bytes"] - after["memory"]["rss_bytes"]
    assert abs(returned - predicted) <= max(2 * MIB, 0.05 * predicted)
    assert after["memory"]["trim_would_return_bytes"] < MIB
    assert "pymalloc_off" in [finding["id"] for finding in after["findings"]]
