"""What the zoo has of numpy: views, structures, iterators; nothing where numpy is not installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zoo_parts import print_nothing


def numpy_makers() -> dict[str, Callable[[], Any]]:
    try:
        import numpy as np
    except ImportError:
        return {}
    return {
        "numpy array": lambda: np.arange(20.0),
        "numpy array of two dimensions": lambda: np.ones((3, 4), np.int16),
        "numpy object array": lambda: np.array([1, [], "a"], object),
        "numpy view": lambda: np.arange(20)[::2],
        "numpy scalar": lambda: np.float64(1.5),
        "numpy text": lambda: np.array(["one", "three"]),
        "numpy structure": lambda: np.zeros(3, [("a", "i4"), ("b", "f8")]),
        "numpy dtype": lambda: np.dtype([("a", "i4"), ("b", "U8")]),
        "numpy record": lambda: np.zeros(3, [("a", "i4"), ("b", "f8")])[0],
        "numpy iterator": lambda: np.nditer([np.arange(6), np.arange(6)]),
        "numpy flat": lambda: np.arange(6).flat,
        "numpy broadcast": lambda: np.broadcast(np.arange(3), np.ones((2, 3))),
        "numpy generator": lambda: np.random.default_rng(1),
        "numpy masked": lambda: np.ma.array([1, 2], mask=[0, 1]),
        "numpy date": lambda: np.array(["2000-01-02"], "datetime64[D]"),
        "numpy matrix": lambda: np.asmatrix(np.eye(2)),
        "numpy vectorize": lambda: np.frompyfunc(print_nothing, 2, 1),
        "numpy polynomial": lambda: np.poly1d([1, 2]),
    }
