"""What demos run in interpreters of their own (_measure.in_child): what forks, and what needs another allocator."""

from __future__ import annotations

import gc
import json
import os
import time
from typing import Any

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
    """PSS and USS of a forked child before and after it collects."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            before = memory_of_this()
            gc.collect()
            after = memory_of_this()
            os.write(
                writer, json.dumps({"pss": after["pss"] - before["pss"], "uss": after["uss"] - before["uss"]}).encode()
            )
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    os.waitpid(child, 0)
    found: dict[str, int] = json.loads(text)
    return found


def allocator_costs(objects: int, repetitions: int) -> dict[str, Any]:
    """Resident bytes of one `object()`, and CPU seconds to make and free one, with this process' allocator."""
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
    return {"bytes": (after - before) / objects, "make_s": makes, "free_s": frees}
