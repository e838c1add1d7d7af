"""The census: every live block as an object of a type, an owner's buffer, or unknown.

The raw format, what `_native.census_capture()` returns:

    allocator         -- what serves small blocks: "pymalloc", "pymalloc_debug", "mimalloc", "malloc", ...
    size_classes      -- [(size of a block, live blocks, objects, buffers, on free lists, unknown), ...]
    own_sizes         -- whether they are mimalloc's, in no order: multiples of the alignment else
    types             -- [(module or None, qualified name or None, SUM), ...], names as UTF-8
    buffers           -- [(owner, SUM), ...]
    free_lists        -- [(name, SUM), ...]
    objects, unknown, live -- SUM each; objects: of all types together
    guesses           -- {index of the size class, or None of the large path: [(kind, (module, qualified name) or None,
                         offset of the word in bytes, how often), ...]}: what points to unknown blocks. kind: "object",
                         "type" (a type's own structure), "buffer" or "unknown" (another block of these kinds)
    large_guesses     -- the same of malloc's chunks, each in one row: [(kind, names, offset, chunks, bytes, whether
                         other unknown chunks lie between), ...]. kind also "data" (static data of a loaded file: its
                         name is in the qualified name's place) and "nothing"
    thread_frames     -- [(native id, interpreter, chunks, bytes of chunks, frames, embedded frames, objects, bytes of
                         objects), ...] of each thread
    exporters         -- None, or of foreign="call": (exporters that lent memory, those that lent none)
    large             -- whether malloc's heaps were walked; large_reason: why not
    malloc            -- csrc/census/census_large.h: mi_large_totals as a dict; None where they were not walked
    padding_bytes, looked_like_objects, bitmap_bytes, table_bytes, threads, consistent -- as in models/census.py
    frozen            -- None, or a dict of native/clone.pxi's clone_to_raw: the copy that was walked
    seen, type_addresses -- on request: what each block was taken for, SEEN after SEEN, and the address of each type
    pid               -- of another process alone
    sites             -- None, or native/census_sites.pxi's: allocation sites, or why there are none
    reasons           -- texts: why the figures are not exact
    seconds, pause_s

A SUM is six numbers: small blocks and their bytes, large blocks and their bytes, requested bytes, and blocks whose
requested size is not known. A SEEN (mi_census_seen) is the block's address (u64), the index of its type or -1
where an owner claims it or -2 (i32), its size and where in it the object begins (u16 each), its first two words (u64
each), and the two before the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any, NamedTuple

from ..models.census import (
    BufferRow,
    Census,
    Coverage,
    FreeListRow,
    FrozenCopy,
    MallocChunks,
    PathTotals,
    Site,
    SiteType,
    SizeClassRow,
    ThreadFrames,
    TypeRow,
    UnknownGroup,
)

by_bytes = attrgetter("bytes")


class Row(NamedTuple):
    """csrc/census/census.h: mi_census_sum."""

    small_count: int
    small_bytes: int
    large_count: int
    large_bytes: int
    requested_bytes: int
    unasked: int

    @property
    def blocks(self) -> int:
        return self.small_count + self.large_count

    @property
    def bytes(self) -> int:
        return self.small_bytes + self.large_bytes


def census(
    *,
    max_pause: float | None = 1.0,
    threads: int = 0,
    guesses: bool = False,
    consistent: bool = False,
    deadline: float = 60.0,
    pid: int | None = None,
    sites: bool = False,
    foreign: str = "scan",
) -> Census:
    """What is in every live block of a process: counts and bytes by type, by owner of buffers, and what is unknown.

    Objects are recognised by their header: a pointer to a type that `object` leads to by its subclasses, at the place
    where that type's objects begin in a block, with the reference count of a living object. What objects own (items,
    keys, tables) is claimed by the owner's structure. Sizes are bytes as allocated. Nothing is called, no Python object
    is made during the walk, no reference count changes.

    The GIL is held (all threads stopped in free-threaded builds) for `max_pause` seconds at most (None: no ceiling):
    what was not walked by then is left out, and `exact` and `reason` say so. threads -- native threads to walk with;
    0: as many as help. guesses -- look for what points to unknown blocks, which takes as long again; what is found is a
    guess.

    consistent -- walk in a frozen copy of the process instead: one moment even of what C code changes without the GIL,
    and of interpreters with a GIL of their own. Threads wait only while the copy is made (`pause_s`) and for the pages
    that they write while it lives (`frozen`); the program sees no child and no signal, and runs no atfork handler. The
    caller waits without the GIL; the walk has one native thread. deadline -- seconds after which the copy is ended.

    Objects of other interpreters' classes are counted by name among all others: static types belong to all
    interpreters, so that a type does not tell whose an object is. Their classes are found by the method resolution
    orders in their heaps. Nobody can hold still an interpreter with a GIL of its own: where there is one, the census is
    taken in a frozen copy though it was not asked for, and without such a copy (none can be made, `sites`) the
    interpreter is left out and `reason` names it.

    pid -- of another process of the same build of Python, which is not stopped: its memory is copied here and counted,
    so what it changes meanwhile may be in the figures (`exact` is False then, and `reason` says so). Its types are
    found by their method resolution orders in its heap.

    sites -- where tracemalloc traces, tell which lines allocated the live blocks of the small path. It is asked for
    each block, some 0.3 us a block, with the GIL held: pause_s is the walk's alone, `seconds` has it.

    foreign -- of objects whose type's structure is not known (extension modules) and that export the buffer protocol:
    "scan" calls nothing, so that what they lend may be unknown; "call" asks them for it before the walk. Then code of
    the extension runs (PyObject_GetBuffer with PyBUF_SIMPLE), which may let the GIL go, and references are held
    meanwhile. Only objects are asked that others of known structure refer to.

    Raises NativeError: code "layout" when this interpreter's structures could not be verified; of a consistent census
    "memory" where control groups or the machine leave no room for the copied pages, "late" at the deadline,
    "permission" where the system call is refused, "absent" for foreign="call" in free-threaded builds. RemoteError
    where another process cannot be read. ValueError for what does not go with `pid`.
    """
    from .. import _native

    if pid is not None:
        from . import remote

        if sites:
            raise ValueError("tracemalloc of another process cannot be asked")
        if consistent:
            raise ValueError("a consistent census copies the process that is measured: of another one it cannot")
        if foreign != "scan":
            raise ValueError("objects of another process cannot be asked what they lend")
        return build(remote.census(pid, guesses=guesses, deadline=deadline))

    return build(
        _native.census_capture(
            max_pause=max_pause,
            threads=threads,
            guesses=guesses,
            consistent=consistent,
            deadline=deadline,
            sites=sites,
            foreign=foreign,
        )
    )


def build(raw: Mapping[str, Any]) -> Census:
    """The model of what `_native.census_capture()` returned; pure."""
    buffer_rows = [(owner, Row(*numbers)) for owner, numbers in raw["buffers"]]
    free_rows = [(name, Row(*numbers)) for name, numbers in raw["free_lists"]]
    unknown, live = Row(*raw["unknown"]), Row(*raw["live"])
    types = [
        TypeRow(
            text(name) or "?",
            text(module),
            small_count + large_count,
            small_bytes + large_bytes,
            None if unasked else requested_bytes,
            large_count,
            large_bytes,
        )
        for module, name, (small_count, small_bytes, large_count, large_bytes, requested_bytes, unasked) in raw["types"]
        if small_count or large_count
    ]
    buffers = [
        BufferRow(owner, item.blocks, item.bytes, requested(item), item.large_count, item.large_bytes)
        for owner, item in buffer_rows
        if item.blocks
    ]
    groups = [
        UnknownGroup(size, count, count * size, guess_text(raw["guesses"].get(index)))
        for index, (size, *_, count) in enumerate(raw["size_classes"])
        if count
    ]
    groups += large_groups(unknown, raw["large_guesses"])
    owned_rows = [item for _, item in buffer_rows]
    kept_rows = [item for _, item in free_rows]
    size_classes = tuple(
        SizeClassRow(size, blocks, blocks * size, *held)
        for size, blocks, *held in sorted(raw["size_classes"])
        if blocks
    )

    def small(rows: list[Row]) -> tuple[int, int]:
        return sum(item.small_count for item in rows), sum(item.small_bytes for item in rows)

    def large(rows: list[Row]) -> tuple[int, int]:
        return sum(item.large_count for item in rows), sum(item.large_bytes for item in rows)

    parts = [[live], [Row(*raw["objects"])], owned_rows, kept_rows, [unknown]]
    small_totals = PathTotals(raw["allocator"], *(number for rows in parts for number in small(rows)))
    large_allocator = "mimalloc, malloc" if raw["own_sizes"] else "malloc"
    large_totals = (
        PathTotals(large_allocator, *(number for rows in parts for number in large(rows))) if raw["large"] else None
    )
    rows: list[TypeRow | BufferRow] = [*types, *buffers]
    waste = [item.bytes - item.requested_bytes for item in rows if item.requested_bytes is not None]
    return Census(
        types=tuple(sorted(types, key=by_bytes, reverse=True)),
        buffers=tuple(sorted(buffers, key=by_bytes, reverse=True)),
        free_lists=tuple(
            sorted(
                (FreeListRow(name, item.blocks, item.bytes) for name, item in free_rows if item.blocks),
                key=by_bytes,
                reverse=True,
            )
        ),
        unknown=tuple(sorted(groups, key=by_bytes, reverse=True)),
        size_classes=size_classes,
        coverage=coverage(small_totals, large_totals),
        small=small_totals,
        large=large_totals,
        large_reason=raw["large_reason"],
        malloc=malloc_chunks(raw["malloc"]),
        waste_bytes=sum(waste) if waste else None,
        padding_bytes=raw["padding_bytes"],
        looked_like_objects=raw["looked_like_objects"],
        seconds=raw["seconds"],
        pause_s=raw["pause_s"],
        consistent=raw["consistent"],
        threads=raw["threads"],
        bitmap_bytes=raw["bitmap_bytes"],
        table_bytes=raw["table_bytes"],
        exact=not raw["reasons"],
        reason="; ".join(raw["reasons"]) or None,
        frozen=frozen_copy(raw["frozen"]),
        pid=raw.get("pid"),
        thread_frames=tuple(
            ThreadFrames(thread, interpreter, frames, embedded, chunks, size, objects, bytes_)
            for thread, interpreter, chunks, size, frames, embedded, objects, bytes_ in raw.get("thread_frames", ())
        ),
        **exporters_of(raw.get("exporters")),
        **sites_of(raw.get("sites")),
    )


def exporters_of(raw: tuple[int, int] | None) -> dict[str, Any]:
    """The census' fields about objects that were asked what they lend."""
    return {} if raw is None else {"exporters_asked": sum(raw), "exporters_refused": raw[1]}


