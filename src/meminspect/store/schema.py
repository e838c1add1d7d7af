"""The tables of a snapshot: their columns with type, unit and meaning, and the rows that models give.

This module is the documentation that docs/snapshots.md and every manifest carry; a test holds them against each other.
A column is never removed or given another meaning without a new SCHEMA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..models.census import Census
from ..models.memory import MemoryNode
from ..models.report import Report

SCHEMA = 1
FORMAT = "meminspect snapshot"
MANIFEST = "manifest.json"
SEPARATOR = " > "  # between the names of a path in the tree; files have "/" in theirs

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Column:
    """type -- "string", "int64", "uint64", "double" or "bool"; unit -- "bytes", "s", "count", "address" or ""."""

    name: str
    type: str
    unit: str
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class Table:
    """rows -- from the models to rows in the order of the columns; needs -- the section they come from, by its name in
    `missing` of the manifest."""

    name: str
    needs: str
    description: str
    columns: tuple[Column, ...]
    rows: Callable[[Report, Census | None], Iterable[Row]]

    @property
    def file(self) -> str:
        return f"{self.name}.parquet"


def fields_of(items: Iterable[Any], names: Iterable[str]) -> Iterator[Row]:
    wanted = tuple(names)
    return (tuple(getattr(item, name) for name in wanted) for item in items)


def process_rows(report: Report, census: Census | None) -> Iterator[Row]:
    memory, heap = report.memory, report.pymalloc
    used = heap.bytes.used_bytes if heap is not None and heap.bytes is not None else None
    yield (
        report.process.pid, report.process.taken_s, report.process.program, report.python.version,
        report.python.allocator, report.process.threads,
        *((memory.rss_bytes, memory.pss_bytes, memory.uss_bytes, memory.peak_rss_bytes, memory.swap_bytes,
           memory.unattributed_bytes, memory.trim_would_return_bytes) if memory is not None else (None,) * 7),
        len(heap.arenas) if heap is not None else None, used,
        census.count if census is not None else None, census.bytes if census is not None else None,
    )  # fmt: skip


def memory_rows(report: Report, _census: Census | None) -> Iterator[Row]:
    """The nodes of the tree, parents before their children."""
    if report.memory is None:
        return
    count = 0
    waiting: list[tuple[MemoryNode, int | None, int, str]] = [(report.memory.tree, None, 0, "")]
    while waiting:
        node, parent, depth, above = waiting.pop()
        path = node.name if depth < 2 else above + SEPARATOR + node.name
        yield count, parent, depth, node.name, path, node.bytes, node.virtual_bytes, node.count, not node.children
        waiting.extend((child, count, depth + 1, path) for child in reversed(node.children))
        count += 1


def pool_rows(report: Report, _census: Census | None) -> Iterator[Row]:
    heap = report.pymalloc
    if heap is None or not heap.has_pools:
        return
    for arena in heap.arenas:
        for pool in heap.pools(arena):
            yield pool.address, arena.address, pool.size_class, pool.used, pool.free, pool.untouched, pool.heap


def gil_rows(report: Report, _census: Census | None) -> Iterator[Row]:
    for gil in report.gil or ():
        yield (
            ",".join(map(str, gil.interpreters)), gil.tstate_switches, gil.locked, gil.holder_native_id,
            gil.holder_name, gil.switch_interval_s, gil.enabled,
        )  # fmt: skip


def of_heap(part: str, columns: tuple[Column, ...]) -> Callable[[Report, Census | None], Iterable[Row]]:
    return lambda report, _: fields_of(
        getattr(report.pymalloc, part) if report.pymalloc is not None else (), [column.name for column in columns]
    )


def of_census(part: str, columns: tuple[Column, ...]) -> Callable[[Report, Census | None], Iterable[Row]]:
    return lambda _, census: fields_of(
        getattr(census, part) if census is not None else (), [column.name for column in columns]
    )


def text(name: str, description: str, *, nullable: bool = False) -> Column:
    return Column(name, "string", "", description, nullable)


def number(name: str, unit: str, description: str, *, nullable: bool = False) -> Column:
    kind = {"address": "uint64", "s": "double", "fraction": "double"}.get(unit, "int64")
    return Column(name, kind, unit, description, nullable)


def flag(name: str, description: str, *, nullable: bool = False) -> Column:
    return Column(name, "bool", "", description, nullable)


SIZE_CLASSES = (
    number("index", "", "place of the size class: pymalloc's szidx; of mimalloc's sizes their order"),
    number("size", "bytes", "of one block"),
    number("pools", "count", "pools that hold this class"),
    number("used", "count", "blocks in use"),
    number("free", "count", "blocks not in use, never handed out ones included"),
    number("untouched", "count", "of these, blocks never handed out"),
    number("used_bytes", "bytes", "in blocks in use"),
    number("free_bytes", "bytes", "in free blocks"),
)
ARENAS = (
    number("address", "address", "of the arena (of mimalloc: segment)"),
    number("index", "", "its place in the arena table; -1 for mimalloc"),
    number("interpreter", "", "id of the interpreter that owns it"),
    number("size_bytes", "bytes", "of the arena"),
    number("pools_total", "count", "pools that fit"),
    number("pools_free", "count", "pools given back, ready for any size class"),
    number("pools_never_used", "count", "pools not carved off yet"),
    number("used_blocks", "count", "live blocks"),
    number("used_bytes", "bytes", "in live blocks"),
    number("free_bytes", "bytes", "in free blocks of used pools"),
    number("occupancy", "fraction", "used_bytes / size_bytes"),
)
POOLS = (
    number("address", "address", "of the pool (of mimalloc: page)"),
    number("arena", "address", "of the arena that it lies in"),
    number("size_class", "", "index of its size class; null for a free pool", nullable=True),
    number("used", "count", "blocks in use"),
    number("free", "count", "blocks not in use"),
    number("untouched", "count", "of these, blocks never handed out"),
    text("heap", "free-threaded builds: the heap tag", nullable=True),
)
MEMORY = (
    number("id", "", "number of the node; parents have smaller ones"),
    number("parent", "", "id of the node above; null for the root", nullable=True),
    number("depth", "", "0 for the root"),
    text("name", "of the cause"),
    text("path", f"names from below the root to it, with '{SEPARATOR}' between them"),
    number("bytes", "bytes", "resident; children sum to their parent, so sum leaves alone"),
    number("virtual_bytes", "bytes", "address space, resident or not"),
    number("count", "count", "things that it is made of; null where that says nothing", nullable=True),
    flag("leaf", "whether nothing is below it"),
)
MALLOC_ARENAS = (
    text("name", "main, or thread 1, ... in order of address"),
    number("address", "address", "of the arena's state"),
    number("size_bytes", "bytes", "of its heaps"),
    number("live_chunks", "count", "chunks in use"),
    number("live_bytes", "bytes", "in them, headers included"),
    number("free_chunks", "count", "free chunks"),
    number("free_bytes", "bytes", "in them"),
    number("free_resident_bytes", "bytes", "resident part of the free chunks and of top"),
    number("tcache_chunks", "count", "chunks that threads keep for themselves"),
    number("tcache_bytes", "bytes", "in them"),
    number("top_bytes", "bytes", "in the chunk at the top"),
    number("trim_bytes", "bytes", "what malloc_trim(0) would give back"),
    number("holder", "address", "of the last chunk in use before top; null without one", nullable=True),
    number("holder_bytes", "bytes", "in it", nullable=True),
    text("holder_type", "of the object in it; null where none begins there", nullable=True),
)
GC = (
    number("index", "", "of the generation"),
    text("name", "young, middle, old, ..."),
    number("objects", "count", "walked along its list; null where there is none", nullable=True),
    number("count", "count", "the collector's count"),
    number("threshold", "count", "the collector's threshold"),
    number("collections", "count", "gc.get_stats()", nullable=True),
    number("collected", "count", "gc.get_stats()", nullable=True),
    number("uncollectable", "count", "gc.get_stats()", nullable=True),
    number("candidates", "count", "gc.get_stats()", nullable=True),
    number("duration_s", "s", "gc.get_stats()", nullable=True),
)
GIL = (
    text("interpreters", "ids of the interpreters that share it, with commas"),
    number("tstate_switches", "count", "CPython's switch_number, a lower bound of hand-offs", nullable=True),
    flag("locked", "whether a thread holds it", nullable=True),
    number("holder_native_id", "", "of the thread that holds it", nullable=True),
    text("holder_name", "its name", nullable=True),
    number("switch_interval_s", "s", "after which a waiting thread asks for it", nullable=True),
    flag("enabled", "false in free-threaded builds that run without it"),
)
CENSUS = (
    text("type", "qualified name of the type"),
    text("module", "of the type; null where it is unknown", nullable=True),
    number("count", "count", "living objects with a block of their own"),
    number("bytes", "bytes", "of their blocks, as allocated"),
    number("requested_bytes", "bytes", "of these, what was asked for; null where unknown", nullable=True),
    number("large_count", "count", "of count, those from malloc (more than 512 bytes)"),
    number("large_bytes", "bytes", "of bytes, those from malloc"),
)
BUFFERS = (
    text("owner", "kind of object, and which part of it"),
    number("count", "count", "blocks"),
    number("bytes", "bytes", "as allocated"),
    number("requested_bytes", "bytes", "what was asked for; null where unknown", nullable=True),
    number("large_count", "count", "of count, those from malloc (more than 512 bytes)"),
    number("large_bytes", "bytes", "of bytes, those from malloc"),
)
FREE_LISTS = (
    text("name", "which of CPython's lists of objects to come"),
    number("count", "count", "blocks kept"),
    number("bytes", "bytes", "as allocated"),
)
UNKNOWN = (
    number("size_class", "bytes", "of one block; null: from malloc, of any size", nullable=True),
    number("count", "count", "blocks that nothing named"),
    number("bytes", "bytes", "as allocated"),
    text("guess", "a guess: what points to them most often", nullable=True),
)
CONTENTS = (
    number("size", "bytes", "of one block of the size class"),
    number("count", "count", "live blocks"),
    number("bytes", "bytes", "as allocated"),
    number("objects", "count", "of count: objects"),
    number("buffers", "count", "of count: buffers of objects"),
    number("free_lists", "count", "of count: on free lists"),
    number("unknown", "count", "of count: nothing named them"),
)
PROCESS = (
    number("pid", "", "of the process"),
    number("taken_s", "s", "when, in seconds since 1970"),
    text("program", "its name, without arguments"),
    text("python", "version of the interpreter"),
    text("allocator", "what serves small objects"),
    number("threads", "count", "of the process", nullable=True),
    number("rss_bytes", "bytes", "resident", nullable=True),
    number("pss_bytes", "bytes", "resident, shared pages by share", nullable=True),
    number("uss_bytes", "bytes", "resident and private", nullable=True),
    number("peak_rss_bytes", "bytes", "most ever resident", nullable=True),
    number("swap_bytes", "bytes", "swapped out", nullable=True),
    number("unattributed_bytes", "bytes", "resident, cause unknown", nullable=True),
    number("trim_would_return_bytes", "bytes", "what malloc_trim(0) would give back", nullable=True),
    number("arenas", "count", "of pymalloc (of mimalloc: segments)", nullable=True),
    number("used_bytes", "bytes", "in live blocks of these", nullable=True),
    number("live_blocks", "count", "that the census saw, large ones included", nullable=True),
    number("live_bytes", "bytes", "in these", nullable=True),
)

OBJECTS = (
    number("id", "", "number of the node: objects in order of address, then the roots"),
    number("address", "address", "of the object; null for a root", nullable=True),
    text("type", "qualified name of its type; of a root its name"),
    text("module", "of the type; null where it is unknown, and for a root", nullable=True),
    number("bytes", "bytes", "of its blocks, buffers included, as allocated"),
    number("unexplained", "count", "references counted by it and not found; null for a root", nullable=True),
)
EDGES = (
    number("source", "", "id of the node that refers"),
    number("target", "", "id of the object that it refers to"),
)

TABLES = (
    Table("process", "process", "one row: the process and its sums", PROCESS, process_rows),
    Table("memory", "memory", "where resident memory is: the nodes of a tree", MEMORY, memory_rows),
    Table("malloc_arenas", "memory", "glibc's malloc, arena by arena", MALLOC_ARENAS,
          lambda report, _: fields_of(
              report.memory.malloc_arenas if report.memory is not None else (),
              [column.name for column in MALLOC_ARENAS])),
    Table("size_classes", "pymalloc", "blocks of the small-object heap by size", SIZE_CLASSES,
          of_heap("size_classes", SIZE_CLASSES)),
    Table("arenas", "pymalloc", "the small-object heap, arena by arena", ARENAS, of_heap("arenas", ARENAS)),
    Table("pools", "pools", "the small-object heap, pool by pool", POOLS, pool_rows),
    Table("gc", "gc", "the collector's generations", GC,
          lambda report, _: fields_of(
              report.gc.generations if report.gc is not None else (), [column.name for column in GC])),
    Table("gil", "gil", "a row for each GIL", GIL, gil_rows),
    Table("census", "census", "objects by type", CENSUS, of_census("types", CENSUS)),
    Table("buffers", "census", "blocks that belong to objects, by what owns them", BUFFERS,
          of_census("buffers", BUFFERS)),
    Table("free_lists", "census", "blocks that CPython keeps for objects to come", FREE_LISTS,
          of_census("free_lists", FREE_LISTS)),
    Table("unknown", "census", "live blocks that nothing named", UNKNOWN, of_census("unknown", UNKNOWN)),
    Table("contents", "census", "what live blocks hold, by size", CONTENTS, of_census("size_classes", CONTENTS)),
    # written and read by columns (store/objects.py)
    Table("objects", "objects", "every object and root, with --objects", OBJECTS, lambda _report, _census: ()),
    Table("edges", "objects", "every reference between them, with --objects", EDGES, lambda _report, _census: ()),
)  # fmt: skip
BY_NAME = {table.name: table for table in TABLES}
FILES = frozenset([MANIFEST, *(table.file for table in TABLES)])
