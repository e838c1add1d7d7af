"""`gil top`: a live view of a program that it starts."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from typing import Any

import click

from meminspect.commands._frame import Command, complain
from meminspect.errors import MeminspectError, UsageError
from meminspect.launch.gil_order import order_trace
from meminspect.launch.program import Program
from meminspect.launch.watch import leave

MIB = 1 << 20


class GilTop(Command):
    help = "Run a program and watch its GIL live: who holds it, who waits, how often it changes hands"
    about = (
        "The view takes the terminal: what the program writes is shown when it has ended, with the summary of "
        "`gil run` on stderr, and its stdin is empty. q ends both. A wait counts when it ends."
    )
    examples = (
        ("meminspect gil top server.py --port 8000", "a script, with its arguments"),
        ("meminspect gil top --every 0.2 -m package", "a module, looked at five times a second"),
    )
    takes_program = True

    def params(self) -> list[click.Parameter]:
        return [
            click.Option(
                ["--every"], type=click.FloatRange(min=0.05), metavar="SECONDS", default=0.5, show_default=True,
                help="Between two looks.",
            ),
            click.Option(
                ["--memory"], type=click.IntRange(min=1), metavar="MIB", default=64, show_default=True,
                help="Memory for events that wait to be taken.",
            ),
        ]  # fmt: skip

    def run(self, options: Mapping[str, Any]) -> int:
        program: Program | None = options["program"]
        if program is None:
            raise UsageError("name a program to run: [-m MODULE | -c CODE | SCRIPT]")
        program.check()
        if importlib.util.find_spec("textual") is None:
            raise MeminspectError("gil top needs textual: pip install 'meminspect[top]'")
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise MeminspectError("gil top needs a terminal; `gil run` tells the same at the end")
        from meminspect.launch.background import Background
        from meminspect.probes.gil_live import Live
        from meminspect.views.gil_top import TopApp

        fd = os.memfd_create("meminspect-gil")
        with Background(program, *order_trace(fd, options["memory"] * MIB)) as started:
            live = Live(fd)
            TopApp(live.look, lambda: started.ended, program.name, options["every"]).run()
            outcome = started.stop()
            started.pass_on()
            try:
                self._tell(live, program, outcome.last.value() if outcome.final and outcome.last else None)
            except Exception as error:  # the program's status is worth more than our traceback
                complain("meminspect", outcome.note or f"the trace cannot be shown: {type(error).__name__}: {error}")
        leave(outcome.status)

    @staticmethod
    def _tell(live: Any, program: Program, final: Mapping[str, Any] | None) -> None:
        from meminspect.launch.output import open_output
        from meminspect.probes.gil_trace import build
        from meminspect.views import gil_trace_text

        output = open_output(None, beside_program=True)
        trace = build(live.follower.finish(final))
        output.write(
            gil_trace_text.render(
                trace, program=program.name, width=output.width, color=output.color(), unicode=output.unicode
            )
        )
