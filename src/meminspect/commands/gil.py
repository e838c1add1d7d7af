"""`gil run`: a program run as under `python`, with every event of its GIL traced."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import click

from meminspect.commands._frame import Command, CommandGroup, complain, output_options
from meminspect.errors import MeminspectError, UsageError
from meminspect.launch.hook import Order
from meminspect.launch.measured import Outcome, run
from meminspect.launch.output import Output, open_output
from meminspect.launch.program import Program
from meminspect.launch.watch import leave

MIB = 1 << 20


class GilRun(Command):
    help = "Run a program and tell who held the GIL, who waited for whom, and which switches were forced"
    about = (
        "Every acquisition, wait, timeout and release of every thread is traced, from before the program's first line "
        "to its end. stdout is the program's: the summary goes to stderr, or to the file of -o. A program that is "
        "killed leaves its trace up to then."
    )
    examples = (
        ("meminspect gil run server.py --port 8000", "a script, with its arguments"),
        ("meminspect gil run --json -o gil.json -m pytest tests", "a module, as JSON"),
    )
    takes_program = True

    def params(self) -> list[click.Parameter]:
        return [
            *output_options(),
            click.Option(
                ["--memory"],
                type=click.IntRange(min=1),
                metavar="MIB",
                default=128,
                show_default=True,
                help="Memory for events, 32 bytes each; what finds no room is counted.",
            ),
        ]

    def run(self, options: Mapping[str, Any]) -> int:
        program: Program | None = options["program"]
        if program is None:
            raise UsageError("name a program to run: [-m MODULE | -c CODE | SCRIPT]")
        program.check()
        output = open_output(options["output"], beside_program=True)
        fd = os.memfd_create("meminspect-gil")
        word = f"{os.getpid()}:{fd}:{options['memory'] * MIB}"
        try:
            outcome = run(program, Order(function="gil_record", start=True), word=word)
        except BaseException:
            output.discard()
            raise
        trouble = write(output, fd, program, outcome, options)
        for text in trouble:
            complain("meminspect", text)
        leave(outcome.status)


class GilCommand(CommandGroup):
    help = "Trace the GIL: who holds it, who waits, what each switch was for"
    commands: ClassVar[Mapping[str, type[Command]]] = {"run": GilRun}


def write(output: Output, fd: int, program: Program, outcome: Outcome, options: Mapping[str, Any]) -> list[str]:
    """Writes what the file in memory holds; returns in words what could not be done, which changes no exit status."""
    trouble = []
    try:
        output.write(render(output, fd, program, outcome, options))
    except MeminspectError as error:
        trouble.append(str(error))
    except Exception as error:  # the program's status is worth more than our traceback
        said = outcome.failures[-1] if outcome.failures else outcome.note
        not_begun = getattr(error, "code", None) is not None  # of the core: there is no trace in the file
        trouble.append(said if said and not_begun else f"the trace cannot be shown: {type(error).__name__}: {error}")
    try:
        output.close()
    except MeminspectError as error:
        trouble.append(str(error))
    return trouble


def render(output: Output, fd: int, program: Program, outcome: Outcome, options: Mapping[str, Any]) -> str:
    """The document of a program that has ended."""
    from meminspect.probes.gil_trace import build, from_file

    final = outcome.last.value() if outcome.final and outcome.last else None
    trace = build(from_file(fd, final))
    note = None if outcome.final else outcome.note
    if options["as_json"]:
        from meminspect.views import gil_trace_json

        return gil_trace_json.render(trace, program=program.name, note=note)
    from meminspect.views import gil_trace_text

    return gil_trace_text.render(
        trace, program=program.name, note=note, width=output.width, color=output.color(not options["no_color"]),
        unicode=output.unicode,
    )  # fmt: skip
