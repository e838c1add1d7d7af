"""The census as one page of text."""

from __future__ import annotations

from collections import defaultdict

from ..analysis.words import count, percent, seconds, size
from ..models.census import Census, FrozenCopy, TypeRow
from .page import ANSWER, DIM, WARN, Column, Page


def render(
    census: Census,
    *,
    program: str,
    note: str | None = None,
    top: int = 20,
    by: str = "type",
    width: int = 100,
    color: bool = False,
    unicode: bool = True,
) -> str:
    """The page: what the blocks hold and how much of it has a name, then the rows. Pure, as report_text.render.

    by -- "type", "module" or "size-class"
    """
    page = Page(width, color=color, unicode=unicode)
    page.line(page.dot.join(["meminspect", program, census.small.allocator, "census"]), DIM)
    page.line(answer(census), ANSWER)
    page.line(coverage(census))
    if census.reason:
        page.line(f"Not exact: {census.reason}.", WARN)
    if note:
        page.line(note)
    if by == "module":
        modules(page, census, top)
    elif by == "size-class":
        size_classes(page, census, top)
    else:
        types(page, census, top)
    buffers(page, census, top)
    unknown(page, census, top)
    malloc(page, census)
    frames(page, census, top)
    sites(page, census, top)
    page.line()
    page.line(measured(census), DIM)
    return str(page)


def answer(census: Census) -> str:
    named = [path for path in (census.small, census.large) if path is not None]
    objects, buffers = sum(path.objects_bytes for path in named), sum(path.buffers_bytes for path in named)
    parts = f"{size(objects)} in objects, {size(buffers)} in what they own"
    largest = census.types[0] if census.types else None
    most = f"; most in {largest.name}: {count(largest.count, 'object')}, {size(largest.bytes)}" if largest else ""
    return f"{size(census.bytes)} in {count(census.count, 'live block')}: {parts}{most}."


def coverage(census: Census) -> str:
    named = census.coverage
    text = f"Named: {exact_percent(named.bytes)} of the bytes and {exact_percent(named.blocks)} of the blocks"
    text += f" of {census.small.allocator}"
    if census.large is None:
        text += f". Large blocks: {census.large_reason}."
    else:
        text += f"; {exact_percent(census.coverage.large_bytes or 0.0)} of the bytes of large blocks from malloc."
    if census.exporters_asked is not None:
        text += f" {count(census.exporters_asked, 'object')} of unknown structure asked what they lend"
        text += f", {census.exporters_refused:,} of them lent nothing in one piece."
    return text


def exact_percent(share: float) -> str:
    """To a thousandth: what coverage is judged by."""
    return percent(share, 3)


def types(page: Page, census: Census, top: int) -> None:
    page.heading("Objects by type", f"{min(top, len(census.types))} of {len(census.types):,}, as allocated")
    rows = [
        [row.name, f"{row.count:,}", size(row.bytes), share(row.bytes, census), asked(row)]
        for row in census.types[:top]
    ]
    page.table(
        [Column("type", grow=True), *figures("objects", "size", "share", "rounding")],
        rows,
    )


def modules(page: Page, census: Census, top: int) -> None:
    sums: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for row in census.types:
        total = sums[row.module or "?"]
        total[0] += 1
        total[1] += row.count
        total[2] += row.bytes
    ordered = sorted(sums.items(), key=lambda item: item[1][2], reverse=True)
    page.heading("Objects by the module of their type", f"{min(top, len(ordered))} of {len(ordered):,}")
    page.table(
        [Column("module", grow=True), *figures("types", "objects", "size", "share")],
        [
            [name, f"{kinds:,}", f"{objects:,}", size(total), share(total, census)]
            for name, (kinds, objects, total) in ordered[:top]
        ],
    )


def size_classes(page: Page, census: Census, top: int) -> None:
    ordered = sorted(census.size_classes, key=lambda row: row.bytes, reverse=True)[:top]
    page.heading("Blocks by size class", f"{len(ordered)} of {len(census.size_classes)}, the most bytes first")
    page.table(
        [Column("block", figures=True), *figures("blocks", "size", "objects", "buffers", "kept", "unknown")],
        [
            [str(row.size), f"{row.count:,}", size(row.bytes),
             *(f"{blocks:,}" for blocks in (row.objects, row.buffers, row.free_lists, row.unknown))]
            for row in ordered
        ],
    )  # fmt: skip


