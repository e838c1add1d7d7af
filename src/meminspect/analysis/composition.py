"""The answer when nothing is held free: what RSS consists of."""

from __future__ import annotations

from dataclasses import replace

from ..models.memory import MemoryNode
from ..models.report import Finding, Report
from .weigh import Weighed
from .words import count, percent, size

COMPOSITION = "rss_composition"  # its sentence begins with RSS itself
NAMED = 3  # causes in one sentence
SMALL_SHARE = 0.02  # of RSS: a smaller one is not worth its place in that sentence
MOSTLY = 0.6
HEAPS = ("pymalloc", "mimalloc", "glibc")
ASK = "`report --objects` names under what it hangs (also with --pid)"
CLASS_SHARE = 0.25  # of RSS: from here on one size class deserves to be named


def composition(report: Report) -> Weighed | None:
    """The largest parts of the tree, and the size class that makes most of pymalloc's when it is a good part of RSS."""
    memory = report.memory
    if memory is None or memory.rss_bytes <= 0:
        return None
    parts = sorted(memory.tree.children, key=lambda node: -node.bytes)[:NAMED]
    named = [part for part in parts if part.bytes >= SMALL_SHARE * memory.rss_bytes]
    if not named:
        return None
    figures: dict[str, int | float | str] = {f"bytes of {node.name}": node.bytes for node in named}
    figures["rss_bytes"] = memory.rss_bytes
    parts_text = [_part(node, memory.rss_bytes) for node in named]
    listing = ", ".join(parts_text[:-1]) + (" and " if len(parts_text) > 1 else "") + parts_text[-1]
    text = f"RSS of {size(memory.rss_bytes)} is mostly {listing}. No large part of it is free memory held back"
    top = max(report.pymalloc.size_classes, key=lambda item: item.used_bytes, default=None) if report.pymalloc else None
    if top is not None and top.used_bytes >= CLASS_SHARE * memory.rss_bytes:
        text += f"; {count(top.used, 'live block')} of {top.size} bytes alone are {size(top.used_bytes)}"
        figures |= {"top_class_size": top.size, "top_class_blocks": top.used}
    return Weighed(
        Finding(COMPOSITION, text + ".", figures, advice(named[0].name, report.python.allocator)), explains_rss=True
    )


def advice(largest: str, allocator: str) -> str:
    """Where to look for a smaller RSS when all of it is in use: at what is largest."""
    name = largest.lower()
    objects = ("pymalloc", "mimalloc", "glibc") if allocator.startswith("malloc") else ("pymalloc", "mimalloc")
    if name.startswith(objects):
        return (
            f"What is live is held by references: {ASK}; `tracemalloc-report SCRIPT` tells which lines "
            "allocated it, and slows the program down for that."
        )
    if name.startswith(("libraries", "files")):
        return "Nothing to free. Imports bring these pages in: python -X importtime lists them."
    if name.startswith(("glibc", "malloc")):
        return (
            "Blocks over 512 bytes and what C code allocates: `meminspect tracemalloc-report SCRIPT` sees the former."
        )
    return f"Look below at what {largest} consists of."


def answered(findings: tuple[Finding, ...], named: bool) -> tuple[Finding, ...]:
    """The same in a report that has the objects already; named -- it found what much hangs under."""
    told = (
        "the findings below name under what it hangs" if named else "no object or type stands out that it hangs under"
    )
    return tuple(replace(item, try_=item.try_.replace(ASK, told)) if item.try_ else item for item in findings)


def _part(node: MemoryNode, rss: int) -> str:
    """'pymalloc (184 MiB, 36 %, mostly live blocks)'; of a heap, not of files, the largest leaf is named."""
    facts = [size(node.bytes), percent(node.bytes / rss, 0)]
    leaf = max(node.leaves(), key=lambda leaf: leaf.bytes)
    if leaf is not node and leaf.bytes >= MOSTLY * node.bytes and node.name.lower().startswith(HEAPS):
        facts.append(f"mostly {leaf.name}")
    return f"{node.name} ({', '.join(facts)})"
