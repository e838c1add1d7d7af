"""All of a report's captures at one moment, as plain values.

The order and the guarding of the captures are native (native/raw.pxi): in a program that the launcher started the core
is loaded alone, without this package, and a Python module more would be a figure changed.
"""

from __future__ import annotations

from typing import Any


def take() -> dict[str, Any]:
    """{section: what its capture returned, or {"error": code, "reason": text}} of this process.

    Sections: heap, gc, gil, python, process, memory; and `own_blocks`, None here (see native/raw.pxi).
    """
    from meminspect import _native

    taken: dict[str, Any] = _native.raw_take()
    return taken
