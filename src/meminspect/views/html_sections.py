"""The sections of the HTML page as plain values: what the template puts into tables and sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..analysis.fragmentation import class_fragmentation
from ..analysis.words import count, mib, percent, seconds, size
from ..models.heap import HeapMap
from ..models.memory import MemoryNode
from ..models.references import ROOTS
from ..models.report import Finding, Report
from .report_head import cgroup_facts, heap_verdict, kernel_sums, process_facts, stated_above, tree_verdict
from .report_heap import fragmentation_sentences, ledger_parts, summary, words
from .report_runtime import figure, gc_extra, gil_sentence, large_facts, trace_sentences
from .sanitize import clean

if TYPE_CHECKING:
    from ..models.census import Census
    from ..models.references import RetainedSizes

TYPES = 25
CHILDREN = 200  # of one node of the tree
MALLOC_ARENAS = 20


def all_of(report: Report, census: Census | None, top: RetainedSizes | str | None, *, only_map: bool) -> dict[str, Any]:
    """What each section of the template needs, None for one that is left out."""
    heap = report.pymalloc
    return {
        "tiles": tiles(report, only_map),
        "findings": None if only_map else [finding(report, item) for item in report.findings],
        "rows": None if only_map else tree_rows(report),
        "memory_reason": None if report.memory is None or report.memory.exact else report.memory.reason,
        "words": words(heap) if heap is not None else ("arena", "pool"),
        "heap": heap_facts(report),
        "size_classes": size_classes(heap) if heap is not None else [],
        "census": census_facts(census) if census is not None else None,
        "retained": top if isinstance(top, str) or top is None or only_map else retained(top),
        "large": None if only_map else large(report),
        "gc": None if only_map else gc(report),
        "gil": None if only_map else gil(report),
        "process": None if only_map else process(report),
        "missing": report.missing,
        "checked": [text for text, _ in (*heap_verdict(report), *(() if only_map else tree_verdict(report)))],
    }


def tiles(report: Report, only_map: bool) -> list[tuple[str, str, str]]:
    """(what, figure, share or remark) of the page's head."""
    result = []
    memory, heap = report.memory, report.pymalloc
    if memory is not None and not only_map:
        peak = f"peak {size(memory.peak_rss_bytes)}" if memory.peak_rss_bytes is not None else ""
        result.append(("RSS", size(memory.rss_bytes), peak))
    if heap is not None and heap.bytes is not None and heap.bytes.total_bytes:
        total, name = heap.bytes.total_bytes, heap.allocator.partition("_")[0]
        free = heap.bytes.free_blocks_bytes + heap.bytes.free_pools_bytes
        result += [
            (f"live in {name}", size(heap.bytes.used_bytes), percent(heap.bytes.used_bytes / total)),
            (f"free in {name}", size(free), percent(free / total)),
        ]
        result.append((f"{words(heap)[0]}s", f"{len(heap.arenas):,}", f"of {size(heap.arena_size)}"))
    if only_map:
        return result
    if report.large is not None and report.large.free_resident_bytes is not None:
        result.append(("free in malloc", size(report.large.free_resident_bytes), "resident"))
    if report.gc is not None:
        known = [item.objects for item in report.gc.generations if item.objects is not None]
        if known:
            result.append(("tracked by GC", f"{sum(known):,}", "objects"))
    return result


def map_headline(report: Report) -> str:
    """The answer of a page about the heap alone."""
    heap = report.pymalloc
    if heap is None:
        return f"The heap could not be read: {report.missing.get('pymalloc', 'unknown')}."
    if heap.bytes is None or not heap.arenas:
        return f"There are no arenas: {heap.reason or heap.allocator}."
    noun = words(heap)[0]
    live = percent(heap.bytes.used_bytes / heap.bytes.total_bytes)
    return f"{count(len(heap.arenas), noun)} hold {size(heap.bytes.total_bytes)}, of which {live} is in live blocks."


def finding(report: Report, item: Finding) -> dict[str, Any]:
    """A finding with the figures that it rests on."""
    return {
        "text": None if stated_above(report, item) else item.text,
        "try": item.try_,
        "id": item.id,
        "figures": [(name.replace("_", " "), figure_text(name, value)) for name, value in item.figures.items()],
    }


