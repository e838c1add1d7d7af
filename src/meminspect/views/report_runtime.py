"""The large path, the collector and the GIL."""

from __future__ import annotations

from ..analysis.words import count, mib, seconds, size
from ..models.gc import GcState
from ..models.gil import GilCounters
from ..models.report import LargePath, Report
from .page import DIM, Column, Page

MALLOC_ARENAS = 6


def large_section(page: Page, report: Report) -> None:
    """What goes past pymalloc to malloc, arena by arena."""
    large, memory = report.large, report.memory
    if large is None or memory is None:
        page.heading("Large path")
        page.indented((f"not known: {report.missing.get('large', 'unknown')}", ""))
        return
    what = (
        f"requests over {count(large.threshold_bytes, 'byte')}"
        if large.threshold_bytes is not None
        else "every request"
    )
    page.heading("Large path", f"{what} to {large.malloc}'s malloc")
    if not memory.malloc_arenas:
        page.indented((large.reason or "its heaps could not be walked", ""))
        return
    arenas = sorted(memory.malloc_arenas, key=lambda arena: -arena.size_bytes)
    groups = [(arena.name, [arena]) for arena in arenas[:MALLOC_ARENAS]]
    if arenas[MALLOC_ARENAS:]:
        groups.append((f"{len(arenas) - MALLOC_ARENAS:,} more", arenas[MALLOC_ARENAS:]))
    if len(arenas) > 1:
        groups.append(("all", arenas))
    rows = [
        (
            name,
            f"{sum(arena.live_chunks for arena in group):,}",
            mib(sum(arena.live_bytes for arena in group), 2),
            mib(sum(arena.free_bytes + arena.top_bytes for arena in group), 2),
            mib(sum(arena.free_resident_bytes for arena in group), 2),
            mib(sum(arena.trim_bytes for arena in group), 2),
            mib(sum(arena.tcache_bytes for arena in group), 2),
        )
        for name, group in groups
    ]
    columns = (
        Column("malloc arena", grow=True),
        Column("live", figures=True),
        Column("live MiB", figures=True),
        Column("free MiB", figures=True),
        Column("resident", figures=True),
        Column("trim", figures=True),
        Column("tcache", figures=True),
    )
    page.table(columns, rows)
    facts = large_facts(large)
    page.indented(("; ".join(facts) + "." if facts else "", ""))


def large_facts(large: LargePath) -> list[str]:
    """Mappings of single chunks, what a trim would return, the threshold."""
    facts = []
    if large.mmapped_chunks is not None and large.mmapped_bytes is not None:
        facts.append(f"{count(large.mmapped_chunks, 'chunk')} mmapped, {size(large.mmapped_bytes)} of address space")
    if large.trim_would_return_bytes is not None:
        facts.append(f"malloc_trim(0) would return {size(large.trim_would_return_bytes)}")
    if large.mmap_threshold_bytes is not None:
        facts.append(f"mmap from {size(large.mmap_threshold_bytes)} on")
    return facts


def gc_section(page: Page, report: Report) -> None:
    """Generations, and when the next collection comes."""
    state = report.gc
    if state is None:
        page.heading("GC")
        page.indented((f"not known: {report.missing.get('gc', 'unknown')}", ""))
        return
    page.heading(
        "GC",
        f"{state.kind}, {'enabled' if state.enabled else 'disabled'}{', collecting now' if state.collecting else ''}",
    )
    with_candidates = any(item.candidates is not None for item in state.generations)
    with_time = any(item.duration_s is not None for item in state.generations)
    columns = [
        Column("generation"),
        Column("objects", figures=True),
        Column("count", figures=True),
        Column("threshold", figures=True),
        Column("runs", figures=True),
        Column("collected", figures=True),
        Column("uncollectable", figures=True),
        *([Column("candidates", figures=True)] if with_candidates else []),
        *([Column("time", figures=True)] if with_time else []),
    ]
    rows = [
        (
            f"{item.index} {item.name}",
            figure(item.objects),
            figure(item.count),
            figure(item.threshold),
            figure(item.collections),
            figure(item.collected),
            figure(item.uncollectable),
            *([figure(item.candidates)] if with_candidates else []),
            *([seconds(item.duration_s) if item.duration_s is not None else "-"] if with_time else []),
        )
        for item in state.generations
    ]
    page.table(columns, rows)
    page.indented((state.trigger.removesuffix(".") + ".", ""))
    extra = gc_extra(state)
    if extra:
        page.indented(("; ".join(extra) + ".", ""))
    if state.reason:
        page.indented((state.reason, DIM))


def gc_extra(state: GcState) -> list[str]:
    """Objects outside the generations, and what the next full collection depends on."""
    extra = [f"{count(state.frozen, 'object')} frozen"] if state.frozen else []
    if state.long_lived_total:
        extra.append(f"{state.long_lived_total:,} long-lived at the last full collection")
        if state.long_lived_pending is not None:
            extra.append(f"{state.long_lived_pending:,} became old since")
    return extra


def gil_section(page: Page, report: Report) -> None:
    """Each GIL of the process."""
    if not report.gil:
        page.heading("GIL")
        page.indented((f"not known: {report.missing.get('gil', 'unknown')}", ""))
        return
    page.heading("GIL", "thread-state switches are a lower bound of hand-offs between threads")
    for item in report.gil:
        page.indented((gil_sentence(item, alone=len(report.gil) == 1), ""))
        if item.reason:
            page.indented((item.reason, DIM))
    for sentence in trace_sentences(report):
        page.indented((sentence, ""))


def trace_sentences(report: Report) -> list[str]:
    """Of the trace of the GIL that the process took, when it took one."""
    trace = report.gil_trace
    if trace is None:
        return []
    first = (
        f"Traced for {seconds(trace.duration_s)}{'' if trace.exact else ' (not exact)'}: "
        f"{count(trace.hand_offs, 'hand-off')} from one thread to another, {trace.forced:,} of them forced; threads "
        f"waited {seconds(trace.waited_s)} in all."
    )
    return [first, *trace.sentences]


def gil_sentence(item: GilCounters, *, alone: bool) -> str:
    """One GIL in one sentence."""
    owners = (
        "" if alone else f"Interpreter{'s' * (len(item.interpreters) > 1)} {', '.join(map(str, item.interpreters))}: "
    )
    if not item.enabled:
        return f"{owners}This build is free-threaded and its GIL is disabled: threads run at the same time."
    switches = (
        f"{count(item.tstate_switches, 'thread-state switch', 'thread-state switches')} so far"
        if (item.tstate_switches is not None)
        else "thread-state switches unknown"
    )
    holder = ""
    if item.holder_name is not None or item.holder_native_id is not None:
        holder = f", held by {item.holder_name or 'a thread'} (native id {item.holder_native_id})"
    elif item.locked is not None:
        holder = ", held by a thread that is not known" if item.locked else ", free at that moment"
    wait = ""
    if item.switch_interval_s is not None:
        wait = f"; a thread that waits asks for it after {seconds(item.switch_interval_s)}"
    return f"{owners}{switches}{holder}{wait}."


def figure(value: int | None) -> str:
    """A count, or a dash for what this version does not tell."""
    return f"{value:,}" if value is not None else "-"
