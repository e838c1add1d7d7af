"""`gil run`: a program run as under `python`, with every event of its GIL traced."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from meminspect.commands._frame import Command, complain, output_options
from meminspect.errors import MeminspectError, UsageError
from meminspect.launch.gil_order import order_trace
from meminspect.launch.measured import Outcome, run
from meminspect.launch.output import Output, open_output
from meminspect.launch.program import Program
from meminspect.launch.watch import leave

if TYPE_CHECKING:
    from meminspect.commands._gil_file import FileOfTrace
    from meminspect.models.gil_trace import GilTrace
    from meminspect.probes.gil_follow import Follower

MIB = 1 << 20


class GilRun(Command):
    help = "Run a program and tell who held the GIL, who waited for whom, and which switches were forced"
    about = (
        "Every acquisition, wait, timeout and release of every thread is traced, from before the program's first line "
        "to its end. stdout is the program's: the summary goes to stderr, or to the file of -o. A program that is "
        "killed leaves its trace up to then. A file of --trace is written while the program runs."
    )
    examples = (
        ("meminspect gil run server.py --port 8000", "a script, with its arguments"),
        ("meminspect gil run --json -o gil.json -m pytest tests", "a module, as JSON"),
        ("meminspect gil run --attribution worker.py", "with the functions that kept the GIL"),
        ("meminspect gil run --trace gil.pftrace server.py", "a timeline for ui.perfetto.dev, of any length"),
        ("meminspect gil run --html gil.html server.py", "a page with timeline, matrix and findings"),
        ("meminspect gil run --trace gil.json --window 2 2.5 server.py", "half a second of it, for chrome://tracing"),
    )
    takes_program = True

    def params(self) -> list[click.Parameter]:
        return [
            *output_options(),
            click.Option(["--trace"], metavar="FILE", help="Write a timeline: .pftrace (Perfetto), .json or .json.gz."),
            click.Option(
                ["--window"],
                type=(float, float),
                metavar="START END",
                default=None,
                help="Of --trace: only from START to END, in seconds since the beginning.",
            ),
            click.Option(["--html"], metavar="FILE", help="Write a page that needs nothing else."),
            click.Option(
                ["--memory"],
                type=click.IntRange(min=1),
                metavar="MIB",
                default=128,
                show_default=True,
                help="Memory for events that wait to be taken, 32 bytes each; what finds no room is counted.",
            ),
            click.Option(
                ["--attribution"],
                is_flag=True,
                help="Name the Python function and line of each release, and the C function of long holds.",
            ),
            click.Option(
                ["--long-hold"],
                type=click.FloatRange(min=0),
                metavar="SECONDS",
                default=0.02,
                show_default=True,
                help="With --attribution: how long a hold lasts that is looked at; 0: none is.",
            ),
        ]

    def run(self, options: Mapping[str, Any]) -> int:
        program: Program | None = options["program"]
        if program is None:
            raise UsageError("name a program to run: [-m MODULE | -c CODE | SCRIPT]")
        program.check()
        from meminspect.commands._gil_file import FileOfTrace, check_window

        check_window(options["window"], options["trace"])
        outputs = Outputs(options)
        try:
            fd = os.memfd_create("meminspect-gil")
            from meminspect.probes.gil_follow import LOOK_EVERY_S, Follower

            follower = Follower(fd)
            file = None
            if outputs.trace is not None:
                file = FileOfTrace(follower, outputs.trace, options["trace"], program.name, options["window"])
                follower.add(file.feed)
            long_hold_ns = round(options["long_hold"] * 1e9)
            order, word = order_trace(fd, options["memory"] * MIB, options["attribution"], long_hold_ns)
            outcome = run(program, order, word=word, look=follower.look, look_every_s=LOOK_EVERY_S)
        except BaseException:
            outputs.discard()
            raise
        for text in write(outputs, follower, file, program, outcome, options):
            complain("meminspect", text)
        leave(outcome.status)


class Outputs:
    """All that is written, opened before the program starts."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.trace: Output | None = None
        self.html: Output | None = None
        if options["html"]:
            from meminspect.views.html_page import environment

            environment()  # says what is not installed before a program runs in vain
        self.summary = open_output(options["output"], beside_program=True)
        try:
            if options["trace"]:
                self.trace = open_output(options["trace"], beside_program=True)
            if options["html"]:
                self.html = open_output(options["html"], beside_program=True)
        except BaseException:
            self.discard()
            raise

    def all(self) -> list[Output]:
        return [output for output in (self.summary, self.trace, self.html) if output is not None]

    def discard(self) -> None:
        for output in self.all():
            output.discard()


