"""Bars and the picture of the arenas."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminspect.views.bars import SHADES, bar, legend, picture, shade


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0, ""), (1e-9, "▏"), (0.5, "█████"), (0.55, "█████▌"), (1, "█" * 10), (7, "█" * 10), (-1, "")],
)
def test_bar(share: float, drawn: str) -> None:
    assert bar(share, 10) == drawn


@pytest.mark.parametrize(("share", "drawn"), [(0, ""), (0.001, "."), (0.5, "#####"), (1, "#" * 10)])
def test_bar_in_ascii(share: float, drawn: str) -> None:
    assert bar(share, 10, unicode=False) == drawn


@pytest.mark.parametrize(
    ("occupancy", "mark"),
    [(0, "·"), (1e-6, "░"), (0.2499, "░"), (0.25, "▒"), (0.5, "▓"), (0.75, "█"), (1, "█")],
)
def test_shade(occupancy: float, mark: str) -> None:
    assert shade(occupancy) == mark
    assert mark in legend()


def test_a_mark_is_one_arena_while_they_fit() -> None:
    drawn = picture([0.9, 0.0, 0.1, 0.3], 3, 2)
    assert drawn.lines == ("·░▒", "█")
    assert drawn.per_mark == 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=2000), st.integers(1, 80), st.integers(1, 8))
def test_every_arena_is_in_the_picture(occupancies: list[float], width: int, lines: int) -> None:
    drawn = picture(occupancies, width, lines)
    marks = "".join(drawn.lines)
    assert len(drawn.lines) <= lines
    assert all(len(line) <= width for line in drawn.lines)
    assert (len(marks) - 1) * drawn.per_mark < len(occupancies) <= len(marks) * drawn.per_mark
    assert sorted(marks, key=SHADES.index) == list(marks)
