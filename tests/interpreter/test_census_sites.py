"""Allocation sites of a census against the lines that the tests allocate on, and against tracemalloc's own sums."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator

import pytest

from meminspect import census
from meminspect.models.census import Census, Site

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
pytestmark = pytest.mark.skipif(FREE_THREADED, reason="the census of mimalloc's heaps is not there yet")


class Planted:
    __slots__ = ("value",)


@pytest.fixture
def tracing() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def here(taken: Census, line: int) -> Site:
    assert taken.sites is not None
    [found] = [site for site in taken.sites if (site.file, site.line) == (__file__, line)]
    return found


def line_now() -> int:
    return sys._getframe(1).f_lineno


def test_each_line_has_what_it_allocated(tracing: None) -> None:
    objects, at_objects = [Planted() for _ in range(2000)], line_now()
    lists, at_lists = [[None] * 3 for _ in range(500)], line_now()
    taken = census(max_pause=None, sites=True)
    assert len(objects) + len(lists) == 2500
    site = here(taken, at_objects)
    assert [(row.count, row.what) for row in site.types if row.type and row.type.endswith("Planted")] == [
        (2000, "object")
    ]
    site = here(taken, at_lists)
    kinds = {(row.type, row.what): row for row in site.types}
    assert 400 < kinds["list", "object"].count <= 501  # some are from a free list, allocated before the tracing
    assert kinds[None, "buffer"].count == 500
    asked = 3 * 8 + taken.padding_bytes
    assert kinds[None, "buffer"].bytes == 500 * (asked + -asked % 16)
    assert [row.bytes for row in site.types] == sorted((row.bytes for row in site.types), reverse=True)


def test_sites_for_which_time_was_short_are_not_called_none(tracing: None) -> None:
    taken = census(max_pause=0.0, sites=True)
    assert taken.sites is None
    assert taken.sites_reason is not None
    assert "max_pause" in taken.sites_reason


def test_sites_and_what_was_not_traced_are_all_live_blocks(tracing: None) -> None:
    taken = census(max_pause=None, sites=True)
    assert taken.sites is not None
    assert taken.untraced_count is not None
    assert taken.untraced_bytes is not None
    assert sum(site.count for site in taken.sites) + taken.untraced_count == taken.small.count
    assert sum(site.bytes for site in taken.sites) + taken.untraced_bytes == taken.small.bytes
    for site in taken.sites:
        assert site.count == sum(row.count for row in site.types)


def test_blocks_of_a_line_are_as_many_as_tracemalloc_counts(tracing: None) -> None:
    made, at = [str(number) * 3 for number in range(1000, 3000)], line_now()
    taken = census(max_pause=None, sites=True)
    [own] = [
        row for row in tracemalloc.take_snapshot().statistics("lineno")
        if (row.traceback[0].filename, row.traceback[0].lineno) == (__file__, at)
    ]  # fmt: skip
    # the list's items are one large block, which a census tells apart
    assert own.count - here(taken, at).count == 1
    assert len(made) == 2000


def test_without_tracing_it_says_so() -> None:
    taken = census(max_pause=None, sites=True)
    assert taken.sites is None
    assert "tracemalloc is not tracing" in (taken.sites_reason or "")
    plain = census(max_pause=None)
    assert (plain.sites, plain.sites_reason) == (None, None)


def test_the_command_runs_a_program_under_tracemalloc() -> None:
    code = "class Kept: pass\nx = [Kept() for _ in range(3000)]"
    command = [sys.executable, "-m", "meminspect", "census", "--max-pause", "60", "--sites"]
    done = subprocess.run([*command, "--json", "-o", "-", "-c", code], capture_output=True, text=True, check=True)
    document = json.loads(done.stdout)
    [site] = [site for site in document["sites"] if (site["file"], site["line"]) == ("<string>", 2)]
    assert {(row["type"], row["what"], row["count"]) for row in site["types"]} >= {("__main__.Kept", "object", 3000)}
    assert document["untraced_count"] >= 0
    for wrong, said in (["--consistent"], "--sites"), (["--pid", "1"], "--sites"):
        refused = subprocess.run([*command, *wrong], capture_output=True, text=True)
        assert (refused.returncode, said in refused.stderr) == (2, True)
