"""Censuses made by hand, for tests of views: captures as `_native.census_capture()` gives them, and their models."""

from __future__ import annotations

from struct import pack
from typing import Any

from meminspect.models.census import Census
from meminspect.probes.census import build

CLASSES = 32
FROZEN = {
    "pause_s": 0.002, "held_s": 0.003, "lived_s": 0.25, "minor_faults": 41, "major_faults": 1,
    "needed_bytes": 5 << 20, "room_bytes": 1 << 30, "room_by": "memory.max", "missing_bytes": 0, "torn": 0,
}  # fmt: skip


def row(blocks: dict[int, int], requested: int = 0, unasked: int = 0, large: tuple[int, int] = (0, 0)) -> bytes:
    """A row of the raw format: {size of a block: how many}."""
    return pack(
        f"<{CLASSES + 4}Q", *(blocks.get((place + 1) * 16, 0) for place in range(CLASSES)), *large, requested, unasked
    )


def added(rows: list[bytes]) -> bytes:
    numbers = [memoryview(item).cast("Q") for item in rows]
    return pack(f"<{CLASSES + 4}Q", *(sum(column) for column in zip(*numbers, strict=True)))


def raw_census(
    types: list[tuple[bytes | None, bytes | None, bytes]] | None = None, unknown: bytes | None = None, **more: Any
) -> dict[str, Any]:
    """A capture whose live blocks are the sum of its parts."""
    if types is None:
        types = [
            (b"builtins", b"dict", row({64: 1000}, 64_000)),
            (b"app.models", b"Order.Line", row({48: 500, 80: 2}, 23_000)),
            (None, b"nameless", row({16: 3}, unasked=3)),
        ]
    buffers = [(b"dict: keys and values".decode(), row({208: 900}, 180_000)), ("list: items", row({}))]
    free_lists = [("objects kept for later", row({16: 20}))]
    unknown = row({32: 7}) if unknown is None else unknown
    parts = [item[-1] for item in types] + [item[-1] for item in (*buffers, *free_lists)] + [unknown]
    raw: dict[str, Any] = {
        "allocator": "pymalloc", "alignment": 16, "size_class_count": CLASSES, "types": types, "buffers": buffers,
        "free_lists": free_lists, "unknown": unknown, "live": added(parts),
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
