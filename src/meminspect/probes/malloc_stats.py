"""CPython's own statistics of its allocators: taken, or parsed from a text that was captured elsewhere.

Objects/obmalloc.c writes them in `pymalloc_print_stats` (`_PyObject_DebugMallocStats` up to 3.12) and
`py_mimalloc_print_stats`; the object free lists come from `_PyDebugAllocatorStats`. The wording is the same from 3.11
to 3.15; builds differ in which lines they print.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Mapping
from typing import Any

from ..models.heap import DebugMallocStats, FreeList, HeapBytes, SizeClass

MAX_TEXT = 1 << 20
CLASS_ROW = re.compile(
    r"^[ \t]*(\d{1,5})[ \t]+(\d{1,10})[ \t]+(\d{1,20})[ \t]+(\d{1,20})[ \t]+(\d{1,20})[ \t]*$", re.MULTILINE
)
FIGURE = re.compile(r"^[ \t]*([^=\n]{1,120}?)[ \t]*=[ \t]*(\d{1,3}(?:,\d{3}){0,8}|\d{1,25})[ \t]*$", re.MULTILINE)
FREE_LIST = re.compile(r"^(-?\d{1,20}) (.{1,80}?)(?:s|es)? \* (\d{1,20}) bytes each$")
ARENAS = re.compile(r"^(\d{1,20}) arenas \* (\d{1,20}) bytes/arena$")
UNUSED_POOLS = re.compile(r"^(\d{1,20}) unused pools \* (\d{1,20}) bytes$")
MIMALLOC = re.compile(
    r"^[ \t]*(Allocated Blocks|Allocated Bytes|Bytes Reserved|Bytes Committed):[ \t]*(\d{1,20})[ \t]*$", re.MULTILINE
)
BYTES = {
    "used_bytes": "# bytes in allocated blocks",
    "free_blocks_bytes": "# bytes in available blocks",
    "pool_headers_bytes": "# bytes lost to pool headers",
    "quantization_bytes": "# bytes lost to quantization",
    "alignment_bytes": "# bytes lost to arena alignment",
}


def parse(text: str | bytes) -> DebugMallocStats:
    """Parses what `sys._debugmallocstats()` prints, of any version from 3.11 on; pure.

    What the text does not hold is None, and a text cut short gives the figures that it still has. `untouched` of a size
    class is 0: the statistics do not tell it apart from free.

    Raises ValueError when the text holds none of the figures, or is longer than 1 MiB.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if len(text) > MAX_TEXT:
        raise ValueError(f"the text is longer than {MAX_TEXT} characters: not CPython's statistics")
    classes = tuple(
        SizeClass(
            index=int(row[0]), size=int(row[1]), pools=int(row[2]), used=int(row[3]), free=int(row[4]), untouched=0
        )
        for row in CLASS_ROW.findall(text)
    )
    figures: dict[str, int] = {}
    free_lists = []
    arena_size = free_pools = None
    for name, digits in FIGURE.findall(text):
        value = int(digits.replace(",", ""))
        free_list = FREE_LIST.match(name)
        if free_list and int(free_list[1]) >= 0:
            free_lists.append(FreeList(name=free_list[2], count=int(free_list[1]), size=int(free_list[3])))
        elif arenas := ARENAS.match(name):
            arena_size = int(arenas[2])
        elif UNUSED_POOLS.match(name):
            free_pools = value
        else:
            figures.setdefault(name, value)  # "Total" comes twice: first that of the arenas
    mimalloc = dict(MIMALLOC.findall(text))
    if not (classes or figures.keys() & {*BYTES.values(), "# arenas allocated total"} or free_lists or mimalloc):
        raise ValueError("the text holds no statistics of CPython's allocators")
    return DebugMallocStats(
        size_classes=classes,
        arenas_allocated_total=figures.get("# arenas allocated total"),
        arenas_reclaimed=figures.get("# arenas reclaimed"),
        arenas_highwater=figures.get("# arenas highwater mark"),
        arenas=figures.get("# arenas allocated current"),
        arena_size=arena_size,
        bytes=ledger(figures, free_pools),
        free_lists=tuple(free_lists),
        text=text,
    )


def ledger(figures: Mapping[str, int], free_pools: int | None) -> HeapBytes | None:
    """The arenas' bytes, None when one of the parts is missing."""
    parts = {name: figures.get(line) for name, line in BYTES.items()}
    total = figures.get("Total")
    if free_pools is None or total is None or None in parts.values():
        return None
    return HeapBytes(
        free_pools_bytes=free_pools, total_bytes=total, **{k: v for k, v in parts.items() if v is not None}
    )


def build(raw: Mapping[str, Any]) -> DebugMallocStats:
    """The model of what `_native.malloc_stats_capture()` returned."""
    return parse(raw["text"])


def debug_malloc_stats() -> DebugMallocStats:
    """CPython's own statistics of the calling interpreter, as numbers (the text itself is in `.text`).

    They are written to a memory stream by `_PyObject_DebugMallocStats`; where that is not exported, file descriptor 2
    is redirected to a file while `sys._debugmallocstats()` runs: then what other threads write to it in that moment is
    mixed in, and a child started meanwhile inherits it. The object free lists are in the text up to 3.12 (from 3.13 on
    only the fallback prints them).

    Raises ValueError when CPython prints nothing: under PYTHONMALLOC=malloc, or while a hook (tracemalloc) stands
    before its allocator, unless the text still holds the free lists.
    """
    from .. import _native

    try:
        return build(_native.malloc_stats_capture())
    except _native.NativeError as error:
        if error.code != "absent":
            raise
    return parse(captured_from_stderr())


def captured_from_stderr() -> bytes:
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        try:
            os.dup2(file.fileno(), 2)
            sys._debugmallocstats()
        finally:
            os.dup2(saved, 2)
            os.close(saved)
        file.seek(0)
        return file.read()
