"""A page of text: what the sections of a view write on, whatever terminal it is for.

rich lays out tables and breaks lines. It is given Text only, never markup, and everything that comes from the inspected
program passes the sanitiser on its way in. The page is made in memory and returned as a string, so that it does not
depend on the terminal or the environment of the process that makes it.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .sanitize import TEXT_LIMIT, clean

if TYPE_CHECKING:
    from rich.text import Text

MIN_WIDTH = 40
MAX_WIDTH = 160  # wider lines are hard to follow from left to right
INDENT = 2
GAP = 2  # between columns
MIN_COLUMN = 8
ASCII = str.maketrans({"…": "~", "·": "-"})

HEADING = "bold"
ANSWER = "bold"
DIM = "dim"
WARN = "yellow"
GOOD = "green"
FIGURE = "cyan"


@dataclass(frozen=True)
class Column:
    """One column of a table: right-aligned when `figures`; `grow` takes what is left; `style` of its cells."""

    title: str = ""
    figures: bool = False
    grow: bool = False
    style: str = ""
    width: int | None = None


class Page:
    """Collects the parts of one page; `str()` of it is the text.

    unicode -- False: block elements, dots and names have forms in ASCII
    colors  -- with color: what the terminal has, in rich's words ("standard" are 16, "256")
    """

    def __init__(
        self, width: int, *, color: bool, unicode: bool, colors: Literal["standard", "256"] = "standard"
    ) -> None:
        from rich.console import Console

        self.width = max(MIN_WIDTH, min(MAX_WIDTH, width))
        self.unicode = unicode
        self._color = color
        self._to = io.StringIO()
        self._console = Console(
            file=self._to,
            width=self.width,
            height=100,
            force_terminal=color,
            color_system=colors if color else None,
            no_color=not color,
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
            _environ={},
        )

    @property
    def dot(self) -> str:
        return " · " if self.unicode else " - "

    def text(self, value: str, style: str = "", limit: int = TEXT_LIMIT) -> Text:
        """A sanitised piece of text."""
        from rich.text import Text

        if not self.unicode:
            value = value.translate(ASCII)
        return Text(clean(value, limit, ascii_only=not self.unicode), style=style)

    def join(self, pieces: Iterable[tuple[str, str]]) -> Text:
        """Pieces of (text, style) as one."""
        from rich.text import Text

        return Text("").join([self.text(value, style) for value, style in pieces])

    def line(self, value: str = "", style: str = "") -> None:
        """A paragraph, broken at words."""
        self._console.print(self.text(value, style))

    def pieces(self, *pieces: tuple[str, str]) -> None:
        """A paragraph of differently styled pieces."""
        self._console.print(self.join(pieces))

    def heading(self, title: str, how_to_read: str = "") -> None:
        """An empty line, then a title, and behind it in a word how to read what follows."""
        self._console.print()
        self._console.print(self.join([(title, HEADING), ("  " + how_to_read if how_to_read else "", DIM)]))

    def block(self, lines: Iterable[str], style: str = "", indent: int = 2) -> None:
        """Lines as they are: marks of a picture, never broken."""
        for line in lines:
            self._console.print(self.text(" " * indent + line, style), no_wrap=True, overflow="crop", crop=True)

    def marks(self, rows: Iterable[Sequence[tuple[str, str]]], indent: int = 2) -> None:
        """Lines of marks, each of (text, style), never broken."""
        for row in rows:
            line = self.join([(" " * indent, ""), *row])
            self._console.print(line, no_wrap=True, overflow="crop", crop=True)

    def indented(self, *pieces: tuple[str, str], indent: int = 2, lead: str = "") -> None:
        """A paragraph of pieces with a hanging indent; `lead` stands in it ('1.')."""
        from rich.table import Table

        grid = Table.grid(padding=0)
        grid.add_column(width=indent, no_wrap=True)
        grid.add_column(overflow="fold")
        grid.add_row(self.text(lead), self.join(pieces))
        self._console.print(grid)

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str | Text]], *, header: bool = True) -> None:
        """A table two cells in from the left, without lines.

        Figures are never cut: the first column that grows gives way, with an ellipsis, when the page is too narrow.
        """
        from rich.table import Table

        cells = [[self.text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
        table = Table.grid(padding=(0, GAP, 0, 0))
        table.add_column(width=INDENT - GAP)
        for column, width in zip(columns, self._widths(columns, cells, header), strict=True):
            table.add_column(
                justify="right" if column.figures else "left",
                style=column.style,
                width=width,
                no_wrap=True,
                overflow="ellipsis",
            )
        if header:
            table.add_row("", *(self.text(column.title, DIM) for column in columns))
        for row in cells:
            table.add_row("", *row)
        self._console.print(table)

    def _widths(self, columns: Sequence[Column], cells: list[list[Text]], header: bool) -> list[int]:
        widths = [
            max([len(column.title) if header else 0, column.width or 0, *(row[at].cell_len for row in cells)])
            for at, column in enumerate(columns)
        ]
        over = INDENT + sum(widths) + GAP * len(widths) - self.width
        growing = next((at for at, column in enumerate(columns) if column.grow), None)
        if over > 0 and growing is not None:
            widths[growing] = max(MIN_COLUMN, widths[growing] - over)
        return widths

    def __str__(self) -> str:
        lines = [line.rstrip() for line in self._to.getvalue().split("\n")]
        whole = "\n".join(lines)
        if not self.unicode:
            whole = whole.translate(ASCII).encode("ascii", "backslashreplace").decode("ascii")
        return whole
