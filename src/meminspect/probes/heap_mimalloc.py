"""The heap map of a free-threaded build, from the tables of its mimalloc heaps (csrc/allocators/mimalloc.h).

A segment is shown as an arena and a page as a pool, but pages differ in size (from one slice of 64 KiB to all of a
segment), and a span of free slices is one free pool.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from struct import Struct
from typing import Any, NamedTuple

from ..models.heap import (
    Arena,
    CrossCheck,
    HeapBytes,
    HeapMap,
    OmittedInterpreter,
    Pool,
    SizeClass,
    ThreadHeap,
    WaitingFrees,
)

TAGS = ("mem", "object", "gc", "gc_pre")
ABANDONED, OTHER = -1, -2
DETACHED = 0

# the members of mi_mimalloc_segment, _page and _owner in their order
SEGMENT = Struct("=5QiIIII4xQ")
PAGE = Struct("=8Q8Ii4B")
OWNER = Struct("=4Qii4Q")

NO_STATISTICS = "CPython's own statistics print zeros for mimalloc's heaps"


class Segment(NamedTuple):
    address: int
    size: int
    header_bytes: int
    purge_bytes: int
    thread: int
    owner: int
    first_page: int
    page_count: int
    used_pages: int
    huge: int
    reserve: int


class Page(NamedTuple):
    area: int
    area_size: int
    first: int
    block_size: int
    heap: int
    free_list: int
    local_list: int
    thread_list: int
    segment: int
    capacity: int
    reserved: int
    used_raw: int
    free: int
    local_free: int
    thread_free: int
    delayed: int
    owner: int
    tag: int
    waits: int
    consistent: int
    large: int

    @property
    def uncollected(self) -> int:
        return self.thread_free + self.delayed

    @property
    def used(self) -> int:
        """Live blocks: `used` counts what other threads freed until the owner collects it."""
        return max(0, self.used_raw - self.uncollected)

    @property
    def untouched(self) -> int:
        return self.reserved - self.capacity


class Owner(NamedTuple):
    address: int
    ident: int
    native_id: int
    id: int
    state: int
    initialized: int
    delayed_count: int
    delayed_bytes: int
    merge_count: int
    merge_bytes: int


class Tables(NamedTuple):
    segments: list[Segment]
    pages: list[Page]
    owners: list[Owner]


def read_tables(raw: Mapping[str, Any]) -> Tables:
    """The native tables of one capture."""
    return Tables(
        [Segment(*row) for row in SEGMENT.iter_unpack(raw["segments"])],
        [Page(*row) for row in PAGE.iter_unpack(raw["pages"])],
        [Owner(*row) for row in OWNER.iter_unpack(raw["owners"])],
    )


def pages_of(tables: Tables, segment: Segment) -> Iterator[Page]:
    """A segment's pages and free spans (block_size 0), in order of address."""
    return iter(tables.pages[segment.first_page : segment.first_page + segment.page_count])


def build(raw: Mapping[str, Any]) -> HeapMap:
    """The model of one mimalloc_capture(); pure.

    Segments of other interpreters and of PyMem_RawMalloc could not be held still: they are rows of `heaps` that are not
    exact, and in no other figure.
    """
    tables = read_tables(raw)
    own = [segment for segment in tables.segments if segment.owner != OTHER]
    sizes = sorted({page.block_size for segment in own for page in pages_of(tables, segment) if page.block_size})
    index = {size: place for place, size in enumerate(sizes)}
    interpreter: int = raw["interpreter"]
    omitted = omissions(raw)
    reason = raw["reason"] or (omitted[0].reason if omitted else None)
    by_address = {segment.address: segment for segment in own}

    def pools(arena: Arena) -> tuple[Pool, ...]:
        return tuple(pool_of(page, index) for page in pages_of(tables, by_address[arena.address]))

    return HeapMap(
        allocator=raw.get("allocator") or "mimalloc",
        exact=reason is None,
        reason=reason,
        arena_size=max((segment.size for segment in own if not segment.huge), default=0),
        pool_size=raw["slice_bytes"],
        padding_bytes=raw.get("padding_bytes", 0),
        arenas=tuple(arena_of(tables, segment, interpreter) for segment in sorted(own)),
        size_classes=tuple(size_classes(tables, own, index)),
        bytes=ledger(tables, own) if own else None,
        cross_check=CrossCheck("sys._debugmallocstats()", None, NO_STATISTICS, 0, ()),
        omitted=omitted,
        pause_s=raw["pause_s"],
        heaps=tuple(thread_heaps(raw, tables)),
        waiting=tuple(waiting_frees(raw, tables)),
        _pools=pools,
    )


def omissions(raw: Mapping[str, Any]) -> tuple[OmittedInterpreter, ...]:
    """The other interpreters, whose threads the calling thread cannot stop."""
    others = sorted({interpreter for interpreter, _, _ in raw["others"]})
    reason = "its threads could not be stopped: only a thread of that interpreter could do so safely"
    return tuple(OmittedInterpreter(interpreter, reason) for interpreter in others)


