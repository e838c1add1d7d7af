"""What the measurement could not do, or must not be believed in."""

from __future__ import annotations

from ..models.report import Finding, Report
from .tree import leaf_sum
from .weigh import Weighed
from .words import count, percent, size

Figures = dict[str, int | float | str]

SUM_SHARE = 0.005  # of RSS: pages that come and go between two reads of /proc; beyond it the tree is not of one moment
BUG = "`meminspect doctor --json` belongs into a bug report."


def disagreement(report: Report) -> Weighed | None:
    """The heap walk and CPython's own statistics differ: one of them is wrong, so neither is to be trusted."""
    check = report.pymalloc.cross_check if report.pymalloc else None
    if check is None or check.agrees is not False:
        return None
    text = (
        f"The heap walk differs from {check.source} in {len(check.differences):,} of {count(check.compared, 'figure')}"
    )
    if check.differences:
        name, ours, theirs = check.differences[0]
        text += f" (first {name}: {ours:,} walked, {theirs:,} there)"
    figures: Figures = {"differences": len(check.differences), "compared": check.compared}
    return Weighed(Finding("cross_check", text + ": do not trust the pymalloc figures.", figures, BUG, "trust"))


def tree_sum(report: Report) -> Weighed | None:
    """The tree does not sum to RSS."""
    memory = report.memory
    if memory is None or memory.rss_bytes <= 0:
        return None
    total = leaf_sum(memory.tree)
    difference = abs(total - memory.rss_bytes)
    if difference <= SUM_SHARE * memory.rss_bytes:
        return None
    share = percent(difference / memory.rss_bytes)
    text = f"The tree sums to {size(total)} where the kernel counts {size(memory.rss_bytes)} resident ({share} apart)"
    text += f": {memory.reason}." if memory.reason else ": memory came or went while it was read."
    figures: Figures = {"tree_bytes": total, "rss_bytes": memory.rss_bytes}
    return Weighed(Finding("tree_sum", text, figures, "Take the report again at a quieter moment.", "trust"))


def partial(report: Report) -> Weighed | None:
    """Sections or parts of them that are missing, with their reasons."""
    reasons = dict(report.missing)
    if report.pymalloc is not None and not report.pymalloc.exact and report.pymalloc.reason:
        reasons.setdefault("pymalloc", report.pymalloc.reason)
    if report.memory is not None and not report.memory.exact and report.memory.reason:
        reasons.setdefault("memory", report.memory.reason)
    if report.gc is not None and not report.gc.exact and report.gc.reason:
        reasons.setdefault("gc", report.gc.reason)
    if not reasons:
        return None
    text = "Not all of this page is exact: " + "; ".join(grouped(reasons)) + "."
    attempt = "`meminspect doctor` tells what is exact here, and why not."
    return Weighed(Finding("partial", text, dict(reasons), attempt, "trust"))


def grouped(reasons: dict[str, str]) -> list[str]:
    """'memory, large: reason' for sections that are missing for one reason."""
    sections: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        sections.setdefault(reason, []).append(name)
    return [f"{', '.join(names)}: {reason}" for reason, names in sections.items()]


def omitted_interpreters(report: Report) -> Weighed | None:
    """Interpreters with arenas of their own that could not be held still."""
    omitted = report.pymalloc.omitted if report.pymalloc else ()
    if not omitted:
        return None
    text = f"{count(len(omitted), 'interpreter')} could not be walked, and their arenas are not in the figures: "
    text += "; ".join(f"{item.interpreter}: {item.reason}" for item in omitted[:5]) + "."
    figures: Figures = {"interpreters": len(omitted)}
    return Weighed(Finding("omitted_interpreters", text, figures, None, "trust"))


RULES = (disagreement, tree_sum, partial, omitted_interpreters)
