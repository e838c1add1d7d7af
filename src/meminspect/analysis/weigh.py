"""What a rule returns, and from where on something is worth a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from ..models.report import Finding, Report

MIB = 1 << 20
NOTABLE_BYTES = 4 * MIB  # what a bare interpreter may hold free: two or three arenas and the top of the heap
NOTABLE_SHARE = 0.02  # of RSS: below it, acting on the finding would not be seen


@dataclass(frozen=True)
class Weighed:
    """A finding with the bytes that it is about; `explains_rss` when it can be the answer to why RSS is what it is."""

    finding: Finding
    weight: int = 0
    explains_rss: bool = False


def notable(report: Report, amount: int | None) -> bool:
    """Whether an amount of memory is worth a sentence in this process."""
    if amount is None or amount < NOTABLE_BYTES:
        return False
    return report.memory is None or amount >= NOTABLE_SHARE * report.memory.rss_bytes


def of_rss(report: Report, amount: int) -> str:
    """' (96 % of RSS)', or nothing when RSS is unknown or the amount is not all resident."""
    if report.memory is None or not 0 < amount <= report.memory.rss_bytes:
        return ""
    return f" ({amount / report.memory.rss_bytes:.0%} of RSS)".replace("%", " %")
