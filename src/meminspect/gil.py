"""The GIL: `counters()`, `all_counters()`, `rate()`, `wait()`, `knock()`, `sample()`, `trace()` and `experiment()`."""

from __future__ import annotations

from .probes.gil import all_counters, counters, rate, wait
from .probes.gil_experiment import experiment
from .probes.gil_sample import knock, sample
from .probes.gil_trace import trace

__all__ = ["all_counters", "counters", "experiment", "knock", "rate", "sample", "trace", "wait"]