def buffers(page: Page, census: Census, top: int) -> None:
    page.heading("What objects own, and what is kept for later", "blocks that are no objects")
    rows = [[row.owner, f"{row.count:,}", size(row.bytes), share(row.bytes, census)] for row in census.buffers[:top]]
    rows += [[row.name, f"{row.count:,}", size(row.bytes), share(row.bytes, census)] for row in census.free_lists]
    page.table([Column("owner", grow=True), *figures("blocks", "size", "share")], rows)


def unknown(page: Page, census: Census, top: int) -> None:
    if not census.unknown:
        return
    page.heading("Unknown", "the largest groups; who points to them is a guess")
    page.table(
        [Column("block", figures=True), *figures("blocks", "size"), Column("guess", grow=True)],
        [
            [
                str(row.size_class or "large"),
                f"{row.count:,}",
                size(row.bytes),
                f"a guess: {row.guess}" if row.guess else "",
            ]
            for row in census.unknown[: min(top, 8)]
        ],
    )


def malloc(page: Page, census: Census) -> None:
    """The large path by itself: what its live chunks hold, and the others."""
    large, chunks = census.large, census.malloc
    if large is None or chunks is None:
        return
    page.heading("malloc", f"{count(chunks.arenas, 'arena')}; chunks with their headers")
    rows = [
        ["objects", f"{large.objects:,}", size(large.objects_bytes)],
        ["what objects own", f"{large.buffers:,}", size(large.buffers_bytes)],
        ["kept for later", f"{large.free_lists:,}", size(large.free_lists_bytes)],
        ["unknown", f"{large.unknown:,}", size(large.unknown_bytes)],
        ["free", f"{chunks.free:,}", size(chunks.free_bytes)],
        ["freed, kept by tcache", f"{chunks.tcache:,}", size(chunks.tcache_bytes)],
        ["top", "", size(chunks.top_bytes + chunks.overhead_bytes)],
    ]
    page.table([Column("chunks", grow=True), *figures("count", "size")], rows)


def frames(page: Page, census: Census, top: int) -> None:
    if not census.thread_frames:
        return
    ordered = sorted(census.thread_frames, key=lambda row: row.objects_bytes, reverse=True)
    page.heading(
        "Frames of threads", f"{min(top, len(ordered))} of {len(ordered):,}; their data stacks are in no arena"
    )
    page.table(
        [Column("thread", figures=True), *figures("frames", "in generators", "data stack", "objects held", "size")],
        [
            [str(row.native_id), f"{row.frames:,}", f"{row.embedded_frames:,}", size(row.chunk_bytes),
             f"{row.objects:,}", size(row.objects_bytes)]
            for row in ordered[:top]
        ],
    )  # fmt: skip


def sites(page: Page, census: Census, top: int) -> None:
    if census.sites_reason is not None:
        page.line()
        page.line(f"No allocation sites: {census.sites_reason}.")
    if census.sites is None:
        return
    page.heading("Allocated by", f"{min(top, len(census.sites))} of {len(census.sites):,} lines, by tracemalloc")
    page.table(
        [Column("line", grow=True), *figures("blocks", "size"), Column("most of it")],
        [
            [f"{site.file}:{site.line}", f"{site.count:,}", size(site.bytes), site.types[0].type or site.types[0].what]
            for site in census.sites[:top]
        ],
    )
    page.line(f"Not traced: {count(census.untraced_count or 0, 'block')}, {size(census.untraced_bytes or 0)}.", DIM)


def measured(census: Census) -> str:
    if census.pid is not None:
        return f"Read from outside in {seconds(census.seconds)}, while process {census.pid} ran on."
    if census.frozen is not None:
        return measured_in_copy(census, census.frozen)
    tables = size(census.bitmap_bytes + census.table_bytes)
    walkers = count(census.threads, "thread")
    return (
        f"Measured with the program's other threads waiting, in {seconds(census.pause_s)} on {walkers}, "
        f"{seconds(census.seconds)} in all, with {tables} of tables given back since."
    )


def measured_in_copy(census: Census, copy: FrozenCopy) -> str:
    faults = count(copy.minor_faults + copy.major_faults, "page fault")
    return (
        f"Measured in a frozen copy of the process: threads waited {seconds(census.pause_s)} for it, and it lived "
        f"{seconds(copy.lived_s)}, with {faults} of the program's; {seconds(census.seconds)} in all, with "
        f"{size(census.bitmap_bytes + census.table_bytes)} of tables given back since."
    )


def figures(*titles: str) -> list[Column]:
    return [Column(title, figures=True) for title in titles]


def share(part: int, census: Census) -> str:
    return percent(part / census.bytes) if census.bytes else ""


def asked(row: TypeRow) -> str:
    """What rounding took."""
    return "" if row.requested_bytes is None else size(row.bytes - row.requested_bytes)
