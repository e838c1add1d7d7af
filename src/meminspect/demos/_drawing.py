"""Draws names and what they refer to, as it is in memory: an object stands once, however many refer to it."""

from __future__ import annotations

from collections.abc import Mapping

from ..models.demo import Graph, GraphEdge, GraphNode
from ..probes.allocation import block


def drawn(names: Mapping[str, object]) -> Graph:
    """Lists and tuples are followed to what is in them; every object is labelled with its address and its block."""
    nodes: dict[str, GraphNode] = {}
    edges: list[GraphEdge] = []

    def add(value: object, column: int) -> str:
        key = f"{id(value):#x}"
        known = nodes.get(key)
        if known is None or known.column < column:
            nodes[key] = GraphNode(key, label(value), column)
            if known is None and isinstance(value, list | tuple):
                for place, item in enumerate(value):
                    edges.append(GraphEdge(key, add(item, column + 1), f"[{place}]"))
        return key

    for name, value in names.items():
        nodes[f"name {name}"] = GraphNode(f"name {name}", name, 0)
        edges.append(GraphEdge(f"name {name}", add(value, 1), ""))
    return Graph(tuple(nodes.values()), tuple(edges))


def label(value: object) -> str:
    """The type, with the value of a number, and where it lies."""
    place = block(value)
    what = f"{type(value).__name__} {value}" if isinstance(value, int) else type(value).__name__
    size = f", {place.size} bytes" if place.size is not None else ""
    return f"{what}{size} at {id(value):#x}"
