"""All of a report's captures at one moment, as plain values.

The order and the guarding of the captures are native (native/raw.pxi): in a program that the launcher started the core
is loaded alone, without this package, and a Python module more would be a figure changed.
"""

from __future__ import annotations

from typing import Any


def take(max_pause: float | None = 1.0, *, drawn: bool = False, retained: bool = False) -> dict[str, Any]:
    """{section: what its capture returned, or {"error": code, "reason": text}} of this process.

    Sections: heap, gc, gil, python, process, memory; and `own_blocks`, None here (see native/raw.pxi).
    max_pause -- seconds for which each of heap, gc and memory may keep the process waiting; beyond it they are partial,
                 and say so; None: no ceiling
    drawn -- with a record of each pool, a bitmap of the live blocks, and a census (section `census`), for a view that
                 draws them
    retained -- and the objects with the largest retained sizes, and those that keep arenas (section
                `references`)
    """
    from meminspect import _native

    taken: dict[str, Any] = _native.raw_take(max_pause=max_pause, drawn=drawn, retained=retained)
    return taken
