"""`report`: one page about one process: this one, a program that is run, or another one that runs already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import click

from meminspect.commands._frame import Command, complain
from meminspect.errors import MeminspectError, UsageError
from meminspect.launch.hook import Order
from meminspect.launch.measured import run
from meminspect.launch.output import open_output
from meminspect.launch.program import Program
from meminspect.launch.records import Record
from meminspect.launch.watch import leave


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
        ("meminspect report --json --every 10 -o reports.jsonl server.py", "a report every ten seconds, one a line"),
    )
    takes_program = True

    def params(self) -> list[click.Parameter]:
        return [
            click.Option(["--json", "as_json"], is_flag=True, help="Every figure as JSON."),
            click.Option(["-o", "--output"], metavar="FILE", help="Write there; - is stdout."),
            click.Option(["--no-color"], is_flag=True, help="No colour, even on a terminal."),
            click.Option(["--every"], type=click.FloatRange(min=0.01), metavar="SECONDS", help="Reports on the way."),
        ]

    def run(self, options: Mapping[str, Any]) -> int:
        program: Program | None = options["program"]
        if program is not None:
            return run_program(program, options)
        if options["every"] is not None:
            raise UsageError("--every needs a program to run")
        from meminspect.probes.raw import take

        page = Page(options, program=None)
        try:
            page.write(take(), hooked_by=None, note=None)
            page.output.close()
        except BaseException:
            page.output.discard()
            raise
        return 0


class Page:
    """The place and the form of the report."""

    def __init__(self, options: Mapping[str, Any], program: Program | None) -> None:
        self.as_json: bool = options["as_json"]
        self.program = program
        self.output = open_output(
            options["output"], beside_program=program is not None, append=options["every"] is not None
        )
        self.color = self.output.color(not options["no_color"])

    def write(self, raw: dict[str, Any], *, hooked_by: str | None, note: str | None) -> None:
        """Builds and writes one report; OutputError when it cannot be written."""
        self.output.write(f"{raw} {hooked_by} {note}\n")


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
