"""Censuses made by hand, for tests of views: captures as `_native.census_capture()` gives them, and their models."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple

from meminspect.models.census import Census
from meminspect.probes.census import build

CLASSES = 32
FROZEN = {
    "pause_s": 0.002, "held_s": 0.003, "lived_s": 0.25, "minor_faults": 41, "major_faults": 1,
    "needed_bytes": 5 << 20, "room_bytes": 1 << 30, "room_by": "memory.max", "missing_bytes": 0, "torn": 0,
}  # fmt: skip


class Row(NamedTuple):
    """Blocks of each size, how many; `large`: how many, and their bytes."""

    blocks: dict[int, int]
    requested: int = 0
    unasked: int = 0
    large: tuple[int, int] = (0, 0)

    def sum(self) -> tuple[int, ...]:
        """As the raw format has it."""
        size = sum(each * count for each, count in self.blocks.items())
        return (sum(self.blocks.values()), size, *self.large, self.requested, self.unasked)


def added(rows: Iterable[Row]) -> tuple[int, ...]:
    return tuple(sum(column) for column in zip(Row({}).sum(), *(row.sum() for row in rows), strict=True))


def size_classes(*parts: list[Row]) -> list[tuple[int, ...]]:
    """Of each size: live blocks, and how many are in each part."""
    sizes = [(place + 1) * 16 for place in range(CLASSES)]
    counts = [[sum(row.blocks.get(size, 0) for row in part) for part in parts] for size in sizes]
    return [(size, sum(count), *count) for size, count in zip(sizes, counts, strict=True)]


def raw_census(
    types: list[tuple[bytes | None, bytes | None, Row]] | None = None, unknown: Row | None = None, **more: Any
) -> dict[str, Any]:
    """A capture whose live blocks are the sum of its parts."""
    if types is None:
        types = [
            (b"builtins", b"dict", Row({64: 1000}, 64_000)),
            (b"app.models", b"Order.Line", Row({48: 500, 80: 2}, 23_000)),
            (None, b"nameless", Row({16: 3}, unasked=3)),
        ]
    buffers = [(b"dict: keys and values".decode(), Row({208: 900}, 180_000)), ("list: items", Row({}))]
    free_lists = [("objects kept for later", Row({16: 20}))]
    unknown = Row({32: 7}) if unknown is None else unknown
    parts = [[item[-1] for item in rows] for rows in (types, buffers, free_lists)] + [[unknown]]
    raw: dict[str, Any] = {
        "allocator": "pymalloc", "size_classes": size_classes(*parts), "own_sizes": False,
        "types": [(*names, row.sum()) for *names, row in types],
        "buffers": [(owner, row.sum()) for owner, row in buffers],
        "free_lists": [(name, row.sum()) for name, row in free_lists],
        "objects": added(parts[0]), "unknown": unknown.sum(), "live": added(chain(*parts)),
        "guesses": {1: [("object", (b"re", b"Scanner"), 40, 5), ("buffer", None, 0, 2)]},
        "large_guesses": [],
        "large": False, "large_reason": "malloc's heaps were not walked", "malloc": None, "padding_bytes": 0,
        "looked_like_objects": 4, "bitmap_bytes": 8192, "table_bytes": 100_000, "threads": 1, "consistent": False,
        "frozen": None,
        "reasons": [], "seconds": 0.05, "pause_s": 0.02,
    }  # fmt: skip
    return raw | more


def bare_census(**more: Any) -> Census:
    return build(raw_census(**more))


def frozen_census() -> Census:
    return bare_census(consistent=True, frozen=FROZEN)


def partial_census() -> Census:
    return bare_census(reasons=["max_pause was reached: 256 pools were left out", "1 pools contradict themselves"])


def census_with_sites() -> Census:
    kinds = [
        ("buffer", None, None, 40, 2560),
        ("object", b"app.models", b"Order.Line", 90, 4320),
        ("unknown", None, None, 1, 16),
    ]
    sites = [(b"app/models.py", 12, kinds), (b"app/main.py", 7, [("object", b"builtins", b"dict", 3, 192)])]
    return bare_census(sites={"sites": sites, "untraced": (1500, 90_000), "reason": None})


def census_without_sites() -> Census:
    return bare_census(sites={"sites": None, "untraced": None, "reason": "tracemalloc is not tracing"})