def write(
    outputs: Outputs, follower: Follower, file: FileOfTrace | None, program: Program, outcome: Outcome,
    options: Mapping[str, Any],
) -> list[str]:  # fmt: skip
    """Writes all there is to write; returns in words what could not be done, which changes no exit status."""
    from meminspect.probes.gil_trace import build

    trouble: list[str] = []
    final = outcome.last.value() if outcome.final and outcome.last else None
    if final is not None and "waits" in final:
        return write_waits(outputs, final, program, options)
    if final is not None and "sample" in final:
        return write_sample(outputs, final, program, options)
    try:
        raw = follower.finish(final)
        trace = build(raw)
    except Exception as error:  # the program's status is worth more than our traceback
        said = outcome.failures[-1] if outcome.failures else outcome.note
        not_begun = getattr(error, "code", None) is not None  # of the core: there is no trace in the file
        trouble.append(said if said and not_begun else f"the trace cannot be shown: {type(error).__name__}: {error}")
        outputs.discard()
        return trouble
    note = None if outcome.final else outcome.note
    trouble += [f"the trace file is not whole: {failure}" for failure in follower.failures]
    attempt(
        trouble, outputs.summary, lambda: outputs.summary.write(summary(outputs.summary, trace, program, note, options))
    )
    if outputs.html is not None:
        html = outputs.html
        attempt(trouble, html, lambda: html.write(page(trace, program, note)))
    if file is not None and outputs.trace is not None:
        attempt(trouble, outputs.trace, lambda: file.finish(raw), whole=not follower.failures)
    return trouble


def write_waits(outputs: Outputs, final: Mapping[str, Any], program: Program, options: Mapping[str, Any]) -> list[str]:
    """Of a program in a free-threaded build, which has no GIL: what there is to see of waiting instead."""
    from meminspect.probes.waits import build
    from meminspect.views import waits_text

    found = build(final)
    return write_instead(
        outputs, "this build has no GIL", options,
        lambda: waits_text.render_json(found, program=program.name),
        lambda **look: waits_text.render(found, program=program.name, **look),
    )  # fmt: skip


def write_sample(outputs: Outputs, final: Mapping[str, Any], program: Program, options: Mapping[str, Any]) -> list[str]:
    """Of a program whose calls could not be redirected: what looks at its GIL have found."""
    from meminspect.probes.gil_sample import build
    from meminspect.views import gil_sample_text

    found, why = build(final["sample"], final["rate_hz"]), final["refused"]
    return write_instead(
        outputs, "the GIL was sampled", options,
        lambda: gil_sample_text.render_json(found, why=why, program=program.name),
        lambda **look: gil_sample_text.render(found, why=why, program=program.name, **look),
    )  # fmt: skip


def write_instead(
    outputs: Outputs, why: str, options: Mapping[str, Any], as_json: Callable[[], str], as_text: Callable[..., str]
) -> list[str]:
    """Writes what there is instead of a trace, and gives up the files that only a trace could fill."""
    trouble: list[str] = []
    out = outputs.summary

    def make() -> None:
        if options["as_json"]:
            out.write(as_json())
            return
        out.write(as_text(width=out.width, color=out.color(not options["no_color"]), unicode=out.unicode))

    attempt(trouble, out, make)
    for output in outputs.all():
        if output is not out:
            output.discard()
            trouble.append(f"{output.name} is not written: {why}, so there is no trace of it")
    return trouble


def attempt(trouble: list[str], output: Output, make: Callable[[], None], *, whole: bool = True) -> None:
    """Writes one output and closes it; in words what went wrong."""
    try:
        if not whole:
            output.discard()
            return
        make()
        output.close()
    except MeminspectError as error:
        trouble.append(str(error))
        output.discard()
    except Exception as error:  # the program's status is worth more than our traceback
        trouble.append(f"{output.name} cannot be written: {type(error).__name__}: {error}")
        output.discard()


def summary(output: Output, trace: GilTrace, program: Program, note: str | None, options: Mapping[str, Any]) -> str:
    if options["as_json"]:
        from meminspect.views import gil_trace_json

        return gil_trace_json.render(trace, program=program.name, note=note)
    from meminspect.views import gil_trace_text

    return gil_trace_text.render(
        trace, program=program.name, note=note, width=output.width, color=output.color(not options["no_color"]),
        unicode=output.unicode,
    )  # fmt: skip


def page(trace: GilTrace, program: Program, note: str | None) -> str:
    from meminspect.views import gil_trace_html

    return gil_trace_html.render(trace, program=program.name, note=note)