def pool_of(page: Page, index: Mapping[int, int]) -> Pool:
    if not page.block_size:
        return Pool(page.area, None, 0, 0, 0)
    return Pool(page.area, index[page.block_size], page.used, page.reserved - page.used, page.untouched, TAGS[page.tag])


def arena_of(tables: Tables, segment: Segment, interpreter: int) -> Arena:
    pages = list(pages_of(tables, segment))
    used = sum(page.used * page.block_size for page in pages)
    return Arena(
        index=-1,
        interpreter=interpreter,
        address=segment.address,
        size_bytes=segment.size,
        pools_total=len(pages),
        pools_free=sum(not page.block_size for page in pages),
        pools_never_used=0,
        used_blocks=sum(page.used for page in pages),
        used_bytes=used,
        free_bytes=sum((page.reserved - page.used) * page.block_size for page in pages),
        occupancy=used / segment.size,
    )


def size_classes(tables: Tables, segments: list[Segment], index: Mapping[int, int]) -> Iterator[SizeClass]:
    by_size: dict[int, list[Page]] = defaultdict(list)
    for segment in segments:
        for page in pages_of(tables, segment):
            if page.block_size:
                by_size[page.block_size].append(page)
    for size, place in index.items():
        pages = by_size[size]
        used = sum(page.used for page in pages)
        reserved = sum(page.reserved for page in pages)
        yield SizeClass(place, size, len(pages), used, reserved - used, sum(page.untouched for page in pages))


def ledger(tables: Tables, segments: list[Segment]) -> HeapBytes:
    """Every byte of the segments. A page's first block begins some bytes into it (alignment); its tail holds none."""
    used = free = free_spans = tails = starts = 0
    for segment in segments:
        for page in pages_of(tables, segment):
            if not page.block_size:
                free_spans += page.area_size
                continue
            used += page.used * page.block_size
            free += (page.reserved - page.used) * page.block_size
            starts += page.first - page.area
            tails += page.area_size - (page.first - page.area) - page.reserved * page.block_size
    headers = sum(segment.header_bytes for segment in segments)
    total = sum(segment.size for segment in segments)
    return HeapBytes(used, free, free_spans, headers, tails, starts, total)


def owner_of(raw: Mapping[str, Any], tables: Tables, page: Page) -> tuple[str, int | None, int | None, int | None]:
    """(owner, interpreter, thread ident, native id) of a page."""
    if page.owner >= 0:
        owner = tables.owners[page.owner]
        return "thread", raw["interpreter"], owner.ident, owner.native_id
    if page.owner == ABANDONED:
        return "abandoned", raw["interpreter"], None, None
    for interpreter, start, size in raw["others"]:
        if start <= page.heap < start + size:
            return "other interpreter", interpreter, None, None
    # an abandoned page bears no heap: with other interpreters about it may be theirs
    if not page.heap and raw["others"]:
        return "other interpreter", None, None, None
    return "raw", None, None, None


def thread_heaps(raw: Mapping[str, Any], tables: Tables) -> Iterator[ThreadHeap]:
    groups: dict[tuple[Any, ...], list[Page]] = defaultdict(list)
    for segment in tables.segments:
        for page in pages_of(tables, segment):
            if page.block_size:
                groups[(*owner_of(raw, tables, page), page.tag)].append(page)
    for (owner, interpreter, ident, native_id, tag), pages in groups.items():
        yield ThreadHeap(
            owner=owner,
            interpreter=interpreter,
            thread_ident=ident,
            native_id=native_id,
            tag=TAGS[tag] if tag < len(TAGS) else str(tag),
            pages=len(pages),
            large_pages=sum(page.large for page in pages),
            waiting_pages=sum(page.waits for page in pages),
            used_blocks=sum(page.used for page in pages),
            used_bytes=sum(page.used * page.block_size for page in pages),
            free_bytes=sum((page.reserved - page.used) * page.block_size for page in pages),
            uncollected_blocks=sum(page.uncollected for page in pages),
            uncollected_bytes=sum(page.uncollected * page.block_size for page in pages),
            exact=owner in ("thread", "abandoned") and raw["reason"] is None,
        )


def waiting_frees(raw: Mapping[str, Any], tables: Tables) -> Iterator[WaitingFrees]:
    for owner in tables.owners:
        if owner.delayed_count or owner.merge_count:
            yield WaitingFrees(
                owner.ident,
                owner.native_id,
                None if owner.state < 0 else owner.state == DETACHED,
                owner.delayed_count,
                owner.delayed_bytes,
                owner.merge_count,
                owner.merge_bytes,
            )
    count, size = raw["delayed"]
    if count:
        yield WaitingFrees(None, None, None, count, size, 0, 0)
