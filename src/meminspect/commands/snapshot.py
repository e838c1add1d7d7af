"""`snapshot`: one moment of a process as a folder of Parquet tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from meminspect.commands._frame import Command, pause_option, pid_option
from meminspect.commands._program import run_program
from meminspect.errors import UsageError
from meminspect.launch.hook import Order
from meminspect.launch.measured import Outcome
from meminspect.launch.output import open_output
from meminspect.launch.program import Program
from meminspect.launch.records import Record


class SnapshotCommand(Command):
    help = "Keep one moment of a process as Parquet tables: heap map, census, memory tree, GC, GIL"
    about = (
        "Without a program it is about the interpreter that writes it. With one, the program runs as under `python`, "
        "and the snapshot is of its end. 'diff', 'query', 'report' and 'map' take snapshots. "
        "Needs the extra 'store' (pyarrow)."
    )
    examples = (
        ("meminspect snapshot -o a.mi script.py", "the end of a script"),
        ("meminspect snapshot -o b.mi --pid 4711", "another process of the same build of Python, read from outside"),
        ("meminspect snapshot --objects --max-pause 10 -o c.mi script.py", "every object and reference too"),
        ("meminspect diff a.mi b.mi", "what grew from one to the other"),
    )
    takes_program = True

    def params(self) -> list[click.Parameter]:
        return [
            click.Option(["-o", "--output"], metavar="NAME.mi", required=True, help="The folder to make."),
            click.Option(["--force"], is_flag=True, help="Replace a snapshot of that name, at once and as a whole."),
            pid_option("Of"),
            pause_option(" for a part of it; what that costs is said."),
            click.Option(["--objects"], is_flag=True, help="Every object and reference too, for 'why' and 'query'."),
            click.Option(
                ["--consistent"], is_flag=True, help="Take census and --objects in one frozen copy of the process."
            ),
        ]

    def run(self, options: Mapping[str, Any]) -> int:
        from meminspect.probes.snapshot import record_name
        from meminspect.store.folder import check_target
        from meminspect.store.write import require, write_raw

        program: Program | None = options["program"]
        pid: int | None = options["pid"]
        path: str = options["output"]
        force: bool = options["force"]
        if program is not None and pid is not None:
            raise UsageError("--pid is about a process that runs already: name no program with it")
        if pid is not None and options["consistent"]:
            raise UsageError("--consistent copies the process that is measured: of another one that cannot be done")
        if pid is not None and options["objects"]:
            raise UsageError("--objects reads the references of the process that is measured: of another one it cannot")
        require("pyarrow")
        check_target(path, force=force)
        if program is not None:
            name = program.name

            def keep(record: Record, outcome: Outcome) -> str:
                context = {
                    "program": name, "alive": False, "hooked_by": outcome.hooked_by, "note": outcome.note,
                }  # fmt: skip
                return line(path, write_raw(record.value(), context, path, force=force))

            program.check()
            function = record_name(options["consistent"], options["objects"])
            order = Order(function, max_pause_s=options["max_pause"])
            run_program(program, order, open_output(None, beside_program=True), keep)
        if pid is not None:
            from meminspect.probes import remote

            raw, context = remote.take(pid, drawn=True)
            click.echo(line(path, write_raw(raw, context, path, force=force)))
            return 0
        from meminspect.probes.snapshot import snapshot

        snapshot(
            path, force=force, max_pause=options["max_pause"], consistent=options["consistent"],
            objects=options["objects"],
        )  # fmt: skip
        click.echo(f"{path} was written")
        return 0


def line(path: str, manifest: Mapping[str, Any]) -> str:
    """What was written, and what is not in it, in one line."""
    size = sum(table["file_bytes"] for table in manifest["tables"].values())
    missing = ", ".join(manifest["missing"])
    return f"{path}: {len(manifest['tables'])} tables, {size:,} bytes" + (f"; without {missing}" if missing else "")
