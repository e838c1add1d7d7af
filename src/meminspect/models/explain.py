"""Everything that is known of one object."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model, shown
from .heap import Block
from .objects import ObjectHeader
from .references import Holders, PathToRoot, Retained


@dataclass(frozen=True, repr=False)
class PoolBlocks(Model):
    """The blocks of the pool in which an object lies (struct pool_header, Objects/obmalloc.c), in order of address.

    live  -- whether each is in use
    index -- which of them is the object's
    """

    address: int
    block_bytes: int
    live: tuple[bool, ...]
    index: int

    @property
    def before(self) -> bool | None:
        """Whether the block before the object's is live; None: it is the first."""
        return self.live[self.index - 1] if self.index else None

    @property
    def after(self) -> bool | None:
        return self.live[self.index + 1] if self.index + 1 < len(self.live) else None

    def __repr__(self) -> str:
        return f"<PoolBlocks at {self.address:#x}: block {self.index}, {sum(self.live)} of {len(self.live)} live>"


@dataclass(frozen=True, repr=False)
class Explanation(Model):
    """`explain(obj)`.

    references -- to it, without the call's own; None where these are not known. From 3.14 on a temporary shows 1: its
                  argument's
    block, pool_blocks -- where it lies, and its neighbours (None outside pymalloc: pool_reason)
    size_bytes -- of its block as allocated, None where that is not known; buffers that it owns are in `retained`
    holders, path, retained -- who holds it and what would go with it; None where the graph could not be read
                  (graph_reason), or where nothing but the call held it
    freed      -- one sentence: when it will be freed, and by what
    """

    header: ObjectHeader
    references: int | None
    block: Block
    size_bytes: int | None
    pool_blocks: PoolBlocks | None
    pool_reason: str | None
    holders: Holders | None
    path: PathToRoot | None
    retained: Retained | None
    graph_reason: str | None
    freed: str

    def __repr__(self) -> str:
        return f"<Explanation of {shown(self.header.type_name)} at {self.header.address:#x}: {shown(self.freed)}>"
