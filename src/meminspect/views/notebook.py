"""What a model shows of itself in a notebook: a table or a picture in HTML that needs no script and no style sheet.

Text of the inspected program is sanitised and escaped. Colours are those of the other views, and legible on light and
on dark ground.
"""

from __future__ import annotations

import html as escapes
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..analysis.words import count, mib, percent, size
from ..models.base import Model
from ..models.census import Census
from ..models.demo import DemoResult
from ..models.explain import Explanation
from ..models.gil_experiment import Experiment
from ..models.gil_trace import GilTrace
from ..models.heap import Arena, Block, HeapMap, Pool
from ..models.memory import MemoryBreakdown, MemoryNode
from ..models.objects import ObjectHeader
from ..models.pinning import Pinning, Why
from ..models.references import RetainedSizes
from ..models.report import Report
from . import demo, explained, gil_trace_notebook, html_heap, report_text, why_text
from .palette import OCCUPANCY, step
from .report_heap import ledger_parts, summary, words
from .report_tree import table_rows
from .sanitize import TEXT_LIMIT, clean

ARENAS = 48  # drawn pool by pool; more are drawn as one square each
SQUARES = 4096
TYPES = 20
CELL = 5  # pixels of a pool
MUTED = "opacity:.7"


def html(model: Model) -> str | None:
    """The HTML of a model, None for one that has no form of its own."""
    for kind, view in VIEWS:
        if isinstance(model, kind):
            return view(model)
    return None


