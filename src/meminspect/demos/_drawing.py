"""Draws frames, their names and what these refer to, as it is in memory: each object once, however many refer to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..models.demo import Graph, GraphEdge, GraphNode
from ..probes.allocation import block
from ..probes.header import header

SHOWN = 24  # characters of a value
FRAME, OBJECT, FREED = "frame", "object", "freed"


class Found:
    """Objects in the order in which they were met: one reference to each, which goes with this."""

    def __init__(self) -> None:
        self.objects: list[object] = []
        self.places: dict[int, int] = {}
        self.columns: list[int] = []
        self.edges: list[tuple[str, int, str]] = []

    def add(self, value: object, column: int) -> int:
        known = self.places.get(id(value))
        if known is not None:
            self.columns[known] = max(self.columns[known], column)
            return known
        self.places[id(value)] = at = len(self.objects)
        self.objects.append(value)
        self.columns.append(column)
        for label, item in items(value):
            self.edges.append((key(value), self.add(item, column + 1), label))
        return at


def drawn(frames: Mapping[str, Mapping[str, object]]) -> Graph:
    """The names of each frame, and every object that they lead to through lists, tuples and dicts.

    Each object has its address, the block that it lies in, and its count: references of names, containers and whatever
    else holds it, without those that drawing takes.
    """
    met = Found()
    held: dict[int, int] = {}
    for frame, names in frames.items():
        for name in names:
            at = met.add(names[name], 1)
            held[at] = held.get(at, 0) + 1  # by this mapping, in the place of a name that is the caller's
            met.edges.append((f"frame {frame}", at, name))
    nodes = [GraphNode(f"frame {frame}", frame, 0, FRAME) for frame in frames]
    shared: dict[int, int] = {}
    for _, at, _ in met.edges:
        shared[at] = shared.get(at, 0) + 1
    for at in range(len(met.objects)):
        seen = header(met.objects[at])
        extra = 1 + held.get(at, 0)
        count = None if seen.call_holds is None else seen.refcount - seen.call_holds - extra
        lines = [f"at {seen.address:#x}", where(met.objects[at])]
        if seen.immortal:
            lines.append("immortal: not counted")
        elif count is not None:
            lines.append(f"{count} reference{'s' * (count != 1)}")
        if shared[at] > 1:
            lines.append(f"shared by {shared[at]}")
        nodes.append(GraphNode(key(met.objects[at]), label(met.objects[at]), met.columns[at], OBJECT, tuple(lines)))
    edges = (GraphEdge(source, key(met.objects[at]), text) for source, at, text in met.edges)
    return Graph(tuple(nodes), tuple(edges))


def with_freed(graph: Graph, address: int, what: str, *, heir: bool) -> Graph:
    """The same with what was at an address before; `heir` when the object there now has its block."""
    freed = GraphNode(f"freed {address:#x}", what, 0, FREED, (f"was at {address:#x}", "freed"))
    edges = graph.edges
    if heir:
        edges = (*edges, GraphEdge(freed.id, f"{address:#x}", "the same block"))
    return Graph((*graph.nodes, freed), edges)


def key(value: object) -> str:
    return f"{id(value):#x}"


def items(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield f"[{place}]", item
    elif isinstance(value, dict):
        for name, item in value.items():
            yield f"[{name!r}]", item


def label(value: object) -> str:
    """The type, with the value of what has one to show."""
    name = type(value).__name__
    if not isinstance(value, int | float | str | bytes):
        return name
    text = repr(value)
    return f"{name} {text}" if len(text) <= SHOWN else f"{name} {text[: SHOWN - 3]}..."


def where(value: object) -> str:
    place = block(value)
    if place.size is None:
        return f"in no block: {place.domain}"
    inside = "" if place.pool is None else f", pool {place.pool:#x}"
    return f"block of {place.size} bytes{inside}"
