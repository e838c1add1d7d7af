"""`tracemalloc-report`: a program under the standard library's tracemalloc, and what that does not see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from meminspect.commands._frame import Command, output_options
from meminspect.commands._program import run_program
from meminspect.errors import UsageError
from meminspect.launch.hook import Order
from meminspect.launch.measured import Outcome
from meminspect.launch.output import open_output
from meminspect.launch.records import Record


class TracemallocReportCommand(Command):
    help = "Run a program under tracemalloc: top files, lines and tracebacks, growth, and what is not seen"
    about = (
        "tracemalloc is on from the interpreter's start, so the program's memory is seen whole. The report is taken at "
        "its end, and goes to stderr or to the file of -o."
    )
    examples = (
        ("meminspect tracemalloc-report script.py", "the largest at the end"),
        ("meminspect tracemalloc-report --growth --sort growth script.py", "what grew since its first line"),
        ("meminspect tracemalloc-report --exclude '<frozen *' --json -o t.json -m app", "a module, filtered, as JSON"),
    )
    takes_program = True

    def params(self) -> list[click.Parameter]:
        return [
            *output_options(),
            click.Option(
                ["--frames"], type=click.IntRange(1, 1000), default=10, show_default=True, metavar="N",
                help="Frames to keep of each traceback; more take more memory.",
            ),
            click.Option(
                ["--limit"], type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Rows to show."
            ),
            click.Option(
                ["--sort"], type=click.Choice(["size", "count", "growth"]), default="size", show_default=True,
                help="The order of the rows.",
            ),
            click.Option(["--growth"], is_flag=True, help="Growth since the program's first line as well."),
            click.Option(["--include"], multiple=True, metavar="GLOB", help="Only files that match; may be repeated."),
            click.Option(["--exclude"], multiple=True, metavar="GLOB", help="No files that match; may be repeated."),
        ]  # fmt: skip

    def run(self, options: Mapping[str, Any]) -> int:
        program = options["program"]
        if program is None:
            raise UsageError("tracemalloc-report needs a program to run: [-m MODULE | -c CODE | SCRIPT] [ARGS...]")
        growth = options["growth"] or options["sort"] == "growth"
        program.check()
        output = open_output(options["output"], beside_program=True)
        color = output.color(not options["no_color"])

        def render(record: Record, outcome: Outcome) -> str:
            from meminspect.probes.tracemalloc import Selection, build

            context = {
                "program": program.name, "alive": False, "hooked_by": outcome.hooked_by, "note": outcome.note,
            }  # fmt: skip
            selection = Selection(options["include"], options["exclude"], options["sort"], options["limit"])
            first = outcome.first.value() if outcome.first is not None and growth else None
            report = build(record.value(), first, selection, context)
            if options["as_json"]:
                from meminspect.views import tracemalloc_json

                return tracemalloc_json.render(report)
            from meminspect.views import tracemalloc_text

            return tracemalloc_text.render(report, width=output.width, color=color, unicode=output.unicode)

        order = Order(function="tracemalloc_record", start=True)
        run_program(program, order, output, render, flags=("-X", f"tracemalloc={options['frames']}"))
