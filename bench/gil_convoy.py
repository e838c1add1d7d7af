"""The convoy: an echo server beside a thread that computes, named by the trace, and what the switch interval trades.

A thread answers the requests of another process while a second thread computes. Each time a request has come it needs
the GIL for a moment, and waits for it until the computing thread is made to let go: a switch interval.
"""

from __future__ import annotations

import sys
import sysconfig

SECONDS = 1.5


def main() -> int:
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        print("this build has no GIL: there is no convoy to show")
        return 0
    from meminspect import gil
    from meminspect.analysis.lengths import exact
    from meminspect.analysis.words import percent, seconds
    from meminspect.probes.gil_workloads import WORKLOADS
    from meminspect.views import gil_experiment

    with gil.trace(collections=False) as trace:
        ran = WORKLOADS["cpu+echo"].run(SECONDS)
    result, latency = trace.result, exact(ran.latencies)
    print(f"at the default interval of {seconds(sys.getswitchinterval())}:")
    print(f"  requests: {ran.operations / SECONDS:,.0f} a second, p50 {ms(latency.median_s)}, p99 {ms(latency.p99_s)}")
    for thread in sorted(result.threads, key=lambda thread: -thread.waited_s)[:3]:
        waits = f"p50 {ms(thread.waits.median_s)}, p99 {ms(thread.waits.p99_s)}"
        share = percent(thread.waited_share, 0)
        print(f"  {thread.label}: waited {share} of the time; its {thread.waits.count:,} waits: {waits}")
    print(f"  hand-offs {result.hand_offs.total:,}, of them forced {result.hand_offs.forced:,}; exact: {result.exact}")
    for finding in result.findings:
        if finding.id == "gil-convoy":
            print(f"  {finding.text}")
    print()
    print(gil_experiment.render(gil.experiment("cpu+echo", seconds=SECONDS)))
    return 0


def ms(value: float | None) -> str:
    return "-" if value is None else f"{value * 1e3:.3f} ms"


if __name__ == "__main__":
    sys.exit(main())
