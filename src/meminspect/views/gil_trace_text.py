"""A trace of the GIL as one page of text."""

from __future__ import annotations

from ..analysis.words import count, percent, seconds
from ..models.gil_trace import Distribution, GilTrace
from .page import ANSWER, DIM, WARN, Column, Page

THREADS = 12
CELLS = 8
HOLDS = 5
SITES = 8
NAME = 20


def render(
    trace: GilTrace,
    *,
    program: str | None = None,
    note: str | None = None,
    width: int = 100,
    color: bool = False,
    unicode: bool = True,
) -> str:
    """The page: the answer, threads, who hands it to whom, the longest holds, what to make of it. Pure."""
    page = Page(width, color=color, unicode=unicode)
    title = ["meminspect gil", *([program] if program else []), f"pid {trace.pid}", f"{trace.duration_s:.3f} s"]
    page.line(page.dot.join(title), DIM)
    page.line(answer(trace), ANSWER)
    if note:
        page.line(note, WARN)
    if trace.reason:
        page.line(f"Not exact: {trace.reason}.", WARN)
    threads(page, trace)
    lengths(page, trace)
    at_once(page, trace)
    pairs(page, trace)
    longest(page, trace)
    sites(page, trace)
    collections(page, trace)
    if trace.findings:
        page.heading("What to make of it")
        for number, finding in enumerate(trace.findings, 1):
            page.indented(
                (finding.text, ""), (f" {finding.try_}" if finding.try_ else "", DIM), lead=f"{number}.", indent=3
            )
    page.line()
    page.line(checked(trace), DIM)
    return str(page)


def answer(trace: GilTrace) -> str:
    offs = trace.hand_offs
    text = f"The GIL went from one thread to another {count(offs.total, 'time')}: {offs.forced:,} forced by a waiting "
    text += f"thread's timeout, {offs.voluntary:,} given away."
    if trace.held_share is not None:
        text += f" Some thread held it {percent(trace.held_share, 0)} of the time."
    waited = sum(thread.waited_s for thread in trace.threads)
    return text + f" Threads waited for it {seconds(waited)} in all."


def threads(page: Page, trace: GilTrace) -> None:
    shown = sorted(trace.threads, key=lambda thread: -(thread.held_s + thread.waited_s))[:THREADS]
    page.heading("Threads", f"{len(shown)} of {len(trace.threads):,}, by time held and waited")
    columns = [
        Column("thread", grow=True), Column("id", figures=True), Column("held", figures=True),
        Column("share", figures=True), Column("waited", figures=True), Column("share", figures=True),
        Column("taken", figures=True), Column("longest wait", figures=True),
    ]  # fmt: skip
    page.table(
        columns,
        [
            (
                thread.label, str(thread.native_id or ""), seconds(thread.held_s), percent(thread.held_share),
                seconds(thread.waited_s), percent(thread.waited_share), f"{thread.acquisitions:,}",
                span(thread.waits.max_s),
            )
            for thread in shown
        ],
    )  # fmt: skip


def lengths(page: Page, trace: GilTrace) -> None:
    page.heading("How long", "a hold, and a wait from asking to having it")
    columns = [Column("")] + [Column(name, figures=True) for name in ("count", "p50", "p90", "p99", "p99.9", "max")]
    page.table(columns, [("holds", *row(trace.hold_times)), ("waits", *row(trace.wait_times))])


def at_once(page: Page, trace: GilTrace) -> None:
    sentence = concurrency(trace)
    if sentence:
        page.heading("How much ran at once")
        page.indented((sentence, ""), indent=2)


def concurrency(trace: GilTrace) -> str | None:
    """What the GIL let run of what could have run, None where it is not known."""
    known = trace.concurrency
    if known is None:
        return None
    text = f"On average {known.wanted:.2f} threads ran Python or waited for the GIL"
    if known.ideal < known.wanted - 0.005:
        text += f", of which {count(known.processors, 'processor')} could have run {known.ideal:.2f}"
    share = f": {percent(known.achieved / known.ideal, 0)} of that" if known.ideal > 0 else ""
    return f"{text}; the GIL let {known.achieved:.2f} run{share}."


def row(lengths: Distribution) -> tuple[str, ...]:
    figures = (lengths.median_s, lengths.p90_s, lengths.p99_s, lengths.p999_s, lengths.max_s)
    return (f"{lengths.count:,}", *map(span, figures))


def span(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value * 1e9:.0f} ns" if value < 1e-6 else seconds(value)


