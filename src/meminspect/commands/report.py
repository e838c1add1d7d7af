"""`report`: one page about one process: this one, a program that is run, or another one that runs already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from meminspect.commands._frame import Command, html_option, output_options, pause_option, pid_option
from meminspect.commands._program import run_program
from meminspect.errors import UsageError
from meminspect.launch.hook import Order
from meminspect.launch.output import open_output
from meminspect.launch.program import Program, is_snapshot

if TYPE_CHECKING:
    from meminspect.models.census import Census
    from meminspect.models.contents import Contents
    from meminspect.models.pinning import Pinning
    from meminspect.models.references import RetainedSizes
    from meminspect.models.report import Report


class ReportCommand(Command):
    help = "One exact page about a process: where RSS goes, pymalloc, GC, GIL, what to do"
    about = (
        "Without a program it is about the interpreter that shows it. With one, the program runs as under `python`, "
        "and the page is about its end: it goes to stderr, or to the file of -o."
    )
    examples = (
        ("meminspect report", "the interpreter in front of you"),
        ("meminspect report -o page.txt script.py --its own -o ptions", "a script, with its arguments"),
        ("meminspect report --json -o report.json -m pytest tests", "a module, as JSON"),
        ("meminspect report --pid 4711", "another process of the same build of Python, read from outside"),
        ("meminspect report --html page.html app.py", "a page for a browser, in one file that opens offline"),
        ("meminspect report --objects app.py", "and findings about objects and types under which much of it hangs"),
        ("meminspect report a.mi", "a snapshot that was taken before"),
        ("meminspect report --json --every 10 -o reports.jsonl server.py", "a report every ten seconds, one a line"),
    )
    takes_program = True

    def params(self) -> list[click.Parameter]:
        return [
            *output_options(),
            html_option(),
            click.Option(["--with-argv"], is_flag=True, help="Name the arguments too: not for a report to share."),
            pid_option(),
            click.Option(
                ["--objects"], is_flag=True,
                help="Read all objects and references too: objects and types under which an unlikely share hangs are "
                "findings. A page for a browser has them without.",
            ),
            click.Option(["--every"], type=click.FloatRange(min=0.01), metavar="SECONDS", help="Reports on the way."),
            pause_option(" for a part of the report; what that costs is said."),
        ]  # fmt: skip

    def run(self, options: Mapping[str, Any]) -> int:
        return show(options, Page)


def show(options: Mapping[str, Any], form: type[Page]) -> int:
    """Measures what the command line asks for, and writes it in its form: `report` and `map` differ in that alone."""
    program: Program | None = options["program"]
    pid: int | None = options["pid"]
    every: float | None = options.get("every")
    if options["html"] is not None and (options["as_json"] or options["output"] is not None or every is not None):
        raise UsageError("--html names the form and the file: leave --json, -o and --every out")
    if program is not None and pid is None and is_snapshot(program):
        return show_snapshot(options, form, program)
    if program is not None:
        if pid is not None:
            raise UsageError("--pid is about a process that runs already: name no program with it")
        program.check()
        page = form(options, program)
        run_program(
            program, Order(page.function, interval_s=every, max_pause_s=options["max_pause"]), page.output,
            lambda record, outcome: page.render(record.value(), hooked_by=outcome.hooked_by, note=outcome.note),
        )  # fmt: skip
    if every is not None:
        raise UsageError("--every needs a program to run")
    page = form(options, program=None)
    with page.output:
        raw, context = take(pid, options["max_pause"], page)
        page.output.write(page.render(raw, **context))
    return 0


def show_snapshot(options: Mapping[str, Any], form: type[Page], program: Program) -> int:
    """The same of a snapshot."""
    from meminspect.store.read import load

    if options.get("every") is not None or program.args:
        raise UsageError(f"{program.what} is a snapshot: it takes no arguments, and --every needs a program")
    kept = load(program.what)
    report, census = kept.report(), kept.census() if kept.has_census else None
    page = form(options, program=None)
    if page.retained and {"objects", "edges"} <= kept.tables.keys():
        from meminspect.store.objects import graph
        from meminspect.store.retained import top_retained

        page.top = top_retained(graph(kept), 200)
        report = page.with_suspects(report)
    with page.output:
        page.output.write(page.document(report, census))
    return 0


def take(pid: int | None, max_pause: float, page: Page) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The captures of another process, or of this one, and what is to be known for building the report."""
    if pid is not None:
        from meminspect.probes import remote

        return remote.take(pid, drawn=page.drawn, retained=page.retained)
    from meminspect.probes import raw

    return raw.take(max_pause, drawn=page.drawn, retained=page.retained), {}


