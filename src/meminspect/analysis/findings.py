"""What follows from the figures of a report: one small function for each conclusion, none of them measures.

Each takes the report (its findings still empty) and returns a Weighed finding or None. `find` puts them in order: the
first is the answer to 'why is RSS what it is', then what casts doubt on the figures, then the rest by weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..models.report import Finding, Report
from . import findings_gc, findings_malloc, findings_process, findings_pymalloc, findings_trust
from .composition import composition
from .weigh import Weighed

Rule = Callable[[Report], Weighed | None]

LEAD_SHARE = 0.10  # of RSS: a cause that explains less than a tenth of it is not the answer

RULES: tuple[Rule, ...] = (
    *findings_pymalloc.RULES,
    *findings_malloc.RULES,
    *findings_process.RULES,
    *findings_gc.RULES,
    *findings_trust.RULES,
)
CONCERNS = ("trust", "memory", "gc", "gil")


def find(report: Report, rules: Iterable[Rule] = RULES) -> tuple[Finding, ...]:
    """All findings of a report, the answer first."""
    found = [weighed for rule in rules if (weighed := rule(report)) is not None]
    held = [item for item in found if item.explains_rss]
    heaviest = max(held, key=lambda item: item.weight, default=None)
    rss = report.memory.rss_bytes if report.memory else 0
    if heaviest is not None and heaviest.weight >= LEAD_SHARE * rss:
        lead: Weighed | None = heaviest
        found.remove(heaviest)
    else:
        lead = composition(report)
    found.sort(key=lambda item: (CONCERNS.index(item.finding.concern), -item.weight))
    return tuple(item.finding for item in ([lead] if lead else []) + found)
