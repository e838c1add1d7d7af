"""Makes COUNT small objects, frees all but every STRIDE-th, then all; prints one JSON line of a report at each point.

Arguments: COUNT STRIDE [trim]. With `trim`, malloc_trim(0) is called and a report follows after each freeing.
"""

from __future__ import annotations

import ctypes
import json
import sys

import meminspect
from meminspect.views import report_json


class Small:
    """What a program has millions of: an instance without a dict."""

    __slots__ = ("a", "b", "c")


def tell(point: str) -> None:
    document = report_json.document(meminspect.report())
    print(json.dumps({"point": point, "report": document}), flush=True)


def trim(point: str) -> None:
    if "trim" in sys.argv[3:]:
        ctypes.CDLL(None).malloc_trim(0)
        tell(point + ", trimmed")


def main() -> None:
    count, stride = int(sys.argv[1]), int(sys.argv[2])
    meminspect.report()  # what a report imports and allocates is there before the first point
    objects = [Small() for _ in range(count)]
    tell("made")
    objects = objects[::stride]
    tell("scattered")
    trim("scattered")
    objects.clear()
    tell("freed")
    trim("freed")


main()
