"""`map`: the small-object heap as a picture: every arena, every pool, and in the page for a browser blocks too."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from meminspect.commands._frame import Command, html_option, output_options, pause_option, pid_option
from meminspect.commands.report import Page, show

if TYPE_CHECKING:
    from meminspect.launch.program import Program
    from meminspect.models.census import Census
    from meminspect.models.contents import Contents
    from meminspect.models.report import Report


class MapCommand(Command):
    help = "The small-object heap as a picture: every arena and pool, coloured by how full it is"
    about = (
        "Orange is memory that little keeps, blue is in use. Without a program it is about the interpreter that shows "
        "it; with one, about the program's end: the picture goes to stderr, or to the file of -o."
    )
    examples = (
        ("meminspect map app.py", "the arenas at the program's end, on the terminal"),
        ("meminspect map --by content app.py", "the emptiest arenas by what their pools hold"),
        ("meminspect map --html map.html app.py", "a page for a browser: zoom in down to single blocks"),
        ("meminspect map --json -o map.json -m package", "every arena and pool in figures"),
        ("meminspect map a.mi", "a snapshot that was taken before"),
        ("meminspect map --pid 4711", "another process of the same build of Python, read from outside"),
    )
    takes_program = True

    def params(self) -> list[click.Parameter]:
        return [
            *output_options("Every arena and pool as JSON."),
            html_option(),
            click.Option(
                ["--by"], type=click.Choice(["occupancy", "class", "content"]), default="occupancy", show_default=True,
                help="What the pools are coloured by on the terminal; in the page for a browser it is a choice.",
            ),
            pid_option(),
            pause_option("; what is not walked by then is left out, and that is said."),
        ]  # fmt: skip

    def run(self, options: Mapping[str, Any]) -> int:
        return show(options, MapPage)


class MapPage(Page):
    """The place and the form of the map."""

    def __init__(self, options: Mapping[str, Any], program: Program | None) -> None:
        super().__init__(options, program)
        self.by: str = options["by"]

    @property
    def drawn(self) -> bool:
        return True

    @property
    def retained(self) -> bool:
        return False

    def document(self, report: Report, census: Census | None, contents: Contents | None = None) -> str:
        if self.as_html:
            from meminspect.views import html_page

            return html_page.render(report, census=census, contents=contents, only_map=True)
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
            by=self.by,
            contents=contents,
        )
