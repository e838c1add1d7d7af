"""What demos run in interpreters of their own (_measure.in_child): what forks, and what needs another allocator."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from ..probes.allocation import block

KIB = 1024


def memory_of_this() -> dict[str, int]:
    """PSS and USS of this process in bytes: /proc/self/smaps_rollup. OSError where it may not be read."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        lines = [line.split() for line in file]
    found = {line[0].rstrip(":"): int(line[1]) * KIB for line in lines if line[-1] == "kB"}
    return {"pss": found["Pss"], "uss": found["Private_Clean"] + found["Private_Dirty"]}


def resident_bytes() -> int:
    """RSS: /proc/self/statm."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def timed_collections(objects: int, repetitions: int) -> dict[str, list[float]]:
    """CPU seconds of full collections beside no more containers, half of them, and all, each in turn.

    The new process's own objects are frozen: the containers are most of what is collected.
    """
    gc.disable()
    gc.collect()
    gc.freeze()
    found: dict[str, list[float]] = {str(number): [] for number in (0, objects // 2, objects)}
    for _ in range(repetitions):
        for number, seconds in found.items():
            kept = [[] for _ in range(int(number))]  # type: list[list[int]]
            gc.collect()  # what is new becomes old
            begin = time.thread_time()
            gc.collect()
            seconds.append(time.thread_time() - begin)
            del kept
    return found


def forked_collections(objects: int) -> dict[str, Any]:
    """What a collection in a forked child costs in memory of its own, without and with gc.freeze() before the fork."""
    kept = [[] for _ in range(objects)]  # type: list[list[int]]
    gc.disable()
    gc.collect()
    plain = collect_in_fork()
    gc.freeze()
    frozen_objects = gc.get_freeze_count()
    frozen = collect_in_fork()
    return {"objects": len(kept), "plain": plain, "frozen": frozen, "frozen_objects": frozen_objects}


def collect_in_fork() -> dict[str, int]:
    """What a forked child's PSS and USS grow by when it collects."""

    def collect() -> dict[str, int]:
        before = memory_of_this()
        gc.collect()
        after = memory_of_this()
        return {"pss": after["pss"] - before["pss"], "uss": after["uss"] - before["uss"]}

    grown: dict[str, int] = in_fork(collect)
    return grown


def in_fork(function: Callable[[], Any]) -> Any:
    """What a function returns in a forked child, as JSON values."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.write(writer, json.dumps(function()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(child, 0)
    return json.loads(text)


def allocator_costs(objects: int, repetitions: int) -> dict[str, Any]:
    """Resident bytes of one `object()`, CPU seconds to make and free one, and what stays of a mix."""
    gc.disable()
    makes: list[float] = []
    frees: list[float] = []
    kept: list[object] = [None] * objects
    before = resident_bytes()
    for _ in range(repetitions):
        begin = time.process_time()
        for place in range(objects):
            kept[place] = object()
        made = time.process_time()
        if not makes:
            after = resident_bytes()
        freed = time.process_time()
        kept[:] = [None] * objects
        frees.append((time.process_time() - freed) / objects)
        makes.append((made - begin) / objects)
    del kept
    return {"bytes": (after - before) / objects, "make_s": makes, "free_s": frees, **mixed(objects)}


def mixed(objects: int) -> dict[str, int]:
    """Objects of all small sizes by turns: resident bytes of all, of one in a hundred, and after malloc_trim(0)."""
    from ctypes import CDLL

    before = resident_bytes()
    kept: list[object] = [None] * objects
    for place in range(objects):
        kept[place] = bytes(place * 37 % 430)
    full = resident_bytes() - before
    survivors = kept[::100]
    del kept
    left = resident_bytes() - before
    CDLL(None).malloc_trim(0)
    trimmed = resident_bytes() - before
    return {"full": full, "left": left, "trimmed": trimmed, "asked": sum(map(sys.getsizeof, survivors))}


def swept_sizes(sizes: list[int], total: int) -> list[dict[str, Any]]:
    """What large_path() gives for each size, each in a forked child with a threshold as a new process has it."""
    gc.disable()
    return [in_fork(partial(large_path, size, max(2, total // size))) for size in sizes]


def large_path(size: int, number: int) -> dict[str, Any]:
    """Blocks of a size, made twice, and all but the last one freed: whose they were, and what came back."""
    row: dict[str, Any] = {"size": size}
    last = []  # of each turn, which is not freed
    for turn in ("first", "again"):
        before = resident_bytes()
        blocks: list[bytes] = [b"x" * (size - sys.getsizeof(b"")) for _ in range(number)]
        row[f"{turn}_domain"] = block(blocks[-1]).domain
        made = resident_bytes()
        last.append(blocks.pop())
        blocks.clear()
        row[f"{turn}_grown"], row[f"{turn}_back"] = made - before, made - resident_bytes()
    return row
