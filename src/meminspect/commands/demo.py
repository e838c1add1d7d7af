"""`demo`: a claim about CPython, tested on the interpreter at hand, with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from meminspect.commands._frame import Command
from meminspect.errors import UsageError
from meminspect.launch.output import open_output

if TYPE_CHECKING:
    from meminspect.models.demo import DemoResult


class DemoCommand(Command):
    help = "A claim about CPython, tested on this interpreter, with its evidence"
    about = "Without a name the demos are listed. The status is 1 when a claim did not hold."
    examples = (
        ("meminspect demo", "the list"),
        ("meminspect demo references", "assignment, rebinding, and what becomes of a freed block"),
        ("meminspect demo --all --fast", "every claim in a line, with fewer repetitions"),
        ("meminspect demo --all --html demos.html", "all of them with their evidence, for a browser"),
        ("meminspect demo switch-interval --plot switches.png", "draws the chart too (needs the extra 'plot')"),
    )

    def params(self) -> list[click.Parameter]:
        return [
            click.Argument(["name"], required=False),
            click.Option(["--all", "all_of_them"], is_flag=True, help="Run every demo."),
            click.Option(["--fast"], is_flag=True, help="About a second a demo: fewer repetitions, smaller numbers."),
            click.Option(
                ["--lang"], type=click.Choice(["en", "zh"]), default="en", help="Of titles, claims and summaries."
            ),
            click.Option(["--json", "as_json"], is_flag=True, help="As JSON: of several demos a list."),
            click.Option(["--html"], metavar="FILE", help="Write a page for a browser there (needs the extra 'html')."),
            click.Option(["--plot"], metavar="FILE", help="Draw the chart there; the ending names the format."),
            click.Option(["-o", "--output"], metavar="FILE", help="Write there; - is stdout."),
            click.Option(["--no-color"], is_flag=True, help="No colour, even on a terminal."),
        ]

    def run(self, options: Mapping[str, Any]) -> int:
        from meminspect import demos

        name, several = options["name"], options["all_of_them"]
        if name is not None and name not in demos.names():
            raise UsageError(f"there is no demo {name!r}; there are: {', '.join(demos.names())}")
        if name is not None and several:
            raise UsageError("a name or --all, not both")
        if name is None and options["plot"] is not None:
            raise UsageError("--plot needs the name of a demo")
        if name is None and not several and options["html"] is not None:
            raise UsageError("--html needs the name of a demo, or --all")
        output = open_output(options["output"], beside_program=False)
        try:
            text, status = listing(options), 0
            if name is not None or several:
                results = measured(options)
                text, status = shown(results, options, output), int(any(one.held is False for one in results))
            output.write(text.rstrip("\n") + "\n")
            output.close()
        except BaseException:
            output.discard()
            raise
        return status


def listing(options: Mapping[str, Any]) -> str:
    import json

    from meminspect import demos

    found = [demos.load(name) for name in demos.names()]
    zh = options["lang"] == "zh"
    if options["as_json"]:
        rows = [
            {
                "name": one.name, "chapter": one.chapter,
                "title": one.title_zh if zh else one.title, "claim": one.claim_zh if zh else one.claim,
            }
            for one in found
        ]  # fmt: skip
        return json.dumps(rows, indent=2)
    width = max(len(one.name) for one in found)
    return "\n".join(f"{one.chapter} {one.name:{width}}  {one.title_zh if zh else one.title}" for one in found)


def measured(options: Mapping[str, Any]) -> list[DemoResult]:
    """Runs what was asked for; of several each is named on stderr before it begins."""
    from meminspect import demos
    from meminspect.views.demo_words import in_language

    names = demos.names() if options["all_of_them"] else [options["name"]]
    results = []
    for place, name in enumerate(names, 1):
        if len(names) > 1:
            click.echo(f"{place}/{len(names)} {name}", err=True)
        results.append(in_language(demos.demo(name, fast=options["fast"] or None), options["lang"]))
    return results


def shown(results: list[DemoResult], options: Mapping[str, Any], output: Any) -> str:
    from meminspect.views import demo as view

    if options["plot"] is not None:
        from meminspect.views.demo_plot import NoPlot, figure

        try:
            figure(results[0]).savefig(options["plot"])
        except (OSError, ValueError) as error:
            raise NoPlot(f"cannot plot to {options['plot']}: {error}") from None
    if options["html"] is not None:
        from meminspect.views.demo_page import render

        page = open_output(options["html"], beside_program=False)
        try:
            page.write(render(results))
            page.close()
        except BaseException:
            page.discard()
            raise
    if options["as_json"]:
        return view.render_json_all(results) if options["all_of_them"] else view.render_json(results[0])
    color = output.color(not options["no_color"])
    if options["all_of_them"]:
        return view.render_all(results, width=output.width, color=color, unicode=output.unicode)
    return view.render(results[0], width=output.width, color=color, unicode=output.unicode)
