"""`report`: one page about one process: this one, a program that is run, or another one that runs already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

import click

from meminspect.commands._frame import Command, complain
from meminspect.errors import MeminspectError, UsageError
from meminspect.launch.hook import Order
from meminspect.launch.measured import run
from meminspect.launch.output import open_output
from meminspect.launch.program import Program
from meminspect.launch.records import Record
from meminspect.launch.watch import leave

if TYPE_CHECKING:
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
        ("meminspect report --json --every 10 -o reports.jsonl server.py", "a report every ten seconds, one a line"),
    )
    takes_program = True

    def params(self) -> list[click.Parameter]:
        return [
            click.Option(["--json", "as_json"], is_flag=True, help="Every figure as JSON."),
            click.Option(["-o", "--output"], metavar="FILE", help="Write there; - is stdout."),
            click.Option(["--no-color"], is_flag=True, help="No colour, even on a terminal."),
            click.Option(["--with-argv"], is_flag=True, help="Name the arguments too; left out, a report can be shared."),
            click.Option(["--pid"], type=click.INT, metavar="PID", help="About that process; nothing in it is stopped."),
            click.Option(["--every"], type=click.FloatRange(min=0.01), metavar="SECONDS", help="Reports on the way."),
        ]

    def run(self, options: Mapping[str, Any]) -> int:
        program: Program | None = options["program"]
        pid: int | None = options["pid"]
        if program is not None:
            if pid is not None:
                raise UsageError("--pid is about a process that runs already: name no program with it")
            return run_program(program, options)
        if options["every"] is not None:
            raise UsageError("--every needs a program to run")
        page = Page(options, program=None)
        try:
            if pid is not None:
                from meminspect.probes import remote

                raw, context = remote.take(pid)
            else:
                from meminspect.probes.raw import take

                raw, context = take(), {}
            page.write(raw, **context)
            page.output.close()
        except BaseException:
            page.output.discard()
            raise
        return 0


class Page:
    """The place and the form of the report."""

    def __init__(self, options: Mapping[str, Any], program: Program | None) -> None:
        self.as_json: bool = options["as_json"]
        self.one_line: bool = options["every"] is not None
        self.with_argv: bool = options["with_argv"]
        self.program = program
        self.output = open_output(options["output"], beside_program=program is not None, append=self.one_line)
        self.color = self.output.color(not options["no_color"])

    def write(self, raw: Mapping[str, Any], **how: Any) -> None:
        """Builds and writes one report; `how` is context for its build. OutputError when it cannot be written."""
        from meminspect.probes.report import build

        context: dict[str, Any] = dict(how)
        if self.program is not None:
            context |= {"program": self.program.name, "alive": False}
        if self.with_argv:
            context["with_argv"] = True
        report = build(raw, context)
        self.output.write(self.render(report))

    def render(self, report: Report) -> str:
        if self.as_json:
            from meminspect.views import report_json

            return report_json.render(report, indent=None if self.one_line else 2) + "\n"
        from meminspect.views import report_text

        output = self.output
        return report_text.render(report, width=output.width, color=self.color, unicode=output.unicode).rstrip("\n") + "\n"


def run_program(program: Program, options: Mapping[str, Any]) -> NoReturn:
    """Runs the program, writes its report, and ends as the program ended whatever becomes of the writing."""
    program.check()
    page = Page(options, program)
    trouble: list[str] = []

    def write(record: Record, hooked_by: str | None, note: str | None) -> None:
        if trouble:
            return
        try:
            page.write(record.value(), hooked_by=hooked_by, note=note)
        except MeminspectError as error:
            trouble.append(str(error))
        except Exception as error:  # the program's status is worth more than our traceback
            trouble.append(f"the report could not be made: {type(error).__name__}: {error}")

    try:
        outcome = run(program, Order(interval_s=options["every"]), on_way=lambda record: write(record, "preload", None))
    except BaseException:
        page.output.discard()
        raise
    if outcome.last is not None:
        write(outcome.last, outcome.hooked_by, outcome.note)
    if not outcome.final:
        trouble.append(outcome.note or "no result")
    try:
        page.output.close()
    except MeminspectError as error:
        trouble.append(str(error))
    for text in trouble:
        complain("meminspect", text)
    leave(outcome.status)
