"""The parser of CPython's statistics: each version's wording, and whatever else it is given."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meminspect.models.heap import DebugMallocStats
from meminspect.probes.malloc_stats import parse

PYMALLOC = """\
Small block threshold = 512, in 32 size classes.

class   size   num pools   blocks in use  avail blocks
-----   ----   ---------   -------------  ------------
    0     16           2            1853           189
    3     64          20            5083            17

# times object malloc called       =              123,456
# arenas allocated total           =                   17
# arenas reclaimed                 =                   12
# arenas highwater mark            =                    9
# arenas allocated current         =                    5
5 arenas * 1048576 bytes/arena     =            5,242,880

# bytes in allocated blocks        =              354,960
# bytes in available blocks        =                4,112
# bytes in available pools ignored =                    1
297 unused pools * 16384 bytes     =            4,866,048
# bytes lost to pool headers       =                1,056
# bytes lost to quantization       =                  320
# bytes lost to arena alignment    =               16,384
Total                              =            5,242,880

arena map counts
# arena map mid nodes              =                    1
# arena map bot nodes              =                    1

# bytes lost to arena map root     =              262,144
Total                              =              524,288
                  16 free PyDictObjects * 48 bytes each =                  768
          3 free 1-sized PyTupleObjects * 32 bytes each =                   96
"""
MIMALLOC = """\
Small block threshold = 8192, in 73 size classes.
Medium block threshold = 65536
Large object max size = 16777216
    Allocated Blocks: 12345
    Allocated Bytes: 678901
    Allocated Bytes w/ Overhead: 678999
    Bytes Reserved: 1000000
    Bytes Committed: 900000
"""


def test_pymalloc() -> None:
    stats = parse(PYMALLOC)
    assert [(c.index, c.size, c.pools, c.used, c.free) for c in stats.size_classes] == [
        (0, 16, 2, 1853, 189),
        (3, 64, 20, 5083, 17),
    ]
    assert stats.arenas_allocated_total == 17
    assert stats.arenas_reclaimed == 12
    assert stats.arenas_highwater == 9
    assert stats.arenas == 5
    assert stats.arena_size == 1 << 20
    assert stats.bytes is not None
    assert stats.bytes.free_pools_bytes == 4_866_048
    assert stats.bytes.alignment_bytes == 16_384
    assert stats.bytes.total_bytes == 5_242_880  # the first Total, not that of the arena map
    assert [(f.name, f.count, f.size) for f in stats.free_lists] == [
        ("free PyDictObject", 16, 48),
        ("free 1-sized PyTupleObject", 3, 32),
    ]
    assert parse(PYMALLOC.encode()) == stats


def test_mimalloc_has_no_size_classes() -> None:
    stats = parse(MIMALLOC)
    assert stats.size_classes == ()
    assert stats.bytes is None
    assert stats.arenas is None


@pytest.mark.parametrize("text", ["", "hello", "a = 5", "\x00\xff" * 100, "=" * 1000])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no statistics"):
        parse(text)


def test_too_long() -> None:
    with pytest.raises(ValueError, match="longer than"):
        parse(PYMALLOC * 2000)


@given(st.integers(0, len(PYMALLOC)))
def test_truncated(length: int) -> None:
    whole = parse(PYMALLOC)
    try:
        cut = parse(PYMALLOC[:length])
    except ValueError:
        return
    assert len(cut.size_classes) <= len(whole.size_classes)
    assert cut.bytes is None or cut.bytes.used_bytes == whole.bytes.used_bytes  # type: ignore[union-attr]


def parsed(text: str | bytes) -> DebugMallocStats | str:
    """What the parser makes of it, or the words it is refused with."""
    try:
        return parse(text)
    except ValueError as error:
        return str(error)


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(
        st.text(max_size=2000), st.binary(max_size=2000), st.text("0123456789 =#,*\nTotalbyesrnapc/", max_size=600)
    )
)
def test_garbage_raises_nothing_but_value_error(text: str | bytes) -> None:
    outcome = parsed(text)
    assert outcome
    assert isinstance(outcome, DebugMallocStats | str)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(PYMALLOC) - 1), st.text(max_size=20))
def test_damaged(place: int, inserted: str) -> None:
    outcome = parsed(PYMALLOC[:place] + inserted + PYMALLOC[place + 1 :])
    assert outcome
    assert isinstance(outcome, str) or len(outcome.size_classes) <= 2 + len(inserted)