def sites_of(raw: Mapping[str, Any] | None) -> dict[str, Any]:
    """The census' fields about allocation sites."""
    if raw is None or raw["sites"] is None:
        return {"sites_reason": raw["reason"] if raw is not None else None}
    found = []
    for file, line, kinds in raw["sites"]:
        types = [
            SiteType(
                None if name is None else TypeRow(text(name) or "?", text(module), 0, 0, None).name, what, blocks, size
            )
            for what, module, name, blocks, size in kinds
        ]
        ordered = tuple(sorted(types, key=by_bytes, reverse=True))
        count, total = sum(item.count for item in types), sum(item.bytes for item in types)
        found.append(Site(text(file) or "?", line, count, total, ordered))
    untraced = raw["untraced"]
    return {
        "sites": tuple(sorted(found, key=by_bytes, reverse=True)),
        "untraced_count": untraced[0],
        "untraced_bytes": untraced[1],
    }


def frozen_copy(raw: Mapping[str, Any] | None) -> FrozenCopy | None:
    if raw is None:
        return None
    same = ("lived_s", "minor_faults", "major_faults", "needed_bytes", "room_bytes", "room_by", "missing_bytes", "torn")
    return FrozenCopy(call_s=raw["pause_s"], **{name: raw[name] for name in same})


