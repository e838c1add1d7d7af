"""Who keeps what, asked of a snapshot that holds every object: the answers of probes/references.py from its arrays.

A snapshot knows who refers to whom, not by which attribute or key; and where objects lie, not where all of their
buffers do. So the way from a root names types, and nothing is said of arenas.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from ..models.pinning import Why
from ..models.references import ROOTS, Holder, Holders, Node, PathToRoot, Step
from .objects import Graph

MOST_HOLDERS = 200
LONGEST_PATH = 64
NO_TARGET = "no object of this type or at this address is in the snapshot"


def why(graph: Graph, target: str) -> Why:
    """Of all objects of a type (with or without its module), or of the one at an address (0x...)."""
    targets = targets_of(graph, target)
    if not targets:
        return Why(
            target=target, targets=0, sample=None, own_bytes=0,
            holders=Holders(None, 0, 0, (), 0, False, NO_TARGET, 0.0),
            path_to_root=PathToRoot("garbage", (), "", False, NO_TARGET, 0.0), retained_bytes=None,
            retained_objects=None, arenas=None, arenas_pinned=None, arenas_that_would_return=None, pins=(),
            reason=NO_TARGET, pause_s=0.0,
        )  # fmt: skip
    gone = loss(graph, targets)
    return Why(
        target=target, targets=len(targets), sample=node_of(graph, targets[0]),
        own_bytes=sum(graph.sizes[at] for at in targets), holders=holders(graph, targets),
        path_to_root=path(graph, targets), retained_bytes=sum(graph.sizes[at] for at in gone),
        retained_objects=len(gone), arenas=None, arenas_pinned=None, arenas_that_would_return=None, pins=(),
        reason=None, pause_s=0.0,
    )  # fmt: skip


def targets_of(graph: Graph, target: str) -> list[int]:
    if target[:2].lower() == "0x" or target.isdecimal():
        try:
            address = int(target, 0)
        except ValueError:
            return []
        from bisect import bisect_left

        at = bisect_left(graph.addresses, address)
        return [at] if at < graph.objects and graph.addresses[at] == address else []
    wanted = {
        place for place, (module, name) in enumerate(graph.names) if target in (name, f"{module or 'builtins'}.{name}")
    }
    return [at for at, kind in enumerate(graph.types) if kind in wanted]


def node_of(graph: Graph, at: int) -> Node:
    if at >= graph.objects:
        return Node(None, None, graph.roots[at - graph.objects], graph.sizes[at])
    module, name = graph.names[graph.types[at]]
    return Node(graph.addresses[at], module, name, graph.sizes[at])


def referred(graph: Graph, at: int) -> Iterator[int]:
    return iter(graph.edges[graph.offsets[at] : graph.offsets[at + 1]])


def holders(graph: Graph, targets: list[int]) -> Holders:
    """Of one object its holders; of several what refers to them, by type with a sample of each."""
    wanted = bytearray(graph.nodes)
    for at in targets:
        wanted[at] = 1
    counts: Counter[int] = Counter()
    source = 0
    for place, to in enumerate(graph.edges):
        if wanted[to]:
            while graph.offsets[source + 1] <= place:
                source += 1
            counts[source] += 1
    count_of_all = len(counts)
    if len(targets) > 1:
        by_type: Counter[object] = Counter()
        sample: dict[object, int] = {}
        for at, count in counts.items():
            kind = graph.types[at] if at < graph.objects else node_of(graph, at).type_name
            by_type[kind] += count
            sample.setdefault(kind, at)
        counts = Counter({sample[kind]: count for kind, count in by_type.items()})
    rows = [Holder(node_of(graph, at), None, count) for at, count in counts.most_common(MOST_HOLDERS)]
    unexplained = sum(graph.unexplained[at] for at in targets)
    return Holders(
        node_of(graph, targets[0]), len(targets), count_of_all, tuple(rows), unexplained, True, None, 0.0
    )  # fmt: skip


def path(graph: Graph, targets: list[int]) -> PathToRoot:
    """The shortest way from a root to one of them."""
    wanted = set(targets)
    before = dict.fromkeys(range(graph.objects, graph.nodes), -1)
    level: list[int] = list(before)
    found = -1
    while level and found < 0:
        following = []
        for at in level:
            for to in referred(graph, at):
                if to not in before:
                    before[to] = at
                    following.append(to)
                    if to in wanted:
                        found = to
                        break
            if found >= 0:
                break
        level = following
    steps = []
    while found >= 0:
        steps.append(Step(node_of(graph, found), None))
        found = before[found]
    return path_by(steps[::-1])


def path_by(steps: list[Step]) -> PathToRoot:
    """A way by the types of its objects, the root first; without steps no root leads there."""
    if not steps:
        return PathToRoot("garbage", (), ROOTS["garbage"], True, None, 0.0)
    root = steps[0].node
    names = [step.node.text for step in steps]
    if len(names) > LONGEST_PATH:
        names[2 : 4 - LONGEST_PATH] = ["..."]
    return PathToRoot(root.type_name, tuple(steps), " -> ".join(names), True, None, 0.0)


def loss(graph: Graph, targets: list[int]) -> list[int]:
    """What no root leads to once the targets are taken out, the targets included."""
    kept = bytearray(graph.nodes)
    for at in targets:
        kept[at] = 2  # no way leads through it
    reach(graph, range(graph.objects, graph.nodes), kept)
    gone = bytearray(graph.nodes)
    reach(graph, targets, gone)
    return [at for at in range(graph.objects) if gone[at] and kept[at] != 1]


def reach(graph: Graph, start: Iterable[int], marks: bytearray) -> None:
    """Marks with 1 what is reached, and not marked yet."""
    waiting = list(start)
    for at in waiting:
        marks[at] = 1
    while waiting:
        for to in referred(graph, waiting.pop()):
            if not marks[to]:
                marks[to] = 1
                waiting.append(to)
