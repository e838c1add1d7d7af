"""Questions to the tree of resident memory, by the names that `memory()` gives its nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..models.memory import MemoryNode


def walk(node: MemoryNode, depth: int = 0) -> Iterator[tuple[int, MemoryNode]]:
    """Every node below and with this one, parents first, with its depth."""
    yield depth, node
    for child in node.children:
        yield from walk(child, depth + 1)


def first(node: MemoryNode, matches: Callable[[str], bool]) -> MemoryNode | None:
    """The first node, from the top, whose name in lower case matches."""
    return next((found for _, found in walk(node) if matches(found.name.lower())), None)


def leaf_sum(node: MemoryNode) -> int:
    """What the leaves sum to: equal to the node's own bytes, or the tree is wrong."""
    return sum(leaf.bytes for leaf in node.leaves())


def deepest_mismatch(node: MemoryNode) -> MemoryNode | None:
    """A node whose children do not sum to it, or None."""
    for _, found in walk(node):
        if found.children and sum(child.bytes for child in found.children) != found.bytes:
            return found
    return None


def pymalloc_part(tree: MemoryNode, name: str) -> int | None:
    """Resident bytes of one part of the small-object heap: 'live blocks', 'free blocks', 'free pools', 'untouched'."""
    heap = first(tree, lambda text: text.startswith(("pymalloc", "mimalloc")))
    part = first(heap, lambda text: text.startswith(name)) if heap else None
    return part.bytes if part else None


def cached_stacks(tree: MemoryNode) -> MemoryNode | None:
    """Stacks of threads that have ended, kept by the C library for the next ones."""
    return first(tree, lambda text: "cached stack" in text or ("stack" in text and "ended" in text))


def files(tree: MemoryNode) -> MemoryNode | None:
    """Pages of libraries and other files."""
    return first(tree, lambda text: text.startswith(("libraries", "files")))
