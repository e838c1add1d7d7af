"""What a piece of a program leaves behind: two censuses, subtracted.

Each is written to a file in memory natively: between the two nothing of ours is in the heap but what was there before
the first, and both find the same of ours while they are taken.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from typing import Any

from ..models.census import TypeRow
from ..models.diff import GrowthRow
from ..models.growth import Growth, OtherThreads, ThreadGrowth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..analysis.diff import Figures

NS = 1e-9
# until CPython 3.13 the with statement holds a bound method while __enter__ runs, and none more while __exit__ does
ENTERED_BY_METHOD = sys.version_info < (3, 14)

_last: list[
    Span
] = []  # the span before: the name it had is often bound to the next one, and it must not die in its body


def growth(*, collect: bool = False, max_pause: float | None = None) -> Span:
    """`with growth() as g: ...` -- which types grew by how many objects, blocks and bytes in the body.

    Behind the body `g.result` is the Growth; its fields are `g`'s too (`g.types`, `g.blocks`). The figures are exact:
    an empty body leaves nothing. Objects on CPython's free lists are not alive and are in `blocks` alone.

    collect -- run the collector before each census, so that garbage in cycles does not count. It runs finalisers and
               callbacks of the program, which a measurement else never does.
    max_pause -- seconds for which each census may hold the GIL; None: no ceiling. `exact` is False beyond it.
    """
    return Span(collect, max_pause)


class Span:
    """The context manager of growth()."""

    def __init__(self, collect: bool, max_pause: float | None) -> None:
        from .. import _native  # all that is loaded before the body is loaded here

        self._record = _native.growth_record
        self._collect = collect
        self._max_pause = max_pause
        self._fd = -1
        self._ran: dict[int, int | None] = {}
        self._noted = False
        self._result: Growth | None = None

    @property
    def result(self) -> Growth:
        """What grew; RuntimeError before the body has ended."""
        if self._result is None:
            raise RuntimeError("growth is known when the body of the with statement has ended")
        return self._result

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.result, name)

    def __enter__(self) -> Span:
        self._fd = os.memfd_create("meminspect-growth", os.MFD_CLOEXEC)
        self._ran = ran()
        if not _last:  # the first of all may fill caches of the interpreter's
            self._take()
        self._noted = self._take(begin=True)
        return self

    def __exit__(self, kind: object, value: object, traceback: object) -> None:
        try:
            entered = self.__enter__ if ENTERED_BY_METHOD else None
            self._take(end=self._noted)
            del entered
            after = ran()
            size = os.fstat(self._fd).st_size
            data = os.pread(self._fd, size, 0)
        finally:
            os.close(self._fd)
            self._fd = -1
        _last[:] = [self]
        self._result = build(data, self._ran, after)

    def _take(self, begin: bool = False, end: bool = False) -> bool:
        if self._collect:
            gc.collect()
        return self._record(self._fd, self._max_pause, begin, end)


def ran() -> dict[int, int | None]:
    """Nanoseconds that each thread but this one ran so far; None where the kernel does not tell."""
    import threading

    own = threading.get_native_id()
    return {int(name): ran_ns(name) for name in os.listdir("/proc/self/task") if int(name) != own}


def ran_ns(thread: str) -> int | None:
    try:
        with open(f"/proc/self/task/{thread}/schedstat", "rb") as file:
            return int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def build(data: bytes, before_ns: Mapping[int, int | None], after_ns: Mapping[int, int | None]) -> Growth:
    """The growth from the last but one record to the last."""
    import marshal

    from ..analysis.diff import compared, summed
    from ..launch.records import HEADER
    from . import census as censuses
    from . import heap as heaps

    records, at = [], 0
    while at < len(data):
        length = HEADER.unpack_from(data, at)[4]
        at += HEADER.size
        records.append(marshal.loads(memoryview(data)[at : at + length]))
        at += length
    first, last = records[-2:]
    reasons = []
    old, new = heaps.build(first["heap"]), heaps.build(last["heap"])
    reasons += [item.reason for item in (old, new) if not item.exact and item.reason]
    types = buffers = other = others = None
    blocks, size = (
        sum(getattr(arena, field) for arena in new.arenas) - sum(getattr(arena, field) for arena in old.arenas)
        for field in ("used_blocks", "used_bytes")
    )
    failed = [item["census"].get("reason") for item in (first, last) if "error" in item["census"]]
    if failed:
        reasons.append(f"there is no census: {failed[0]}")
    else:
        one, two = censuses.build(first["census"]), censuses.build(last["census"])
        reasons += [item.reason for item in (one, two) if not item.exact and item.reason]
        others = others_of(last["census"])
        types = compared(
            summed((row.name, row.count, row.bytes) for row in one.types),
            without(summed((row.name, row.count, row.bytes) for row in two.types), others.types if others else None),
        )
        buffers = compared(
            summed((row.owner, row.count, row.bytes) for row in one.buffers),
            without(
                summed((row.owner, row.count, row.bytes) for row in two.buffers), others.buffers if others else None
            ),
        )
        if not old.heaps:
            # of the moment of the types: between it and the walk of the heap the record itself grew
            blocks, size = two.small.count - one.small.count, two.small.bytes - one.small.bytes
        named = [item.small.objects + item.small.buffers for item in (one, two)]
        other = blocks - (named[1] - named[0])
        if others:
            blocks, size = blocks - others.blocks, size - others.bytes
            other -= others.other_blocks
    threads = threads_of(before_ns, after_ns, old, new)
    if threads:
        reasons.append(why_not_exact(len(threads), others))
    return Growth(
        types=types,
        buffers=buffers,
        blocks=blocks,
        bytes=size,
        other_blocks=other,
        arenas=len(new.arenas) - len(old.arenas),
        threads=threads,
        others=others,
        exact=not reasons,
        reason="; ".join(dict.fromkeys(reasons)) or None,
    )


def others_of(census: Mapping[str, Any]) -> OtherThreads | None:
    """What other threads were given, of the last record (native/census.pxi: apart_to_raw)."""
    from . import census as censuses

    raw = census["apart"]
    if raw is None:
        return None
    free_lists = {name for name, _ in census["free_lists"]}
    named = [
        (TypeRow(censuses.text(name) or "?", censuses.text(module), 0, 0, None).name, row)
        for module, name, *row in raw["types"]
    ]
    buffers = [(owner, row) for owner, *row in raw["owners"] if owner not in free_lists]
    kept = [row for owner, *row in raw["owners"] if owner in free_lists]
    rows = [row for _, row in (*named, *buffers)]
    rest = [*kept, list(raw["unknown"])]
    return OtherThreads(
        types=apart_rows(named),
        buffers=apart_rows(buffers),
        blocks=sum(row[2] for row in (*rows, *rest)),
        bytes=sum(row[3] for row in (*rows, *rest)),
        other_blocks=sum(row[2] for row in rest),
        resized=sum(row[4] for row in (*rows, *rest)),
        resized_owners=tuple(sorted({name for name, row in (*named, *buffers) if row[4]})),
        freed=raw["freed"],
        lost=raw["lost"],
    )


def apart_rows(rows: list[tuple[str, list[int]]]) -> tuple[GrowthRow, ...]:
    from ..analysis.diff import compared, summed

    return compared({}, summed((name, row[0], row[1]) for name, row in rows))


def without(after: Figures, others: tuple[GrowthRow, ...] | None) -> Figures:
    """The figures behind the body, less what is apart."""
    for row in others or ():
        count, size = after.get(row.name, (0, 0))
        after[row.name] = ((count or 0) - (row.count or 0), size - row.bytes)
    return after


def why_not_exact(threads: int, others: OtherThreads | None) -> str:
    ran = f"{threads} other threads ran meanwhile"
    if others is None:
        return f"{ran}, and may have made some of it"
    more = [f"; {others.freed} blocks that they gave back hide as many that stay"] if others.freed else []
    if others.resized:
        more.append(f"; what the {others.resized} blocks that they resized grew by is in it")
    if others.lost:
        more.append("; some of theirs could not be noted")
    return f"{ran}: what they were given is apart, but for objects that they took from free lists{''.join(more)}"


def threads_of(
    before_ns: Mapping[int, int | None], after_ns: Mapping[int, int | None], old: Any, new: Any
) -> tuple[ThreadGrowth, ...]:
    """The other threads that ran between, or may have."""
    result = []
    for thread in dict.fromkeys((*before_ns, *after_ns)):
        start, end = before_ns.get(thread, 0), after_ns.get(thread)
        if thread in before_ns and thread in after_ns and start is not None and start == end:
            continue
        spent = None if start is None or end is None else (end - start) * NS
        figures = []
        for field in ("used_blocks", "used_bytes"):
            sums = [sum(getattr(h, field) for h in item.heaps if h.native_id == thread) for item in (old, new)]
            figures.append(sums[1] - sums[0] if old.heaps and new.heaps else None)
        result.append(ThreadGrowth(thread, spent, *figures))
    return tuple(result)
