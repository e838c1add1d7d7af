"""The beginning and the end of the page: who, the answer, the process; what to do, and what was checked."""

from __future__ import annotations

from ..analysis.composition import COMPOSITION
from ..analysis.tree import leaf_sum
from ..analysis.words import amount, count, percent, seconds
from ..models.memory import Cgroup, MemoryBreakdown
from ..models.report import Finding, Report
from .page import ANSWER, DIM, FIGURE, GOOD, HEADING, WARN, Page


def head(page: Page, report: Report) -> None:
    """One line: tool, program, process, interpreter, allocator, C library."""
    page.line(page.dot.join(subject(report)), DIM)


def subject(report: Report) -> list[str]:
    """What the page is about: tool, program, process, interpreter with allocator and C library."""
    python, process = report.python, report.process
    build = "".join([" free-threaded" if python.free_threaded else "", " debug" if python.debug else ""])
    malloc = report.memory.malloc if report.memory else process.libc
    interpreter = f"{python.implementation} {python.version}{build}, {python.allocator}, {malloc}"
    return ["meminspect", process.program, f"pid {process.pid}", interpreter]


def answer(page: Page, report: Report) -> None:
    """Why RSS is what it is, in one or two sentences; what casts doubt on the figures right behind it."""
    page.line(headline(report), ANSWER if report.memory else WARN)
    for text in doubts(report):
        page.line(text, WARN)


def headline(report: Report) -> str:
    """The answer: RSS, and the first finding on it."""
    if report.memory is None:
        return f"RSS could not be read: {report.missing.get('memory', 'unknown')}."
    rss = f"RSS is {amount(report.memory.rss_bytes)}."
    lead = report.findings[0] if report.findings else None
    if lead is None or lead.concern != "memory":
        return rss
    return lead.text if lead.id == COMPOSITION else f"{rss} {lead.text}"


def doubts(report: Report) -> list[str]:
    """What the measurement itself could not do."""
    return [finding.text for finding in report.findings if finding.concern == "trust"]


def process_lines(page: Page, report: Report) -> None:
    """Threads, files, times; the kernel's sums; the control group."""
    process = report.process
    page.heading("Process")
    page.indented((page.dot.join(process_facts(report)), ""))
    if process.argv is not None:
        page.indented(("arguments ", DIM), (" ".join(process.argv), ""))
    if report.memory is not None:
        page.indented((page.dot.join(kernel_sums(report.memory)), ""))
        group = report.memory.cgroup
        if group is not None:
            page.indented((f"control group {group.path}: ", DIM), (", ".join(cgroup_facts(group)), ""))
    for note in (process.note, process.reason if process.threads is None else None):
        if note:
            page.indented((note, DIM))


def process_facts(report: Report) -> list[str]:
    """Threads, files, times, kernel: what is known of them."""
    process = report.process
    facts = []
    if process.threads is not None:
        facts.append(count(process.threads, "thread"))
    if process.open_files is not None:
        facts.append(count(process.open_files, "open file"))
    if process.started_s is not None:
        facts.append(f"up {seconds(max(0.0, process.taken_s - process.started_s))}")
    if process.user_s is not None and process.system_s is not None:
        facts.append(f"CPU {seconds(process.user_s)} user, {seconds(process.system_s)} system")
    facts.append(f"kernel {process.kernel}")
    return facts


def kernel_sums(memory: MemoryBreakdown) -> list[str]:
    """The kernel's own sums of the process."""
    sums = [
        ("PSS", memory.pss_bytes),
        ("USS", memory.uss_bytes),
        ("peak RSS", memory.peak_rss_bytes),
        ("swap", memory.swap_bytes),
    ]
    known = [f"{name} {amount(value)}" for name, value in sums if value is not None]
    return [f"RSS {amount(memory.rss_bytes)}", *known]


def cgroup_facts(group: Cgroup) -> list[str]:
    """What the control group holds, and how far it is from its limit."""
    facts = []
    if group.current_bytes is not None:
        facts.append(f"{amount(group.current_bytes)} used")
    facts.append(f"limit {amount(group.max_bytes)}" if group.max_bytes is not None else "no limit")
    if group.high_bytes is not None:
        facts.append(f"throttled from {amount(group.high_bytes)}")
    if group.headroom_bytes is not None:
        facts.append(f"{amount(group.headroom_bytes)} left")
    parts = (("anon", group.anon_bytes), ("file", group.file_bytes), ("kernel", group.kernel_bytes))
    facts += [f"{name} {amount(value)}" for name, value in (*parts, ("shmem", group.shmem_bytes)) if value]
    if group.oom_kills:
        facts.append(f"{group.oom_kills} OOM kills")
    return facts


def what_to_do(page: Page, report: Report) -> None:
    """The findings, numbered, each with what to try; what the answer said already is not said again."""
    page.heading("What to do")
    if not report.findings:
        page.indented(("Nothing that the figures tell.", ""))
    told = [finding for finding in report.findings if finding.try_ or not stated_above(report, finding)]
    for number, finding in enumerate(told, 1):
        lead = f"{number:3}."
        if not stated_above(report, finding):
            page.indented((finding.text, ""), indent=5, lead=lead)
            lead = ""
        if finding.try_:
            page.indented((finding.try_, FIGURE), indent=5, lead=lead)


def stated_above(report: Report, finding: Finding) -> bool:
    """Whether the answer on top of the page has this finding's sentence already."""
    return finding.concern == "trust" or (finding is report.findings[0] and report.memory is not None)


def checked(page: Page, report: Report) -> None:
    """What the figures were held against, and how it ended."""
    page.line()
    page.pieces(("Checked: ", HEADING), *heap_verdict(report), ("; ", ""), *tree_verdict(report), (".", ""))


def heap_verdict(report: Report) -> list[tuple[str, str]]:
    """How many size classes agree with CPython's own statistics, or why there was nothing to compare."""
    heap = report.pymalloc
    if heap is None:
        return [(f"no heap to check ({report.missing.get('pymalloc', 'unknown')})", WARN)]
    check = heap.cross_check
    if check.agrees is None:
        return [(f"the heap could not be held against {check.source} ({check.reason or 'unknown'})", "")]
    same = check.compared - len(check.differences)
    text = f"{same:,} of {check.compared:,} figures of the heap agree with {check.source}"
    return [(text, GOOD if check.agrees else WARN)]


def tree_verdict(report: Report) -> list[tuple[str, str]]:
    """Whether the leaves sum to RSS, to the byte."""
    memory = report.memory
    if memory is None:
        return [(f"no tree to check ({report.missing.get('memory', 'unknown')})", WARN)]
    total = leaf_sum(memory.tree)
    if total == memory.rss_bytes:
        return [(f"the tree sums to RSS ({total:,} bytes)", GOOD)]
    difference = total - memory.rss_bytes
    share = percent(abs(difference) / memory.rss_bytes, 2) if memory.rss_bytes else "-"
    way = "more" if difference > 0 else "fewer"
    text = f"the tree sums to {total:,} bytes, {abs(difference):,} {way} than RSS ({share})"
    return [(text, "")]
