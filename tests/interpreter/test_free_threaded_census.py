"""The census of mimalloc's heaps, against gc and objects that the tests make."""

from __future__ import annotations

import collections
import gc
import sys
import threading

import pytest

from meminspect import NativeError, census

WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
pytestmark = pytest.mark.skipif(WITH_GIL, reason="builds with a GIL have no mimalloc heaps per thread")


class Node:
    __slots__ = ("next",)


class Plain:
    pass


def take():
    try:
        return census(max_pause=60.0)
    except NativeError as error:
        pytest.skip(f"this build cannot stop the world: {error}")


def counts(taken):
    return {(row.module, row.type): row.count for row in taken.types}


def test_the_parts_sum_and_are_named():
    taken = take()
    assert taken.exact, taken.reason
    assert taken.small.allocator == "mimalloc"
    for path in filter(None, (taken.small, taken.large)):
        assert path.count == path.objects + path.buffers + path.free_lists + path.unknown
        assert path.bytes == path.objects_bytes + path.buffers_bytes + path.free_lists_bytes + path.unknown_bytes
        assert path.unknown >= 0
    assert sum(row.count for row in taken.size_classes) == taken.small.count
    assert taken.coverage.bytes > 0.95
    assert [row.size for row in taken.size_classes] == sorted(row.size for row in taken.size_classes)


@pytest.mark.parametrize("kind", [Node, Plain, float, bytes, str, list, dict, set, bytearray])
def test_planted_objects_are_counted(kind):
    make = {float: lambda: float(len(held)) + 0.5, bytes: lambda: bytes(3000), str: lambda: "x" * (700 + len(held)),
            list: lambda: [None], dict: lambda: {"a": 1}, set: lambda: {1}}.get(kind, kind)  # fmt: skip
    held: list[object] = []
    name = kind.__module__, kind.__qualname__
    gc.collect()
    take()
    before = counts(take()).get(name, 0)
    while len(held) < 500:
        held.append(make())
    after = counts(take()).get(name, 0)
    assert 500 <= after - before <= 560
    held.clear()
    gc.collect()
    assert counts(take()).get(name, 0) - before <= 60


def test_items_of_lists_are_theirs():
    held = [[None] * 400 for _ in range(300)]
    rows = {row.owner: row for row in take().buffers}
    assert rows["list: items"].count >= len(held)
    assert rows["list: items"].bytes >= len(held) * 400 * 8


def test_tracked_objects_agree_with_gc():
    held = [[Node() for _ in range(300)], [Plain() for _ in range(300)], [{str(index): []} for index in range(300)]]
    take()
    for _ in range(2):  # counting itself fills caches of abstract classes: sets and weak references of each
        gc.collect()
        tracked = collections.Counter(type(item) for item in gc.get_objects())
    taken, found, wanted = take(), collections.Counter(), collections.Counter()
    assert held
    for row in taken.types:  # each of several extensions may have a type of one name
        found[row.module, row.type] += row.count
    for kind, number in tracked.items():
        if kind in (tuple, frozenset, dict, type):  # the collector knows a part of them, or static ones too
            continue
        module = type.__dict__["__module__"].__get__(kind)  # Cython's functions have a descriptor there
        wanted[module if isinstance(module, str) else None, kind.__qualname__] += number
    for name, number in wanted.items():
        if number >= 200:
            assert found[name] == pytest.approx(number, abs=5), name


def test_what_an_ended_thread_made_is_there():
    held: list[Node] = []
    thread = threading.Thread(target=lambda: held.extend(Node() for _ in range(20_000)))
    thread.start()
    thread.join()
    assert counts(take())[(Node.__module__, "Node")] >= 20_000


def test_beside_threads_that_change_everything():
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            kept = [{"a": [index], "b": Plain()} for index in range(200)]
            kept.sort(key=id)
            del kept

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            taken = take()
            assert taken.small.unknown >= 0
            assert sum(row.count for row in taken.types) > 10_000
    finally:
        stop.set()
        for thread in threads:
            thread.join()
