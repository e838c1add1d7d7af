"""`report`: one page about one process: this one, a program that is run, or another one that runs already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from meminspect.commands._frame import Command
from meminspect.errors import UsageError
from meminspect.launch.output import open_output


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
        program = options["program"]
        if program is None and options["every"] is not None:
            raise UsageError("--every needs a program to run")
        output = open_output(options["output"], beside_program=program is not None)
        from meminspect.probes.raw import take

        output.write(f"{take()}\n")
        output.close()
        return 0
