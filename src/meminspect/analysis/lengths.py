"""Percentiles of lengths that are all there."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..models.gil_trace import Distribution


def exact(lengths: Sequence[float]) -> Distribution:
    """Of lengths in seconds, sorted: a percentile is the length that so many do not exceed (nearest rank)."""
    if not lengths:
        return Distribution(0, 0.0, None, None, None, None, None)
    ordered = sorted(lengths)

    def rank(share: float) -> float:
        return ordered[max(1, math.ceil(share * len(ordered))) - 1]

    return Distribution(len(ordered), math.fsum(ordered), rank(0.5), rank(0.9), rank(0.99), rank(0.999), ordered[-1])