def pairs(page: Page, trace: GilTrace) -> None:
    if not trace.matrix:
        return
    page.heading("Who hands it to whom", f"{min(CELLS, len(trace.matrix))} of {count(len(trace.matrix), 'pair')}")
    columns = [
        Column("from", grow=True), Column("to"), Column("forced", figures=True), Column("given away", figures=True)
    ]  # fmt: skip
    names = [thread.label for thread in trace.threads]
    page.table(
        columns,
        [
            (names[cell.from_thread], names[cell.to_thread], f"{cell.forced:,}", f"{cell.voluntary:,}")
            for cell in trace.matrix[:CELLS]
        ],
    )


def longest(page: Page, trace: GilTrace) -> None:
    if not trace.longest_holds:
        return
    page.heading("Longest holds", "and how long a thread that had asked was kept waiting")
    named = any(hold.function for hold in trace.longest_holds[:HOLDS])
    columns = [
        Column("thread", grow=not named), Column("begins at", figures=True), Column("held", figures=True),
        Column("ended"), Column("asked by"), Column("answered", figures=True),
        *([Column("in", grow=True)] if named else []),
    ]  # fmt: skip
    names = [thread.label for thread in trace.threads]
    ended = {True: "forced", False: "given away", None: "not ended"}
    page.table(
        columns,
        [
            (
                cut(names[hold.thread]), f"{hold.begin_s:.3f} s", seconds(hold.held_s), ended[hold.forced],
                "-" if hold.asked_by is None else cut(names[hold.asked_by]), span(hold.answered_s),
                *([shortened(hold.function)] if named else []),
            )
            for hold in trace.longest_holds[:HOLDS]
        ],
    )  # fmt: skip


def cut(name: str) -> str:
    """A thread's name for a narrow column."""
    return name if len(name) <= NAME else name[: NAME - 1] + "…"


def shortened(function: str | None) -> str:
    """A function for a narrow column: what lies in front of its file's name is left out."""
    if function is None:
        return "-"
    before, bracket, file = function.partition(" (")
    return f"{before}{bracket}{file.rsplit('/', 1)[-1]}"


def sites(page: Page, trace: GilTrace) -> None:
    """Where threads let it go, with attribution."""
    if not trace.release_sites:
        return
    page.heading("Where it was let go", f"{min(SITES, len(trace.release_sites))} of {len(trace.release_sites):,}")
    columns = [Column("in", grow=True), Column("thread")]
    columns += [Column(name, figures=True) for name in ("forced", "given away", "held before", "longest")]
    page.table(columns, [(shortened(place), cut(name), *rest) for place, name, *rest in site_rows(trace, SITES)])


def site_rows(trace: GilTrace, most: int) -> list[tuple[str, ...]]:
    """Place, thread, forced, given away, held before in all, the longest; by the time held."""
    ordered = sorted(trace.release_sites, key=lambda site: -site.held_s)[:most]
    return [
        (
            "-" if site.place is None else site.place.label, trace.threads[site.thread].label, f"{site.forced:,}",
            f"{site.voluntary:,}", seconds(site.held_s), span(site.longest_s),
        )
        for site in ordered
    ]  # fmt: skip


def collections(page: Page, trace: GilTrace) -> None:
    if not trace.collections:
        return
    page.heading("Garbage collection", "with the GIL held")
    names = ("generation", "runs", "in all", "share", "longest")
    page.table([Column(name, figures=True) for name in names], collection_rows(trace))


def collection_rows(trace: GilTrace) -> list[tuple[str, ...]]:
    """Generation, runs, time in all, its share, the longest run."""
    rows: list[tuple[str, ...]] = []
    for generation in sorted({one.generation for one in trace.collections}):
        runs = [one for one in trace.collections if one.generation == generation]
        total = sum(one.duration_s for one in runs)
        share = percent(total / trace.duration_s) if trace.duration_s else "-"
        rows.append(
            (str(generation), f"{len(runs):,}", seconds(total), share, span(max(one.duration_s for one in runs)))
        )
    return rows


def checked(trace: GilTrace) -> str:
    text = f"{trace.events:,} events, {trace.lost_events:,} lost. "
    if trace.switch_number_delta is None:
        return text + "CPython's own count of thread-state switches at the end is not known."
    verdict = "equal" if trace.tstate_switches == trace.switch_number_delta else "NOT equal"
    return (
        f"{text}Checked: {trace.tstate_switches:,} thread-state switches traced, CPython's switch_number changed by "
        f"{trace.switch_number_delta:,}: {verdict}."
    )
