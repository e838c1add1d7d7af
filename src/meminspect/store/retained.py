"""What retains most, of a snapshot that holds every object: the core's dominator tree over the snapshot's arrays.

The arrays do not say by which attribute or key objects refer to each other: ways from a root name types.
"""

from __future__ import annotations

import heapq
from array import array
from time import perf_counter

from ..models.references import PathToRoot, RetainedObject, RetainedSizes, RootRetained, Step
from .objects import Graph
from .why import node_of, path_by

UNIT = 8  # sizes are multiples of it, and 32 bits of it are 32 GiB
LARGEST = 2**32 - 1
JOINS = {"modules": 0, "frames": 4, "interpreter": 4, "static": 6}  # as csrc/graph/graph_query.c: a way by names first
LAST_JOINS = 8


def top_retained(graph: Graph, most: int = 20) -> RetainedSizes:
    """The objects with the largest retained sizes; `types` and `held_by_c` are not told of a snapshot."""
    from .. import _native

    begun = perf_counter()
    sizes = array("I", (min(size // UNIT, LARGEST) for size in graph.sizes))
    edges = array("I", graph.edges)
    roots = array("I", range(graph.objects, graph.nodes))
    arrays = (graph.offsets.tobytes(), edges.tobytes(), sizes.tobytes(), roots.tobytes())
    found = _native._dominators(*arrays)  # type: ignore[attr-defined]
    number, node = array("I", found["number"]), array("I", found["node"])
    above, retained = array("I", found["dominator"]), array("Q", found["retained"])
    tree_s = perf_counter() - begun
    before = ways(graph)

    def row(at: int) -> RetainedObject:
        size, over = retained[number[at]] * UNIT, above[number[at]]
        garbage = over == found["unreachable"]
        under = None if over == 0 or garbage else node_of(graph, node[over])
        share = size / (retained[0] * UNIT) if retained[0] else 0.0
        return RetainedObject(node_of(graph, at), size, share, under, path_to(graph, before, at))

    largest = heapq.nlargest(most, range(graph.objects), key=lambda at: retained[number[at]])
    memory = graph.roots.index("memory") if "memory" in graph.roots else None
    unreachable = retained[found["unreachable"]] * UNIT
    return RetainedSizes(
        rows=tuple(row(at) for at in largest),
        roots=tuple(
            RootRetained(name, graph.offsets[at + 1] - graph.offsets[at], retained[number[at]] * UNIT)
            for at, name in enumerate(graph.roots, graph.objects)
        ),
        types=(),
        held_by_c=(),
        total_bytes=retained[0] * UNIT,
        small_bytes=0,
        unknown_bytes=0 if memory is None else graph.sizes[graph.objects + memory],
        garbage_bytes=unreachable,
        garbage_objects=graph.nodes + 1 - found["unreachable"],
        objects=graph.objects,
        references=len(edges),
        guesses=0,
        dropped=0,
        graph_bytes=len(edges) * 4 + graph.nodes * 12,
        tree_bytes=found["peak_bytes"],
        pause_s=0.0,
        tree_s=tree_s,
    )


def ways(graph: Graph) -> array[int]:
    """Of every node the one before it on a short way from a root, + 1; itself + 1 of a root, 0 where no root leads."""
    before = array("I", bytes(4 * graph.nodes))
    level: list[int] = []
    depth = 0
    while level or depth <= LAST_JOINS:
        for at, name in enumerate(graph.roots, graph.objects):
            if JOINS.get(name, LAST_JOINS) == depth:
                before[at] = at + 1
                level.append(at)
        following = []
        for at in level:
            for to in graph.edges[graph.offsets[at] : graph.offsets[at + 1]]:
                if not before[to]:
                    before[to] = at + 1
                    following.append(to)
        level = following
        depth += 1
    return before


def path_to(graph: Graph, before: array[int], at: int) -> PathToRoot:
    steps: list[Step] = []
    while before[at]:
        steps.append(Step(node_of(graph, at), None))
        if before[at] == at + 1:
            break
        at = before[at] - 1
    return path_by(steps[::-1])
