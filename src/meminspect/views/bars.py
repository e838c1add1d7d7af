"""Pictures made of characters: share bars in eighths, and one mark for each arena.

Each has a form in Unicode's block elements and one in ASCII for terminals and locales that have nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EIGHTHS = " ▏▎▍▌▋▊▉█"
SHADES = "·░▒▓█"
SHADES_ASCII = "_.:+#"
SHADE_LIMITS = (0.25, 0.50, 0.75)  # upper limits of the second to the fourth shade; the first is for nothing at all


def bar(share: float, width: int, *, unicode: bool = True) -> str:
    """A bar `width` cells wide at share 1; a share above 0 shows at least the thinnest mark, also in ASCII."""
    share = min(1.0, max(0.0, share))
    if share == 0:
        return ""
    if not unicode:
        return "#" * round(share * width) or "."
    full, part = divmod(max(1, round(share * width * 8)), 8)
    return EIGHTHS[8] * full + (EIGHTHS[part] if part else "")


def shade(occupancy: float, *, unicode: bool = True) -> str:
    """The mark of one arena, darker for fuller."""
    marks = SHADES if unicode else SHADES_ASCII
    if occupancy <= 0:
        return marks[0]
    return marks[1 + sum(occupancy >= limit for limit in SHADE_LIMITS)]


@dataclass(frozen=True)
class Picture:
    """Lines of marks; `per_mark` is how many things one mark stands for (the last one may stand for fewer).

    shares -- how full is what each mark of each line stands for, 0 to 1
    """

    lines: tuple[str, ...]
    per_mark: int
    shares: tuple[tuple[float, ...], ...] = ()


def picture(occupancies: Sequence[float], width: int, max_lines: int, *, unicode: bool = True) -> Picture:
    """All occupancies in order, the emptiest first; where they do not fit, a mark is the mean of `per_mark` of them."""
    ordered = sorted(occupancies)
    room = width * max_lines
    per_mark = max(1, -(-len(ordered) // room))
    groups = (ordered[start : start + per_mark] for start in range(0, len(ordered), per_mark))
    means = [sum(group) / len(group) for group in groups]
    rows = [tuple(means[start : start + width]) for start in range(0, len(means), width)]
    lines = tuple("".join(shade(share, unicode=unicode) for share in row) for row in rows)
    return Picture(lines, per_mark, tuple(rows))


def legend(*, unicode: bool = True) -> str:
    """What the marks mean."""
    marks = SHADES if unicode else SHADES_ASCII
    low, middle, high = (f"<{limit * 100:.0f}" for limit in SHADE_LIMITS)
    return f"{marks[0]} 0  {marks[1]} {low}  {marks[2]} {middle}  {marks[3]} {high}  {marks[4]} more"
