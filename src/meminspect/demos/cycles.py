"""Cycles: what counting cannot free, and the collector can."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..models.demo import Cell, Check, Evidence
from ..probes.header import header
from ._base import Demo, Observed

PAIRS = 100


class Cycles(Demo):
    name = "cycles"
    chapter = "03"
    title = "Cycles, and who frees them"
    claim = (
        "Objects that refer to each other keep each other's count above zero, so counting never frees them; the "
        "collector does. A `__del__` does not stop it: it is called once, and nothing ends up in gc.garbage. A "
        "weak reference back makes no cycle at all."
    )
    title_zh = "循环引用，以及谁来释放它们"
    claim_zh = (
        "互相引用的对象使彼此的计数大于零，引用计数永远无法释放它们，而垃圾回收器可以；"
        "__del__ 并不妨碍回收：它只被调用一次，gc.garbage 中什么也不会留下；用弱引用回指则根本不构成循环。"
    )
    summary = (
        "Objects that live on without a name, and are gone after one collection, show what the collector is for: "
        "cycles and nothing else. With a weak reference back there is no cycle and no work for it. `__del__` is no "
        "obstacle any more, and an object can even save itself once."
    )
    summary_zh = (
        "没有任何名字却依然存活、一次回收之后全部消失的对象，说明垃圾回收器的用途只有一个："
        "循环引用。用弱引用回指就没有循环，也就无事可做。__del__ 早已不是障碍，"
        "对象甚至可以自救一次。"
    )
    experiment = (
        f"{PAIRS} pairs of objects are made and let go, linked one way, both ways, with a weak reference back, and "
        "with a __del__, while automatic collection is off; weak references tell how many live before and after "
        "gc.collect(). Then an object saves itself in its __del__."
    )
    notes = (
        "Up to Python 3.3 a cycle with __del__ was never freed and went to gc.garbage. Since 3.4 (PEP 442) it is freed "
        "like any other: books that warn of it describe the older interpreters.",
        "gc.DEBUG_SAVEALL still puts everything found into gc.garbage, for debugging.",
    )

    def observe(self, fast: bool) -> Observed:
        with collection_off():
            kinds = [lifetimes(kind, make) for kind, make in KINDS.items()]
            saved_table, saved_check = resurrected()
        table = Evidence(
            title=f"{PAIRS} pairs, let go",
            text="How many of the pairs' objects live after their last name has gone, and after a collection.",
            columns=(
                "linked",
                "objects",
                "alive without a collection",
                "alive after gc.collect()",
                "__del__ calls",
                "new in gc.garbage",
            ),
            rows=tuple(kinds),
        )
        by_kind = {str(row[0]): row for row in kinds}
        return Observed((table, saved_table), (*checks(by_kind), saved_check))


class Node:
    """One of a pair."""

    calls = 0

    def __init__(self) -> None:
        self.other: object = None


class Ending(Node):
    """A node that counts its end."""

    calls = 0

    def __del__(self) -> None:
        Ending.calls += 1


def one_way() -> tuple[Node, Node]:
    first, second = Node(), Node()
    first.other = second
    return first, second


def both_ways() -> tuple[Node, Node]:
    first, second = Node(), Node()
    first.other, second.other = second, first
    return first, second


def weak_back() -> tuple[Node, Node]:
    first, second = Node(), Node()
    first.other, second.other = second, weakref.ref(first)
    return first, second


def with_end() -> tuple[Node, Node]:
    first, second = Ending(), Ending()
    first.other, second.other = second, first
    return first, second


KINDS: dict[str, Callable[[], tuple[Node, Node]]] = {
    "one way": one_way,
    "both ways": both_ways,
    "weak reference back": weak_back,
    "both ways, with __del__": with_end,
}


@contextmanager
def collection_off() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def lifetimes(kind: str, make: Callable[[], tuple[Node, Node]]) -> tuple[Cell, ...]:
    Ending.calls, garbage = 0, len(gc.garbage)
    watched: list[weakref.ref[Node]] = []
    for _ in range(PAIRS):
        pair = make()
        watched += [weakref.ref(node) for node in pair]
        del pair
    before = sum(watch() is not None for watch in watched)
    gc.collect()
    after = sum(watch() is not None for watch in watched)
    return kind, len(watched), before, after, Ending.calls, len(gc.garbage) - garbage


def checks(rows: dict[str, tuple[Cell, ...]]) -> tuple[Check, ...]:
    both, end = rows["both ways"], rows["both ways, with __del__"]
    straight, weak = rows["one way"], rows["weak reference back"]
    all_of = 2 * PAIRS
    return (
        Check(
            "Counting frees what is not in a cycle, at once",
            straight[2] == weak[2] == 0,
            f"{straight[2]} objects linked one way were alive, {weak[2]} with a weak reference back, of {all_of} each",
        ),
        Check(
            "A cycle lives on without any name, until a collection",
            (both[2], both[3]) == (all_of, 0),
            f"{both[2]} of {all_of} were alive before gc.collect(), {both[3]} after",
        ),
        Check(
            "A cycle with __del__ is freed like any other, with one call each, and leaves nothing in gc.garbage",
            (end[2], end[3], end[4], end[5]) == (all_of, 0, all_of, 0),
            f"{end[3]} alive after gc.collect(), {end[4]} calls for {all_of} objects, {end[5]} in gc.garbage",
        ),
    )


class Phoenix:
    """An object that saves itself when it is to be freed."""

    saved: list[Phoenix] = []  # noqa: RUF012
    calls = 0

    def __init__(self) -> None:
        self.me = self

    def __del__(self) -> None:
        Phoenix.calls += 1
        Phoenix.saved.append(self)


def resurrected() -> tuple[Evidence, Check]:
    Phoenix.calls = 0
    rows: list[tuple[Cell, ...]] = []
    watch = weakref.ref(Phoenix())
    address = id(watch())
    rows.append(("made, and let go", f"{address:#x}", Phoenix.calls, "no"))
    gc.collect()
    back = Phoenix.saved.pop()
    finalized = header(back).finalized
    same = id(back) == address
    rows.append(("gc.collect(): saved by its __del__", f"{id(back):#x}", Phoenix.calls, "yes" if finalized else "no"))
    end = weakref.ref(back)
    del back
    gc.collect()
    gone = end() is None and not Phoenix.saved
    rows.append(("let go again, gc.collect()", "freed" if gone else "alive", Phoenix.calls, "-"))
    evidence = Evidence(
        title="Saved once",
        text="The mark in the object's header says that its finaliser has run.",
        columns=("moment", "address", "__del__ calls", "marked as finalized"),
        rows=tuple(rows),
    )
    held = same and finalized is True and gone and Phoenix.calls == 1
    return evidence, Check(
        "__del__ is called once in an object's life, also when it saved itself",
        held,
        f"{Phoenix.calls} call in all; it came back at {'the same' if same else 'another'} address and was "
        f"{'freed' if gone else 'not freed'} the second time",
    )
