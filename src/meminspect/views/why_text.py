"""What `why` found, as one page of text: the answer, the way from a root, holders, arenas."""

from __future__ import annotations

from ..analysis.pinning import returned
from ..analysis.words import count, seconds, size
from ..models.pinning import Pinning, Why
from .page import ANSWER, DIM, WARN, Column, Page

SHOWN_TYPES = 3


def render(
    why: Why,
    pinning: Pinning | None,
    *,
    program: str,
    note: str | None = None,
    top: int = 10,
    width: int = 100,
    color: bool = False,
    unicode: bool = True,
) -> str:
    """The page. Pure, as report_text.render; without `pinning` nothing is said of what else keeps arenas."""
    page = Page(width, color=color, unicode=unicode)
    page.line(page.dot.join(["meminspect", program, "why"]), DIM)
    page.line(answer(why), ANSWER)
    if note:
        page.line(note)
    if not why.reason:
        way(page, why)
        holders(page, why, top)
        arenas(page, why, top)
    if pinning is not None:
        everything(page, pinning)
    page.line()
    if pinning is None and not why.remarks:
        page.line(
            "A snapshot does not hold by which attribute or key objects refer to each other, nor what keeps arenas.",
            DIM,
        )
        return str(page)
    page.line(waited(why), DIM)
    for remark in why.remarks:
        page.line(f"{remark[:1].upper()}{remark[1:]}.", DIM)
    return str(page)


def waited(why: Why) -> str:
    if why.pid is not None:
        return "Read from outside: the process was not stopped."
    if why.consistent:
        return f"Read in a frozen copy of the program, which waited {seconds(why.pause_s)} until that was made."
    return f"The program waited {seconds(why.pause_s)} while the references of all objects were read."


def answer(why: Why) -> str:
    if why.reason:
        return f"{why.target}: {why.reason}."
    if why.targets == 1 and why.sample is not None:
        subject = f"{why.sample.text} retains"
    else:
        subject = f"{count(why.targets, 'object')} of {why.target} retain"
    text = f"{subject} {size(why.retained_bytes or 0)} in {count(why.retained_objects or 0, 'object')}"
    if not why.arenas:
        return f"{text}."
    back = why.arenas_that_would_return or 0
    went = f"{back:,} of {count(why.arenas, 'arena')}" if back else f"none of {count(why.arenas, 'arena')}"
    return f"{text}; without {'it' if why.targets == 1 else 'them'} {went} would go back."


def way(page: Page, why: Why) -> None:
    found = why.path_to_root
    page.heading("Held by way of", "one short way from a root" + (", to one of them" if why.targets > 1 else ""))
    page.block([found.text])
    if found.reason:
        page.line(f"Not whole: {found.reason}.", WARN)


def holders(page: Page, why: Why, top: int) -> None:
    found = why.holders
    shown = found.rows[:top]
    page.heading(
        "Holders", f"{len(shown)} of {found.count:,}" if why.targets == 1 else "by type, with a sample of each"
    )
    rows = [[row.node.text, row.how.text.strip() if row.how else "", f"{row.count:,}"] for row in shown]
    page.table([Column("holder", grow=True), Column("refers to it as"), Column("references", figures=True)], rows)
    if found.unexplained:
        held = count(found.unexplained, "reference")
        page.line(f"{held} more are counted: held by C code, or on an evaluation stack.", DIM)


def arenas(page: Page, why: Why, top: int) -> None:
    if not why.arenas:
        return
    pinned, back = why.arenas_pinned or 0, why.arenas_that_would_return or 0
    page.heading("Arenas that it pins" if why.targets == 1 else "Arenas that they pin", "the emptiest first")
    page.line(
        f"What would go lies in {pinned:,} of {count(why.arenas, 'arena')}; {back:,} would go back to the system."
    )
    shown = why.pins[:top]
    page.table(
        [Column("arena"), *(Column(name, figures=True) for name in ("in use", "blocks")), Column("of", grow=True)],
        [
            [f"{pin.address:#x}", size(pin.live_bytes), f"{pin.blocks:,}", kinds(pin.types, pin.unknown)]
            for pin in shown
        ],
    )


def kinds(types: tuple[tuple[str, int], ...], unknown: int) -> str:
    parts = [f"{name} {number:,}" for name, number in types[:SHOWN_TYPES]]
    if unknown:
        parts.append(f"unknown {unknown:,}")
    return ", ".join(parts)


def everything(page: Page, pinning: Pinning) -> None:
    """What keeps the arenas of the whole heap."""
    if not pinning.arenas:
        return
    page.heading("What keeps all arenas", f"{pinning.arenas:,} of {size(pinning.arena_bytes)}")
    sorts = (
        (pinning.by_objects, f"would be empty without some few objects (at most {pinning.keys_per_arena} each)"),
        (pinning.by_many, "need more objects than that to go"),
        (pinning.by_garbage, "hold what waits for the collector"),
        (pinning.fixed, "hold modules, functions, types, or what C code holds"),
        (pinning.unknown, "hold blocks of no known object"),
        (pinning.empty, "are empty already"),
    )
    page.table(
        [Column(figures=True), Column(grow=True)],
        [[f"{number:,}", text] for number, text in sorts if number],
        header=False,
    )
    if not pinning.steps:
        return
    page.heading("What frees the most arenas", "chosen greedily: not proven to be the smallest set")
    page.line("The figures of each line are those with all lines above it: what goes back is whole arenas.")
    rows = []
    for item in pinning.steps:
        first = item.objects[0].path.text if item.objects else ""
        more = f" and {count(len(item.objects) - 1, 'other')}" if len(item.objects) > 1 else ""
        back = returned(item.arenas_emptied, pinning.empty)
        rows.append([first + more, f"{back:,}", size(back * pinning.arena_bytes), size(item.freed_bytes)])
    names = ("arenas back", "to the system", "of objects")
    page.table([Column("let go", grow=True), *(Column(name, figures=True) for name in names)], rows)
