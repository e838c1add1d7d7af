"""`gil top` on the terminal, with Textual (the extra `top`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer, Static

from ..analysis.words import percent, seconds
from ..models.gil_top import GilTop, TopThread
from .sanitize import clean

COLUMNS = ("thread", "id", "held", "", "waiting", "taken/s")
BAR = 20
ROWS = 200


class TopApp(App[None]):
    """Threads by the share of time in which they hold the GIL and wait for it.

    look -- what happened since it was called last; None before the trace has begun
    ended -- whether the program has
    """

    TITLE = "meminspect gil top"
    CSS = "#head { padding: 0 1; } DataTable { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("p", "pause", "Pause"),
        Binding("h", "sort('held')", "By held"),
        Binding("w", "sort('waiting')", "By waiting"),
        Binding("n", "sort('name')", "By name"),
    ]

    def __init__(
        self, look: Callable[[], GilTop | None], ended: Callable[[], bool], program: str, every_s: float
    ) -> None:
        super().__init__()
        self._look = look
        self._ended = ended
        self._program = clean(program)
        self._every_s = every_s
        self._order = "held"
        self._paused = False
        self._longest = (0.0, "")
        self.last: GilTop | None = None

    def compose(self) -> ComposeResult:
        yield Static(f"{self._program}: waiting for its first line", id="head", markup=False)
        yield DataTable(cursor_type="row", zebra_stripes=True)
        yield Footer()

    def on_mount(self) -> None:
        self.query_one(DataTable).add_columns(*COLUMNS)
        self.set_interval(self._every_s, self.refresh_now)

    def refresh_now(self) -> None:
        """Looks, and shows what is new."""
        if self._paused:
            return
        seen = self._look()
        if seen is not None:
            self.last = seen
            if seen.holder is not None and seen.holding_s > self._longest[0]:
                self._longest = (seen.holding_s, seen.holder)
            self.show()
        if self._ended():
            self.exit()

    def show(self) -> None:
        seen = self.last
        if seen is None:
            return
        self.query_one("#head", Static).update(Text(self.headline(seen)))
        table = self.query_one(DataTable)
        at = table.cursor_row
        table.clear()
        for thread in self.ordered(seen)[:ROWS]:
            table.add_row(
                Text(clean(thread.name, 40)),
                str(thread.native_id or ""),
                percent(thread.held_share, 0),
                Text.assemble(*self.bar(thread)),
                percent(thread.waited_share, 0),
                f"{thread.acquisitions_per_s:,.0f}",
            )
        if table.row_count:
            table.move_cursor(row=min(at, table.row_count - 1))

    def headline(self, seen: GilTop) -> str:
        forced = f", {percent(seen.forced_share, 0)} forced" if seen.forced_share is not None else ""
        holder = f"{clean(seen.holder, 40)} for {seconds(seen.holding_s)}" if seen.holder is not None else "nobody"
        longest = (
            f"; longest seen {seconds(self._longest[0])} ({clean(self._longest[1], 40)})" if self._longest[1] else ""
        )
        lost = f"  {seen.lost_events:,} events lost" if seen.lost_events else ""
        return (
            f"{self._program}  {seen.at_s:.1f} s  held {percent(seen.held_share, 0)} of the time  "
            f"{seen.hand_offs_per_s:,.0f} hand-offs/s{forced}{lost}\nnow held by {holder}{longest}"
        )

    def ordered(self, seen: GilTop) -> list[TopThread]:
        keys: dict[str, Callable[[TopThread], tuple[float | str, ...]]] = {
            "held": lambda thread: (-thread.held_share, -thread.waited_share, thread.name),
            "waiting": lambda thread: (-thread.waited_share, -thread.held_share, thread.name),
            "name": lambda thread: (thread.name, thread.native_id or 0),
        }
        return sorted(seen.threads, key=keys[self._order])

    @staticmethod
    def bar(thread: TopThread) -> tuple[tuple[str, str], ...]:
        held = round(BAR * thread.held_share)
        waited = min(BAR - held, round(BAR * thread.waited_share))
        return ("█" * held, "blue"), ("█" * waited, "dark_orange"), (" " * (BAR - held - waited), "")

    def action_pause(self) -> None:
        self._paused = not self._paused

    def action_sort(self, order: str) -> None:
        self._order = order
        self.show()