class Page:
    """The place and the form of the report."""

    def __init__(self, options: Mapping[str, Any], program: Program | None) -> None:
        self.as_json: bool = options["as_json"]
        self.as_html: bool = options["html"] is not None
        self.one_line: bool = options.get("every") is not None
        self.with_argv: bool = options.get("with_argv", False)
        self.objects: bool = options.get("objects", False)
        self.program = program
        self.pinning: Pinning | None = None
        self.top: RetainedSizes | str = "a snapshot holds it with --objects alone: see 'why'"
        if self.as_html:
            from meminspect.views import html_page

            html_page.environment()  # what is missing is said before a program runs
        place = options["html"] if self.as_html else options["output"]
        self.output = open_output(place, beside_program=program is not None, append=self.one_line)
        self.color = self.output.color(not options["no_color"])

    @property
    def drawn(self) -> bool:
        """Whether each pool and block is needed."""
        return self.as_html

    @property
    def retained(self) -> bool:
        """Whether what retains most is needed."""
        return self.as_html or self.objects

    @property
    def function(self) -> str:
        """Of the native core, which a program is measured with."""
        if self.retained:
            return "raw_record_page" if self.drawn else "raw_record_retained"
        return "raw_record_drawn" if self.drawn else "raw_record"

    def render(self, raw: Mapping[str, Any], **how: Any) -> str:
        """One report as a document; `how` is context for its build."""
        from meminspect.probes.report import build

        context: dict[str, Any] = dict(how)
        if self.program is not None:
            context |= {"program": self.program.name, "alive": False}
        if self.with_argv:
            context["with_argv"] = True
        taken = raw.get("census")
        if self.retained:
            self.top, self.pinning = references_of(raw.get("references"))
        return self.document(self.with_suspects(build(raw, context)), census_of(taken), contents_of(taken))

    def with_suspects(self, report: Report) -> Report:
        """The same with what is unlikely about what retains most, behind the findings that it has."""
        if isinstance(self.top, str) and not self.objects:
            return report
        from meminspect.analysis.composition import answered
        from meminspect.analysis.suspects import pinned, suspects, unread

        if isinstance(self.top, str):
            return replace(report, findings=(*report.findings, unread(self.top)))
        keeping = pinned(self.pinning) if self.pinning is not None else ()
        found = (*keeping, *suspects(self.top))
        return replace(report, findings=(*answered(report.findings, bool(found)), *found))

    def document(self, report: Report, census: Census | None, contents: Contents | None = None) -> str:
        """The report in the form that was asked for."""
        if self.as_html:
            from meminspect.views import html_page

            return html_page.render(report, census=census, contents=contents, top=self.top)
        if self.as_json:
            from meminspect.views import report_json

            return report_json.render(report, indent=None if self.one_line else 2)
        from meminspect.views import report_text

        return report_text.render(report, width=self.output.width, color=self.color, unicode=self.output.unicode)


def census_of(raw: Mapping[str, Any] | None) -> Census | None:
    """The census of a capture; None without one (a capture may have failed)."""
    if raw is None or "error" in raw:
        return None
    from meminspect.probes.census import build

    return build(raw)


def contents_of(raw: Mapping[str, Any] | None) -> Contents | None:
    """What single blocks hold, of the same capture."""
    if raw is None or "error" in raw:
        return None
    from meminspect.probes.contents import build

    return build(raw)


def references_of(raw: Mapping[str, Any] | None) -> tuple[RetainedSizes | str, Pinning | None]:
    """What retains most, or why that is not known; and what keeps arenas."""
    if raw is None:
        return "the references were not read", None
    if "error" in raw:
        return str(raw.get("reason") or raw["error"]), None
    from meminspect.probes import pinning
    from meminspect.probes.references import build_top, without_keys

    top = build_top(raw)
    top = replace(top, rows=tuple(replace(row, path=without_keys(row.path)) for row in top.rows))
    if raw["keys"] is None:
        return top, None
    keeping = pinning.build(raw)
    steps = [
        replace(step, objects=tuple(replace(one, path=without_keys(one.path)) for one in step.objects))
        for step in keeping.steps
    ]
    return top, replace(keeping, steps=tuple(steps))
