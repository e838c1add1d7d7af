"""The control group: its limits, its use, and how far the process is from the limit that would kill it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..models.memory import Cgroup

UNLIMITED = 1 << 60  # version 1 writes "no limit" as the largest multiple of a page in 63 bits


def build(raw: Mapping[str, Any]) -> Cgroup | None:
    """The model of a `cgroup_capture()`; None without figures: the capture's `reason` says why."""
    levels = raw["levels"]
    if raw["path"] is None or not any(text is not None for level in levels for text in level.values()):
        return None
    own = next(level for level in levels if any(text is not None for text in level.values()))
    read = _version_1 if raw["version"] == 1 else _version_2
    left = headroom(levels, raw["version"])
    return Cgroup(path=raw["path"], version=raw["version"], headroom_bytes=left, **read(own))


def headroom(levels: list[Mapping[str, bytes | None]], version: int) -> int | None:
    """The least of limit - use over the group and those above it, None when none has a limit.

    Use counts page cache too, which the kernel drops before it kills: so this is the least that is left.
    """
    names = ("memory.current", "memory.max") if version == 2 else ("memory.usage_in_bytes", "memory.limit_in_bytes")
    left = []
    for level in levels:
        use, limit = (number(level.get(name)) for name in names)
        if use is not None and limit is not None:
            left.append(limit - use)
    return min(left, default=None)


def number(text: bytes | None) -> int | None:
    """The number of a file that holds one; None for "max", the largest number, and a file that is not there."""
    word = (text or b"").strip()
    value = int(word) if word.isdigit() else None
    return None if value is None or value >= UNLIMITED else value


def table(text: bytes | None) -> dict[str, int]:
    """A file of lines "name number"."""
    rows = (line.split() for line in (text or b"").splitlines())
    return {row[0].decode("ascii", "replace"): int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def _version_2(files: Mapping[str, bytes | None]) -> dict[str, int | None]:
    """Documentation/admin-guide/cgroup-v2.rst."""
    stat, events = table(files.get("memory.stat")), table(files.get("memory.events"))
    return {
        "current_bytes": number(files.get("memory.current")),
        "max_bytes": number(files.get("memory.max")),
        "high_bytes": number(files.get("memory.high")),
        "anon_bytes": stat.get("anon"),
        "file_bytes": stat.get("file"),
        "kernel_bytes": stat.get("kernel"),
        "shmem_bytes": stat.get("shmem"),
        "oom_events": events.get("oom"),
        "oom_kills": events.get("oom_kill"),
    }


def _version_1(files: Mapping[str, bytes | None]) -> dict[str, int | None]:
    """Documentation/admin-guide/cgroup-v1/memory.rst: `rss` is anonymous memory, `cache` page cache with shmem in it.

    There is no counterpart of memory.high, and none of the count of events that ended without a kill.
    """
    stat, oom = table(files.get("memory.stat")), table(files.get("memory.oom_control"))
    return {
        "current_bytes": number(files.get("memory.usage_in_bytes")),
        "max_bytes": number(files.get("memory.limit_in_bytes")),
        "high_bytes": None,
        "anon_bytes": stat.get("total_rss", stat.get("rss")),
        "file_bytes": stat.get("total_cache", stat.get("cache")),
        "kernel_bytes": None,
        "shmem_bytes": stat.get("total_shmem", stat.get("shmem")),
        "oom_events": None,
        "oom_kills": oom.get("oom_kill"),
    }
