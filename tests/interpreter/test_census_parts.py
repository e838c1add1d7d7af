"""What objects of extension modules keep beside themselves: made in numbers, no block of it is left unknown."""

from __future__ import annotations

import ctypes
import gc
import io
import pickle
import sys
from collections.abc import Callable
from typing import Any

import pytest

from meminspect import census

MADE = 100
pytestmark = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="without a GIL blocks that wait to be freed are among them",
)


def pickler(at: int) -> Any:
    made = pickle.Pickler(io.BytesIO())
    made.dump([[at, number] for number in range(12)])
    return made


def structure(at: int) -> Any:
    fields = [("left", ctypes.c_int), ("right", ctypes.c_double * 3), ("next", ctypes.c_void_p)]
    made = type(f"Made{at}", (ctypes.Structure,), {"_fields_": fields})
    return made, made(), (ctypes.c_short * (at + 2))()


def exported(at: int) -> Any:
    numpy = pytest.importorskip("numpy")
    made = numpy.zeros((2, at + 1))
    return made, memoryview(made).nbytes, memoryview(made.T).nbytes


@pytest.mark.parametrize("make", [pickler, structure, exported])
def test_parts_have_an_owner(make: Callable[[int], Any]) -> None:
    kept = [make(0)]
    gc.collect()  # what imports left
    census(max_pause=None)
    before = census(max_pause=None).small
    kept.extend(make(at) for at in range(1, MADE))
    after = census(max_pause=None).small
    assert after.count - before.count >= MADE
    assert after.unknown - before.unknown <= MADE // 20, census(max_pause=None, guesses=True).unknown[:5]
