"""The header decoder, fed with bytes that are not a header: it returns or raises ValueError."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meminspect import _native
from meminspect.probes.header import decode


def real(thing: object) -> dict[str, Any]:
    raw: dict[str, Any] = _native.header_capture(thing)
    return raw


class WithDict:
    pass


SAMPLES = [real([1, 2]), real(WithDict()), real(2**70), real(None), real(WithDict)]


@settings(deadline=None)  # a loaded machine is no defect
@given(st.sampled_from(SAMPLES), st.binary(min_size=128, max_size=128))
def test_random_bytes_of_the_right_length_decode(sample: dict[str, Any], noise: bytes) -> None:
    shown = decode({**sample, "memory": noise[: len(sample["memory"])]})
    assert all(field.meaning for field in shown.fields)
    assert sum(field.size for field in shown.fields) == len(shown.memory)
    assert repr(shown)
    assert shown.to_dict()


@settings(deadline=None)
@given(st.sampled_from(SAMPLES), st.binary(max_size=64), st.integers(-40, 40))
def test_wrong_lengths_are_a_value_error_or_decode(sample: dict[str, Any], noise: bytes, shift: int) -> None:
    with contextlib.suppress(ValueError):
        decode({**sample, "memory": noise, "start": sample["start"] + shift})


anything = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.integers())


@settings(deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_any_value_in_any_place_is_a_value_error_or_decodes(sample: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(sample)))
    with contextlib.suppress(ValueError):
        decode({**sample, key: data.draw(anything)})


@settings(deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_any_number_in_the_layout_is_a_value_error_or_decodes(sample: dict[str, Any], data: st.DataObject) -> None:
    key = data.draw(st.sampled_from(sorted(sample["layout"])))
    layout = {**sample["layout"], key: data.draw(st.integers(-(2**31), 2**31 - 1))}
    with contextlib.suppress(ValueError):
        decode({**sample, "layout": layout})


def test_too_few_bytes_are_a_value_error() -> None:
    with pytest.raises(ValueError, match="do not hold"):
        decode({**SAMPLES[0], "memory": b"\0" * 8})
