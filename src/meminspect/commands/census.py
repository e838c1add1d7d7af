"""`census`: what is in every live block: objects by type, buffers by owner, and what nobody named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from meminspect.commands._frame import Command, output_options, pause_option, pid_option
from meminspect.commands._program import run_program
from meminspect.errors import UsageError
from meminspect.launch.hook import Order
from meminspect.launch.output import open_output
from meminspect.launch.program import Program, is_snapshot

if TYPE_CHECKING:
    from meminspect.models.census import Census


class CensusCommand(Command):
    help = "What is in every live block: objects by type, buffers by owner, and what nobody named"
    about = (
        "Without a program it is about the interpreter that shows it; with one, about the program's end: the page goes "
        "to stderr, or to the file of -o."
    )
    examples = (
        ("meminspect census app.py", "the types and buffers at the program's end"),
        ("meminspect census --top 50 --by module -m package", "summed by the module of the type"),
        ("meminspect census --json -o census.json -c 'import decimal'", "every row in figures"),
        ("meminspect census --consistent app.py", "walked in a frozen copy, so that the program's threads do not wait"),
        ("meminspect census --sites app.py", "and which lines of the program allocated what is alive"),
        (
            "meminspect census --foreign call app.py",
            "and ask objects of extension modules for the memory that they lend",
        ),
        ("meminspect census --pid 4711", "another process of the same build of Python, read from outside"),
        ("meminspect census a.mi", "a snapshot that was taken before"),
    )
    takes_program = True

    def params(self) -> list[click.Parameter]:
        return [
            *output_options("Every row as JSON."),
            click.Option(
                ["--top"], type=click.IntRange(1), default=20, show_default=True, metavar="N", help="Rows to show."
            ),
            click.Option(
                ["--by"], type=click.Choice(["type", "module", "size-class"]), default="type", show_default=True,
                help="What the objects are summed by.",
            ),
            pause_option("; what is not walked by then is left out, and that is said."),
            pid_option("Of"),
            click.Option(
                ["--sites"], is_flag=True,
                help="Which lines allocated it: a program is run under tracemalloc for that.",
            ),
            click.Option(
                ["--consistent"], is_flag=True,
                help="Walk in a frozen copy of the process: its threads wait only until the copy is made.",
            ),
            click.Option(
                ["--foreign"], type=click.Choice(["scan", "call"]), default="scan", show_default=True,
                help="Objects of unknown structure: call nothing, or ask exporters what they lend (their code runs).",
            ),
        ]  # fmt: skip

    def run(self, options: Mapping[str, Any]) -> int:
        program: Program | None = options["program"]
        if options["sites"] and options["consistent"]:
            raise UsageError("--sites asks tracemalloc in the process itself: leave --consistent out")
        if options["foreign"] == "call" and (options["sites"] or options["consistent"]):
            raise UsageError(
                "--foreign call runs code of the program before the walk: leave --sites and --consistent out"
            )
        if options["pid"] is not None:
            return show_process(options, options["pid"])
        if program is not None and is_snapshot(program):
            return show_snapshot(options, program)
        if program is not None:
            program.check()
        page = Page(options, program)
        if program is not None:
            function = "census_record_consistent" if options["consistent"] else "census_record"
            flags: tuple[str, ...] = ()
            if options["foreign"] == "call":
                function = "census_record_foreign"
            if options["sites"]:
                function, flags = "census_record_sites", ("-X", "tracemalloc=1")
            run_program(
                program, Order(function, max_pause_s=options["max_pause"]), page.output,
                lambda record, outcome: page.render(record.value(), note=outcome.note), flags=flags,
            )  # fmt: skip
        from meminspect import _native

        with page.output:
            raw = _native.census_capture(
                max_pause=options["max_pause"], guesses=True, consistent=options["consistent"], sites=options["sites"],
                foreign=options["foreign"],
            )  # fmt: skip
            page.output.write(page.render({"census": raw}))
        return 0


def show_process(options: Mapping[str, Any], pid: int) -> int:
    from meminspect.probes import remote

    if options["program"] is not None:
        raise UsageError("--pid is about a process that runs already: name no program with it")
    if options["sites"]:
        raise UsageError("--sites asks tracemalloc in the process itself: of another one that cannot be done")
    if options["consistent"]:
        raise UsageError("--consistent copies the process that is measured: of another one that cannot be done")
    if options["foreign"] == "call":
        raise UsageError("--foreign call asks the process' own objects: of another one that cannot be done")
    page = Page(options, None)
    with page.output:
        page.output.write(page.render({"census": remote.census(pid, guesses=True)}))
    return 0


def show_snapshot(options: Mapping[str, Any], program: Program) -> int:
    from meminspect.store.read import load

    if program.args:
        raise UsageError(f"{program.what} is a snapshot: it takes no arguments")
    kept = load(program.what)
    page = Page(options, program)
    with page.output:
        page.output.write(page.document(kept.census()))
    return 0


class Page:
    """The place and the form of the census."""

    def __init__(self, options: Mapping[str, Any], program: Program | None) -> None:
        self.as_json: bool = options["as_json"]
        self.top: int = options["top"]
        self.by: str = options["by"]
        self.program = program
        self.output = open_output(options["output"], beside_program=program is not None and not is_snapshot(program))
        self.color = self.output.color(not options["no_color"])

    def render(self, raw: Mapping[str, Any], note: str | None = None) -> str:
        """The document of a record."""
        from meminspect.probes.census import build

        return self.document(build(raw["census"]), note)

    def document(self, census: Census, note: str | None = None) -> str:
        name = self.program.name if self.program is not None else "this interpreter"
        if census.pid is not None:
            name = f"process {census.pid}"
        if self.as_json:
            from meminspect.views import census_json

            return census_json.render(census, program=name, note=note)
        from meminspect.views import census_text

        return census_text.render(
            census, program=name, note=note, top=self.top, by=self.by, width=self.output.width, color=self.color,
            unicode=self.output.unicode,
        )  # fmt: skip
