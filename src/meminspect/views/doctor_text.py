"""`meminspect doctor` as a page of text."""

from __future__ import annotations

from ..analysis.words import count, size
from ..models.doctor import Doctor, Feature
from .page import DIM, GOOD, HEADING, WARN, Column, Page

MARKS = {True: ("exact", GOOD), False: ("no", WARN), None: ("-", DIM)}
FACTS = {True: ("true", GOOD), False: ("false", WARN), None: ("not checked", DIM)}


def render(doctor: Doctor, *, width: int = 100, color: bool = False, unicode: bool = True) -> str:
    """The whole page; see views.report_text.render for the options."""
    page = Page(width, color=color, unicode=unicode)
    python = doctor.python
    kind = "".join([" free-threaded" if python.free_threaded else "", " debug" if python.debug else ""])
    parts = ["meminspect doctor", f"meminspect {doctor.meminspect}", f"{python.implementation} {python.version}{kind}"]
    page.line(page.dot.join([*parts, f"{doctor.machine.system} {doctor.machine.architecture}"]), DIM)
    page.line(summary(doctor), HEADING)
    page.heading("What is exact here")
    for feature in doctor.features:
        feature_line(page, feature)
    layout(page, doctor)
    facts(page, "Interpreter", interpreter_facts(doctor))
    facts(page, "Machine", machine_facts(doctor))
    page.heading("Optional extras")
    for extra in doctor.extras:
        if extra.missing:
            text = f"{', '.join(extra.missing)} missing: pip install 'meminspect[{extra.name}]'"
        else:
            text = "installed"
        page.indented((text, DIM if extra.missing else ""), indent=13, lead=f"  {extra.name}")
    return str(page)


def summary(doctor: Doctor) -> str:
    """The answer first: all exact, or what is not."""
    not_exact = [feature.name for feature in doctor.features if feature.exact is False]
    if not not_exact:
        return "Everything that meminspect measures is exact here."
    exact = sum(feature.exact is True for feature in doctor.features)
    return f"{exact} of {count(len(doctor.features), 'feature')} are exact here; not: {', '.join(not_exact)}."


def feature_line(page: Page, feature: Feature) -> None:
    mark, style = MARKS[feature.exact]
    page.indented((f"{feature.name}: ", style), (feature.how, ""), indent=9, lead=f"  {mark}")


def layout(page: Page, doctor: Doctor) -> None:
    """Each layout that was tried, with its facts; of those that were refused, only what speaks against them."""
    page.heading("Layout of CPython's structures", "each held against facts that do not come from it")
    if doctor.layout_reason is not None:
        page.indented((doctor.layout_reason, WARN))
    for trial in doctor.layouts:
        used = trial is doctor.layout
        origin = "compiled for it" if trial.native else "shipped"
        page.indented((f"{trial.version}, {origin}: {'used' if used else 'refused'}", "" if used else WARN))
        rows = [
            (page.text("  " + FACTS[verdict][0], FACTS[verdict][1]), text)
            for text, verdict in trial.facts
            if used or verdict is False
        ]
        page.table((Column(), Column(grow=True)), rows, header=False)


def interpreter_facts(doctor: Doctor) -> list[tuple[str, str]]:
    python = doctor.python
    return [
        ("executable", python.executable or "unknown"),
        ("allocator", python.allocator),
        ("GIL", "enabled" if doctor.gil_enabled else "disabled"),
        ("interpreters", str(doctor.interpreters) if doctor.interpreters is not None else "unknown"),
        ("core built", f"for {doctor.build.python}, Cython {doctor.build.cython}, compiler {doctor.build.compiler}"),
    ]


def machine_facts(doctor: Doctor) -> list[tuple[str, str]]:
    here = doctor.machine
    scope = "no yama" if here.ptrace_scope is None else f"kernel.yama.ptrace_scope {here.ptrace_scope}"
    capable = {True: "CAP_SYS_PTRACE", False: "no CAP_SYS_PTRACE", None: "capabilities unknown"}[here.ptrace_capable]
    seccomp = {None: "unknown", 0: "none", 1: "strict", 2: "a filter"}.get(here.seccomp, str(here.seccomp))
    return [
        ("kernel", f"{here.kernel}, pages of {size(here.page_size)}"),
        ("C library", here.libc),
        ("malloc", here.malloc or "unknown"),
        ("memory read by", here.read_method or "nothing that is permitted"),
        ("pagemap", "readable" if here.pagemap else "refused"),
        ("dumpable", {True: "yes", False: "no", None: "unknown"}[here.dumpable]),
        ("ptrace", f"{scope}, {capable}"),
        ("seccomp", seccomp),
        ("control group", f"version {here.cgroup_version}" if here.cgroup_version else "none seen"),
    ]


def facts(page: Page, title: str, rows: list[tuple[str, str]]) -> None:
    """A heading and pairs of a name and a value."""
    page.heading(title)
    for name, value in rows:
        page.indented((value, ""), indent=18, lead=f"  {name}")
