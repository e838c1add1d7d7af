"""One object explained, as text; the notebook's form (notebook.py) takes its words from here."""

from __future__ import annotations

from ..analysis.words import count, size
from ..models.explain import Explanation
from .page import DIM, HEADING, Column, Page

HOLDERS = 8


def title(model: Explanation) -> str:
    return f"{model.header.type_name} at {model.header.address:#x}"


def facts(model: Explanation) -> list[tuple[str, str]]:
    """What is known, in pairs of words."""
    seen, block = model.header, model.block
    rows = [("references", references(model))]
    if model.size_bytes is not None:
        rows.append(("block", f"{size(model.size_bytes)} at {block.address:#x}, {block.domain}"))
    else:
        rows.append(("block", f"{block.domain} ({block.reason})" if block.reason else block.domain))
    if seen.length is not None:
        rows.append(("length", f"{seen.length:,}"))
    if seen.gc is False:
        rows.append(("collector", "takes no part"))
    elif seen.gc:
        age = f", generation {seen.generation}" if seen.generation is not None else ""
        rows.append(("collector", ("tracked" if seen.tracked else "not tracked") + age))
    if seen.finalized:
        rows.append(("finaliser", "has run"))
    if model.path is not None and model.path.text:
        rows.append(("path", model.path.text))
    if model.retained is not None and model.retained.bytes is not None:
        went = f"{size(model.retained.bytes)} in {count(model.retained.objects or 0, 'object')}"
        rows.append(("would go with it", went))
    if model.graph_reason is not None:
        rows.append(("holders", f"not known: {model.graph_reason}"))
    return rows


def references(model: Explanation) -> str:
    seen = model.header
    if seen.immortal:
        return "not counted: immortal"
    text = "not known" if model.references is None else f"{model.references:,}"
    if seen.local_refcount is not None:
        text += f" ({seen.local_refcount:,} local, {seen.shared_refcount:,} shared, with the call's own)"
    return text


def holders(model: Explanation) -> list[tuple[str, str]]:
    """Who holds it, and by what."""
    if model.holders is None:
        return []
    rows = [(row.node.text, row.how.text.strip() if row.how else "") for row in model.holders.rows[:HOLDERS]]
    more = model.holders.count - len(rows)
    if more > 0:
        rows.append((f"{more:,} more", ""))
    if model.holders.unexplained > 0:
        rows.append(("C code, or a frame that runs", f"{count(model.holders.unexplained, 'reference')}"))
    return rows


def neighbours(model: Explanation) -> str:
    pool = model.pool_blocks
    if pool is None:
        return f"No pool: {model.pool_reason}."
    words = {True: "in use", False: "free", None: "not there"}
    return (
        f"Block {pool.index + 1} of {len(pool.live)} in its pool, {sum(pool.live)} in use; the one before it is "
        f"{words[pool.before]}, the one after it {words[pool.after]}."
    )


def render(model: Explanation, *, width: int = 100, color: bool = False, unicode: bool = True) -> str:
    """The page of text; see views.report_text.render for the options."""
    page = Page(width, color=color, unicode=unicode)
    page.line(title(model), HEADING)
    page.line(model.freed)
    page.line()
    for name, value in facts(model):
        page.indented((value, ""), indent=20, lead=f"  {name}")
    page.heading("Where it lies")
    page.line(neighbours(model), DIM)
    pool = model.pool_blocks
    if pool is not None:
        full, empty, here = ("█", "·", "▲") if unicode else ("#", ".", "^")
        columns = page.width - 4
        for begin in range(0, len(pool.live), columns):
            page.block(["".join(full if live else empty for live in pool.live[begin : begin + columns])])
            if begin <= pool.index < begin + columns:
                page.block([" " * (pool.index - begin) + here])
    held = holders(model)
    if held:
        page.heading("Who holds it")
        page.table([Column("holder"), Column("how", grow=True)], held)
    return str(page)
