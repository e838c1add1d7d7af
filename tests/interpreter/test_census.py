"""The census against objects that the tests make."""

import gc

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