def figure_text(name: str, value: float | str) -> str:
    if isinstance(value, str):
        return value
    if name.endswith("_bytes"):
        return f"{size(int(value))} ({int(value):,} bytes)"
    if name.endswith("_s"):
        return seconds(float(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}"


def tree(node: MemoryNode) -> dict[str, Any]:
    """The tree of resident memory for the treemap; of very many children the smallest are summed."""
    ordered = sorted((child for child in node.children if child.bytes), key=lambda child: -child.bytes)
    children = [tree(child) for child in ordered[:CHILDREN]]
    rest = ordered[CHILDREN:]
    if rest:
        children.append({"name": f"{len(rest):,} smaller", "bytes": sum(child.bytes for child in rest)})
    result: dict[str, Any] = {"name": clean(node.name), "bytes": node.bytes}
    if node.count is not None:
        result["count"] = node.count
    if children:
        result["children"] = children
    return result


def tree_rows(report: Report) -> list[dict[str, Any]]:
    """The first level of the tree, which stands in the page until its script takes over."""
    if report.memory is None:
        return []
    rss = max(1, report.memory.rss_bytes)
    ordered = sorted(report.memory.tree.children, key=lambda child: -child.bytes)
    return [row(child.name, child.bytes, rss, child.count) for child in ordered]


def row(name: str, value: int, whole: int, number: int | None = None) -> dict[str, Any]:
    share = value / whole if whole else 0.0
    return {
        "name": name,
        "count": f"{number:,}" if number else "",
        "mib": mib(value, 2),
        "percent": percent(share) if value else "0.0 %",
        "share": f"{min(1.0, max(0.0, share)) * 100:.2f}",
    }


def heap_facts(report: Report) -> dict[str, Any] | None:
    heap = report.pymalloc
    if heap is None:
        return None
    ledger = heap.bytes
    return {
        "name": "mimalloc" if heap.allocator.startswith("mimalloc") else "pymalloc",
        "summary": summary(heap),
        "reason": heap.reason,
        "exact": heap.exact,
        "arenas": len(heap.arenas),
        "pools": heap.has_pools,
        "drawn": bool(heap.arenas) and heap.live_blocks(heap.arenas[0]) is not None,
        "ledger": [row(name, value, ledger.total_bytes) for name, value in ledger_parts(ledger)] if ledger else [],
        "sentences": fragmentation_sentences(report),
        "pause": seconds(heap.pause_s),
    }


def size_classes(heap: HeapMap) -> list[dict[str, Any]]:
    """The size classes in use, by size: the page's table and its chart."""
    result = []
    for item in heap.size_classes:
        if not item.pools:
            continue
        share = class_fragmentation(item)
        result.append(
            {
                "index": item.index,
                "size": item.size,
                "pools": item.pools,
                "used": item.used,
                "free": item.free,
                "used_bytes": item.used_bytes,
                "free_bytes": item.free_bytes,
                "used_mib": mib(item.used_bytes, 2),
                "free_mib": mib(item.free_bytes, 2),
                "percent_free": percent(share) if share is not None else "-",
            }
        )
    return result


def census_facts(census: Census) -> dict[str, Any]:
    """Types, owners of buffers, free lists and what is unknown, the largest first."""
    whole = max(1, census.bytes)
    types = [row(item.name, item.bytes, whole, item.count) for item in census.types[:TYPES]]
    buffers = [row(item.owner, item.bytes, whole, item.count) for item in census.buffers[:TYPES]]
    rest = census.types[TYPES:]
    if rest:
        summed = sum(item.bytes for item in rest), whole, sum(item.count for item in rest)
        types.append(row(f"{len(rest):,} more types", *summed))
    coverage = f"{percent(census.coverage.bytes, 2)} of the bytes of small blocks have a name"
    if census.coverage.large_bytes is not None:
        coverage += f", {percent(census.coverage.large_bytes, 2)} of malloc's"
    held = "in a frozen copy of the process" if census.consistent else "with the program held still"
    unknown = [
        row(
            ("blocks of malloc" if item.size_class is None else f"blocks of {item.size_class} bytes")
            + (f", perhaps {item.guess}" if item.guess else ""),
            item.bytes,
            whole,
            item.count,
        )
        for item in census.unknown[:8]
    ]
    return {
        "types": types,
        "buffers": buffers,
        "unknown": unknown,
        "sentence": f"{coverage}; taken {held} for {seconds(census.pause_s)}.",
        "reason": census.reason,
    }


def retained(top: RetainedSizes) -> dict[str, Any]:
    """The objects with which most would go, and what hangs under each kind of root alone."""
    total = max(1, top.total_bytes)
    took = f" in {seconds(top.pause_s)}" if top.pause_s else ""  # of a snapshot it is not known
    return {
        "rows": [row(item.node.text, item.retained_bytes, total) | {"path": item.path.text} for item in top.rows[:15]],
        "roots": [
            row(ROOTS.get(item.root, item.root), item.retained_bytes, total, item.references)
            for item in sorted(top.roots, key=lambda item: -item.retained_bytes)
            if item.retained_bytes
        ],
        "sentence": (
            f"{top.objects:,} objects and {top.references:,} references were read{took}; "
            f"{size(top.garbage_bytes)} is reachable from no root{'; ' + top.reason if top.reason else ''}"
        ),
    }


def large(report: Report) -> dict[str, Any] | None:
    path, memory = report.large, report.memory
    if path is None or memory is None:
        return None
    arenas = sorted(memory.malloc_arenas, key=lambda arena: -arena.size_bytes)
    over = path.threshold_bytes
    what = f"requests over {count(over, 'byte')}" if over is not None else "every request"
    return {
        "how": f"{what} to {path.malloc}'s malloc",
        "rows": [
            (
                arena.name,
                f"{arena.live_chunks:,}",
                mib(arena.live_bytes, 2),
                mib(arena.free_bytes + arena.top_bytes, 2),
                mib(arena.free_resident_bytes, 2),
                mib(arena.trim_bytes, 2),
            )
            for arena in arenas[:MALLOC_ARENAS]
        ],
        "more": len(arenas) - MALLOC_ARENAS,
        "sentence": "; ".join(large_facts(path)),
        "reason": path.reason,
    }


def gc(report: Report) -> dict[str, Any] | None:
    state = report.gc
    if state is None:
        return None
    most = max((item.objects or 0 for item in state.generations), default=0)
    return {
        "how": f"{state.kind}, {'enabled' if state.enabled else 'disabled'}",
        "rows": [
            (
                f"{item.index} {item.name}",
                figure(item.objects),
                f"{100 * (item.objects or 0) / most:.2f}" if most else "0",
                f"{figure(item.count)} of {figure(item.threshold)}",
                figure(item.collections),
                figure(item.collected),
                figure(item.uncollectable),
            )
            for item in state.generations
        ],
        "trigger": state.trigger.removesuffix(".") + ".",
        "extra": "; ".join(gc_extra(state)),
        "reason": state.reason,
    }


def gil(report: Report) -> list[tuple[str, str | None]] | None:
    if not report.gil:
        return None
    counters = [(gil_sentence(item, alone=len(report.gil) == 1), item.reason) for item in report.gil]
    return [*counters, *((sentence, None) for sentence in trace_sentences(report))]


def process(report: Report) -> list[tuple[str, str]]:
    """(what, facts) of the process, the kernel's sums, the control group."""
    memory, info = report.memory, report.process
    result = [("process", " · ".join(process_facts(report)))]
    if info.argv is not None:
        result.append(("arguments", " ".join(info.argv)))
    if memory is not None:
        result.append(("kernel's sums", " · ".join(kernel_sums(memory))))
        group = memory.cgroup
        if group is not None:
            result.append((f"control group {group.path}", " · ".join(cgroup_facts(group))))
        elif memory.cgroup_reason:
            result.append(("control group", memory.cgroup_reason))
    if info.note:
        result.append(("how it was taken", info.note))
    return result
