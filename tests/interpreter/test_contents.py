"""What single blocks hold, against objects that the test made, and the order in which arenas are drawn."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from meminspect import _native

PROGRAM = """
import ctypes, gc, json, sys
from bisect import bisect_right
from struct import iter_unpack
from meminspect import _native
from meminspect.probes import contents, heap

class Point:
    __slots__ = ("x", "y")

class Plain:
    pass

# no other object or buffer of these has the size of a Point: pools are told as what most of their blocks hold
kept = [(Point(), [number] * 9, "text %d" % number, number + 0.5) for number in range(20_000)]
kept = kept[::10]
plain = [Plain() for _ in range(100)]
gc.collect()
raw = _native.census_capture(None, contents=MOST)
found = contents.build(raw)
wanted = {}
for point, items, text, number in kept:
    wanted[id(point)] = "__main__.Point"
    wanted[id(items)] = "list"
    wanted[id(text)] = "str"
    wanted[id(number)] = "float"
for _, items, _, _ in kept:  # list's ob_item is the word behind its length
    wanted[ctypes.c_size_t.from_address(id(items) + 24).value] = "list: items"
told = {}
for arena in found._blocks:
    for unit, place in found.blocks(arena).items():
        told[arena + unit * 16] = found.names[place] if place < len(found.names) else None
arenas = [row for row in iter_unpack("<QQII", raw["contents"]["arenas"])]
starts = sorted(told)
def block_of(address):  # a GC head, a pre-header and a debug allocator's padding stand before the object
    return told[starts[bisect_right(starts, address) - 1]]
wrong = {address: (name, block_of(address)) for address, name in wanted.items() if block_of(address) != name}
point_pools = sum(
    found.names[place] == "__main__.Point" for pools in found.pool_names.values() for place in pools if place < 0xffff
)
print(json.dumps({
    "wanted": len(wanted), "wrong": list(wrong.values())[:5], "wrong_count": len(wrong), "told": len(told),
    "arenas": len(arenas),
    "told_arenas": sum(1 for row in arenas if row[2]), "point_pools": point_pools,
    "empty_arenas": sum(
        1 for row in arenas if not row[2] and set(found.pool_names[row[0]]) <= {contents.UNKNOWN}
    ),
}))
"""

WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
needs_pymalloc = pytest.mark.skipif(not WITH_GIL, reason="the census of free-threaded builds tells no single blocks")


def run(most: int) -> dict[str, Any]:
    command = [sys.executable, "-c", PROGRAM.replace("MOST", str(most))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@needs_pymalloc
def test_each_block_is_told_as_what_was_put_there() -> None:
    found = run(10_000_000)
    # an arena may have become empty, and been kept
    assert found["empty_arenas"] <= 1
    assert found["told_arenas"] + found["empty_arenas"] == found["arenas"]
    assert found["wanted"] > 9_000
    assert found["wrong_count"] == 0, found["wrong"]
    assert found["point_pools"] > 0


@needs_pymalloc
def test_a_budget_takes_the_emptiest_arenas() -> None:
    found = run(30_000)
    assert 0 < found["told"] <= 30_000
    assert 0 < found["told_arenas"] < found["arenas"]


EMPTIEST = """
import json
from meminspect import _native
from meminspect.probes import heap
kept = [bytes(400) for _ in range(60_000)]
del kept[2000:50_000:2], kept[10_000:20_000]
report = []
for max_pause in (None, 0.0):
    raw = _native.heap_capture(0, True, True, max_pause=max_pause)
    model = heap.build(raw)
    report.append([(model.live_blocks(arena) is not None, arena.used_blocks) for arena in model.arenas])
whole = heap.build(_native.heap_capture(0, True, True, max_pause=None))
matches = all(
    sum(byte.bit_count() for byte in whole.live_blocks(arena)) == arena.used_blocks for arena in whole.arenas
)
print(json.dumps({"report": report, "matches": matches, "marked": [raw["marked"] is not None]}))
"""


@needs_pymalloc
def test_every_arena_has_its_bitmap_where_there_is_time() -> None:
    done = subprocess.run([sys.executable, "-c", EMPTIEST], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    whole, none = found["report"]
    assert len(whole) > 10
    assert all(known for known, _ in whole)
    assert found["matches"]
    assert not any(known for known, _ in none)


@needs_pymalloc
def test_bitmaps_come_emptiest_first() -> None:
    """What has no bitmap is never emptier than what has one, whenever the time was up."""
    kept = [bytes(300) for _ in range(300_000)]
    del kept[::2], kept[:50_000]
    from meminspect.probes import heap

    partial = 0
    for microseconds in range(100, 20_000, 300):
        model = heap.build(_native.heap_capture(0, True, True, max_pause=microseconds * 1e-6))
        drawn = {arena.address: model.live_blocks(arena) is not None for arena in model.arenas if arena.used_blocks}
        if not any(drawn.values()) or all(drawn.values()):
            continue
        partial += 1
        used = {arena.address: arena.used_bytes for arena in model.arenas}
        most = max(used[address] for address, known in drawn.items() if known)
        least = min(used[address] for address, known in drawn.items() if not known)
        assert most <= least
    assert kept
    if not partial:
        pytest.skip("this machine never stopped half-way")
