"""Conclusions about the C library's malloc."""

from __future__ import annotations

from ..models.report import Finding, Report
from .weigh import MIB, Weighed, notable, of_rss
from .words import count, percent, size

Figures = dict[str, int | float | str]

MANY_ARENAS = 8  # glibc makes up to 8 a core; from here on free memory is divided among more than most programs use
TOP_SHARE = 0.5  # of the free memory: then it is the trim threshold that keeps it, not what lives behind it
TCACHE_BYTES = MIB  # a thread's cache holds a few hundred small chunks; a MiB in all is unusual
UNATTRIBUTED_SHARE = 0.002  # what this instrument promises at most


def retained(report: Report) -> Weighed | None:
    """Free chunks that are resident: what a trim would give back, and what live chunks keep on their pages."""
    large, memory = report.large, report.memory
    if large is None or memory is None or not notable(report, large.free_resident_bytes):
        return None
    free = large.free_resident_bytes or 0
    trim = large.trim_would_return_bytes
    chunks = sum(arena.live_chunks for arena in memory.malloc_arenas)
    figures: Figures = {"free_resident_bytes": free, "live_chunks": chunks}
    if large.live_bytes is not None:
        figures["live_bytes"] = large.live_bytes
    small_objects = report.python.allocator.startswith("malloc")
    text = f"glibc keeps {size(free)}{of_rss(report, free)} that is free: "
    if trim is None:
        text += "what malloc_trim(0) would return of it is unknown."
        attempt = "ctypes.CDLL(None).malloc_trim(0) after the peak."
    else:
        figures["trim_would_return_bytes"] = trim
        pinned = max(0, free - trim)
        figures["pinned_bytes"] = pinned
        scattered = f"{count(chunks, 'live chunk')} scattered among the free ones {'keep' if chunks != 1 else 'keeps'}"
        if trim < 0.1 * free:
            text += f"no trim returns it, because {scattered} its pages (malloc_trim(0) would return {size(trim)})."
            attempt = (
                "Nothing moves a live chunk: make long-lived objects apart from the burst, or do the burst in a child "
                "process."
            )
        elif pinned > 0.1 * free:
            text += f"malloc_trim(0) would return {size(trim)}; {scattered} the other {size(pinned)}."
            attempt = (
                "ctypes.CDLL(None).malloc_trim(0) after the peak, then what stays needs the burst in a child process."
            )
        elif top_bytes(report) >= TOP_SHARE * free:
            text += (
                f"malloc_trim(0) would return {size(trim)}; most of it is the end of a heap, which glibc cuts off by "
                f"itself only beyond a threshold that has grown with the largest chunks."
            )
            attempt = (
                "MALLOC_TRIM_THRESHOLD_=131072 in the environment, or ctypes.CDLL(None).malloc_trim(0) after the peak."
            )
        else:
            text += (
                f"malloc_trim(0) would return {size(trim)}; by itself glibc cuts a heap off at its end only, and live "
                f"chunks lie behind the free ones."
            )
            attempt = "ctypes.CDLL(None).malloc_trim(0) after the peak."
    text += held_by(report, figures)
    if small_objects:
        attempt += " PYTHONMALLOC=pymalloc keeps small objects in arenas that are given back whole."
    else:
        attempt += (
            " MALLOC_MMAP_THRESHOLD_=65536 keeps it from coming back for blocks over 64 KiB: each is then a mapping of "
            "its own, and the threshold no longer grows to 32 MiB."
        )
    return Weighed(Finding("glibc_retained", text, figures, attempt), weight=free, explains_rss=True)


def held_by(report: Report, figures: Figures) -> str:
    """Which chunk at the heap's end keeps what lies before it, where that is the most of an arena's free memory."""
    arenas = report.memory.malloc_arenas if report.memory else ()
    arena = max(arenas, key=lambda arena: arena.free_bytes, default=None)
    if arena is None or arena.holder is None or arena.holder_bytes is None or arena.free_bytes < arena.top_bytes:
        return ""
    figures["holder"], figures["holder_bytes"] = f"{arena.holder:#x}", arena.holder_bytes
    what = "a live chunk"
    if arena.holder_type is not None:
        figures["holder_type"] = arena.holder_type
        what = f"an object of {arena.holder_type}"
    return (
        f" The last one in use at the heap's end is {what} of {size(arena.holder_bytes)} at {arena.holder:#x}: what is "
        f"free before it goes by a trim alone."
    )


