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


COLUMN, ROW, BOX_WIDTH, BOX_HEIGHT = 230, 52, 160, 38


def graph(model: Graph) -> str:
    """Boxes in columns, names in the first, and a line for each reference."""
    rows: dict[int, int] = {}
    places: dict[str, tuple[int, int]] = {}
    for node in model.nodes:
        places[node.id] = (node.column * COLUMN + 2, rows.setdefault(node.column, 0) * ROW + 2)
        rows[node.column] += 1
    width, height = (max(rows) + 1) * COLUMN, max(rows.values()) * ROW + 4
    parts = []
    for edge in model.edges:
        (x1, y1), (x2, y2) = places[edge.source], places[edge.target]
        ends = f'x1="{x1 + BOX_WIDTH}" y1="{y1 + BOX_HEIGHT // 2}" x2="{x2}" y2="{y2 + BOX_HEIGHT // 2}"'
        parts.append(f'<line {ends} stroke="{HUES[-1]}"><title>{text(edge.label or "refers to", 60)}</title></line>')
    for node in model.nodes:
        x, y = places[node.id]
        hue = HUES[0] if node.column else HUES[1]
        parts.append(
            f'<rect x="{x}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="4" fill="none" stroke="{hue}"/>'
        )
        for at, line in enumerate(node.label.replace(" at ", "\n").split("\n")[:2]):
            parts.append(
                f'<text x="{x + 6}" y="{y + 16 + 15 * at}" font-size="11" fill="currentColor">{text(line, 28)}</text>'
            )
    return f'<svg width="{width}" height="{height}" role="img" aria-label="references">{"".join(parts)}</svg>'
