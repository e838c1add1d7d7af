"""Who holds what a test left behind, for the message of a test that failed.

The body is run once more between two graphs of all objects: what is new in the second is what it leaves, and one object
of each type is followed to its root. That costs a second or so for each million objects, so only a failing test pays.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any

from .. import _native
from ..probes import graph, references
from ..probes.contents import name_of
from ..views.sanitize import clean

HOLDERS = 2  # shown for each type, beside the path


def holders(body: Callable[[], object], types: Sequence[str]) -> dict[str, str]:
    """For each of the types' names how one new object of it is held, in a line; those that the body left none of are
    left out. NativeError where references cannot be read; what the body raises.
    """
    import gc

    gc.collect()
    before = objects_of(types)
    body()
    gc.collect()
    after = objects_of(types)
    return {
        name: held(address)
        for name in types
        if (address := min((at for at in after[name] if at not in before[name]), default=None)) is not None
    }


def objects_of(types: Sequence[str]) -> dict[str, set[int]]:
    """The addresses of the living objects of each type."""
    raw = _native.graph_capture(None)
    places = {place: name_of(name) for place, name in enumerate(raw["names"])}
    wanted = {place: name for place, name in places.items() if name in types}
    kinds, addresses = array("I", raw["types"]), array("Q", raw["addresses"])
    found: dict[str, set[int]] = {name: set() for name in types}
    for at, kind in enumerate(kinds):
        if kind in wanted:
            found[wanted[kind]].add(addresses[at])
    return found


def held(address: int) -> str:
    raw: dict[str, Any] = graph.capture([address], holders=True, path=True, max_pause=None)
    path, direct = references.build_path(raw), references.build_holders(raw)
    rows = [row.node.text + (row.how.text if row.how is not None else "") for row in direct.rows]
    shown = ", ".join(map(clean, rows[:HOLDERS]))
    more = f" and {direct.count - HOLDERS} more" if direct.count > HOLDERS else ""
    return clean(path.text) + (f"; by {shown}{more}" if shown else "")
