"""A demo's timeline as SVG for a notebook: a lane for each thread, a bar for each span, its words at the pointer."""

from __future__ import annotations

import html as escapes

from ..models.demo import Timeline
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
