"""What keeps arenas from going back to the operating system, and what would have to go."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model, shown
from .references import Holders, Node, PathToRoot


@dataclass(frozen=True, repr=False)
class PinningObject(Model):
    """An object that has a block in an arena, or without which arenas would be empty.

    retained_bytes -- what would go with it (models/references.py: RetainedObject); None where that was not asked
    path           -- by which way it is held
    """

    node: Node
    retained_bytes: int | None
    path: PathToRoot

    def __repr__(self) -> str:
        return f"<PinningObject {shown(self.node.text)}>"


@dataclass(frozen=True, repr=False)
class ArenaPin(Model):
    """What keeps one arena.

    live_bytes -- of its blocks in use; blocks: how many, of them `unknown` of no known object
    types      -- (type, how many of its objects have a block there, or a buffer), most frequent first
    objects    -- some of them; None when they were not asked for
    """

    address: int
    live_bytes: int
    blocks: int
    unknown: int
    types: tuple[tuple[str, int], ...]
    objects: tuple[PinningObject, ...] | None

    def __repr__(self) -> str:
        return f"<ArenaPin {self.address:#x}: {self.blocks} blocks>"


@dataclass(frozen=True, repr=False)
class FreeingStep(Model):
    """One step of the greedy choice: objects that go together, since each alone empties no arena.

    arenas_emptied, freed_bytes -- with all steps up to this one
    """

    objects: tuple[PinningObject, ...]
    arenas_emptied: int
    freed_bytes: int

    def __repr__(self) -> str:
        return f"<FreeingStep {len(self.objects)} objects: {self.arenas_emptied} arenas>"


@dataclass(frozen=True, repr=False)
class Pinning(Model):
    """`pinning()`: what keeps each arena, and which few objects free the most of them.

    arenas        -- of the heap; arena_bytes: the size of one
    empty         -- already: pymalloc keeps one such for the next allocation
    by_objects    -- would be empty if some few objects went, at most `keys_per_arena`
    by_many       -- the same, with more objects than that
    by_garbage    -- hold what waits for the collector
    fixed         -- hold what a program does not let go of: modules, functions, code, types, immortal objects, what C
                     code or the interpreter's structures hold
    unknown       -- hold blocks of no known object
    pins          -- the arenas with the fewest bytes in use, what the call itself put there included
    steps         -- which objects to let go, those first that free the most arenas for each of them. The choice is
                     greedy: it may not be the smallest set. An object counts with all that only it holds; what several
                     hold together goes with none of them. Each step's figures are counted on the graph, not added up
    reason        -- what is not in it of other interpreters, None: it is whole
    """

    arenas: int
    arena_bytes: int
    empty: int
    by_objects: int
    by_many: int
    by_garbage: int
    fixed: int
    unknown: int
    keys_per_arena: int
    pins: tuple[ArenaPin, ...]
    steps: tuple[FreeingStep, ...]
    pause_s: float
    seconds: float
    reason: str | None = None

    def __repr__(self) -> str:
        return f"<Pinning: {self.by_objects} of {self.arenas} arenas would be empty without some few objects>"


@dataclass(frozen=True, repr=False)
class WhatIf(Model):
    """`what_if(freed=...)`: what would come back if these objects, and all that only they hold, were let go.

    targets         -- how many objects were named; unknown_targets: addresses at which none is known
    immovable       -- of them immortal or static: they stay, whatever is done
    objects, bytes  -- that would go, blocks as allocated
    arenas          -- of the heap; arena_bytes: the size of one
    arenas_touched  -- in which something would be freed; arenas_emptied: in which nothing else lives
    arenas_that_would_return -- what pymalloc gives back of these: all when it has an empty arena already, else all but
                       one, since it keeps the last for the next allocation (Objects/obmalloc.c, insert_to_freepool).
                       What the call itself put into the heap is not in the way: its own objects, and a list that
                       only it was given
    reason          -- what to know: what CPython keeps on free lists until a full collection (`gc.collect()`) is still
                       in its block
    """

    targets: int
    unknown_targets: tuple[int, ...]
    immovable: int
    objects: int
    bytes: int
    arenas: int
    arena_bytes: int
    arenas_touched: int
    arenas_emptied: int
    arenas_that_would_return: int
    reason: str | None
    pause_s: float

    def __repr__(self) -> str:
        return f"<WhatIf: {self.arenas_that_would_return} of {self.arenas} arenas would return>"


@dataclass(frozen=True, repr=False)
class Why(Model):
    """`why(target)`: who holds it, what would go with it, and which arenas it keeps from going back.

    target   -- what was asked for; targets: how many objects that are; sample: the one that the path leads to
    retained_bytes, retained_objects -- of all of them together
    arenas   -- of the heap; arenas_pinned: in which what would go has a block; arenas_that_would_return: as in WhatIf
    pins     -- of the pinned arenas those with the fewest bytes in use
    consistent -- read in a frozen copy of the process; pid: of another process, None: of this one
    remarks  -- what is not exact, or not told
    """

    target: str
    targets: int
    sample: Node | None
    own_bytes: int
    holders: Holders
    path_to_root: PathToRoot
    retained_bytes: int | None
    retained_objects: int | None
    arenas: int | None
    arenas_pinned: int | None
    arenas_that_would_return: int | None
    pins: tuple[ArenaPin, ...]
    reason: str | None
    pause_s: float
    consistent: bool = False
    pid: int | None = None
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Why {shown(self.target)}: {self.targets} objects, {self.retained_bytes} bytes retained>"