def malloc_chunks(totals: Mapping[str, int] | None) -> MallocChunks | None:
    if totals is None:
        return None
    return MallocChunks(
        arenas=totals["arenas"],
        live=totals["live_chunks"],
        live_bytes=totals["live_bytes"],
        free=totals["free_chunks"],
        free_bytes=totals["free_bytes"],
        tcache=totals["tcache_chunks"],
        tcache_bytes=totals["tcache_bytes"],
        top_bytes=totals["top_bytes"],
        overhead_bytes=totals["fence_bytes"],
        mmapped=totals["mmapped_chunks"],
        mmapped_bytes=totals["mmapped_bytes"],
    )


def guess_text(guesses: list[tuple[str, tuple[bytes | None, bytes | None] | None, int, int]] | None) -> str | None:
    """What points to the blocks of a group most often; objects tell more than other blocks."""
    if not guesses:
        return None
    order = {"object": 3, "type": 2, "buffer": 1, "unknown": 0}
    kind, name, offset, times = max(guesses, key=lambda guess: (guess[3], order[guess[0]]))
    return f"pointed to by {who(kind, name)} at offset {offset}, {times} times"


def who(kind: str, name: tuple[bytes | None, bytes | None] | None) -> str:
    if name is None:
        return {"object": "objects", "type": "types", "buffer": "buffers", "unknown": "other unknown blocks"}[kind]
    module, qualified = text(name[0]), text(name[1]) or "?"
    return qualified if module in (None, "builtins") else f"{module}.{qualified}"


