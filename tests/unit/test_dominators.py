"""The dominator tree against brute force: a node is taken out; what cannot be reached any more is what it dominated."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meminspect import _native

Edges = dict[int, list[int]]


class Tree:
    """What `_native._dominators` says, by nodes: -1 is the root over all, -2 the root of what cannot be reached."""

    def __init__(self, nodes: int, edges: Edges, roots: Iterable[int], sizes: list[int] | None = None) -> None:
        offsets, targets = array("I", [0]), array("I")
        for node in range(nodes):
            targets.extend(edges.get(node, ()))
            offsets.append(len(targets))
        self.ask(offsets, targets, roots, sizes)

    @classmethod
    def of_arrays(cls, offsets: array[int], targets: array[int], roots: Iterable[int]) -> Tree:
        """Of a graph that is too long for lists: node's references are targets[offsets[node]:offsets[node + 1]]."""
        tree = cls.__new__(cls)
        tree.ask(offsets, targets, roots, None)
        return tree

    def ask(self, offsets: array[int], targets: array[int], roots: Iterable[int], sizes: list[int] | None) -> None:
        self.sizes = sizes or [1] * (len(offsets) - 1)
        raw = _native._dominators(
            offsets.tobytes(), targets.tobytes(), array("I", self.sizes).tobytes(), array("I", roots).tobytes()
        )
        self.number, self.node = array("I", raw["number"]), array("I", raw["node"])
        self.above, self.retained = array("I", raw["dominator"]), array("Q", raw["retained"])
        self.unreachable, self.peak_bytes, self.seconds = raw["unreachable"], raw["peak_bytes"], raw["seconds"]

    def dominator(self, node: int) -> int:
        number = self.above[self.number[node]]
        return {0: -1, self.unreachable: -2}.get(number, self.node[number])

    def size_of(self, node: int) -> int:
        return self.retained[self.number[node]]


def reached(edges: Edges, roots: Iterable[int], without: int = -1) -> set[int]:
    found: set[int] = set()
    todo = [root for root in roots if root != without]
    while todo:
        node = todo.pop()
        if node not in found:
            found.add(node)
            todo.extend(to for to in edges.get(node, ()) if to != without)
    return found


def by_brute_force(edges: Edges, roots: list[int], inside: set[int], sizes: list[int]) -> dict[int, tuple[int, int]]:
    """(immediate dominator or -1, retained size) of each node of `inside`, which the roots reach."""
    dominated = {node: inside - reached(edges, roots, without=node) for node in inside}
    above = {
        node: [other for other in inside if other != node and node in dominated[other]] for node in inside
    }  # all that dominate it: the immediate one is the one that all others of them dominate
    nearest = {node: max(others, key=lambda other: len(above[other]), default=-1) for node, others in above.items()}
    return {node: (nearest[node], sum(sizes[item] for item in dominated[node])) for node in inside}


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, Edges, list[int], list[int]]:
    nodes = draw(st.integers(1, 14))
    some = st.integers(0, nodes - 1)
    pairs = draw(st.lists(st.tuples(some, some), max_size=nodes * 3))
    edges: Edges = {}
    for start, end in pairs:
        edges.setdefault(start, []).append(end)
    roots = draw(st.lists(some, max_size=4))
    sizes = draw(st.lists(st.integers(0, 2**32 - 1), min_size=nodes, max_size=nodes))
    return nodes, edges, roots, sizes


@pytest.mark.ends  # as the next: the tree is made of numbers, and no interpreter is asked anything
@settings(max_examples=600, deadline=None)
@given(graphs())
def test_random_graphs(graph: tuple[int, Edges, list[int], list[int]]) -> None:
    nodes, edges, roots, sizes = graph
    tree = Tree(nodes, edges, roots, sizes)
    inside = reached(edges, roots)
    for node, (above, retained) in by_brute_force(edges, roots, inside, sizes).items():
        assert (tree.dominator(node), tree.size_of(node)) == (above, retained)
    assert tree.retained[0] == sum(sizes)
    assert tree.retained[tree.unreachable] == sum(sizes[node] for node in range(nodes) if node not in inside)
    assert tree.unreachable == len(inside) + 1
    assert sorted(tree.node) == [*range(nodes), 2**32 - 1, 2**32 - 1]


