"""What single blocks hold: a part of the census, taken for a map that draws them.

The raw format, `contents` of what `_native.census_capture(contents=MOST)` returned, or None:

    names  -- {code: text of an owner, or (module, qualified name) of a type}
    arenas -- packed ARENA records (csrc/census/census.h: mi_content_arena)
    pools  -- a code, uint16, for each pool, arena by arena: what most of its live blocks hold; 0xffff: not known
    blocks -- packed BLOCK records (mi_content), those of one arena in order of address
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from struct import Struct, unpack_from
from typing import Any

from ..models.contents import UNKNOWN, Contents
from .census import text

ARENA = Struct("<QQII")  # address, place of its first block, blocks, pools
BLOCK = Struct("<HH")  # where it begins in 16 bytes, code


def build(raw: Mapping[str, Any]) -> Contents | None:
    """The model of a census' `contents`; pure. None where it has none."""
    found = raw.get("contents")
    if found is None:
        return None
    arenas = list(ARENA.iter_unpack(found["arenas"]))
    codes_of: dict[int, tuple[int, ...]] = {}
    blocks_of: dict[int, dict[int, int]] = {}
    seen: Counter[int] = Counter()
    at = 0
    for address, first, blocks, pools in arenas:
        codes_of[address] = unpack_from(f"<{pools}H", found["pools"], at * 2)
        at += pools
        seen.update(codes_of[address])
        if blocks:
            records = memoryview(found["blocks"])[first * BLOCK.size : (first + blocks) * BLOCK.size]
            blocks_of[address] = dict(BLOCK.iter_unpack(records))
    for told in blocks_of.values():
        seen.update(told.values())
    ordered = sorted(found["names"], key=lambda code: -seen[code])
    place = {code: rank for rank, code in enumerate(ordered)}
    return Contents(
        names=tuple(name_of(found["names"][code]) for code in ordered),
        pool_names={
            address: tuple(place.get(code, UNKNOWN) for code in codes) for address, codes in codes_of.items()
        },
        _blocks={
            address: {unit: place.get(code, UNKNOWN) for unit, code in told.items()}
            for address, told in blocks_of.items()
        },
    )  # fmt: skip


def name_of(raw: str | tuple[bytes | None, bytes | None]) -> str:
    if isinstance(raw, str):
        return raw
    module, name = (text(part) for part in raw)
    return (name or "?") if module in (None, "builtins") else f"{module}.{name or '?'}"
