"""Growth from one snapshot to another: rows of the same name are subtracted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import SnapshotError
from ..models.diff import ArenaGrowth, Diff, GrowthRow, Moment
from ..models.snapshot import Snapshot

Figures = dict[str, tuple[int | None, int]]  # name -> count and bytes


def compare(first: Snapshot, second: Snapshot) -> Diff:
    """What grew; what only one of them has a table for is None, with the reason in `missing`."""
    missing: dict[str, str] = {}

    def both(name: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]] | None:
        try:
            return first.rows(name), second.rows(name)
        except SnapshotError as error:
            missing[name] = str(error)
            return None

    census, buffers, classes = both("census"), both("buffers"), both("size_classes")
    memory, arenas = both("memory"), both("arenas")
    same = same_process(first, second)
    followed = arenas_of(*arenas) if arenas and same else None
    if arenas and not same:
        missing["arenas"] = "the snapshots are of two processes, whose addresses have nothing in common"
    states = [state for state, _ in followed] if followed is not None else []
    return Diff(
        before=moment(first),
        after=moment(second),
        same_process=same,
        types=compared(*map(types_of, census)) if census else None,
        modules=compared(*map(modules_of, census)) if census else None,
        buffers=compared(*map(owners_of, buffers)) if buffers else None,
        size_classes=compared(*map(classes_of, classes)) if classes else None,
        causes=compared(*map(causes_of, memory)) if memory else None,
        arenas=tuple(row for _, row in followed if row.bytes or row.state != "kept") if followed is not None else None,
        arenas_new=states.count("new") if followed is not None else None,
        arenas_gone=states.count("gone") if followed is not None else None,
        arenas_kept=states.count("kept") if followed is not None else None,
        missing=missing,
    )


def same_process(first: Snapshot, second: Snapshot) -> bool:
    """By host, pid and the moment when the process started."""

    def identity(snapshot: Snapshot) -> tuple[Any, ...]:
        facts = snapshot._facts.get("process") if isinstance(snapshot._facts, dict) else None
        started = facts.get("started_s") if isinstance(facts, dict) else None
        rounded = round(started) if isinstance(started, (int, float)) else None
        return snapshot.host, snapshot.pid, rounded

    return first.pid is not None and identity(first) == identity(second)


def moment(snapshot: Snapshot) -> Moment:
    row: Mapping[str, Any] = {}
    if "process" in snapshot.tables:
        row = next(iter(snapshot.rows("process")), {})
    return Moment(
        path=snapshot.path,
        host=snapshot.host,
        pid=snapshot.pid,
        taken_s=snapshot.taken_s,
        python=snapshot.python,
        rss_bytes=row.get("rss_bytes"),
        arenas=row.get("arenas"),
        live_bytes=row.get("live_bytes"),
    )


def compared(before: Figures, after: Figures) -> tuple[GrowthRow, ...]:
    """What changed, the most bytes first."""
    rows = []
    for name in dict.fromkeys((*before, *after)):
        count_before, bytes_before = before.get(name, (0, 0))
        count_after, bytes_after = after.get(name, (0, 0))
        if (count_before, bytes_before) != (count_after, bytes_after):
            rows.append(GrowthRow(name, count_before, count_after, bytes_before, bytes_after))
    return tuple(sorted(rows, key=lambda row: -row.bytes))


def summed(named: Iterable[tuple[str, int | None, int]]) -> Figures:
    figures: Figures = {}
    for name, count, size in named:
        known, bytes_ = figures.get(name, (0, 0))
        figures[name] = (None if count is None or known is None else known + count, bytes_ + size)
    return figures


def type_name(row: Mapping[str, Any]) -> str:
    """As TypeRow.name has it."""
    return row["type"] if row["module"] in (None, "builtins") else f"{row['module']}.{row['type']}"


def types_of(rows: list[dict[str, Any]]) -> Figures:
    return summed((type_name(row), row["count"], row["bytes"]) for row in rows)


def modules_of(rows: list[dict[str, Any]]) -> Figures:
    return summed((row["module"] or "unknown", row["count"], row["bytes"]) for row in rows)


def owners_of(rows: list[dict[str, Any]]) -> Figures:
    return summed((row["owner"], row["count"], row["bytes"]) for row in rows)


def classes_of(rows: list[dict[str, Any]]) -> Figures:
    return summed((f"{row['size']} bytes", row["used"], row["used_bytes"]) for row in rows)


def causes_of(rows: list[dict[str, Any]]) -> Figures:
    return summed((row["path"], row["count"], row["bytes"]) for row in rows if row["leaf"])


def arenas_of(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[tuple[str, ArenaGrowth]]:
    """Every arena of either, the most bytes first."""
    old = {(row["interpreter"], row["address"]): row["used_bytes"] for row in before}
    new = {(row["interpreter"], row["address"]): row["used_bytes"] for row in after}
    result = []
    for key in dict.fromkeys((*old, *new)):
        state = "kept" if key in old and key in new else "gone" if key in old else "new"
        result.append((state, ArenaGrowth(key[1], key[0], state, old.get(key, 0), new.get(key, 0))))
    return sorted(result, key=lambda item: -item[1].bytes)
