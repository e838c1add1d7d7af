"""The GIL: counters, a trace of every event, samples, and what another switch interval would do; without one, waits."""

from __future__ import annotations

from .integrations.gil_file import save
from .probes.gil import all_counters, counters, rate, wait
from .probes.gil_experiment import experiment
from .probes.gil_sample import knock, sample
from .probes.gil_trace import trace
from .probes.waits import waits

__all__ = ["all_counters", "counters", "experiment", "knock", "rate", "sample", "save", "trace", "wait", "waits"]
