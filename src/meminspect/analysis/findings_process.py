"""Conclusions about the process as the kernel sees it: its control group, swap, stacks, files."""

from __future__ import annotations

from ..models.report import Finding, Report
from .tree import cached_stacks, files
from .weigh import MIB, Weighed, notable
from .words import count, percent, size

Figures = dict[str, int | float | str]

NEAR_LIMIT = 0.10  # of the limit: less headroom than this, and one burst ends the process
FILES_SHARE = 0.5  # of RSS
CACHED_STACKS_BYTES = MIB  # glibc keeps up to 40 MiB of address space of them; resident is usually far less


def near_limit(report: Report) -> Weighed | None:
    """How far the group is from the limit at which the kernel kills."""
    group = report.memory.cgroup if report.memory else None
    if group is None or group.headroom_bytes is None or not group.max_bytes:
        return None
    if group.headroom_bytes >= NEAR_LIMIT * group.max_bytes:
        return None
    text = f"Only {size(group.headroom_bytes)} are left to the memory limit of the control group"
    text += (
        f" ({size(group.current_bytes)} of {size(group.max_bytes)} used)." if group.current_bytes is not None else "."
    )
    if group.oom_kills:
        text += f" It has already killed {count(group.oom_kills, 'process', 'processes')}."
    figures: Figures = {"headroom_bytes": group.headroom_bytes, "max_bytes": group.max_bytes}
    attempt = (
        "Raise the limit (memory.max), or free what the first finding names; file pages are given up before a kill."
    )
    return Weighed(Finding("cgroup_near_limit", text, figures, attempt), weight=group.max_bytes)


def oom_kills(report: Report) -> Weighed | None:
    """Kills in this control group, when the limit is not near now."""
    group = report.memory.cgroup if report.memory else None
    if group is None or not group.oom_kills or near_limit(report) is not None:
        return None
    text = f"The kernel has killed {count(group.oom_kills, 'process', 'processes')} of this control group (OOM)."
    attempt = "Look at the peak (VmHWM) and at reports on the way (--every) rather than at this moment."
    return Weighed(Finding("cgroup_oom_kills", text, {"oom_kills": group.oom_kills}, attempt))


def swapped(report: Report) -> Weighed | None:
    """Memory that is in swap, and so missing from RSS."""
    amount = report.memory.swap_bytes if report.memory else None
    if amount is None or not notable(report, amount):
        return None
    text = f"{size(amount)} of this process is in swap and not in RSS: the tree shows what is resident only."
    attempt = "Read RSS and swap together; what is used rarely was swapped first."
    return Weighed(Finding("swap", text, {"swap_bytes": amount}, attempt), weight=amount)


def peak(report: Report) -> Weighed | None:
    """A peak far above what is resident now: gone by itself, but a limit must have room for it."""
    memory = report.memory
    if memory is None or memory.peak_rss_bytes is None:
        return None
    gone = memory.peak_rss_bytes - memory.rss_bytes
    if not notable(report, gone) or gone < memory.rss_bytes:
        return None
    text = f"The peak was {size(memory.peak_rss_bytes)}, {size(gone)} above what is resident now: that was given back."
    attempt = "A memory limit must have room for the peak; reports on the way (--every) show when it comes."
    figures: Figures = {"peak_rss_bytes": memory.peak_rss_bytes, "rss_bytes": memory.rss_bytes}
    return Weighed(Finding("peak", text, figures, attempt))


def ended_threads(report: Report) -> Weighed | None:
    """Stacks of ended threads that the C library keeps for new ones."""
    node = cached_stacks(report.memory.tree) if report.memory else None
    if node is None or node.bytes < CACHED_STACKS_BYTES:
        return None
    stacks = f"{count(node.count, 'stack')}" if node.count else "stacks"
    text = f"{size(node.bytes)} is resident in {stacks} of threads that have ended, kept for the next threads."
    attempt = "Keep a pool of threads instead of making new ones, or GLIBC_TUNABLES=glibc.pthread.stack_cache_size=0."
    return Weighed(Finding("cached_stacks", text, {"bytes": node.bytes}, attempt), weight=node.bytes)


def file_pages(report: Report) -> Weighed | None:
    """Most of RSS is pages of files: shared with other processes and given up by the kernel when it needs them."""
    memory = report.memory
    node = files(memory.tree) if memory else None
    if memory is None or node is None or node.bytes < FILES_SHARE * memory.rss_bytes:
        return None
    text = (
        f"{percent(node.bytes / memory.rss_bytes, 0)} of RSS ({size(node.bytes)}) is pages of libraries and other "
        f"files: shared with every process that maps them, and given up by the kernel when it needs room."
    )
    figures: Figures = {"bytes": node.bytes}
    if memory.uss_bytes is not None:
        text += f" Private to this process (USS) is {size(memory.uss_bytes)}."
        figures["uss_bytes"] = memory.uss_bytes
    return Weighed(Finding("file_pages", text, figures, "Compare processes by PSS or USS, not by RSS."))


RULES = (near_limit, oom_kills, swapped, peak, ended_threads, file_pages)
