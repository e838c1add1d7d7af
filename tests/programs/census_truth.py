"""Holds a census of its own process against what does not share its code; prints one JSON object.

    census_truth.py HEAP CHECK...

HEAP: bare, synthetic, zoo, numpy, pandas, sympy. CHECK: coverage, domains (under PYTHONMALLOC=debug), collector.
"""

from __future__ import annotations

import gc
import importlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

SEEN = struct.Struct("QiHHQQQQ")
CLAIMED, UNKNOWN = -1, -2


class Slotted:
    __slots__ = ("left", "right")


class Plain:
    def __init__(self, number: int) -> None:
        self.number, self.text = number, str(number)


def synthetic() -> list[Any]:
    numbers = range(5000)
    slotted = [Slotted() for _ in numbers]
    for item, number in zip(slotted, numbers, strict=True):
        item.left, item.right = float(number), bytes([number & 255]) * 40
    return [
        slotted,
        [Plain(number) for number in numbers],
        [{"number": number, str(number): [number]} for number in numbers],
        [(number + 2**40, str(number) * 3) for number in numbers],
        [list(range(number % 40)) for number in numbers],
        ["é" * (number % 50) for number in numbers],
    ]


def heap(kind: str) -> Any:
    if kind == "zoo":
        import zoo

        return zoo.fill()
    if kind in ("numpy", "pandas", "sympy"):
        return importlib.import_module(kind)
    return synthetic() if kind == "synthetic" else None


def names_of(raw: dict[str, Any]) -> dict[int, str]:
    """Address of a type: its name. Types are those of this process, alive in `held`."""
    return {id(item): f"{item.__module__}.{item.__qualname__}" for item in held_types(raw)}


def held_types(raw: dict[str, Any]) -> list[type]:
    addresses = set(memoryview(raw["type_addresses"]).cast("Q"))
    found, todo = {}, [object]
    while todo:
        item = todo.pop()
        if id(item) not in found and id(item) in addresses:
            found[id(item)] = item
            todo.extend(type.__subclasses__(item))
    return list(found.values())


def coverage(raw: dict[str, Any]) -> dict[str, Any]:
    from meminspect.probes import census

    model = census.build(raw)
    small = model.small
    groups = [
        [group.size_class, group.count, group.bytes, group.guess]
        for group in sorted(model.unknown, key=lambda group: -group.bytes)[:12]
    ]
    return {
        "bytes": 1 - small.unknown_bytes / small.bytes,
        "blocks": 1 - small.unknown / small.count,
        "live_bytes": small.bytes,
        "unknown": groups,
        "claims": raw["claims"],
        "rounds": raw["rounds"],
    }


def domains(raw: dict[str, Any]) -> dict[str, Any]:
    """What a debug allocator wrote before each block: the bytes that were asked for, and the letter of the domain."""
    types, names = memoryview(raw["type_addresses"]).cast("Q"), names_of(raw)
    wrong: dict[str, int] = {}
    untyped: dict[str, int] = {}
    counted = 0
    for _, kind, size, _, asked, letters, *_ in SEEN.iter_unpack(raw["seen"]):
        letter, asked = chr(letters & 255), int.from_bytes(asked.to_bytes(8, "little"), "big")
        counted += 1
        if letter not in "mo" or asked + 24 > size:
            sys.exit(f"no block of a debug allocator: {letter!r}, {asked} bytes asked for, {size} there")
        if kind >= 0 and letter != "o":
            wrong[names.get(types[kind], "?")] = wrong.get(names.get(types[kind], "?"), 0) + 1
        if kind == UNKNOWN and letter == "o":
            untyped[str(asked)] = untyped.get(str(asked), 0) + 1
    return {"blocks": counted, "wrong": wrong, "untyped": untyped}


def collector(raw: dict[str, Any], tracked: list[Any]) -> dict[str, Any]:
    """Every tracked object that lies in a block is seen there with its type; what the collector links is an object, and
    what says that it is linked is tracked."""
    types = memoryview(raw["type_addresses"]).cast("Q")
    seen, heads, linked, linking = {}, set(), set(), set()
    for address, kind, _, before, _, _, after, _ in SEEN.iter_unpack(raw["seen"]):
        if kind < 0:
            continue
        seen[address + before] = types[kind]
        if before - raw["padding_bytes"] * 2 // 3 >= 16:
            heads.add(address + before - 16)
            if after & ~3:
                linked.add(after & ~3)
                linking.add(address + before)
    low, high = min(seen), max(seen)
    missed: dict[str, int] = {}
    wrong: dict[str, int] = {}
    found = 0
    blocks = {address for address, *_ in SEEN.iter_unpack(raw["seen"])}
    for item in tracked:
        kind, address = type(item), id(item)
        name = f"{kind.__module__}.{kind.__qualname__}"
        if address in seen:
            found += 1
            if seen[address] != id(kind):
                wrong[name] = wrong.get(name, 0) + 1
        elif low <= address <= high and blocks & {address - 16 - 16 * pre for pre in range(4)}:
            missed[name] = missed.get(name, 0) + 1
    strangers = len([address for address in linked - heads if address - 16 in blocks or address in blocks])
    frozen = gc.get_freeze_count()  # in the permanent generation, where 3.12 puts what is immortal: not in `tracked`
    unlisted = len(linking - {id(item) for item in tracked}) - frozen
    return {
        "tracked": len(tracked),
        "found": found,
        "missed": missed,
        "wrong": wrong,
        "strangers": strangers,
        "unlisted": unlisted,
    }


def main(kind: str, *checks: str) -> dict[str, Any]:
    kept = heap(kind)
    from meminspect import _native

    if "collector" in checks or "domains" in checks:
        _native.census_capture(blocks=True)
    tracked = gc.get_objects() if "collector" in checks else []
    raw = _native.census_capture(max_pause=None, guesses="guesses" in checks, blocks=checks != ("coverage",))
    result: dict[str, Any] = {"kinds": len(kept) if isinstance(kept, dict) else 0, "allocator": raw["allocator"]}
    if "coverage" in checks:
        result["coverage"] = coverage(raw)
    if "domains" in checks:
        result["domains"] = domains(raw)
    if "collector" in checks:
        result["collector"] = collector(raw, tracked)
    return result


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:]), indent=1, default=str))
