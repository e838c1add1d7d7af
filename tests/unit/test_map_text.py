"""The map on a terminal, marked by what pools hold."""

from __future__ import annotations

import pytest
from report_samples import heap_of, memory_of, report_of, tree_of

from meminspect.models.contents import UNKNOWN, Contents
from meminspect.models.heap import HeapMap
from meminspect.models.report import Report
from meminspect.views import map_text

EVIL = "\x1b[31m</script>"


def page_of(heap: HeapMap) -> Report:
    return report_of(heap, memory_of(tree_of(heap, {})))


def lines_of(page: str, heading: str) -> list[str]:
    lines = page.splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith(heading))
    return [line.strip() for line in lines[start:]]


def test_by_size_class() -> None:
    heap = heap_of([[(64, 10)] * 3 + [(32, 5)] * 2])
    lines = lines_of(map_text.render(page_of(heap), by="class"), "Each arena")
    assert any("A 64 bytes" in line and "B 32 bytes" in line for line in lines)
    assert any(line.startswith("AAABB") for line in lines)


def test_by_content() -> None:
    heap = heap_of([[(64, 10)] * 4 + [(32, 5)]])
    [arena] = heap.arenas
    pools = heap.pools(arena)
    places = [0, 0, 1, UNKNOWN, 0] + [UNKNOWN] * (len(pools) - 5)
    contents = Contents((EVIL, "list: items"), {arena.address: places}, {})
    page = map_text.render(page_of(heap), by="content", contents=contents)
    lines = lines_of(page, "Each arena")
    assert any("B list: items" in line and "? unknown" in line for line in lines)
    assert any(line.startswith("AAB?A") for line in lines)
    assert "\x1b" not in page


@pytest.mark.parametrize("contents", [None, Contents(("x",), {}, {})])
def test_what_is_not_known_is_said(contents: Contents | None) -> None:
    page = map_text.render(page_of(heap_of([[(64, 10)] * 3])), by="content", contents=contents)
    assert "What the pools hold is not known" in page or "? unknown" in page


def test_more_kinds_than_letters() -> None:
    sizes = [16 * number for number in range(1, 21)]
    page = map_text.render(page_of(heap_of([[(size, 3) for size in sizes]])), by="class")
    lines = lines_of(page, "Each arena")
    assert any("+ anything else" in line for line in lines)
    assert any("+" in line and line.startswith("ABC") for line in lines)
