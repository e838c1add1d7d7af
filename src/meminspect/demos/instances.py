"""Counting instances: by the collector, as objgraph does, and by a census of every block."""

from __future__ import annotations

import gc
import sys
from collections import Counter

from .. import _native
from ..models.census import Census
from ..models.demo import Cell, Check, Evidence
from ..probes.census import census
from ._base import Demo, Observed

NUMBER, FAST_NUMBER = 50_000, 5_000
ENOUGH = 0.99


class Instances(Demo):
    name = "instances"
    chapter = "05"
    title = "Counting instances"
    claim = (
        "Tools that ask the collector count what it tracks: instances of classes, lists, dicts. Of strings, bytes, "
        "numbers and of tuples that it has stopped tracking it knows nothing. A census of the blocks sees every "
        "object, and the buffers and free lists that are no objects at all."
    )
    title_zh = "统计实例"
    claim_zh = (
        "向垃圾回收器询问的工具只能统计它跟踪的对象：类的实例、列表、字典；"
        "对于字符串、字节串、数字以及已停止跟踪的元组，它一无所知。对内存块的普查能看到每一个对象，"
        "也能看到根本不是对象的缓冲区和空闲链表。"
    )
    summary = (
        "What the collector lists is what it must visit, not what exists: most of a program's bytes are strings, "
        "numbers and buffers that it never sees. A count by objgraph is right for instances of classes, and silent "
        "about the rest; the census accounts for the blocks themselves."
    )
    summary_zh = (
        "垃圾回收器列出的是它必须访问的对象，而不是存在的一切：程序的大部分字节是它从不看见的字符串、数字和缓冲区。"
        "objgraph 的统计对类的实例是准确的，对其余则只字不提；普查清点的是内存块本身。"
    )
    experiment = (
        "Objects of several kinds are made and kept, then counted by gc.get_objects(), as objgraph.count does, and "
        "by meminspect.census(). What the census adds in bytes is summed up."
    )
    notes = (
        "A tuple of numbers or strings is tracked when it is made, and no more after the first collection that "
        "sees it.",
        "Since 3.14 dicts are tracked from the beginning; up to 3.13 a dict of numbers or strings was not.",
        "Objects made by one thread and used by another, and frozen ones (gc.freeze), are left out by "
        "gc.get_objects() in some builds: the census reads memory.",
    )

    def observe(self, fast: bool) -> Observed:
        number = FAST_NUMBER if fast else NUMBER
        kept = make(number)
        gc.collect()
        by_gc = Counter(type(one).__name__ for one in gc.get_objects())
        try:
            seen = census()
        except _native.NativeError as error:
            reason = f"the census cannot read this build: {error}"
            return Observed((), (Check("A census sees every object", None, reason, reason),))
        by_census = Counter({row.type.rpartition(".")[2]: 0 for row in seen.types})
        for row in seen.types:
            by_census[row.type.rpartition(".")[2]] += row.count
        known = sum(len(group) for group in kept.values())
        counted = {name: (len(group), by_gc[name], by_census[name]) for name, group in kept.items()}
        return Observed((table(counted), beyond(seen)), checks(counted, seen, known))


class Sample:
    """An instance with a dict."""

    def __init__(self, value: int) -> None:
        self.value = value


class Slotted:
    """An instance without."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


def make(number: int) -> dict[str, list[object]]:
    return {
        "Sample": [Sample(at) for at in range(number)],
        "Slotted": [Slotted(at) for at in range(number)],
        "list": [[] for _ in range(number)],
        "float": [at + 0.5 for at in range(number)],
        "str": [f"text {at}" for at in range(number)],
        "bytes": [b"%d bytes" % at for at in range(number)],
        "tuple": [(at, at) for at in range(number)],
    }


def table(counted: dict[str, tuple[int, int, int]]) -> Evidence:
    return Evidence(
        title="Made, and found",
        text="Objects of each type: those made here, and all that each way finds in the process.",
        columns=("type", "made here", "gc.get_objects()", "census()"),
        rows=tuple((name, *row) for name, row in counted.items()),
    )


def beyond(seen: Census) -> Evidence:
    tracked = sum(map(sys.getsizeof, gc.get_objects()))
    types = sum(row.bytes for row in seen.types)
    buffers = sum(row.bytes for row in seen.buffers)
    free = sum(row.bytes for row in seen.free_lists)
    rows: list[tuple[Cell, ...]] = [
        ("sys.getsizeof over gc.get_objects()", tracked),
        ("census: objects", types),
        ("census: buffers that belong to objects", buffers),
        ("census: kept on free lists", free),
        ("census: without a name", seen.bytes - types - buffers - free),
    ]
    return Evidence(
        title="What each way accounts for",
        text=f"Bytes; the census has a name for {seen.coverage.bytes:.2%} of the bytes in small blocks.",
        columns=("", "bytes"),
        rows=tuple(rows),
    )


def checks(counted: dict[str, tuple[int, int, int]], seen: Census, known: int) -> tuple[Check, ...]:
    tracked = [counted[name] for name in ("Sample", "Slotted", "list")]
    untracked = [counted[name] for name in ("float", "str", "bytes")]
    found = sum(min(row[0], row[2]) for row in counted.values())
    claim = "The census sees every object"
    if not seen.exact:
        every = Check(claim, None, f"{found:,} of {known:,}", f"the census was not exact: {seen.reason}")
        if found >= ENOUGH * known:
            every = Check(claim, True, f"{found:,} of {known:,} of those made here, with a reservation: {seen.reason}")
    else:
        every = Check(claim, found >= ENOUGH * known, f"{found:,} of {known:,} of those made here")
    return (
        Check(
            "The collector knows instances and containers",
            all(row[1] >= row[0] for row in tracked),
            f"{sum(min(row[0], row[1]) for row in tracked):,} of {sum(row[0] for row in tracked):,}",
        ),
        Check(
            "It knows no string, number or bytes object",
            all(row[1] == 0 for row in untracked),
            f"{sum(row[1] for row in untracked):,} of {sum(row[0] for row in untracked):,}",
        ),
        every,
    )
