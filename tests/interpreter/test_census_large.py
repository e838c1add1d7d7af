"""The census of malloc's chunks: against malloc's own sums, and against objects that the tests make."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys

import pytest

from meminspect import census

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
pytestmark = [
    pytest.mark.skipif(FREE_THREADED, reason="most large blocks are mimalloc's in builds without a GIL"),
    pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33"),
]


def run(code: str, **environment: str) -> dict[str, object]:
    """What a program of its own prints as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=120
    )
    assert not done.returncode, done.stderr
    return json.loads(done.stdout)


def owned(taken, owner):
    return next(((row.large_count, row.large_bytes) for row in taken.buffers if row.owner == owner), (0, 0))


def typed(taken, kind):
    return next(((row.large_count, row.large_bytes) for row in taken.types if row.type == kind.__name__), (0, 0))


def grown(after, before):
    return tuple(new - old for new, old in zip(after, before, strict=True))


MAKE = {
    bytes: bytes,
    str: lambda size: chr(97) * size,
    bytearray: bytearray,
    list: lambda size: [None] * (size // 8),
}


@pytest.mark.parametrize("kind", MAKE)
def test_large_blocks_are_found_and_gone_again(kind):
    """As many and as large as they were made; none of them when they were freed, whatever they still look like."""
    sizes = [600, 5_000, 70_000] * 30 + [1_000_000] * 4

    def look():
        taken = census(max_pause=60.0)
        assert taken.malloc is not None, taken.large_reason
        if kind is list:
            return owned(taken, "list: items")
        if kind is bytearray and sys.version_info < (3, 15):
            return owned(taken, "bytearray: bytes")
        return typed(taken, bytes if kind is bytearray else kind)

    gc.collect()
    look()
    held: list[object] = [None] * len(sizes)
    before = look()
    for place, size in enumerate(sizes):
        held[place] = MAKE[kind](size)
    count, total = grown(look(), before)
    assert len(sizes) <= count <= len(sizes) + 6
    assert sum(sizes) <= total <= sum(sizes) + len(sizes) * 96 + 4 * 4096 + 6 * 70_000
    held.clear()
    count, total = grown(look(), before)
    assert abs(count) <= 6


TWO = """
import gc, json
from meminspect import census
gc.disable()
held = [[{}, [None] * 100] for _ in range(6000)] + [dict.fromkeys(range(number, number + 100)) for number in range(500)]
def look(threads):
    taken = census(max_pause=None, threads=threads)
    assert taken.threads == threads and taken.malloc is not None
    rows = {row.owner: [row.count, row.large_count] for row in taken.buffers}
    rows |= {row.type: [row.count, row.large_count] for row in taken.types if row.type in ("dict", "list")}
    return {name: rows[name] for name in ("list: items", "dict: keys and values", "dict", "list")}
look(1)
print(json.dumps([look(threads) for threads in (1, 2, 2, 2)]))
"""


def test_several_threads_find_what_one_finds():
    """One of them walks while malloc's chunks are still looked for: what it claims then is claimed when they are known,
    also where there is more of it than it keeps in mind (keys of empty dicts lie in no block)."""
    one, *others = run(TWO)
    assert one["list: items"][1] >= 6000
    assert one["dict: keys and values"][1] >= 500
    assert one["dict"][0] >= 6500
    assert one["list"][0] >= 12_000
    for two in others:
        for name, counts in one.items():
            assert counts == pytest.approx(two[name], abs=20), name


def test_the_parts_sum_to_the_whole():
    taken = census(max_pause=60.0)
    assert taken.large is not None
    assert taken.malloc is not None
    assert (taken.large.count, taken.large.bytes) == (taken.malloc.live, taken.malloc.live_bytes)
    assert sum(row.large_count for row in taken.types) == taken.large.objects
    assert sum(row.large_bytes for row in taken.buffers) == taken.large.buffers_bytes


SUMS = """
import ctypes, json
from meminspect import census
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
kept = [bytes(size) for size in range(600, 200_000, 1777)]
del kept[::3]
mapped = [bytearray(300_000 + 4096 * index) for index in range(9)]
census(max_pause=60.0)
taken, info = census(max_pause=60.0), libc.mallinfo2()
print(json.dumps({**taken.malloc.to_dict(), "exact": taken.exact, "reason": taken.reason,
                  **{name: getattr(info, name) for name, _ in Info._fields_}}))
"""


def test_sums_are_those_of_mallinfo2():
    found = run(SUMS)
    assert found["exact"], found["reason"]
    assert (found["mmapped"], found["mmapped_bytes"]) == (found["hblks"], found["hblkhd"])
    in_use = found["live_bytes"] - found["mmapped_bytes"] + found["tcache_bytes"]
    free = found["free_bytes"] + found["top_bytes"]
    assert in_use + free + found["overhead_bytes"] == pytest.approx(found["arena"], abs=8192)
    assert in_use == pytest.approx(found["uordblks"], abs=65536)  # the census' own result is in one of the two
    assert free == pytest.approx(found["fordblks"], abs=65536)


BY_GC = """
import collections, gc, json, sys
from meminspect import census
class Node:
    __slots__ = ("next", "__weakref__")
class Plain:
    pass
kept = [Node() for _ in range(500)], [Plain() for _ in range(300)], [{str(i): [i]} for i in range(400)]
census(max_pause=60.0)
gc.collect()
tracked = collections.Counter(type(item).__qualname__ for item in gc.get_objects())
taken = census(max_pause=60.0)
found = {row.type: row.count for row in taken.types}
print(json.dumps({
    "found": {name: found.get(name, 0) for name in tracked}, "tracked": tracked,
    "small": taken.small.count, "named": taken.coverage.large_bytes, "reason": taken.reason,
}))
"""


@pytest.mark.parametrize("allocator", ["malloc", "malloc_debug"])
def test_all_objects_in_malloc(allocator):
    found = run(BY_GC, PYTHONMALLOC=allocator)
    assert found["small"] == 0
    assert found["reason"] is None
    assert found["named"] >= 0.98
    for name in ("Node", "Plain"):
        assert found["found"][name] == found["tracked"][name]
    for name, tracked in found["tracked"].items():
        if tracked >= 100 and name not in (
            "tuple",
            "dict",
            "list",
            "type",
        ):  # untracked or static ones are more, or less
            assert found["found"][name] == pytest.approx(tracked, abs=20), name


def test_debug_hooks_around_large_blocks():
    code = (
        "import json; from meminspect import census\n"
        "kept = [bytes(2000) for _ in range(100)]; taken = census(max_pause=60.0)\n"
        "print(json.dumps({row.type: row.large_count for row in taken.types}))"
    )
    assert run(code, PYTHONMALLOC="debug")["bytes"] >= 100


def test_arrays_of_numpy():
    numpy = pytest.importorskip("numpy")
    name = "numpy: array data"
    held = []
    census(max_pause=60.0)
    before = owned(census(max_pause=60.0), name)
    held.extend(numpy.ones(size // 8) for size in (4_000, 40_000, 400_000, 4_000_000) * 5)
    held.extend([item[1:] for item in held] + [item[:] for item in held])  # views own nothing
    count, total = grown(owned(census(max_pause=60.0), name), before)
    assert count == 20
    assert 5 * 4_444_000 <= total <= 5 * 4_444_000 + 20 * 4200


def test_a_pause_that_is_too_short_says_what_it_left_out():
    taken = census(max_pause=0.0)
    assert not taken.exact
    assert "malloc's heaps" in (taken.reason or "")


def test_who_points_to_unknown_chunks_is_guessed():
    """Memory of C that an object names, and what that memory names in turn. A word left in a buffer may point to
    one of them as well, and is then the guess: of a program of its own, that is so for few."""
    code = """
import ctypes, json
from meminspect import census
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.malloc_usable_size.restype, libc.malloc_usable_size.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
named = [ctypes.c_void_p(libc.malloc(777)) for _ in range(50)]
behind = 0
for item in named:
    ctypes.c_void_p.from_address(item.value).value = at = libc.malloc(1555)
    behind += libc.malloc_usable_size(at) + 8 # and the chunk's own size
taken = census(guesses=True, max_pause=60.0)
groups = [(row.count, row.bytes, row.guess or "") for row in taken.unknown if row.size_class is None]
unknown = taken.large.unknown, taken.large.unknown_bytes
print(json.dumps({"groups": groups, "unknown": unknown, "behind": behind}))
"""
    found = run(code)
    groups = found["groups"]
    assert [sum(row[at] for row in groups) for at in (0, 1)] == found["unknown"]
    by_object = [row for row in groups if "c_void_p at offset" in row[2]]
    assert 45 <= sum(count for count, _, guess in by_object if "by way of" not in guess) <= 50
    assert 45 * 1568 <= sum(size for _, size, guess in by_object if "by way of" in guess) <= found["behind"]
