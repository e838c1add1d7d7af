"""What the readers of a graph's raw format share: nodes, references, and ways from a root (see references.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import StaleCoreError
from ..models.references import ROOTS, Node, PathToRoot, Reference, Step

# What every answer has: one without came from a core that was built from other sources than this package.
TOLD = frozenset((
    "objects", "references", "guesses", "overcounted", "called", "dropped", "held_by_c", "small_bytes", "unknown_bytes",
    "graph_bytes", "arena_count", "arena_bytes", "arenas_reason", "pause_s", "seconds", "consistent", "frozen",
    "targets", "target", "target_bytes", "holders", "path", "loss", "arenas", "top", "keys", "reasons",
))  # fmt: skip


def capture(addresses: Sequence[int], **wanted: Any) -> dict[str, Any]:
    from .. import _native

    return _native.references_capture(addresses, **wanted)


def whole(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same, when it is all that is looked for in it; StaleCoreError otherwise."""
    missing = sorted(TOLD - raw.keys())
    if missing:
        raise StaleCoreError(
            f"meminspect's native core is of another version than its Python part, and does not tell {missing[0]!r}: "
            "install the package again, or build it again where it is used from its sources"
        )
    return raw


def text(name: bytes | str | None) -> str | None:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name


def node_of(raw: Sequence[Any]) -> Node:
    address, module, name, own_bytes = raw
    return Node(address, text(module), text(name) or "?", own_bytes)


def reference_of(raw: Sequence[Any] | None) -> Reference | None:
    return None if raw is None else Reference(*raw)


def path_of(raw: Sequence[Any], pause_s: float) -> PathToRoot:
    steps = tuple(Step(node_of(node), reference_of(how)) for node, how in raw)
    if not steps:
        return PathToRoot("garbage", (), ROOTS["garbage"], True, None, pause_s)
    first = steps[0].node
    root = first.type_name if first.address is None else "?"
    reason = None if first.address is None else "the path is longer than is kept: its beginning is left out"
    return PathToRoot(root, steps, path_text(steps), True, reason, pause_s)


def path_text(steps: Sequence[Step]) -> str:
    """`module x.y['key'][3]`, from the root to the object, whose type is named at the end."""
    root = steps[0].node
    first = steps[1] if len(steps) > 1 else None
    rest = list(steps[2:])
    start = root.text
    of_modules = first is not None and first.how is not None and first.how.name == "sys.modules"
    if of_modules and rest and rest[0].how is not None and rest[0].node.type_name == "module":
        start = f"{'' if root.type_name == 'modules' else 'another interpreter: '}module {rest[0].how.name}"
        rest = rest[1:]
    elif first is not None and first.how is not None and first.how.frame is not None:
        start = f"frame of {first.how.frame}"
        if first.how.name != "f_locals":
            start += first.how.text
    elif first is not None and root.type_name != "modules":
        start = f"{root.text}: {first.node.type_name}"
    parts = [start]
    names = first is not None and first.how is not None and first.how.name == "f_locals"  # the dict is one of names
    for step in rest:
        how = step.how
        if how is None:
            parts.append(f" -> {step.node.type_name}")
        elif names and how.role == "value" and isinstance(how.name, str):
            parts.append(Reference("attribute", how.name).text)
        elif how.role == "field" and how.name == "__dict__":
            names = True
            continue
        else:
            parts.append(how.text)
        names = False
    return f"{''.join(parts)} ({steps[-1].node.type_name})"
