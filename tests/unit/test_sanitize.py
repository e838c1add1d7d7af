"""No text of the inspected program moves a cursor, breaks a line or turns the direction of writing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meminspect.views.sanitize import clean, clean_value

anything = st.text(st.characters(exclude_categories=()), max_size=300)


@given(anything, st.integers(1, 250))
def test_what_leaves_is_printable_and_bounded(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert cleaned.isprintable()
    assert len(cleaned) <= limit
    cleaned.encode("utf-8")  # no lone surrogate


@given(anything)
def test_ascii_form_is_ascii(text: str) -> None:
    assert clean(text, ascii_only=True).isascii()


@given(st.text(st.characters(categories=("L", "N", "P")), max_size=100))
def test_honest_names_are_left_alone(text: str) -> None:
    assert clean(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("two\nlines\r\t", r"two\x0alines\x0d\x09"),
        ("\x9b2J", r"\x9b2J"),
        ("abc\u202efed", r"abc\u202efed"),
        ("zero\u200bwidth", r"zero\u200bwidth"),
        ("lone\udc80", r"lone\udc80"),
        ("tag\U000e0041", r"tag\U000e0041"),
        (b"\xff\x1b", r"\udcff\x1b"),
        ("[bold]markup[/bold]", "[bold]markup[/bold]"),
    ],
)
def test_dangerous_text_is_written_as_escapes(text: str | bytes, shown: str) -> None:
    assert clean(text) == shown


def test_combining_marks_do_not_pile_up() -> None:
    cleaned = clean("a" + "\u0301" * 50)
    assert sum(unicodedata.combining(char) > 0 for char in cleaned) == 2


def test_long_text_is_cut_with_an_ellipsis() -> None:
    assert clean("x" * 300, 10) == "x" * 9 + "…"
    assert clean("x" * 300, 10, ascii_only=True) == "x" * 7 + "..."
    assert clean("x" * 10, 10) == "x" * 10


def test_values_are_clean_at_every_depth_and_depth_ends() -> None:
    value: object = "\x1b"
    for _ in range(200):
        value = [value]
    assert clean_value({"a\n": ["\x1b", {"k": b"\0"}], "n": 1, "none": None}) == {
        r"a\x0a": [r"\x1b", {"k": r"\x00"}],
        "n": 1,
        "none": None,
    }
    depth, inner = 0, clean_value(value)
    while isinstance(inner, list):
        depth, inner = depth + 1, inner[0]
    assert depth < 100
    assert inner is None
