"""Frames, objects and references as a picture: in text, and as SVG by Graphviz where that is installed.

The extra `graph` brings the Python side; its program `dot` is the system's. Without them demo_svg.py draws.
"""

from __future__ import annotations

import html as escapes

from ..models.demo import Graph, GraphNode
from .demo_svg import boxes
from .page import DIM, FIGURE, Page
from .sanitize import clean

FILLS = {"frame": ("#fdeee4", "#e8590c"), "object": ("#eef3f8", "#2767ad"), "freed": ("#ffffff", "#7a8794")}
INK = "#22303c"


def svg(model: Graph) -> str:
    """The picture: by `dot` when it is there, else by boxes in columns."""
    try:
        import graphviz
    except ImportError:
        return boxes(model)
    try:
        drawing: str = graphviz.Source(dot_source(model)).pipe(format="svg", encoding="utf-8", quiet=True)
    except (graphviz.ExecutableNotFound, graphviz.CalledProcessError):
        return boxes(model)
    return drawing[drawing.index("<svg") :]


def dot_source(model: Graph) -> str:
    """What `dot` is given: a table for each node, with a port for each name or place that a reference begins at."""
    places = {node.id: at for at, node in enumerate(model.nodes)}
    ports: dict[str, list[str]] = {node.id: [] for node in model.nodes}
    lines = []
    for edge in model.edges:
        style = ' style="dashed"' if model.nodes[places[edge.source]].kind == "freed" else ""
        port = len(ports[edge.source])
        ports[edge.source].append(edge.label)
        lines.append(f"n{places[edge.source]}:p{port}:e -> n{places[edge.target]}:top:w [{style.strip()}];")
    nodes = [f"n{places[node.id]} [label=<{table(node, ports[node.id])}>];" for node in model.nodes]
    head = (
        f'rankdir=LR; bgcolor="transparent"; nodesep=0.2; ranksep=0.6; '
        f'node [shape=plaintext fontname="sans-serif" fontsize=11 fontcolor="{INK}"]; '
        f'edge [color="{FILLS["freed"][1]}" arrowsize=0.7];'
    )
    return "\n".join(["digraph references {", head, *nodes, *lines, "}"])


def table(node: GraphNode, ports: list[str]) -> str:
    fill, stroke = FILLS[node.kind]
    style = ' style="dashed"' if node.kind == "freed" else ""
    rows = [f'<tr><td port="top"><b>{text(node.label)}</b></td></tr>']
    rows += [f"<tr><td>{text(line)}</td></tr>" for line in node.lines]
    rows += [f'<tr><td port="p{at}" align="right">{text(port)}</td></tr>' for at, port in enumerate(ports)]
    return (
        f'<table border="1" cellborder="0" cellspacing="0" cellpadding="3" bgcolor="{fill}" color="{stroke}"{style}>'
        f"{''.join(rows)}</table>"
    )


def text(value: str) -> str:
    return escapes.escape(clean(value, 60)) or " "


def draw(page: Page, model: Graph) -> None:
    """On a terminal: each frame with its names, then each object with what it holds; a number stands for an object."""
    nodes = sorted(model.nodes, key=lambda one: (one.kind == "object", one.column))
    objects = [node.id for node in nodes if node.kind == "object"]
    names = {node.id: f"{node.kind} {clean(node.label, 40)}" for node in nodes}
    names |= {one: f"#{at} {names[one].removeprefix('object ')}" for at, one in enumerate(objects, 1)}
    arrow = "──→" if page.unicode else "-->"
    page.line()
    for node in nodes:
        facts = f": {page.dot.join(clean(line, 60) for line in node.lines)}" if node.lines else ""
        page.indented((names[node.id], FIGURE), (facts, DIM), indent=6, lead=" ")
        out = [edge for edge in model.edges if edge.source == node.id]
        width = max((len(clean(edge.label, 20)) for edge in out), default=0)
        for edge in out:
            page.block([f"      {clean(edge.label, 20):{width}} {arrow} {names[edge.target]}"])
    page.line("Numbers stand for objects: one that several arrows lead to is shared.", DIM)
