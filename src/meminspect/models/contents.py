"""What single blocks hold, for a map that is coloured by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

UNKNOWN = 0xFFFF


@dataclass(frozen=True)
class Contents:
    """What pools and blocks of the small-object heap hold, as a census saw it.

    names      -- types of objects, and owners of buffers as "list: items"; what is in most places first
    pool_names -- by address of an arena, for each of its used and free pools in order of address: the place in `names`
                  of what most of its live blocks hold; UNKNOWN where that is not known, or nothing lives
    """

    names: tuple[str, ...]
    pool_names: Mapping[int, Sequence[int]] = field(repr=False)
    _blocks: Mapping[int, Mapping[int, int]] = field(repr=False)

    def pools(self, arena: int) -> Sequence[int]:
        """Of the arena at this address; empty where it is not known."""
        return self.pool_names.get(arena, ())

    def blocks(self, arena: int) -> Mapping[int, int] | None:
        """Of each live block of the arena at this address the place in `names` (or UNKNOWN), by where it begins in the
        arena in 16 bytes; None where it is not told: that is done for the arenas that few live blocks keep.
        """
        return self._blocks.get(arena)
