"""Models from plain values and from rows: what JSON and tables hold is checked against the models' own annotations."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar

from ..errors import SnapshotError
from ..models.census import (
    BufferRow,
    Census,
    FreeListRow,
    SizeClassRow,
    TypeRow,
    UnknownGroup,
)
from ..models.heap import Arena, HeapMap, Pool, SizeClass
from ..models.memory import MallocArena, MemoryNode
from ..models.report import Report

T = TypeVar("T")
Rows = Callable[[str], list[dict[str, Any]]]  # of a table, by column

DEPTH_LIMIT = 64


class MismatchError(SnapshotError):
    """A value is not of the kind that the model has there."""


@cache
def annotations_of(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def model_of(kind: type[T], value: Any, where: str = "") -> T:
    """A model from what its `to_dict()` gave; MismatchError, with the place, where it could not have given that.

    Fields whose name begins with an underscore are not in a document; those that are not there have their default.
    """
    if not isinstance(value, Mapping):
        raise MismatchError(f"{where or kind.__name__} is not a set of figures")
    hints = annotations_of(kind)  # type: ignore[arg-type]  # a class is hashable
    given = {}
    for field in fields(kind):  # type: ignore[arg-type]
        key = "try" if field.name == "try_" else field.name
        if field.name.startswith("_") or key not in value:
            continue
        given[field.name] = value_of(hints[field.name], value[key], f"{where}.{field.name}".lstrip("."))
    try:
        return kind(**given)
    except TypeError:
        raise MismatchError(f"{where or kind.__name__} lacks figures") from None


def value_of(hint: Any, value: Any, where: str) -> Any:
    if where.count(".") > DEPTH_LIMIT:
        raise MismatchError(f"{where[:60]} is nested too deeply")
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return None
    if origin in (types.UnionType, typing.Union):
        for choice in args:
            if choice is type(None) and value is None:
                return None
        tried = [choice for choice in args if choice is not type(None)]
        for choice in tried[:-1]:
            try:
                return value_of(choice, value, where)
            except MismatchError:
                continue
        return value_of(tried[-1], value, where)
    if origin is tuple and isinstance(value, (list, tuple)):
        kinds = [args[0]] * len(value) if len(args) == 2 and args[1] is ... else list(args)
        if len(kinds) != len(value):
            raise MismatchError(f"{where} has {len(value)} parts")
        return tuple(value_of(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if origin is dict and isinstance(value, Mapping):
        return {str(key): value_of(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(hint, type) and is_dataclass(hint):
        return model_of(hint, value, where)
    if hint is float and type(value) in (int, float) and math.isfinite(value):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise MismatchError(f"{where} is not of its kind")


def rows_as(kind: type[T], rows: Iterable[Mapping[str, Any]]) -> tuple[T, ...]:
    """Models whose fields are the columns of a table."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return tuple(kind(**{name: row[name] for name in names}) for row in rows)


def tree_of(rows: Sequence[Mapping[str, Any]]) -> MemoryNode:
    """The tree from the nodes of the table, of which each comes behind its parent."""
    below: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        parent = row["parent"]
        if row["id"] != place or (parent is None) != (place == 0) or (parent is not None and not 0 <= parent < place):
            raise MismatchError("the table memory is no tree")
        if parent is not None:
            if row["depth"] != rows[parent]["depth"] + 1 or row["depth"] > DEPTH_LIMIT:
                raise MismatchError("the table memory is no tree")
            below.setdefault(parent, []).append(place)
        elif row["depth"]:
            raise MismatchError("the table memory is no tree")
    if not rows:
        raise MismatchError("the table memory is empty")
    made: dict[int, MemoryNode] = {}
    for place in range(len(rows) - 1, -1, -1):
        row = rows[place]
        children = tuple(made.pop(child) for child in below.get(place, ()))
        made[place] = MemoryNode(row["name"], row["bytes"], row["virtual_bytes"], row["count"], children)
    return made[0]


class PoolsOfTable:
    """The pools of an arena, read when they are first asked for."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._by_arena: dict[int, list[Pool]] | None = None

    def __call__(self, arena: Arena) -> tuple[Pool, ...]:
        if self._by_arena is None:
            self._by_arena = {}
            for row in self._rows("pools"):
                pool = Pool(row["address"], row["size_class"], row["used"], row["free"], row["untouched"], row["heap"])
                self._by_arena.setdefault(row["arena"], []).append(pool)
        return tuple(self._by_arena.get(arena.address, ()))


def facts_of(report: Report, census: Census | None) -> dict[str, Any]:
    """What the manifest holds: the figures that are in no table, in the form of the models."""
    memory, heap = report.memory, report.pymalloc
    if memory is not None:
        bare = replace(memory.tree, children=())
        report = replace(report, memory=replace(memory, tree=bare, malloc_arenas=()))
    if heap is not None:
        report = replace(report, pymalloc=replace(heap, arenas=(), size_classes=()))
    facts = report.to_dict()
    del facts["findings"], facts["fragmentation"]
    without: dict[str, Any] = {"types": (), "buffers": (), "free_lists": (), "unknown": (), "size_classes": ()}
    facts["census"] = replace(census, **without).to_dict() if census is not None else None
    return facts


def report_of(facts: Mapping[str, Any], rows: Rows, has: Callable[[str], bool]) -> Report:
    """The report of a snapshot; sections whose tables cannot be read are None, with the reason in `missing`."""
    from ..analysis.findings import find
    from ..analysis.fragmentation import fragmentation

    whole = model_of(Report, {**facts, "findings": [], "fragmentation": None})
    missing = dict(whole.missing)
    memory, heap = whole.memory, whole.pymalloc
    if memory is not None and not (has("memory") and has("malloc_arenas")):
        memory, missing["memory"] = None, "its tables cannot be read"
    if memory is not None:
        memory = replace(
            memory, tree=tree_of(rows("memory")), malloc_arenas=rows_as(MallocArena, rows("malloc_arenas"))
        )
    if heap is not None and not (has("arenas") and has("size_classes")):
        heap, missing["pymalloc"] = None, "its tables cannot be read"
    if heap is not None:
        heap = heap_of(heap, rows, has)
    whole = replace(
        whole,
        memory=memory,
        pymalloc=heap,
        missing=missing,
        fragmentation=fragmentation(heap) if heap is not None else None,
    )
    return replace(whole, findings=find(whole))


def heap_of(bare: HeapMap, rows: Rows, has: Callable[[str], bool]) -> HeapMap:
    return replace(
        bare,
        arenas=rows_as(Arena, rows("arenas")),
        size_classes=rows_as(SizeClass, rows("size_classes")),
        _pools=PoolsOfTable(rows) if has("pools") else None,
    )


def census_of(facts: Mapping[str, Any], rows: Rows) -> Census:
    bare = model_of(Census, facts["census"], "census")
    return replace(
        bare,
        types=rows_as(TypeRow, rows("census")),
        buffers=rows_as(BufferRow, rows("buffers")),
        free_lists=rows_as(FreeListRow, rows("free_lists")),
        unknown=rows_as(UnknownGroup, rows("unknown")),
        size_classes=rows_as(SizeClassRow, rows("contents")),
    )
