"""`diff`: what grew from one snapshot to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from meminspect.commands._frame import Command
from meminspect.launch.output import open_output


class DiffCommand(Command):
    help = "What grew from one snapshot to another: types, modules, size classes, arenas, causes of RSS"
    examples = (
        ("meminspect diff before.mi after.mi", "the page"),
        ("meminspect diff --json before.mi after.mi", "every figure as JSON"),
    )

    def params(self) -> list[click.Parameter]:
        return [
            click.Argument(["before"], metavar="A.mi"),
            click.Argument(["after"], metavar="B.mi"),
            click.Option(["--json", "as_json"], is_flag=True, help="Every figure as JSON."),
            click.Option(["--partial"], is_flag=True, help="Compare what can be read of damaged snapshots."),
            click.Option(["-o", "--output"], metavar="FILE", help="Write there; - is stdout."),
            click.Option(["--no-color"], is_flag=True, help="No colour, even on a terminal."),
        ]

    def run(self, options: Mapping[str, Any]) -> int:
        from meminspect.store.read import diff, load
        from meminspect.views import diff_json, diff_text

        before, after = (load(options[name], partial=options["partial"]) for name in ("before", "after"))
        result = diff(before, after)
        with open_output(options["output"], beside_program=False) as output:
            if options["as_json"]:
                output.write(diff_json.render(result))
            else:
                color = output.color(not options["no_color"])
                output.write(diff_text.render(result, width=output.width, color=color, unicode=output.unicode))
        return 0
