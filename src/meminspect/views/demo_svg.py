"""Pictures of demos as SVG for a notebook: timelines, a lane for each thread, and names with what they refer to."""

from __future__ import annotations

import html as escapes

from ..models.demo import Graph, Timeline
from .sanitize import clean

WIDTH, LANE, NAME, AXIS = 720, 22, 130, 20
HUES = ("#2767ad", "#e8590c", "#6b4fa0", "#1f7a78", "#a2496f", "#5a6b2f", "#66707b")
SPANS = 2000


def timeline(model: Timeline) -> str:
    """The picture; '' when nothing went on."""
    spans = model.spans[:SPANS]
    end = max((span.end_s for span in spans), default=0.0)
    if not end:
        return ""
    labels = list(dict.fromkeys(span.label for span in spans))
    scale = (WIDTH - NAME) / end
    parts = [
        f'<text x="0" y="{at * LANE + 15}" font-size="12" fill="currentColor">{text(lane, 20)}</text>'
        for at, lane in enumerate(model.lanes)
    ]
    for span in spans:
        x, width = NAME + span.begin_s * scale, max(1.0, (span.end_s - span.begin_s) * scale)
        y, hue = model.lanes.index(span.lane) * LANE + 3, HUES[labels.index(span.label) % len(HUES)]
        words = f"{span.label}: {span.begin_s * 1e3:.3f} to {span.end_s * 1e3:.3f} ms"
        parts.append(
            f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{LANE - 6}" fill="{hue}">'
            f"<title>{text(words, 200)}</title></rect>"
        )
    bottom = len(model.lanes) * LANE
    parts.append(
        f'<text x="{NAME}" y="{bottom + 14}" font-size="11" fill="currentColor">0</text>'
        f'<text x="{WIDTH}" y="{bottom + 14}" font-size="11" text-anchor="end" fill="currentColor">'
        f"{end * 1e3:,.3g} ms</text>"
    )
    return (
        f'<svg width="{WIDTH}" height="{bottom + AXIS}" viewBox="0 0 {WIDTH} {bottom + AXIS}" role="img" '
        f'aria-label="timeline">{"".join(parts)}</svg>'
    )


def text(value: str, limit: int) -> str:
    return escapes.escape(clean(value, limit))


COLUMN, LINE, GAP, BOX_WIDTH = 300, 15, 14, 220


def boxes(model: Graph) -> str:
    """Boxes in columns, frames in the first, and a line for each reference, from the name or place where it begins."""
    bottoms: dict[int, int] = {}
    places: dict[str, tuple[int, int]] = {}
    outgoing = {node.id: [edge for edge in model.edges if edge.source == node.id] for node in model.nodes}
    parts, lines = [], []
    for node in model.nodes:
        x, y = node.column * COLUMN + 2, bottoms.get(node.column, 2)
        words = [node.label, *node.lines, *(edge.label for edge in outgoing[node.id])]
        height = LINE * len(words) + 8
        places[node.id], bottoms[node.column] = (x, y), y + height + GAP
        hue = HUES[{"frame": 1, "object": 0}.get(node.kind, -1)]
        dashes = ' stroke-dasharray="4 3"' if node.kind == "freed" else ""
        parts.append(
            f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{height}" rx="4" fill="none" stroke="{hue}"{dashes}/>'
        )
        parts += [
            f'<text x="{x + 6}" y="{y + LINE * (at + 1)}" font-size="11" fill="currentColor">{text(line, 36)}</text>'
            for at, line in enumerate(words)
        ]
    for node in model.nodes:
        x, y = places[node.id]
        for at, edge in enumerate(outgoing[node.id], 1 + len(node.lines)):
            to_x, to_y = places[edge.target]
            ends = f'x1="{x + BOX_WIDTH}" y1="{y + LINE * at + 11}" x2="{to_x}" y2="{to_y + 11}"'
            title = text(f"{edge.label}: {node.label} refers to it", 80)
            lines.append(f'<line {ends} stroke="{HUES[-1]}" marker-end="url(#tip)"><title>{title}</title></line>')
    width, height = max(bottoms) * COLUMN + BOX_WIDTH + 4, max(bottoms.values())
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0 8 4 0 8z" fill="{HUES[-1]}"/></marker></defs>'
    )
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="references">{tip}{"".join(lines)}{"".join(parts)}</svg>'
    )
