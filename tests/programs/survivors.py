"""Makes COUNT small objects, keeps every STRIDE-th in a list of a module, and prints one JSON line.

It has what pins the arenas, what freeing the survivors was said to return, and how many arenas CPython's statistics
have before and after. Arguments: COUNT STRIDE [MODE]. With the mode `full` all pools are full before it is asked, but
those of the survivors' arenas: whatever a question puts into the heap lies there. With `held` what it was asked with
is kept as well.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from typing import Any

import meminspect


class Survivor:
    """What is planted: nothing else of its size is made in numbers."""

    __slots__ = ("a", "b", "c", "d", "e", "f", "g")


survivors: list[Survivor] = []
kept: list[object] = []

ARENA, POOL = 1 << 20, 1 << 14  # Include/internal/pycore_obmalloc.h
HEADER = 64  # at least that of a pool


def arenas() -> int:
    """As sys._debugmallocstats() counts them."""
    stats = meminspect.debug_malloc_stats()
    assert stats.arenas is not None
    return stats.arenas


def text(ask: Callable[[], Any]) -> str:
    """An answer as one large piece of text, which malloc has: as objects it would lie in the arenas that the next
    question is about.
    """
    answer = json.dumps(ask().to_dict()).ljust(1000)
    gc.collect()
    return answer


def fill() -> None:
    """Fills the pools of each size class until a new one is in an arena that the survivors alone keep."""
    middle = {id(item) // ARENA for item in survivors[len(survivors) // 4 : -len(survivors) // 4]}
    for size in range(512, 47, -16):
        while True:
            item = bytes(size - sys.getsizeof(b""))
            if id(item) // ARENA in middle and id(item) % POOL < HEADER:
                break
            kept.append(item)
        del item  # gives the pool back


def ask_and_keep() -> Any:
    held: list[object] = [survivors]
    answer = meminspect.what_if(held, max_pause=None)
    kept.append(held)
    return answer


def main() -> None:
    count, stride = int(sys.argv[1]), int(sys.argv[2])
    mode = sys.argv[3] if len(sys.argv) > 3 else None
    meminspect.what_if(["nothing"], max_pause=None)  # what it imports is there before
    meminspect.pinning(max_pause=None)
    meminspect.why("nothing", max_pause=None)
    arenas()
    survivors.extend(item for at, item in enumerate([Survivor() for _ in range(count)]) if at % stride == 0)
    burst = [bytes(400) for _ in range(20_000)]
    del burst  # leaves an empty arena behind all others: none that is emptied later is kept in its place
    gc.collect()
    kept.extend(None for _ in range(count))  # room for what fills
    kept.clear()
    if mode is not None:
        fill()
    told = {
        "pinning": text(lambda: meminspect.pinning(objects=True, most=5, max_pause=None)),
        "why": text(lambda: meminspect.why("Survivor", max_pause=None)),
        "by_type": text(lambda: meminspect.what_if(Survivor, max_pause=None)),
    }
    told["by_list"] = text(ask_and_keep if mode == "held" else lambda: meminspect.what_if([survivors], max_pause=None))
    before = arenas()
    survivors.clear()
    gc.collect()
    answers = {name: json.loads(answer) for name, answer in told.items()}
    print(json.dumps({"before": before, "after": arenas(), **answers}))


main()
