"""Fragmentation against heaps whose answer can be counted by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import MIB, POOL, heap_of, scattered_heap

from meminspect.analysis.fragmentation import class_fragmentation, fragmentation, is_sparse
from meminspect.models.heap import SizeClass


def test_scattered_survivors_are_told_with_their_arenas() -> None:
    heap = scattered_heap(arenas=30)
    found = fragmentation(heap)
    assert (found.arenas, found.arenas_kept, found.arenas_sparse, found.arenas_examined) == (30, 30, 25, 25)
    assert found.sparse_blocks == 25 * 49
    assert found.sparse_used_bytes == 25 * 49 * 208
    assert found.sparse_free_bytes == 25 * (49 * ((POOL - 48) // 208 - 1) * 208 + (63 - 49) * POOL)
    assert [(k.size, k.blocks, k.arenas, k.arenas_alone) for k in found.keepers] == [(208, 25 * 49, 25, 25)]
    # 1,225 blocks of 208 fill 16 pools of 78; the five full arenas have 60 pools each: 316 pools, 63 to an arena
    assert found.arenas_minimum == 6


def test_the_class_in_most_sparse_arenas_comes_first_and_alone_is_counted() -> None:
    heap = heap_of([[(64, 1)], [(64, 1)], [(64, 1), (512, 20)], [(512, 31)], [(512, 31)] * 63])
    found = fragmentation(heap)
    assert found.arenas_sparse == 4
    assert [(k.size, k.blocks, k.arenas, k.arenas_alone) for k in found.keepers] == [(64, 3, 3, 2), (512, 51, 2, 1)]


def test_an_arena_that_is_being_filled_for_the_first_time_is_not_sparse() -> None:
    arena = heap_of([[(512, 31)] * 4]).arenas[0]
    assert is_sparse(arena)
    assert not is_sparse(replace(arena, pools_free=0, pools_never_used=59))


def test_an_empty_arena_is_not_kept() -> None:
    found = fragmentation(heap_of([[], [(64, 10)]]))
    assert (found.arenas, found.arenas_kept) == (2, 1)


def test_no_heap_at_all() -> None:
    heap = replace(heap_of([]), bytes=None, allocator="malloc")
    found = fragmentation(heap)
    assert found.fragmentation is None
    assert (found.arenas, found.arenas_kept, found.arenas_minimum, found.keepers) == (0, 0, 0, ())


@pytest.mark.parametrize(("used", "free", "expected"), [(1, 3, 0.75), (4, 0, 0.0), (0, 4, 1.0), (0, 0, None)])
def test_class_fragmentation(used: int, free: int, expected: float | None) -> None:
    assert class_fragmentation(SizeClass(0, 16, 1, used, free, 0)) == expected


pool = st.sampled_from((16, 64, 208, 512)).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(1, (POOL - 48) // size))
)


@settings(max_examples=60)
@given(st.lists(st.lists(pool, max_size=20), max_size=6))
def test_figures_stay_within_the_heap(arenas: list[list[tuple[int, int]]]) -> None:
    heap = heap_of(arenas)
    found = fragmentation(heap)
    assert found.arenas_sparse <= found.arenas_kept <= found.arenas == len(arenas)
    assert found.arenas_minimum <= max(found.arenas_kept, 0)
    assert found.sparse_used_bytes + found.sparse_free_bytes <= len(arenas) * MIB
    assert found.sparse_blocks == sum(keeper.blocks for keeper in found.keepers)
    assert all(keeper.arenas_alone <= keeper.arenas <= found.arenas_sparse for keeper in found.keepers)
