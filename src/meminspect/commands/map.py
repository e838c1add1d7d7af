"""`map`: the small-object heap as a picture: every arena, every pool, and in the page for a browser blocks too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from meminspect.commands._frame import Command
from meminspect.commands.report import Page, show

if TYPE_CHECKING:
    from meminspect.models.census import Census
    from meminspect.models.report import Report


class MapCommand(Command):
    help = "The small-object heap as a picture: every arena and pool, coloured by how full it is"
    about = (
        "Orange is memory that little keeps, blue is in use. Without a program it is about the interpreter that shows "
        "it; with one, about the program's end: the picture goes to stderr, or to the file of -o."
    )
    examples = (
        ("meminspect map app.py", "the arenas at the program's end, on the terminal"),
        ("meminspect map --html map.html app.py", "a page for a browser: zoom in down to single blocks"),
        ("meminspect map --json -o map.json -m package", "every arena and pool in figures"),
        ("meminspect map a.mi", "a snapshot that was taken before"),
        ("meminspect map --pid 4711", "another process of the same build of Python, read from outside"),
    )
    takes_program = True

    def params(self) -> list[click.Parameter]:
        return [
            click.Option(["--json", "as_json"], is_flag=True, help="Every arena and pool as JSON."),
            click.Option(["--html"], metavar="FILE", help="Write a page for a browser there (needs the extra 'html')."),
            click.Option(["-o", "--output"], metavar="FILE", help="Write there; - is stdout."),
            click.Option(["--no-color"], is_flag=True, help="No colour, even on a terminal."),
            click.Option(["--pid"], type=click.INT, metavar="PID", help="About that process, which is not stopped."),
            click.Option(
                ["--max-pause"],
                type=click.FloatRange(min=0),
                metavar="SECONDS",
                default=1.0,
                show_default=True,
                help="The program never waits longer; what is not walked by then is left out, and that is said.",
            ),
        ]

    def run(self, options: Mapping[str, Any]) -> int:
        return show(options, MapPage)


class MapPage(Page):
    """The place and the form of the map."""

    @property
    def drawn(self) -> bool:
        return True

    def document(self, report: Report, census: Census | None) -> str:
        if self.as_html:
            from meminspect.views import html_page

            return html_page.render(report, census=census, only_map=True)
        if self.as_json:
            from meminspect.views import map_json

            return map_json.render(report)
        from meminspect.views import map_text

        many = "256" in os.environ.get("TERM", "") or bool(os.environ.get("COLORTERM"))
        return map_text.render(
            report,
            width=self.output.width,
            color=self.color,
            unicode=self.output.unicode,
            colors="256" if many else "standard",
        )
