"""`demo`: a claim about CPython, tested on the interpreter at hand, with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from meminspect.commands._frame import Command
from meminspect.errors import UsageError
from meminspect.launch.output import open_output


class DemoCommand(Command):
    help = "A claim about CPython, tested on this interpreter, with its evidence"
    about = "Without a name the demos are listed. The status is 1 when a claim did not hold."
    examples = (
        ("meminspect demo", "the list"),
        ("meminspect demo references", "assignment, rebinding, and what becomes of a freed block"),
        ("meminspect demo switch-interval --plot switches.png", "draws the chart too (needs the extra 'plot')"),
    )

    def params(self) -> list[click.Parameter]:
        return [
            click.Argument(["name"], required=False),
            click.Option(["--json", "as_json"], is_flag=True, help="As JSON."),
            click.Option(["--plot"], metavar="FILE", help="Draw the chart there; the ending names the format."),
            click.Option(["-o", "--output"], metavar="FILE", help="Write there; - is stdout."),
            click.Option(["--no-color"], is_flag=True, help="No colour, even on a terminal."),
        ]

    def run(self, options: Mapping[str, Any]) -> int:
        from meminspect import demos

        if options["name"] is not None and options["name"] not in demos.names():
            raise UsageError(f"there is no demo {options['name']!r}; there are: {', '.join(demos.names())}")
        if options["name"] is None and options["plot"] is not None:
            raise UsageError("--plot needs the name of a demo")
        output = open_output(options["output"], beside_program=False)
        try:
            if options["name"] is None:
                text, status = listing(options["as_json"]), 0
            else:
                text, status = shown(options, output)
            output.write(text.rstrip("\n") + "\n")
            output.close()
        except BaseException:
            output.discard()
            raise
        return status


def listing(as_json: bool) -> str:
    import json

    from meminspect import demos

    found = [demos.load(name) for name in demos.names()]
    if as_json:
        return json.dumps([{"name": one.name, "chapter": one.chapter, "title": one.title} for one in found], indent=2)
    width = max(len(one.name) for one in found)
    return "\n".join(f"{one.name:{width}}  {one.title}" for one in found)


def shown(options: Mapping[str, Any], output: Any) -> tuple[str, int]:
    """The demo's page, and 1 when its claim did not hold (0 where it could not be shown)."""
    from meminspect.demos import demo
    from meminspect.views import demo as view

    result = demo(options["name"])
    if options["plot"] is not None:
        from meminspect.views.demo_plot import NoPlot, figure

        try:
            figure(result).savefig(options["plot"])
        except (OSError, ValueError) as error:
            raise NoPlot(f"cannot plot to {options['plot']}: {error}") from None
    if options["as_json"]:
        text = view.render_json(result)
    else:
        color = output.color(not options["no_color"])
        text = view.render(result, width=output.width, color=color, unicode=output.unicode)
    return text, int(result.held is False)
