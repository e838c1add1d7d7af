"""The GIL: `meminspect.gil.counters()`, `all_counters()`, `rate(seconds)` and `wait(seconds)`."""

from __future__ import annotations

from .probes.gil import all_counters, counters, rate, wait

__all__ = ["all_counters", "counters", "rate", "wait"]
