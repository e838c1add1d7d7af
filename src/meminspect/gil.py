"""The GIL: `meminspect.gil.counters()`, `all_counters()`, `rate(seconds)`, `wait(seconds)` and `trace()`."""

from __future__ import annotations

from .probes.gil import all_counters, counters, rate, wait
from .probes.gil_trace import trace

__all__ = ["all_counters", "counters", "rate", "trace", "wait"]
