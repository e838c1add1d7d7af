"""Which path an allocation takes, found by allocating, and where a live object lies."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..models.heap import Allocation, Block, Neighbours

# glibc never serves less than this by mmap unless it was told to, and then its threshold no longer moves
# (malloc/malloc.c: DEFAULT_MMAP_THRESHOLD_MIN); the debug hooks add 24 bytes and malloc a header of 16
MMAP_THRESHOLD_MIN = 128 * 1024
OVERHEAD = 64
MAX_SIZES = 20_000
MALLOC_NAMES = {"malloc", "malloc_debug", "pymalloc", "pymalloc_debug", "mimalloc", "mimalloc_debug"}
CHILD = """\
import marshal, sys, _imp
from importlib.machinery import ExtensionFileLoader, ModuleSpec
path = sys.argv[1]
loader = ExtensionFileLoader("meminspect._native", path)
native = _imp.create_dynamic(ModuleSpec("meminspect._native", loader, origin=path))
_imp.exec_dynamic(native)
allocator = native.allocator_capture()
sizes = marshal.load(sys.stdin.buffer)
marshal.dump([(size, native.allocation_capture(size, allocator, True)) for size in sizes], sys.stdout.buffer)
"""


def probe_allocation(nbytes: int, *, here: bool = False) -> tuple[Allocation, ...]:
    """The path of one real allocation of `nbytes` bytes through PyObject_Malloc, PyMem_Malloc and PyMem_RawMalloc.

    One Allocation each, in this order; each block is freed before the next. The block is found in pymalloc's arenas
    (Objects/obmalloc.c) or by glibc's chunk header before it (malloc/malloc.c). From 128 KiB on the probe runs in a
    child process that is thrown away, for freeing a chunk that was mmapped raises glibc's mmap threshold for good;
    `here=True` allocates in this process all the same, which tells what its threshold does now.

    Raises ValueError for a negative size, RuntimeError when the child cannot be run.
    """
    return run((check_size(nbytes),), here)


def probe_allocations(sizes: Iterable[int]) -> tuple[Allocation, ...]:
    """The path of each size of a sweep, three Allocations a size (see probe_allocation), in the order given.

    Sizes from 128 KiB on send the whole sweep to a child process that is thrown away: there the heap is
    trimmed before each (what it has room for is never mmapped) and a chunk that was mmapped is not freed, so that each
    size meets the threshold that a new process has.

    Raises ValueError for a negative size or more than 20,000 of them, RuntimeError when the child cannot be run.
    """
    wanted = []
    for size in sizes:
        wanted.append(check_size(size))
        if len(wanted) > MAX_SIZES:
            raise ValueError(f"more than {MAX_SIZES} sizes: take a range with a larger step")
    return run(wanted, here=False)


def check_size(size: int) -> int:
    if not 0 <= size <= sys.maxsize // 2:
        raise ValueError(f"{size} is not a size that can be allocated")
    return int(size)


def run(sizes: Sequence[int], here: bool) -> tuple[Allocation, ...]:
    if not here and any(size >= MMAP_THRESHOLD_MIN - OVERHEAD for size in sizes):
        return build(captured_in_child(sizes))
    from .. import _native

    allocator = _native.allocator_capture()
    return build([(size, _native.allocation_capture(size, allocator)) for size in sizes])


def captured_in_child(sizes: Sequence[int]) -> list[tuple[int, list[dict[str, Any]]]]:
    """The captures of a new interpreter with this one's allocator and glibc's settings from the environment."""
    from .. import _native

    if not sys.executable:
        raise RuntimeError("the sweep needs a process of its own, and sys.executable is not known")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    if "PYTHONHOME" in os.environ:
        environment["PYTHONHOME"] = os.environ["PYTHONHOME"]
    allocator = _native.allocator_capture()["allocator"]
    if allocator in MALLOC_NAMES:
        environment["PYTHONMALLOC"] = allocator
    done = subprocess.run(
        [sys.executable, "-s", "-S", "-P", "-c", CHILD, _native.__file__],
        input=marshal.dumps(list(sizes)), capture_output=True, env=environment, check=False, timeout=120,
    )  # fmt: skip
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise RuntimeError(f"the sweep's process failed: {last or done.returncode}")
    result: list[tuple[int, list[dict[str, Any]]]] = marshal.loads(done.stdout)
    return result


def build(captured: Iterable[tuple[int, Sequence[Mapping[str, Any]]]]) -> tuple[Allocation, ...]:
    """The models of [(size, what `_native.allocation_capture(size)` returned), ...]; pure."""
    return tuple(allocation_of(size, raw) for size, rows in captured for raw in rows)


def allocation_of(size: int, raw: Mapping[str, Any]) -> Allocation:
    path, reason, place = raw["path"], None, raw["place"] or {}
    if path is None:
        path, reason = "other", f"{raw['function']} returned NULL"
    elif path == "other":
        if raw["allocator"].startswith("mimalloc"):
            path, reason = "mimalloc", "mimalloc keeps no header that tells the size of a block"
        else:
            reason = "the block lies neither in an arena nor behind a chunk header of glibc's"
    usable = raw["usable"]
    return Allocation(
        function=raw["function"],
        requested=size,
        path=path,
        address=raw["address"],
        usable=usable,
        waste=None if usable is None else usable - size,
        size_class=place.get("size_class"),
        pool=place.get("pool"),
        arena=place.get("arena"),
        reason=reason,
    )


def block(obj: object, *, neighbours: bool = False, max_pause: float | None = 1.0) -> Block:
    """Where a live object lies: its block, pool and arena, or its chunk of glibc's, or the file that holds it.

    `offset` is how far into the block the object begins: the GC head and the pre-header (`_PyType_PreHeaderSize`) and
    what debug hooks put before it. Read from the pool's header or the chunk's; None where it is not known, with the
    reason.

    neighbours -- also what shares its pool and its arena, by type; a census of the whole heap finds that: the GIL is
                 held for `max_pause` seconds at most (None: no ceiling), and 48 bytes a live block are needed meanwhile
    """
    from .. import _native

    found = block_of(_native.block_capture(obj))
    if not neighbours or found.pool is None or found.arena is None or found.domain != "pymalloc":
        return found
    raw = _native.neighbours_capture(found.pool, found.arena, max_pause)
    return replace(
        found,
        pool_neighbours=neighbours_of(raw["pool"]),
        arena_neighbours=neighbours_of(raw["arena"]),
        reason="; ".join(raw["reasons"]) or found.reason,
    )


def neighbours_of(rows: Sequence[Any]) -> tuple[Neighbours, ...]:
    """The most blocks first; pure."""
    found = [Neighbours(*neighbour_name(what), blocks, size) for what, blocks, size in rows]
    return tuple(sorted(found, key=lambda row: (-row.blocks, row.name)))


def neighbour_name(what: str | tuple[bytes | None, bytes | None]) -> tuple[str, str]:
    if isinstance(what, str):
        return what, what
    module, name = (part.decode("utf-8", "replace") if part else None for part in what)
    return "object", (name or "?") if module in (None, "builtins") else f"{module}.{name}"


def block_of(raw: Mapping[str, Any]) -> Block:
    """The model of what `_native.block_capture()` returned; pure."""
    place = raw["place"] or {}
    return Block(
        domain=raw["domain"],
        address=raw["block"],
        offset=raw["object"] - raw["block"],
        size=raw["usable"],
        size_class=place.get("size_class"),
        pool=place.get("pool"),
        arena=place.get("arena"),
        interpreter=raw["interpreter"] if place else None,
        index_in_pool=place.get("index_in_pool"),
        pool_used=place.get("used"),
        pool_free=place.get("free"),
        reason=raw["reason"],
    )
