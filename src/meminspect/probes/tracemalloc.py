"""The tracemalloc report: what was captured at a program's end, and at its start, made into one model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from .. import __version__
from ..errors import MeminspectError
from ..models.report import Report
from ..models.tracemalloc import TracedFrame, TracedSum, TracedUnseen, TracemallocReport
from . import report

Frame = tuple[str, int]
Frames = tuple[Frame, ...]
ORDERS: dict[str, Callable[[TracedSum], int]] = {
    "size": lambda row: row.bytes,
    "count": lambda row: row.blocks,
    "growth": lambda row: abs(row.bytes_grown or 0),
}


@dataclass(frozen=True)
class Selection:
    """What to show: globs of file names (of the most recent frame), the order, and how many rows."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    sort: str = "size"
    limit: int = 10

    def keeps(self, file: str) -> bool:
        if any(fnmatchcase(file, pattern) for pattern in self.exclude):
            return False
        return not self.include or any(fnmatchcase(file, pattern) for pattern in self.include)


@dataclass(frozen=True)
class Traced:
    """One capture: (blocks, bytes, frames dropped) per traceback."""

    sums: dict[Frames, tuple[int, int, int]]
    small_bytes: int


def build(
    raw: Mapping[str, Any], first: Mapping[str, Any] | None, selection: Selection, context: Mapping[str, Any]
) -> TracemallocReport:
    """The model of a record of `tracemalloc_record`; `first` is the one from the program's start, for growth.

    Raises MeminspectError when tracemalloc was not tracing at the end.
    """
    captured = checked(raw)
    now = traced(captured)
    before = traced(checked(first)) if first is not None else None
    whole = report.build(raw, context)
    kept = {frames: value for frames, value in now.sums.items() if selection.keeps(frames[0][0])}
    start = None
    if before is not None:
        start = {frames: value for frames, value in before.sums.items() if selection.keeps(frames[0][0])}
    shown = {
        name: rows(kept, start, key)
        for name, key in (("lines", line_of), ("files", file_of), ("tracebacks", whole_of))
    }  # fmt: skip
    ordered = {
        name: tuple(sorted(found, key=ORDERS[selection.sort], reverse=True)[: selection.limit])
        for name, found in shown.items()
    }  # fmt: skip
    return TracemallocReport(
        meminspect=__version__,
        python=whole.python,
        pid=whole.process.pid,
        program=whole.process.program,
        hooked_by=whole.process.hooked_by,
        note=whole.process.note,
        frame_limit=captured["frame_limit"],
        traced_bytes=captured["traced_bytes"],
        peak_bytes=captured["peak_bytes"],
        overhead_bytes=captured["overhead_bytes"],
        start_bytes=first["tracemalloc"]["traced_bytes"] if first is not None else None,
        kept_bytes=sum(value[1] for value in kept.values()),
        kept_blocks=sum(value[0] for value in kept.values()),
        sorted_by=selection.sort,
        include=selection.include,
        exclude=selection.exclude,
        lines_total=len(shown["lines"]),
        files_total=len(shown["files"]),
        tracebacks_total=len(shown["tracebacks"]),
        unseen=unseen(whole, captured, now),
        **ordered,
    )


def checked(raw: Mapping[str, Any]) -> dict[str, Any]:
    captured: dict[str, Any] = raw["tracemalloc"]
    if "error" in captured:
        raise MeminspectError(captured["reason"])
    return captured


def traced(captured: Mapping[str, Any]) -> Traced:
    """The sums of one capture, of all domains, by traceback."""
    names: list[Frame] = captured["frames"]
    sums: dict[Frames, tuple[int, int, int]] = {}
    small = 0
    for domain, blocks, size, small_bytes, dropped, indices in captured["sums"]:
        frames = tuple(names[index] for index in indices) or (("<unknown>", 0),)
        had = sums.get(frames, (0, 0, 0))
        sums[frames] = (had[0] + blocks, had[1] + size, max(had[2], dropped))
        small += small_bytes if domain == 0 else 0
    return Traced(sums, small)


def line_of(frames: Frames) -> Frames:
    return frames[:1]


def file_of(frames: Frames) -> Frames:
    return ((frames[0][0], 0),)


def whole_of(frames: Frames) -> Frames:
    return frames


def rows(
    kept: Mapping[Frames, tuple[int, int, int]], start: Mapping[Frames, tuple[int, int, int]] | None,
    key: Callable[[Frames], Frames],
) -> list[TracedSum]:  # fmt: skip
    """Sums grouped by a key, with what they have grown by; what has gone since the start is a row too."""
    now = grouped(kept, key)
    before = grouped(start, key) if start is not None else {}
    found = []
    for frames in {**before, **now}:
        blocks, size, dropped = now.get(frames, (0, 0, 0))
        had_blocks, had_size, _ = before.get(frames, (0, 0, 0))
        found.append(
            TracedSum(
                frames=tuple(TracedFrame(file, line) for file, line in frames),
                frames_dropped=dropped if key is whole_of else 0,
                blocks=blocks,
                bytes=size,
                blocks_grown=blocks - had_blocks if start is not None else None,
                bytes_grown=size - had_size if start is not None else None,
            )
        )
    return found


def grouped(
    sums: Mapping[Frames, tuple[int, int, int]], key: Callable[[Frames], Frames]
) -> dict[Frames, tuple[int, int, int]]:
    result: dict[Frames, tuple[int, int, int]] = {}
    for frames, (blocks, size, dropped) in sums.items():
        had = result.get(key(frames), (0, 0, 0))
        result[key(frames)] = (had[0] + blocks, had[1] + size, max(had[2], dropped))
    return result


def unseen(whole: Report, captured: Mapping[str, Any], now: Traced) -> TracedUnseen:
    """The traced bytes beside the heap as walked and resident memory, all taken at the program's end."""
    reasons = []
    live = seen = hidden = None
    if whole.pymalloc is None:
        reasons.append(f"pymalloc: {whole.missing.get('pymalloc', 'not known')}")
    elif whole.pymalloc.bytes is None or whole.pymalloc.allocator != "pymalloc":
        reasons.append(f"the allocator is {whole.pymalloc.allocator}, whose blocks are not sized as pymalloc's")
    elif whole.pymalloc.bytes is None:
        reasons.append(f"pymalloc: {whole.pymalloc.reason or 'its bytes are not known'}")
    else:
        live, seen = whole.pymalloc.bytes.used_bytes, now.small_bytes
        hidden = max(0, live - seen)
    rss = resident = None
    if whole.memory is None:
        reasons.append(f"RSS: {whole.missing.get('memory', 'not known')}")
    else:
        rss = whole.memory.rss_bytes
        resident = max(0, rss - captured["traced_bytes"] - captured["overhead_bytes"])
    return TracedUnseen(
        pymalloc_live_bytes=live,
        pymalloc_seen_bytes=seen,
        pymalloc_unseen_bytes=hidden,
        pymalloc_unseen_share=hidden / live if live and hidden is not None else None,
        rss_bytes=rss,
        rss_unseen_bytes=resident,
        rss_unseen_share=resident / rss if rss and resident is not None else None,
        reason="; ".join(reasons) or None,
    )
