"""`why TARGET`: who holds an object or all objects of a type, what would go with them, and which arenas they pin."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from meminspect.commands._frame import Command, output_options, pid_option
from meminspect.commands._program import run_program
from meminspect.commands._waiting import Waiting
from meminspect.errors import UsageError
from meminspect.launch.hook import Order
from meminspect.launch.output import open_output
from meminspect.launch.program import Program, is_snapshot

if TYPE_CHECKING:
    from meminspect.models.pinning import Pinning, Why

LONGEST_TARGET = 1000


class WhyCommand(Command):
    help = (
        "Who holds the objects of a type, or the one at an address; what would go with them, and which arenas they pin"
    )
    about = (
        "TARGET is the name of a type, with or without its module, or an address as other commands print it. Without a "
        "program it is about the interpreter that shows it; with one, about the program's end: the page goes to stderr "
        "or to the file of -o. What is told of arenas is what keeps memory from going back to the operating system."
    )
    examples = (
        ("meminspect why Order app.py", "all objects of the class Order at the program's end"),
        ("meminspect why collections.OrderedDict -m package", "a type by its module and name"),
        ("meminspect why --json -o why.json list -c 'x = [[] for _ in range(9)]'", "every figure, as JSON"),
        ("meminspect why Order a.mi", "of a snapshot that was taken with --objects"),
        ("meminspect why Order --pid 4711", "another process of the same build of Python, read from outside"),
        (
            "meminspect why --consistent Order app.py",
            "read in a frozen copy, so that the program's threads do not wait",
        ),
        ("meminspect why --top 50 0x7f3a5c0d2b40 app.py", "the object at an address, with more of its holders"),
    )
    takes_program = True

    def params(self) -> list[click.Parameter]:
        return [
            click.Argument(["target"]),
            *output_options(),
            click.Option(
                ["--top"], type=click.IntRange(1), default=10, show_default=True, metavar="N", help="Rows to show."
            ),
            click.Option(
                ["--max-pause"], type=click.FloatRange(min=0), metavar="SECONDS", default=60.0, show_default=True,
                help="The program never waits longer; there is no answer about a part of the heap.",
            ),
            pid_option("Of"),
            click.Option(
                ["--consistent"], is_flag=True,
                help="Read a frozen copy of the process: its threads wait only until the copy is made.",
            ),
        ]  # fmt: skip

    def run(self, options: Mapping[str, Any]) -> int:
        program: Program | None = options["program"]
        target: str = options["target"]
        if not target or len(target.encode("utf-8", "surrogateescape")) > LONGEST_TARGET:
            raise UsageError("TARGET is the name of a type, or an address")
        if options["pid"] is not None:
            return show_process(options, options["pid"])
        if program is not None and is_snapshot(program):
            return show_snapshot(options, program)
        if program is not None:
            program.check()
        page = Page(options, program)
        if program is not None:
            waiting = Waiting("reading the references of all objects")
            function = "why_record_consistent" if options["consistent"] else "why_record"
            run_program(
                program, Order(function, max_pause_s=options["max_pause"]), page.output,
                lambda record, outcome: page.render(record.value()["why"], note=outcome.note),
                word=target, on_taking=waiting.look,
            )  # fmt: skip
        from meminspect import _native

        with page.output:
            raw = _native.why_capture(target, options["max_pause"], consistent=options["consistent"])
            page.output.write(page.render(raw))
        return 0


def show_process(options: Mapping[str, Any], pid: int) -> int:
    from meminspect.probes import remote

    if options["program"] is not None:
        raise UsageError("--pid is about a process that runs already: name no program with it")
    if options["consistent"]:
        raise UsageError("--consistent copies the process that is measured: of another one that cannot be done")
    page = Page(options, None)
    page.name = f"process {pid}"
    with page.output:
        page.output.write(page.render(remote.why(pid, options["target"])))
    return 0


def show_snapshot(options: Mapping[str, Any], program: Program) -> int:
    """The same of a snapshot that holds every object and reference."""
    from meminspect.store.objects import graph
    from meminspect.store.read import load
    from meminspect.store.why import why

    if program.args:
        raise UsageError(f"{program.what} is a snapshot: it takes no arguments")
    found = why(graph(load(program.what)), options["target"])
    page = Page(options, None)
    page.name = program.name
    with page.output:
        page.output.write(page.document(found, None))
    return 0


class Page:
    """The place and the form of the answer."""

    def __init__(self, options: Mapping[str, Any], program: Program | None) -> None:
        self.target: str = options["target"]
        self.as_json: bool = options["as_json"]
        self.top: int = options["top"]
        self.name = program.name if program is not None else "this interpreter"
        self.output = open_output(options["output"], beside_program=program is not None)
        self.color = self.output.color(not options["no_color"])

    def render(self, raw: Mapping[str, Any], note: str | None = None) -> str:
        from meminspect.probes.pinning import build as build_pinning
        from meminspect.probes.references import build_why

        pinning = build_pinning(raw) if raw["keys"] is not None else None
        return self.document(build_why(self.target, raw), pinning, note)

    def document(self, why: Why, pinning: Pinning | None, note: str | None = None) -> str:
        """The answer in the form that was asked for; of a snapshot and of mimalloc nothing is known of other arenas."""
        if self.as_json:
            from meminspect.views import why_json

            return why_json.render(why, pinning, program=self.name, note=note)
        from meminspect.views import why_text

        return why_text.render(
            why, pinning, program=self.name, note=note, top=self.top, width=self.output.width, color=self.color,
            unicode=self.output.unicode,
        )  # fmt: skip
