"""A census by one native thread and by several, in a process that has a thread alone and in one that has more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from itertools import pairwise

import pytest

from meminspect import _native, census

HEAPS = """
import gc, json, sys, threading
from meminspect import _native, census
gc.disable()
class Instance:
    def __init__(self, number): self.number, self.text = number, str(number)
held = [[{number: float(number)}, (number,), {number}, Instance(number)] for number in range(250_000)]
held.append([bytearray(700 + number) for number in range(3000)])
held.append([dict.fromkeys(range(number, number + 200)) for number in range(2000)])
def look(threads):
    taken = census(max_pause=None, threads=threads)
    rows = {row.owner: [row.count, row.bytes] for row in taken.buffers}
    rows |= {row.name: [row.count, row.bytes] for row in taken.types if row.count >= 1000}
    malloc = taken.malloc
    return json.dumps({"rows": rows, "unknown": taken.small.unknown, "large unknown": taken.large.unknown,
            "exact": taken.exact, "live": [malloc.live, malloc.live_bytes, malloc.mmapped]})  # one object
[look(threads) for threads in (1, 2)]
alone = [look(threads) for threads in (1, 2, 2, 3, 5)]
done = threading.Event()
beside = threading.Thread(target=done.wait)
beside.start()
with_another = [look(threads) for threads in (1, 2, 2, 3, 5)]
done.set()
beside.join()
print(json.dumps([alone, with_another]))
"""


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL blocks that wait to be freed come and go"
)
def test_the_figures_do_not_depend_on_threads():
    """Malloc's heap is read where it lies in a process with one thread, as a copy beside others: both find the same."""
    done = subprocess.run([sys.executable, "-c", HEAPS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    alone, with_another = ([json.loads(text) for text in texts] for texts in json.loads(done.stdout))
    one = alone[0]
    assert one["rows"]["list: items"][0] >= 250_000
    assert one["rows"]["__main__.Instance"][0] == 250_000
    for other in [*alone[1:], *with_another]:
        assert other["exact"], other
        assert other["unknown"] == pytest.approx(one["unknown"], abs=20)
        assert other["large unknown"] == pytest.approx(one["large unknown"], abs=40)
        assert other["live"] == pytest.approx(one["live"], rel=0.01, abs=60)
        for name, (count, size) in one["rows"].items():
            found = other["rows"].get(name, [0, 0])
            assert found[0] == pytest.approx(count, abs=60), name
            assert found[1] == pytest.approx(size, rel=0.01, abs=20_000), name


def test_types_are_those_that_object_leads_to():
    class Base:
        pass

    kept = [type(f"Leaf{number}", (Base,), {}) for number in range(50)]
    found, todo = set(), [object]
    while todo:
        item = todo.pop()
        if item not in found:
            found.add(item)
            todo.extend(type.__subclasses__(item))
    assert found >= {Base, *kept}
    assert set(_native._all_types()) == found


def test_rows_sum_to_what_the_core_summed():
    taken = census(max_pause=None)
    small = [(row.count - row.large_count, row.bytes - row.large_bytes) for row in taken.types]
    assert tuple(map(sum, zip(*small, strict=True))) == (taken.small.objects, taken.small.objects_bytes)
    assert taken.large is not None
    assert sum(row.large_count for row in taken.types) == taken.large.objects
    assert sum(row.large_bytes for row in taken.types) == taken.large.objects_bytes


GROWING = """
import sys
from meminspect import census
held, counts = [], []
for step in range(40):
    held.append([bytes(480) for _ in range(3000)])
    counts.append(sum(row.count for row in census(max_pause=None, threads=1 + step % 2).types if row.type == "bytes"))
print(*counts)
"""


def test_a_heap_that_grows_between_two():
    """The map is read before the allocator is looked at, which may need an arena, or a larger table of them."""
    done = subprocess.run([sys.executable, "-c", GROWING], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts = [int(word) for word in done.stdout.split()]
    steps = [after - before for before, after in pairwise(counts)]
    assert all(2990 <= step <= 3010 for step in steps), steps


def test_the_first_census_of_a_process():
    """What it asks the allocator for may make an arena that its map of the process does not have yet."""
    script = "from meminspect import census; taken = census(max_pause=None); print(taken.reason, taken.small.count)"
    for _ in range(6):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        reason, count = done.stdout.split()
        assert reason == "None"
        assert int(count) > 10_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux'")
def test_the_kernel_tells_threads_as_links():
    """What mi_os_is_alone() rests on: a link for each thread, and two of the folder's own."""
    stop = threading.Event()
    others = [threading.Thread(target=stop.wait) for _ in range(3)]
    for other in others:
        other.start()
    try:
        count = len(os.listdir("/proc/self/task"))
        assert count >= 4
        assert os.stat("/proc/self/task").st_nlink == count + 2
    finally:
        stop.set()
        for other in others:
            other.join()
