"""The colours of the pictures, the same on a terminal, in a notebook and on the HTML page.

Orange is memory that is held for little, blue memory that is in use; the pair is told apart with every kind of colour
vision, on light and on dark ground. Grey holds nothing at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from .bars import SHADE_LIMITS


@dataclass(frozen=True)
class Step:
    """One step of how full something is.

    label    -- what it means, in per cent of live bytes
    light, dark -- colours for a light and a dark page
    terminal -- a style of rich's, of 256 colours; a terminal with fewer gets the nearest
    """

    label: str
    light: str
    dark: str
    terminal: str


_LOW, _MIDDLE, _HIGH = (f"{limit:.0%}".rstrip("%") for limit in SHADE_LIMITS)

OCCUPANCY = (
    Step("nothing live", "#cfd4da", "#454c55", "color(244)"),
    Step(f"under {_LOW} %", "#e8590c", "#f0803c", "color(208)"),
    Step(f"{_LOW} to {_MIDDLE} %", "#f4b27a", "#a8703f", "color(180)"),
    Step(f"{_MIDDLE} to {_HIGH} %", "#8fb8e3", "#4a74a6", "color(110)"),
    Step(f"{_HIGH} % and more", "#2767ad", "#69a7ec", "color(69)"),
)


def step(occupancy: float) -> int:
    """The place in OCCUPANCY of a share of live bytes, 0 to 1."""
    return 0 if occupancy <= 0 else 1 + sum(occupancy >= limit for limit in SHADE_LIMITS)


# What pools and blocks hold, the most frequent first: (light page, dark page, terminal). All behind these is grey.
CONTENTS = (
    ("#2767ad", "#69a7ec", "color(69)"),
    ("#e8590c", "#f0803c", "color(208)"),
    ("#1f7a78", "#3fb5b1", "color(37)"),
    ("#a2496f", "#d77ba3", "color(168)"),
    ("#8a6d00", "#d6b43c", "color(178)"),
    ("#6b4fa0", "#a78bdc", "color(141)"),
    ("#5a6b2f", "#a3b86c", "color(107)"),
    ("#b3261e", "#e5736b", "color(167)"),
    ("#0f7fb5", "#56c3ee", "color(45)"),
    ("#7a4a21", "#c08a58", "color(137)"),
    ("#c2187a", "#ef6fb7", "color(205)"),
    ("#2e7d32", "#6cc070", "color(71)"),
)
