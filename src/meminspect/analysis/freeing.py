"""When an object will be freed, and by what: one sentence, from what was measured of it."""

from __future__ import annotations

from ..models.heap import Block
from ..models.objects import ObjectHeader
from ..models.references import Holders, PathToRoot
from .words import count

COLLECTOR_ONLY = "Only the collector can free it"


def when_freed(
    header: ObjectHeader, references: int | None, block: Block, holders: Holders | None, path: PathToRoot | None
) -> str:
    """Rests on the header (Include/refcount.h), the block, and, where they are known, its holders."""
    if header.immortal:
        return "Never: it is immortal, and nothing changes its count."
    if block.domain == "static":
        return "Never: it lies in a file that is mapped, not in a block that could be freed."
    if path is not None and path.known and path.root == "garbage" and not path.steps:
        return f"{COLLECTOR_ONLY}: no root leads to it any more, and a cycle keeps its count above zero."
    if header.unreachable:
        return "It is being freed: a collection under way has found it to be garbage."
    if header.deferred:
        return f"{COLLECTOR_ONLY}: its references are counted in a deferred way, so the count never tells."
    if references == 0:
        return "As soon as the call returns: nothing else refers to it."
    if holders is not None and any(row.node.address == header.address for row in holders.rows):
        return f"{COLLECTOR_ONLY}: it refers to itself, so its count cannot reach zero."
    held = "the last reference to it goes"
    if references is not None:
        held = "its reference goes" if references == 1 else f"{count(references, 'reference')} have gone"
    text = f"As soon as {held}"
    if header.owner_thread is None and header.merged:
        text += ", by whichever thread drops the last one"
    if header.gc is False:
        return text + ": its type takes no part in cycles, so no collection is ever needed."
    if header.gc and not header.tracked:
        return text + ": the collector does not track it, since nothing that it holds can be part of a cycle."
    which = "it" if references == 1 else "one of them"
    return text + f"; if {which} comes from what it holds itself, the collector has to find the cycle first."
