"""Where the resident memory of a process is: the captured leaves made into a tree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..models.memory import MallocArena, MemoryBreakdown, MemoryNode
from . import cgroup

Leaf = tuple[Sequence[str], int, int, int, int]  # names from the top, thread id or 0, resident, virtual, count


def memory(pid: int | None = None, *, max_pause: float | None = 1.0) -> MemoryBreakdown:
    """Where the resident memory of this process is, or of another that runs the same build of Python.

    Every resident page is split by what lies in it: /proc/PID/maps and pagemap at one moment, then pymalloc's arenas,
    glibc's heaps chunk by chunk, stacks, buffers of libraries; files and shared memory by name. `rss_bytes` and its kin
    are the kernel's (/proc/PID/smaps_rollup). Where the page map may not be read the tree is by mappings alone, and
    `exact` is False. Raises NativeError: "gone", "permission".

    The GIL is held meanwhile, for `max_pause` seconds at most (None: no ceiling): then it is given back, the rest is
    read while the process goes on, and `exact` is False. `pause_s` is how long it was held. Another process goes on
    anyway.
    """
    from .. import _native

    return build(_native.memory_capture(pid or 0, max_pause=max_pause, ask_malloc=pid is None))


def build(raw: Mapping[str, Any]) -> MemoryBreakdown:
    """The model of a `memory_capture()`."""
    group, says = raw["cgroup"], raw["malloc_says"] or {}
    return MemoryBreakdown(
        pid=raw["pid"],
        rss_bytes=raw["rss_bytes"],
        pss_bytes=raw["pss_bytes"],
        uss_bytes=raw["uss_bytes"],
        peak_rss_bytes=raw["peak_rss_bytes"],
        swap_bytes=raw["swap_bytes"],
        unattributed_bytes=raw["unattributed_bytes"] + abs(raw["rss_bytes"] - raw["tree_bytes"]),
        trim_would_return_bytes=raw["trim_would_return_bytes"],
        malloc=raw["malloc"],
        mmapped_chunks=raw["mmapped_chunks"],
        mmapped_bytes=raw["mmapped_bytes"],
        malloc_arenas=tuple(
            _arena(index, arena, raw["below_tops"][index]) for index, arena in enumerate(raw["malloc_arenas"])
        ),
        cgroup=cgroup.build(group),
        tree=tree(raw["leaves"], raw["thread_names"]),
        exact=raw["exact"],
        reason=raw["reason"],
        pause_s=raw["pause_s"],
        mmap_threshold_bytes=raw["mmap_threshold_bytes"],
        zero_bytes=raw["zero_bytes"],
        cgroup_reason=group["reason"],
        malloc_allocated_bytes=says.get("allocated_bytes"),
        malloc_resident_bytes=says.get("resident_bytes"),
    )


def tree(leaves: Sequence[Leaf], thread_names: Mapping[int, str]) -> MemoryNode:
    """Leaves by their paths, largest first; threads that Python named bear that name before their id."""
    return _node("resident memory", [(_named(leaf, thread_names), *leaf[2:]) for leaf in leaves if leaf[2] or leaf[3]])


def _named(leaf: Leaf, thread_names: Mapping[int, str]) -> tuple[str, ...]:
    path, tid = tuple(leaf[0]), leaf[1]
    if tid not in thread_names:
        return path
    return (path[0], f"{thread_names[tid]} ({tid})", *path[2:])


def _node(name: str, parts: list[tuple[tuple[str, ...], int, int, int]]) -> MemoryNode:
    below: dict[str, list[tuple[tuple[str, ...], int, int, int]]] = {}
    for path, *figures in parts:
        if path:
            below.setdefault(path[0], []).append((path[1:], figures[0], figures[1], figures[2]))
    children = sorted((_node(child, inside) for child, inside in below.items()), key=lambda node: -node.bytes)
    return MemoryNode(
        name=name,
        bytes=sum(part[1] for part in parts),
        virtual_bytes=sum(part[2] for part in parts),
        count=sum(part[3] for part in parts) if not children else None,
        children=tuple(children),
    )


def _arena(index: int, raw: Mapping[str, int], holder: tuple[bytes | None, bytes | None] | None) -> MallocArena:
    """`torn_bytes` of the capture, where no chunks were recognised, are in the tree as unattributed."""
    return MallocArena(
        name=f"thread {index}" if index else "main",
        address=raw["address"],
        size_bytes=raw["size_bytes"],
        live_chunks=raw["live_chunks"],
        live_bytes=raw["live_bytes"],
        free_chunks=raw["free_chunks"],
        free_bytes=raw["free_bytes"],
        free_resident_bytes=raw["free_resident_bytes"],
        tcache_chunks=raw["tcache_chunks"],
        tcache_bytes=raw["tcache_bytes"],
        top_bytes=raw["top_bytes"],
        trim_bytes=raw["trim_bytes"],
        holder=raw["below_top"] or None,
        holder_bytes=raw["below_top_bytes"] or None,
        holder_type=_type_name(holder),
    )


def _type_name(name: tuple[bytes | None, bytes | None] | None) -> str | None:
    if name is None:
        return None
    module, own = (part.decode("utf-8", "replace") if part else None for part in name)
    return own if module in (None, "builtins") else f"{module}.{own}"
