"""`query`: SQL over snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from meminspect.commands._frame import Command
from meminspect.errors import UsageError
from meminspect.launch.output import open_output


class QueryCommand(Command):
    help = "SQL over the tables of snapshots, through DuckDB"
    about = (
        "Each table has a column 'snapshot' in front, which names the snapshot that a row is from. SQL reaches these "
        "tables alone: no file, no network. 'select * from information_schema.columns' lists tables and columns. "
        "Needs the extra 'store' (pyarrow, duckdb)."
    )
    examples = (
        ('meminspect query "select type, sum(bytes) from census group by type order by 2 desc limit 10" a.mi b.mi',
         "the types with most bytes in two snapshots together"),
        ('meminspect query --csv "select * from arenas" a.mi', "a table as it is"),
    )  # fmt: skip

    def params(self) -> list[click.Parameter]:
        return [
            click.Argument(["sql"], metavar="SQL"),
            click.Argument(["snapshots"], metavar="X.mi...", nargs=-1, required=True),
            click.Option(["--json", "as_json"], is_flag=True, help="Rows as JSON."),
            click.Option(["--csv", "as_csv"], is_flag=True, help="Rows as CSV."),
            click.Option(["--limit"], type=click.IntRange(min=0, max=10_000_000), default=1000, show_default=True,
                         metavar="ROWS", help="At most so many rows."),
            click.Option(["--partial"], is_flag=True, help="Take what can be read of damaged snapshots."),
            click.Option(["-o", "--output"], metavar="FILE", help="Write there; - is stdout."),
            click.Option(["--no-color"], is_flag=True, help="No colour, even on a terminal."),
        ]  # fmt: skip

    def run(self, options: Mapping[str, Any]) -> int:
        if options["as_json"] and options["as_csv"]:
            raise UsageError("--json or --csv, not both")
        from meminspect.store.query import query
        from meminspect.store.read import load
        from meminspect.store.write import require
        from meminspect.views import rows

        require("duckdb", "pyarrow")
        snapshots = [load(path, partial=options["partial"]) for path in options["snapshots"]]
        result = query(options["sql"], snapshots, limit=options["limit"])
        with open_output(options["output"], beside_program=False) as output:
            if options["as_json"]:
                output.write(rows.as_json(result))
            elif options["as_csv"]:
                output.write(rows.as_csv(result))
            else:
                color = output.color(not options["no_color"])
                output.write(rows.text(result, width=output.width, color=color, unicode=output.unicode))
        if result.cut and (options["as_json"] or options["as_csv"]):
            click.echo(f"meminspect: more than {options['limit']} rows; --limit gives more", err=True)
        return 0