@pytest.mark.ends
@settings(max_examples=300, deadline=None)
@given(graphs())
def test_what_no_root_leads_to_hangs_under_few(graph: tuple[int, Edges, list[int], list[int]]) -> None:
    """One entry for each node or cycle that nothing else there refers to; under these, dominators as everywhere."""
    nodes, edges, roots, sizes = graph
    tree = Tree(nodes, edges, roots, sizes)
    outside = set(range(nodes)) - reached(edges, roots)
    entries = [node for node in outside if tree.number[node] and tree.dominator(node) == -2]
    inner = {node: [to for to in edges.get(node, ()) if to in outside] for node in outside}
    behind = {node: reached(inner, [node]) for node in outside}
    sources = {
        frozenset(other for other in behind[node] if node in behind[other]) for node in outside
        if all(other in behind[node] for other in outside if node in behind[other])
    }  # fmt: skip
    heads = {cycle & set(entries) for cycle in sources}
    assert all(heads)
    assert reached(inner, entries) == outside
    starts = [min(head, key=lambda node: tree.number[node]) for head in heads]
    for node, (above, retained) in by_brute_force(inner, starts, outside, sizes).items():
        assert (tree.dominator(node), tree.size_of(node)) == (-2 if above == -1 else above, retained)


def test_by_hand() -> None:
    # 0 -> 1 -> 3, 0 -> 2 -> 3, 3 -> 4, 5 refers to itself and to 4
    tree = Tree(6, {0: [1, 2], 1: [3], 2: [3], 3: [4], 5: [5, 4]}, [0], [1, 10, 100, 1000, 10000, 7])
    assert [tree.dominator(node) for node in range(6)] == [-1, 0, 0, 0, 3, -2]
    assert [tree.size_of(node) for node in range(6)] == [11111, 10, 100, 11000, 10000, 7]


def test_no_nodes() -> None:
    tree = Tree(0, {}, [])
    assert list(tree.retained) == [0, 0]


def test_a_deep_chain_needs_no_stack() -> None:
    nodes = 300_000  # by recursion, 48 bytes of stack a node would be too much
    tree = Tree.of_arrays(array("I", [*range(nodes), nodes - 1]), array("I", range(1, nodes)), [0])
    assert [tree.size_of(node) for node in (0, 1, nodes - 1)] == [nodes, nodes - 1, 1]
    assert tree.dominator(nodes - 1) == nodes - 2


def test_two_parallel_chains_do_not_explode() -> None:
    """Semi-NCA needs minutes for this; the bound tells minutes from well under a second on a busy machine."""
    length = 500_000
    nodes = 2 * length + 1
    # 0 -> 1 and 2; from each pair (left, right) both lead to both of the next: left + 2, right + 2, right + 2, left + 2
    offsets = array("I", [*range(0, 2 * (nodes - 2), 2), *[2 * (nodes - 2)] * 3])
    targets = array("I", [0]) * (2 * (nodes - 2))
    targets[:2] = array("I", [1, 2])
    for place, first in ((2, 3), (3, 4), (4, 4), (5, 3)):
        targets[place::4] = array("I", range(first, nodes, 2))
    tree = Tree.of_arrays(offsets, targets, [0])
    assert [tree.size_of(node) for node in (0, 1, nodes - 1)] == [nodes, 1, 1]
    assert tree.dominator(0) == -1
    assert tree.above.count(tree.number[0]) == 2 * length  # of all others node 0 is the dominator
    assert tree.seconds < 20


@pytest.mark.parametrize(
    ("offsets", "edges", "roots"), [([0, 1], [1], []), ([0, 2], [0], []), ([0, 0], [], [1]), ([], [], [])]
)
def test_what_is_no_graph_is_refused(offsets: list[int], edges: list[int], roots: list[int]) -> None:
    sizes = array("I", [1] * max(0, len(offsets) - 1)).tobytes()
    arrays = [array("I", values).tobytes() for values in (offsets, edges)]
    with pytest.raises(ValueError, match="no graph"):
        _native._dominators(*arrays, sizes, array("I", roots).tobytes())
