"""The GIL of a running program, between two looks at its trace."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model, shown


@dataclass(frozen=True, repr=False)
class TopThread(Model):
    """One thread between two looks. Shares are of the time between them, 0 to 1.

    held_share   -- a hold that is going on included
    waited_share -- of waits that ended in between: a long one shows when it ends, then at most as the whole time
    acquisitions_per_s -- how often it took the GIL
    """

    name: str
    native_id: int | None
    held_share: float
    waited_share: float
    acquisitions_per_s: float

    def __repr__(self) -> str:
        return f"<TopThread {shown(self.name)}: held {self.held_share:.0%}, waited {self.waited_share:.0%}>"


@dataclass(frozen=True, repr=False)
class GilTop(Model):
    """All threads between two looks, and the main interpreter's GIL at the second.

    holder, holding_s -- who holds it now, and since when; None and 0 when nobody does
    """

    at_s: float
    interval_s: float
    hand_offs_per_s: float
    forced_share: float | None
    held_share: float
    holder: str | None
    holding_s: float
    lost_events: int
    threads: tuple[TopThread, ...]

    def __repr__(self) -> str:
        return f"<GilTop at {self.at_s:.1f} s: {self.hand_offs_per_s:,.0f} hand-offs a second>"