def text(value: str) -> str:
    return escapes.escape(clean(value, TEXT_LIMIT))


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts; all columns but the first hold figures."""

    def cells(tag: str, row: Sequence[str]) -> str:
        sides = ["left", *["right"] * (len(row) - 1)]
        return "".join(
            f'<{tag} style="text-align:{side}">{text(cell)}</{tag}>' for side, cell in zip(sides, row, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table><thead><tr>{cells('th', titles)}</tr></thead><tbody>{body}</tbody></table>"


def share_rows(rows: Iterable[tuple[str, int, int | None]], whole: int) -> Iterable[tuple[str, str, str, str]]:
    for name, value, number in rows:
        yield name, f"{number:,}" if number else "", mib(value, 2), percent(value / whole) if whole else "-"


def memory(model: MemoryBreakdown) -> str:
    head = f"<p><b>RSS is {size(model.rss_bytes)}</b>, {text(model.malloc)}</p>"
    note = f'<p style="{MUTED}">{text(model.reason)}</p>' if model.reason else ""
    return head + tree(model.tree) + note


def tree(model: MemoryNode) -> str:
    whole = max(1, model.bytes)
    made = "".join(
        f'<tr><td style="text-align:left;padding-left:{1 + 1.5 * row.depth}em">{text(row.name)}</td>'
        f"<td>{f'{row.count:,}' if row.count else ''}</td><td>{mib(row.bytes, 2)}</td>"
        f"<td>{percent(row.bytes / whole)}</td></tr>"
        for row in table_rows(model, whole)
    )
    titles = f'<th style="text-align:left">{text(model.name)}</th><th>count</th><th>MiB</th><th>%</th>'
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{made}</tbody></table>"


def heap_map(model: HeapMap) -> str:
    parts = [f"<p><b>{text(model.allocator)}</b>: {text(summary(model))}</p>"]
    if model.reason:
        parts.append(f'<p style="{MUTED}">{text(model.reason)}</p>')
    if model.arenas:
        parts += [picture(model), legend()]
    if model.bytes is not None and model.bytes.total_bytes:
        rows = [(name, value, None) for name, value in ledger_parts(model.bytes)]
        parts.append(table(("bytes of the arenas", "", "MiB", "%"), share_rows(rows, model.bytes.total_bytes)))
    return "".join(parts)


def picture(model: HeapMap) -> str:
    """The arenas, the emptiest first: pool by pool while they are few, else a square each."""
    ordered = [model.arenas[place] for place in html_heap.by_need(model.arenas)][:SQUARES]
    fine = model.has_pools and len(ordered) <= ARENAS and not model.allocator.startswith("mimalloc")
    side = 8 if fine else 1
    pitch = side * CELL + (6 if fine else 2)
    across = max(1, 720 // pitch)
    paths: dict[int, list[str]] = {}
    for place, arena in enumerate(ordered):
        left, top = place % across * pitch, place // across * pitch
        if not fine:
            paths.setdefault(step(arena.occupancy), []).append(square(left, top, CELL))
            continue
        for pool in model.pools(arena):
            slot = (pool.address - arena.address) // model.pool_size
            at = left + slot % side * CELL, top + slot // side * CELL
            paths.setdefault(step(pool_share(pool)), []).append(square(*at, CELL - 1))
    width, height = min(len(ordered), across) * pitch, -(-len(ordered) // across) * pitch
    drawn = "".join(f'<path fill="{OCCUPANCY[at].light}" d="{"".join(places)}"/>' for at, places in paths.items())
    title = text(f"{count(len(model.arenas), words(model)[0])}, the emptiest first")
    return (
        f'<svg role="img" viewBox="0 0 {width} {height}" width="{width}" style="max-width:100%"><title>{title}</title>'
        f"{drawn}</svg>"
    )


def square(x: int, y: int, side: int) -> str:
    return f"M{x} {y}h{side}v{side}h-{side}z"


def pool_share(pool: Pool) -> float:
    total = pool.used + pool.free
    return pool.used / total if total else 0.0


def legend() -> str:
    marks = "".join(
        f'<span style="white-space:nowrap;margin-right:1em"><svg width="10" height="10"><rect width="10" height="10" '
        f'fill="{one.light}"/></svg> {text(one.label)}</span>'
        for one in OCCUPANCY
    )
    return f'<p style="{MUTED}">{marks}</p>'


def header(model: ObjectHeader) -> str:
    head = f"<p><b>{text(model.type_name)}</b> at {model.address:#x}, reference count {model.refcount:,}</p>"
    rows = [(field.name, f"{field.offset:+d}", str(field.size), f"{field.value:#x}") for field in model.fields]
    meanings = [field.meaning for field in model.fields]
    body = "".join(
        "<tr>" + "".join(f'<td style="text-align:left">{text(cell)}</td>' for cell in (*row, meaning)) + "</tr>"
        for row, meaning in zip(rows, meanings, strict=True)
    )
    names = ("field", "offset", "size", "value", "meaning")
    titles = "".join(f'<th style="text-align:left">{name}</th>' for name in names)
    return f"{head}<table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>"


def block(model: Block) -> str:
    addresses = ("address", "pool", "arena")
    rows = []
    for name, value in model.to_dict().items():
        if value is not None:
            shown = f"{value:#x}" if name in addresses else f"{value:,}" if isinstance(value, int) else str(value)
            rows.append((name.replace("_", " "), shown))
    return table(("block", ""), rows)


def census(model: Census) -> str:
    named = percent(model.coverage.bytes, 2)
    head = f"<p><b>{model.count:,} live blocks</b>, {size(model.bytes)}; {named} of the bytes of small blocks named</p>"
    types = [(row.name, row.bytes, row.count) for row in model.types[:TYPES]]
    owners = [(row.owner, row.bytes, row.count) for row in model.buffers[:TYPES]]
    made = head + table(("type", "count", "MiB", "%"), share_rows(types, model.bytes))
    if owners:
        made += table(("buffers of", "count", "MiB", "%"), share_rows(owners, model.bytes))
    return made + (f'<p style="{MUTED}">{text(model.reason)}</p>' if model.reason else "")


def arena(model: Arena) -> str:
    return table(("arena", ""), [(name.replace("_", " "), f"{value:,}") for name, value in model.to_dict().items()])


def why(model: Why) -> str:
    return f"<pre>{escapes.escape(why_text.render(model, None, program='this process'))}</pre>"


def pinning(model: Pinning) -> str:
    kept = [
        (item.objects[0].path.text if item.objects else "", f"{item.arenas_emptied:,}", size(item.freed_bytes))
        for item in model.steps
    ]
    emptiest = [
        (f"{pin.address:#x}", ", ".join(f"{name} {number:,}" for name, number in pin.types[:3]), size(pin.live_bytes))
        for pin in model.pins
    ]
    head = (
        f"<p><b>{count(model.by_objects, 'arena')} of {model.arenas:,}</b> would be empty without some few objects</p>"
    )
    return (
        head + table(("let go", "arenas empty", "freed"), kept) + table(("emptiest arenas", "of", "in use"), emptiest)
    )


def retained_sizes(model: RetainedSizes) -> str:
    rows = [(row.path.text or row.node.text, size(row.retained_bytes), percent(row.share)) for row in model.rows]
    head = f"<p><b>{size(model.total_bytes)}</b> in {count(model.objects, 'object')}</p>"
    return head + table(("object", "retained", "%"), rows)


def report(model: Report) -> str:
    return f"<pre>{escapes.escape(report_text.render(model))}</pre>"


def explanation(model: Explanation) -> str:
    """The sentence, the pool as a picture, then the facts and the holders, and the header in a fold."""
    parts = [f"<p><b>{text(explained.title(model))}</b> {text(model.freed)}</p>"]
    pool = model.pool_blocks
    if pool is not None:
        side, columns = 10, 64
        marks = []
        for at, live in enumerate(pool.live):
            colour = OCCUPANCY[-1].light if live else OCCUPANCY[0].light
            edge = ' stroke="#e8590c" stroke-width="3"' if at == pool.index else ""
            x, y = at % columns * side + 2, at // columns * side + 2
            marks.append(f'<rect x="{x}" y="{y}" width="{side - 2}" height="{side - 2}" fill="{colour}"{edge}/>')
        height = -(-len(pool.live) // columns) * side + 4
        parts.append(
            f'<svg width="{columns * side + 4}" height="{height}" role="img" aria-label="blocks of the pool">'
            + "".join(marks)
            + f'</svg><p style="{MUTED}">{text(explained.neighbours(model))}</p>'
        )
    parts.append(table(("", ""), explained.facts(model)))
    holders = explained.holders(model)
    if holders:
        parts.append(table(("held by", "how"), holders))
    parts.append(f"<details><summary>header</summary>{header(model.header)}</details>")
    return "".join(parts)


VIEWS: tuple[tuple[type[Model], Callable[[Any], str]], ...] = (
    (Report, report),
    (MemoryBreakdown, memory),
    (MemoryNode, tree),
    (HeapMap, heap_map),
    (ObjectHeader, header),
    (Block, block),
    (Arena, arena),
    (Census, census),
    (Why, why),
    (Pinning, pinning),
    (RetainedSizes, retained_sizes),
    (DemoResult, demo.render_html),
    (GilTrace, gil_trace_notebook.trace),
    (Experiment, gil_trace_notebook.experiment),
    (Explanation, explanation),
)
