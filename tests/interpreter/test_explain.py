"""explain(obj): each figure against a source that is not its own."""

from __future__ import annotations

import gc
import json
import sys
from collections import defaultdict
from dataclasses import replace

import pytest

import meminspect
from meminspect.analysis.freeing import when_freed
from meminspect.models.explain import Explanation
from meminspect.views import explained

GIL = getattr(sys, "_is_gil_enabled", lambda: True)()


def extra() -> int:
    """What sys.getrefcount adds for its own argument on this version."""
    fresh: list[int] = []
    return sys.getrefcount(fresh) - 1


class Plain:
    """An instance with attributes."""


class Wide:
    """Of a size that little else has, so that many of them come to lie in one pool whatever ran before."""

    __slots__ = tuple(f"field{n}" for n in range(53))


@pytest.fixture
def pile() -> list[object]:
    return [Wide() for _ in range(400)]


def test_references_are_those_that_stay() -> None:
    value = [1, 2]
    kept = [value, value, {"key": value}]
    seen = meminspect.explain(value)
    assert seen.references == sys.getrefcount(value) - extra() == 4
    assert len(kept) == 3
    assert seen.header.address == id(value)


def test_the_block_and_its_neighbours(pile: list[object]) -> None:
    """The addresses of the other objects say which blocks of the pool are live."""
    near: dict[int, list[object]] = defaultdict(list)
    for other in pile:
        near[id(other) >> 14].append(other)
    together = max(near.values(), key=len)  # some earlier test may have left pools with a block or two to spare
    one = together[len(together) // 2]
    del near, together
    seen = meminspect.explain(one)
    pool = seen.pool_blocks
    if pool is None:
        assert seen.pool_reason
        assert not GIL or seen.block.domain != "pymalloc"
        return
    assert pool.live[pool.index]
    assert pool.block_bytes == seen.size_bytes == seen.block.size
    first = seen.block.address - pool.index * pool.block_bytes
    offset = id(one) - seen.block.address
    others = {(id(other) - offset - first) // pool.block_bytes: at for at, other in enumerate(pile)}
    here = [slot for slot in others if 0 <= slot < len(pool.live) and slot != pool.index]
    assert len(here) > 10
    assert all(pool.live[slot] for slot in here)
    freed = here[len(here) // 2]
    pile[others[freed]] = None
    again = meminspect.explain(one).pool_blocks
    assert again is not None
    assert not again.live[freed]


def test_who_holds_it_and_what_would_go() -> None:
    value = [bytes(1000) for _ in range(100)]
    holder = {"the key": value}
    seen = meminspect.explain(value, max_pause=None)
    if seen.graph_reason is not None:
        assert seen.holders is None
        assert not GIL, seen.graph_reason
        return
    assert seen.holders is not None
    assert id(holder) in [row.node.address for row in seen.holders.rows]
    assert not any(row.how and row.how.frame and "explain" in row.how.frame for row in seen.holders.rows)
    assert seen.retained is not None
    assert seen.retained.bytes is not None
    assert seen.retained.bytes >= 100 * sys.getsizeof(value[0])


def test_when_it_is_freed() -> None:
    if sys.version_info >= (3, 12):
        assert meminspect.explain(None).freed.startswith("Never")
    loop = Plain()
    loop.me = loop  # type: ignore[attr-defined]
    seen = meminspect.explain(loop, max_pause=None)
    if seen.graph_reason is None:
        assert seen.freed.startswith("Only the collector")
    number = float("12.5")
    assert "no collection is ever needed" in meminspect.explain(number).freed
    temporary = meminspect.explain([object()], max_pause=None)
    assert temporary.holders is None or temporary.holders.count == 0 or sys.version_info >= (3, 14)
    if sys.version_info < (3, 14):
        assert temporary.references == 0
        assert "nothing else refers to it" in temporary.freed


def test_garbage_is_named() -> None:
    """The sentence for an object that no root leads to, and for a collection under way."""
    gc.collect()
    value = Plain()
    seen = meminspect.explain(value)
    if seen.path is not None:
        lost = replace(seen.path, root="garbage", steps=(), known=True)
        assert "no root leads to it" in when_freed(seen.header, 1, seen.block, seen.holders, lost)
    dying = replace(seen.header, unreachable=True)
    assert "is being freed" in when_freed(dying, 1, seen.block, None, None)


def test_a_temporary_that_is_gone_is_not_mistaken() -> None:
    """Its block may hold another object by the time the graph is read."""
    for _ in range(20):
        seen = meminspect.explain(Plain())
        if seen.holders is not None and seen.holders.target is not None:
            assert seen.holders.target.type_name == "Plain"


def test_it_shows_itself(pile: list[object]) -> None:
    evil = type("<script>alert(1)</script>\x1b[31m", (), {})()
    for value in (evil, pile[7], "text" * 2000, 3.5, int, None, sys):
        seen = meminspect.explain(value)
        page = str(seen)
        assert page.startswith(explained.title(seen).replace("\x1b", "")[:7])
        assert "\x1b" not in page
        assert explained.render(seen, width=80, unicode=False).isascii()
        assert max(map(len, explained.render(seen, width=80).splitlines())) <= 80
        html = seen._repr_html_()
        assert html is not None
        assert "<script>" not in html
        assert "\x1b" not in html
        assert "\n" not in repr(seen)
        json.dumps(seen.to_dict())


def test_print_of_a_model_without_a_page_is_its_repr() -> None:
    block = meminspect.block(object)
    assert str(block) == repr(block)
    assert isinstance(meminspect.explain(block), Explanation)


@pytest.mark.imports_much  # IPython
def test_magics() -> None:
    """`%load_ext meminspect`, as a notebook has it."""
    api = pytest.importorskip("IPython.testing.globalipapp", reason="IPython is not installed")
    shell = api.start_ipython() or api.get_ipython()
    shell.run_line_magic("load_ext", "meminspect")
    shell.user_ns["held"] = [1, 2, 3]
    seen = shell.run_line_magic("explain", "held")
    assert seen.header.address == id(shell.user_ns["held"])
    assert shell.run_line_magic("memory", "").to_dict()
    assert shell.run_line_magic("heapmap", "").allocator
    grown = shell.run_cell_magic("growth", "", "kept = [float(n) for n in range(5000)]")
    assert len(shell.user_ns["kept"]) == 5000
    assert grown.to_dict()