def top_bytes(report: Report) -> int:
    """Bytes of the top chunks, at the ends of the heaps."""
    return sum(arena.top_bytes for arena in report.memory.malloc_arenas) if report.memory else 0


def tcache(report: Report) -> Weighed | None:
    """Freed small chunks that each thread keeps for itself; mallinfo2 counts them as in use."""
    if report.memory is None:
        return None
    chunks = sum(arena.tcache_chunks for arena in report.memory.malloc_arenas)
    amount = sum(arena.tcache_bytes for arena in report.memory.malloc_arenas)
    if amount < TCACHE_BYTES:
        return None
    text = f"Threads keep {size(amount)} in {count(chunks, 'freed chunk')} for themselves (tcache); no trim returns it."
    attempt = "GLIBC_TUNABLES=glibc.malloc.tcache_count=0 turns the caches off; fewer threads have fewer."
    figures: Figures = {"tcache_bytes": amount, "tcache_chunks": chunks}
    return Weighed(Finding("glibc_tcache", text, figures, attempt), weight=amount)


def many_arenas(report: Report) -> Weighed | None:
    """Free memory divided among the malloc arenas of many threads."""
    if report.memory is None or len(report.memory.malloc_arenas) <= MANY_ARENAS:
        return None
    others = [arena for arena in report.memory.malloc_arenas if arena.name != "main"]
    free = sum(arena.free_resident_bytes for arena in others)
    if not notable(report, free):
        return None
    text = (
        f"{count(len(others), 'malloc arena')} of threads keep {size(free)} free, each for itself: what one has free, "
        f"threads of another do not use."
    )
    attempt = "MALLOC_ARENA_MAX=2 in the environment."
    figures: Figures = {"arenas": len(others), "free_resident_bytes": free}
    return Weighed(Finding("glibc_many_arenas", text, figures, attempt), weight=free)


def mmapped(report: Report) -> Weighed | None:
    """Large blocks in mappings of their own: gone from RSS as soon as they are freed."""
    if report.large is None or not notable(report, report.large.mmapped_bytes):
        return None
    amount, chunks = report.large.mmapped_bytes or 0, report.large.mmapped_chunks or 0
    rss = report.memory.rss_bytes if report.memory else 0
    if amount < 0.1 * rss:
        return None
    text = (
        f"Mappings of their own hold {count(chunks, 'large block')} ({size(amount)} of address space); each goes back "
        f"to the kernel when freed. The first that is freed raises the threshold; later ones of its size stay in the "
        f"heap."
    )
    attempt = "MALLOC_MMAP_THRESHOLD_=131072 in the environment holds the threshold where it is."
    figures: Figures = {"mmapped_chunks": chunks, "mmapped_bytes": amount}
    return Weighed(Finding("glibc_mmapped", text, figures, attempt))


def another_malloc(report: Report) -> Weighed | None:
    """jemalloc, tcmalloc, ... in force: its inside is not walked."""
    if report.memory is None or report.memory.malloc.startswith("glibc"):
        return None
    name = report.memory.malloc
    text = f"malloc is {name}, not glibc's: its mappings are one leaf of the tree, what is free in it is not known."
    attempt = f"Ask {name} itself (jemalloc: MALLOC_CONF=stats_print:true; tcmalloc: MALLOCSTATS=1), or run without it."
    return Weighed(Finding("another_malloc", text, {"malloc": name}, attempt))


def unattributed(report: Report) -> Weighed | None:
    """Resident memory without a name: the share that the rest of the page does not explain."""
    memory = report.memory
    if memory is None or memory.rss_bytes <= 0:
        return None
    share = memory.unattributed_bytes / memory.rss_bytes
    if share <= UNATTRIBUTED_SHARE:
        return None
    text = f"{size(memory.unattributed_bytes)} of RSS ({percent(share)}) could not be named"
    text += f": {memory.reason}." if memory.reason else "."
    figures: Figures = {"unattributed_bytes": memory.unattributed_bytes, "share": round(share, 6)}
    finding = Finding("unattributed", text, figures, None, "trust")
    return Weighed(finding, weight=memory.unattributed_bytes)


RULES = (retained, tcache, many_arenas, mmapped, another_malloc, unattributed)
