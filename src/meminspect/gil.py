"""The GIL: `meminspect.gil.counters()`, `all_counters()`, `rate()`, `wait()`, `trace()` and `experiment()`."""

from __future__ import annotations

from .probes.gil import all_counters, counters, rate, wait
from .probes.gil_experiment import experiment
from .probes.gil_trace import trace

__all__ = ["all_counters", "counters", "experiment", "rate", "trace", "wait"]
