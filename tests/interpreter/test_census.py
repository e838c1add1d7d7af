"""The census against objects that the tests make."""

import gc
import subprocess
import sys

import pytest

from meminspect import census


class Planted:
    pass


class Slotted:
    __slots__ = ("a", "b")


def count_of(taken, kind):
    return sum(row.count for row in taken.types if row.type == kind.__qualname__ and row.module == kind.__module__)


@pytest.mark.parametrize("kind", [Planted, Slotted, float, bytearray, list, dict, set, complex])
def test_planted_objects_are_counted(kind):
    gc.collect()
    before = census(max_pause=60.0)
    if kind is float:
        made = [float(number) + 0.5 for number in range(1000)]
    elif kind is complex:
        made = [complex(number, 1) for number in range(1000)]
    else:
        made = [kind() for _ in range(1000)]
    after = census(max_pause=60.0)
    assert 0 <= count_of(after, kind) - count_of(before, kind) - len(made) <= 60


def test_the_parts_sum_to_the_whole():
    taken = census(max_pause=60.0)
    for path in filter(None, (taken.small, taken.large)):
        assert path.count == path.objects + path.buffers + path.free_lists + path.unknown
        assert path.bytes == (path.objects_bytes + path.buffers_bytes + path.free_lists_bytes + path.unknown_bytes)
    assert sum(row.count for row in taken.size_classes) == taken.small.count


def test_what_is_left_out_is_unknown():
    taken = census(max_pause=0.0)
    assert not taken.exact
    for path in filter(None, (taken.small, taken.large)):
        assert path.unknown >= 0
        assert path.count == path.objects + path.buffers + path.free_lists + path.unknown
        assert 0 <= taken.coverage.bytes <= 1


KEPT = """
from meminspect import census
census(max_pause=None)
made = [tuple(range(number, number + 19)) for number in range(300)]
last = made.pop()
others = [(last, 1, 2, last, *range(13)) for number in range(3000)]  # the list of these is empty now
other = others.pop()
for number in range(len(others)):
    others[number] = tuple(range(17))
del made, last, other
taken = census(max_pause=None)
print(sum(row.count for row in taken.free_lists), taken.small.unknown)
"""


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL blocks that wait to be freed come and go"
)
def test_what_is_kept_for_later_is_known():
    """A list of free tuples is followed to its end, though the one that ends another list still names its first."""
    done = subprocess.run([sys.executable, "-c", KEPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    kept, unknown = map(int, done.stdout.split())
    assert kept >= 300
    assert unknown <= 30
