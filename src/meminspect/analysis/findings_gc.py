"""Conclusions about the collector and the GIL."""

from __future__ import annotations

from ..models.report import Finding, Report
from .weigh import Weighed
from .words import count, seconds

Figures = dict[str, int | float | str]

OVERDUE = 10  # times its threshold: a count so high means that collections are not coming
FROZEN_OBJECTS = 100_000  # from here on what is frozen is worth knowing about
PENDING_SHARE = (
    0.25  # a full collection waits until a quarter more has become old (Python/gc.c: gc_collect_generations)
)
BUSY_SWITCHING = 10_000  # a second: 50 times what the switch interval of 5 ms alone would make


def gc_disabled(report: Report) -> Weighed | None:
    """Automatic collection is off: cycles stay until gc.collect()."""
    if report.gc is None or report.gc.enabled:
        return None
    young = report.gc.generations[0] if report.gc.generations else None
    text = "The cyclic collector is disabled: what refers to itself in a circle is not freed"
    figures: Figures = {}
    if young is not None:
        text += f" ({young.count:,} allocations more than deallocations since its last run)"
        figures = {"young_count": young.count, "threshold": young.threshold}
    return Weighed(Finding("gc_disabled", text + ".", figures, "gc.enable(), or gc.collect() at quiet moments.", "gc"))


def gc_overdue(report: Report) -> Weighed | None:
    """The youngest generation's count is far over its threshold though the collector is on."""
    if report.gc is None or not report.gc.enabled or not report.gc.generations:
        return None
    young = report.gc.generations[0]
    if young.threshold <= 0:
        text = f"The collector's threshold is {young.threshold}: no collection starts by itself."
        attempt = "gc.set_threshold() with the defaults of this version, or gc.collect() at quiet moments."
        return Weighed(Finding("gc_threshold_zero", text, {"threshold": young.threshold}, attempt, "gc"))
    if young.count < OVERDUE * young.threshold:
        return None
    text = (
        f"The youngest generation counts {young.count:,} allocations over deallocations against a threshold of "
        f"{young.threshold:,}: collections are held up."
    )
    attempt = "A long C call holds them up (they run between bytecodes from 3.12 on), or gc.callbacks take long."
    figures: Figures = {"young_count": young.count, "threshold": young.threshold}
    return Weighed(Finding("gc_overdue", text, figures, attempt, "gc"))


def gc_full_deferred(report: Report) -> Weighed | None:
    """The oldest generation is due by its count and waits for the rule of a quarter."""
    state = report.gc
    if state is None or state.kind != "generational" or not state.enabled or len(state.generations) < 3:
        return None
    old, total, pending = state.generations[2], state.long_lived_total, state.long_lived_pending
    if total is None or pending is None or total <= 0 or old.threshold <= 0 or old.count <= old.threshold:
        return None
    if pending >= PENDING_SHARE * total:
        return None
    text = (
        f"A full collection is due by its count ({old.count} over {old.threshold}) and waits: {pending:,} objects "
        f"became old since the last one, a quarter of {total:,} must. Cycles among old objects stay until then."
    )
    figures: Figures = {"count": old.count, "threshold": old.threshold, "pending": pending, "long_lived": total}
    attempt = "gc.collect() at a quiet moment frees old cycles now."
    return Weighed(Finding("gc_full_deferred", text, figures, attempt, "gc"))


def gc_frozen(report: Report) -> Weighed | None:
    """Objects in the permanent generation: never looked at again."""
    if report.gc is None or not report.gc.frozen or report.gc.frozen < FROZEN_OBJECTS:
        return None
    text = f"{count(report.gc.frozen, 'object')} are frozen (gc.freeze): the collector never looks at them again."
    attempt = "Right before a fork; elsewhere gc.unfreeze() lets cycles among them be found."
    return Weighed(Finding("gc_frozen", text, {"frozen": report.gc.frozen}, attempt, "gc"))


def gc_uncollectable(report: Report) -> Weighed | None:
    """Cycles that the collector found and could not free."""
    if report.gc is None:
        return None
    total = sum(generation.uncollectable or 0 for generation in report.gc.generations)
    if not total:
        return None
    text = f"{count(total, 'object')} in cycles could not be freed by the collector (gc.garbage holds them)."
    attempt = "Look into gc.garbage: an extension's objects without tp_clear are the usual cause."
    return Weighed(Finding("gc_uncollectable", text, {"uncollectable": total}, attempt, "gc"))


def gil_busy(report: Report) -> Weighed | None:
    """Many changes of thread state for each second of the process' life; says nothing of waiting."""
    life = _life(report)
    if report.gil is None or life is None:
        return None
    rates = [(item.tstate_switches or 0) / life for item in report.gil if item.enabled]
    rate = max(rates, default=0.0)
    if rate < BUSY_SWITCHING:
        return None
    text = (
        f"The GIL changed hands at least {rate:,.0f} times a second on average since the process began "
        f"({seconds(life)} ago)."
    )
    attempt = (
        "gil.wait(1.0) tells how long a thread waits for it now; fewer threads that block often, or batches of work, "
        "lower the rate."
    )
    return Weighed(Finding("gil_busy", text, {"switches_per_second": round(rate, 1), "life_s": life}, attempt, "gil"))


def gil_interval(report: Report) -> Weighed | None:
    """A switch interval that was changed from the default of 5 ms."""
    for item in report.gil or ():
        interval = item.switch_interval_s
        if item.enabled and interval is not None and not DEFAULT_INTERVAL / 10 < interval < DEFAULT_INTERVAL * 10:
            text = f"The switch interval is {seconds(interval)}; CPython's default is 5 ms."
            attempt = "sys.setswitchinterval(0.005), unless it was measured to help: `meminspect demo switch-interval`."
            figures: Figures = {"switch_interval_s": interval}
            return Weighed(Finding("gil_interval", text, figures, attempt, "gil"))
    return None


DEFAULT_INTERVAL = 0.005  # Python/ceval_gil.c: DEFAULT_INTERVAL


def _life(report: Report) -> float | None:
    started = report.process.started_s
    if started is None or report.process.taken_s - started < 1:
        return None
    return report.process.taken_s - started


RULES = (gc_disabled, gc_overdue, gc_full_deferred, gc_frozen, gc_uncollectable, gil_busy, gil_interval)