LargeGuess = tuple[str, tuple[bytes | None, bytes | None] | None, int, int, int, bool]


def large_groups(unknown: Row, guesses: list[LargeGuess]) -> list[UnknownGroup]:
    """Unknown chunks by what points to them; those for which nothing was looked for in a group of their own."""
    groups = []
    count, size = unknown.large_count, unknown.large_bytes
    for kind, name, offset, chunks, number, through in guesses:
        count, size = count - chunks, size - number
        said = None
        if kind == "data" and name is not None:
            said = f"pointed to by static data of {text(name[1])}"
        elif kind == "object":
            said = f"pointed to by {who(kind, name)} at offset {offset}"
        elif kind != "nothing":
            said = f"pointed to by {who(kind, name)}"
        if said and through:
            said += ", by way of other chunks"
        groups.append(UnknownGroup(None, chunks, number, said))
    if count:
        groups.append(UnknownGroup(None, count, size))
    return groups


def text(name: bytes | None) -> str | None:
    """A name as it is spelled; what is no UTF-8, as in a name that was torn while it was copied, in escapes."""
    if name is None:
        return None
    try:
        return name.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return name.decode("utf-8", "backslashreplace")


def requested(item: Row) -> int | None:
    """What was asked for, unless it is not known of every block."""
    return None if item.unasked else item.requested_bytes


def coverage(small: PathTotals, large: PathTotals | None) -> Coverage:
    def named(unknown: int, total: int) -> float:
        return 1 - unknown / total if total else 1.0

    return Coverage(
        named(small.unknown, small.count),
        named(small.unknown_bytes, small.bytes),
        named(large.unknown, large.count) if large else None,
        named(large.unknown_bytes, large.bytes) if large else None,
    )
