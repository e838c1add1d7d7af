"""Sentences about a trace of the GIL."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..models.gil_trace import GilTrace
from ..models.report import Finding
from .words import count, percent, seconds

LONG_HOLD_S = 0.02  # four default intervals after the request: whoever waits has noticed
WAITS_SHARE = 0.1  # of the duration
CONTENDED = 0.9  # of the time held
MOST = 3  # of one kind


def findings(trace: GilTrace) -> tuple[Finding, ...]:
    """What is worth a sentence, the costliest kind first."""
    rules: tuple[Callable[[GilTrace], Iterator[Finding]], ...] = (convoys, long_holds, waiting, collections, recycled)
    return tuple(finding for rule in rules for finding in rule(trace))


def name(trace: GilTrace, thread: int) -> str:
    return trace.threads[thread].label


def at_work(trace: GilTrace, thread: int) -> str:
    """Where a thread was most often made to let go, as " in function (file:line)"; "" where that is not known."""
    sites = [site for site in trace.release_sites if site.thread == thread and site.forced and site.place is not None]
    if not sites:
        return ""
    place = max(sites, key=lambda site: site.forced).place
    return "" if place is None else f" in {place.label}"


def convoys(trace: GilTrace) -> Iterator[Finding]:
    for convoy in trace.convoys[:MOST]:
        waiter, holder = name(trace, convoy.thread), name(trace, convoy.behind)
        yield Finding(
            id="gil-convoy",
            concern="gil",
            text=f"A convoy: {waiter} needs the GIL for {seconds(convoy.median_hold_s)} at a time, and "
            f"{count(convoy.waits, 'time')} ({percent(convoy.waits_share, 0)} of its waits) it had to wait "
            f"{seconds(convoy.median_wait_s)} for it behind {holder}{at_work(trace, convoy.behind)}, which let go only "
            f"when it was made to: {seconds(convoy.lost_s)} in all.",
            figures={
                "thread": waiter,
                "behind": holder,
                "waits": convoy.waits,
                "median_wait_s": convoy.median_wait_s,
                "lost_s": convoy.lost_s,
            },
            try_="A shorter sys.setswitchinterval() shortens each of these waits; moving the work of "
            f"{holder} to another process ends them.",
        )


def long_holds(trace: GilTrace) -> Iterator[Finding]:
    """Holds that went on long after somebody had asked for the GIL; where nobody asks, nobody is hurt."""
    seen: set[int] = set()
    limit = max(LONG_HOLD_S, 4 * (trace.switch_interval_s or 0))
    for hold in trace.longest_holds:
        if hold.asked_by is None or hold.answered_s is None or hold.answered_s < limit or hold.thread in seen:
            continue
        if len(seen) == MOST:
            return
        seen.add(hold.thread)
        holder, waiter = name(trace, hold.thread), name(trace, hold.asked_by)
        where = f" in {hold.function}" if hold.function else ""
        yield Finding(
            id="gil-long-hold",
            concern="gil",
            text=f"{holder} held the GIL for {seconds(hold.held_s)} at a stretch{where}, {seconds(hold.begin_s)} after "
            f"the trace began, and let go {seconds(hold.answered_s)} after {waiter} had asked for it: a C call that "
            "does not release it, or a thread that the system did not run.",
            figures={"thread": holder, "held_s": hold.held_s, "answered_s": hold.answered_s, "asked_by": waiter},
            try_="The call should release the GIL (Py_BEGIN_ALLOW_THREADS), work in smaller pieces, or move to another "
            "process.",
        )


def waiting(trace: GilTrace) -> Iterator[Finding]:
    told = {convoy.thread for convoy in trace.convoys[:MOST]}
    for at, thread in sorted(enumerate(trace.threads), key=lambda item: -item[1].waited_s)[:MOST]:
        share = thread.waited_s / thread.alive_s if thread.alive_s > 0 else 0.0
        if at in told or thread.waited_share < WAITS_SHARE:
            continue
        behind = [cell for cell in trace.matrix if cell.to_thread == at]
        waited = sum(cell.waited_s for cell in behind)
        text = f"{thread.label} spent {percent(share, 0)} of its life waiting for the GIL ({seconds(thread.waited_s)})"
        if waited > 0:
            most = max(behind, key=lambda cell: cell.waited_s)
            forced = most.forced / (most.forced + most.voluntary)
            text += (
                f"; {percent(most.waited_s / waited, 0)} of that behind {name(trace, most.from_thread)}"
                f"{at_work(trace, most.from_thread)}, which was made to let go in {percent(forced, 0)} of "
                f"{count(most.forced + most.voluntary, 'hand-off')} to it"
            )
        yield Finding(
            id="gil-waiting",
            concern="gil",
            text=text + ".",
            figures={"thread": thread.label, "waited_s": thread.waited_s, "share": share},
            try_=None,
        )


def collections(trace: GilTrace) -> Iterator[Finding]:
    total = sum(one.duration_s for one in trace.collections)
    if not trace.collections or total < 0.05 * trace.duration_s:
        return
    longest = max(trace.collections, key=lambda one: one.duration_s)
    yield Finding(
        id="gil-collections",
        concern="gc",
        text=f"The garbage collector ran {count(len(trace.collections), 'time')} for {seconds(total)}, "
        f"{percent(total / trace.duration_s)} of the time, with the GIL held; the longest run took "
        f"{seconds(longest.duration_s)} (generation {longest.generation}, "
        f"{count(longest.collected, 'object')} collected).",
        figures={"collections": len(trace.collections), "total_s": total, "longest_s": longest.duration_s},
        try_="gc.freeze() after start-up, or a higher first threshold: gc.set_threshold().",
    )


def recycled(trace: GilTrace) -> Iterator[Finding]:
    total = trace.hand_offs.total
    if total < 100 or trace.tstate_switches * 2 > total:
        return
    yield Finding(
        id="gil-recycled-states",
        concern="gil",
        text=f"{count(total, 'hand-off')} between threads, of which CPython's own counter saw "
        f"{count(trace.tstate_switches, 'change')} of thread state: short-lived threads follow one another, and their "
        "states lie at the same addresses.",
        figures={"hand_offs": total, "tstate_switches": trace.tstate_switches},
        try_="A pool of threads that stay alive spares making and ending each of them.",
    )
