"""pymalloc's (or mimalloc's) heap: arenas, pools, size classes, and how they agree with CPython's own statistics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from .base import Model, shown

Bitmap: TypeAlias = bytes  # in HeapMap `bytes` is a field


@dataclass(frozen=True, repr=False)
class SizeClass(Model):
    """One size class over all arenas of all interpreters that were walked.

    index     -- pymalloc's `szidx` (0-based; size = (index + 1) * alignment); of mimalloc's sizes the place in their
                 order
    size      -- bytes of a block
    pools     -- pools that hold this class
    used      -- blocks in use (`pool_header.ref.count`)
    free      -- blocks not in use, never handed out ones included
    untouched -- of these, blocks never handed out (`nextoffset` on)
    """

    index: int
    size: int
    pools: int
    used: int
    free: int
    untouched: int

    @property
    def used_bytes(self) -> int:
        return self.used * self.size

    @property
    def free_bytes(self) -> int:
        return self.free * self.size

    def __repr__(self) -> str:
        return f"<SizeClass {self.index}: {self.size} bytes, {self.used} used, {self.free} free in {self.pools} pools>"


@dataclass(frozen=True, repr=False)
class Pool(Model):
    """One pool (`struct pool_header`, Objects/obmalloc.c); in free-threaded builds one mimalloc page.

    size_class -- index of its size class, None for a free pool
    used, free, untouched -- blocks, as in SizeClass
    heap -- in free-threaded builds the heap tag: "mem", "object", "gc" or "gc_pre"
    """

    address: int
    size_class: int | None
    used: int
    free: int
    untouched: int
    heap: str | None = None

    def __repr__(self) -> str:
        kind = "free" if self.size_class is None else f"class {self.size_class}"
        return f"<Pool {self.address:#x}: {kind}, {self.used} used, {self.free} free>"


@dataclass(frozen=True, repr=False)
class Arena(Model):
    """One arena (`struct arena_object`, Objects/obmalloc.c); in free-threaded builds one mimalloc segment.

    index        -- its place in the arena table (-1 for mimalloc)
    interpreter  -- id of the interpreter that owns it
    pools_total  -- pools that fit (`ntotalpools`)
    pools_free   -- pools given back, ready for any size class (of mimalloc: spans of free slices)
    pools_never_used -- pools not carved off yet (from `pool_address` on)
    used_bytes, free_bytes -- in live and in free blocks of used pools
    occupancy    -- used_bytes / size_bytes, 0 to 1
    """

    index: int
    interpreter: int
    address: int
    size_bytes: int
    pools_total: int
    pools_free: int
    pools_never_used: int
    used_blocks: int
    used_bytes: int
    free_bytes: int
    occupancy: float

    def __repr__(self) -> str:
        return f"<Arena {self.address:#x}: {self.occupancy:.1%} occupied, {self.pools_total} pools>"


@dataclass(frozen=True, repr=False)
class HeapBytes(Model):
    """Every byte of the arenas, the ledger of `sys._debugmallocstats()`: the parts sum to `total_bytes`.

    used_bytes         -- in blocks in use
    free_blocks_bytes  -- in free blocks of used pools (its "available blocks")
    free_pools_bytes   -- in pools that hold no block, never used ones included (its "unused pools")
    pool_headers_bytes -- in pool headers
    quantization_bytes -- in the tails of pools that no block fits
    alignment_bytes    -- before the first and after the last pool of an arena
    """

    used_bytes: int
    free_blocks_bytes: int
    free_pools_bytes: int
    pool_headers_bytes: int
    quantization_bytes: int
    alignment_bytes: int
    total_bytes: int

    def __repr__(self) -> str:
        return f"<HeapBytes {self.total_bytes}: {self.used_bytes} used, {self.free_blocks_bytes} in free blocks>"


@dataclass(frozen=True, repr=False)
class CrossCheck(Model):
    """How the walk agrees with a source that is not ours, taken in the same native call.

    agrees      -- True, False, or None when there was nothing to compare (`reason` says why)
    compared    -- how many figures were compared
    differences -- (figure, ours, theirs) for each that differs
    """

    source: str
    agrees: bool | None
    reason: str | None
    compared: int
    differences: tuple[tuple[str, int, int], ...]

    def __repr__(self) -> str:
        return f"<CrossCheck with {self.source}: agrees={self.agrees}, {self.compared} figures>"


@dataclass(frozen=True, repr=False)
class OmittedInterpreter(Model):
    """An interpreter with arenas of its own that could not be walked, and why."""

    interpreter: int
    reason: str

    def __repr__(self) -> str:
        return f"<OmittedInterpreter {self.interpreter}: {self.reason}>"


@dataclass(frozen=True, repr=False)
class ThreadHeap(Model):
    """One of mimalloc's heaps in free-threaded builds (struct mi_heap_s): blocks of a thread and tag.

    owner        -- "thread", "abandoned" (of threads that ended), "raw" (PyMem_RawMalloc, from 3.15 on), or
                    "other interpreter"
    thread_ident, native_id -- of the thread, None when it is not a live one of this interpreter
    tag          -- "mem" (PyMem_Malloc), "object" (no GC), "gc", "gc_pre" (GC with a pre-header)
    used_blocks, used_bytes -- live ones: `used` less what other threads freed and the owner has not collected
    free_bytes   -- in free blocks of its pages, never handed out ones included
    uncollected_blocks, uncollected_bytes -- freed by other threads, still to be collected by the owner (xthread_free
                    and thread_delayed_free); part of free_bytes
    waiting_pages -- empty pages kept until no reader can be left in them (QSBR)
    large_pages  -- pages of one block (over 128 KiB); huge ones, with a segment of their own, included
    exact        -- False for what could not be stopped: it was copied while it may have changed
    """

    owner: str
    interpreter: int | None
    thread_ident: int | None
    native_id: int | None
    tag: str
    pages: int
    large_pages: int
    waiting_pages: int
    used_blocks: int
    used_bytes: int
    free_bytes: int
    uncollected_blocks: int
    uncollected_bytes: int
    exact: bool

    def __repr__(self) -> str:
        return f"<ThreadHeap {self.owner} {self.native_id} {self.tag}: {self.used_blocks} used in {self.pages} pages>"


@dataclass(frozen=True, repr=False)
class WaitingFrees(Model):
    """What a thread of a free-threaded build has still to free: live for the allocator, dead for the program.

    thread_ident, native_id -- None for what ended threads left to the interpreter
    asleep         -- it was in C code or waiting when the world was stopped; None when that is not known
    delayed_blocks, delayed_bytes -- frees held until no reader can be left (QSBR: Objects/obmalloc.c, free_delayed)
    merge_objects, merge_bytes -- objects of this thread whose last reference another thread dropped (Python/brc.c):
                      only their owner may free them, and what they refer to stays with them. The bytes are their
                      own blocks'.
    """

    thread_ident: int | None
    native_id: int | None
    asleep: bool | None
    delayed_blocks: int
    delayed_bytes: int
    merge_objects: int
    merge_bytes: int

    def __repr__(self) -> str:
        return f"<WaitingFrees of {self.native_id}: {self.delayed_blocks} delayed, {self.merge_objects} to merge>"


@dataclass(frozen=True, repr=False)
class HeapMap(Model):
    """The small-object heap at one moment.

    allocator -- "pymalloc", "pymalloc_debug", "mimalloc", "malloc", ... (what PYTHONMALLOC resolved to)
    exact     -- False when something was left out or could not be verified; `reason` says what
    padding_bytes -- what the debug allocator adds to every block, 0 without it
    pause_s   -- how long the walk held the interpreter still
    pool_header_size -- bytes before the first block of a pool; None where pools differ (mimalloc)
    heaps, waiting -- free-threaded builds: mimalloc's heaps by owner and tag, and what their threads have still to
                 free. Heaps that are not `exact` are in no other figure of this model.
    """

    allocator: str
    exact: bool
    reason: str | None
    arena_size: int
    pool_size: int
    padding_bytes: int
    arenas: tuple[Arena, ...]
    size_classes: tuple[SizeClass, ...]
    bytes: HeapBytes | None
    cross_check: CrossCheck
    omitted: tuple[OmittedInterpreter, ...]
    pause_s: float
    heaps: tuple[ThreadHeap, ...] = ()
    waiting: tuple[WaitingFrees, ...] = ()
    _pools: Any = None  # a callable that makes the Pool models of one arena on demand: 64 times as many as arenas
    _classes: Any = None  # a callable: the live blocks of one arena by size class, where the pools are not kept
    _blocks: Any = None  # a callable: the bitmap of one arena's live blocks
    pool_header_size: int | None = None

    def pools(self, arena: Arena) -> tuple[Pool, ...]:
        """The pools of one of `arenas`, in order of address."""
        result: tuple[Pool, ...] = self._pools(arena) if self._pools else ()
        return result

    @property
    def has_pools(self) -> bool:
        """Whether `pools` knows them: a report's capture counts them and keeps no record of each."""
        return self._pools is not None

    def live_blocks(self, arena: Arena) -> Bitmap | None:
        """A bitmap of one of `arenas`: a bit for each 16 bytes from its address on, least significant first, set
        where a block in use begins. None when it was not captured, and for mimalloc.
        """
        bitmap: Bitmap | None = self._blocks(arena) if self._blocks else None
        return bitmap

    def live_by_class(self, arena: Arena) -> dict[int, int]:
        """Live blocks of one of `arenas` by the index of their size class, classes without any left out."""
        if self._classes:
            known: dict[int, int] = self._classes(arena)
            return known
        result: dict[int, int] = {}
        for pool in self.pools(arena):
            if pool.size_class is not None and pool.used:
                result[pool.size_class] = result.get(pool.size_class, 0) + pool.used
        return result

    def to_dict(self) -> dict[str, Any]:
        plain = super().to_dict()
        del plain["_pools"], plain["_classes"], plain["_blocks"]
        return plain

    def __repr__(self) -> str:
        return f"<HeapMap {self.allocator}: {len(self.arenas)} arenas, exact={self.exact}>"


@dataclass(frozen=True, repr=False)
class Neighbours(Model):
    """Live blocks of one kind in a pool or an arena.

    kind -- "object" (`name` is its type), "buffer" (of some object, which may lie elsewhere) or "unknown"
    """

    kind: str
    name: str
    blocks: int
    bytes: int

    def __repr__(self) -> str:
        return f"<Neighbours {shown(self.name)}: {self.blocks} blocks>"


@dataclass(frozen=True, repr=False)
class Block(Model):
    """Where one live object (or address) lies.

    domain     -- "pymalloc", "mimalloc", "glibc heap", "glibc mmapped", "static", "unknown"
    address    -- of the block; the object starts `offset` bytes into it (GC head, pre-header, debug padding)
    size       -- bytes of the block as allocated, None when unknown
    size_class, pool, arena, index_in_pool -- None outside pymalloc
    pool_neighbours, arena_neighbours -- the live blocks of its pool and arena, itself included, by what they are; None
                  where that was not asked for
    """

    domain: str
    address: int
    offset: int
    size: int | None
    size_class: int | None
    pool: int | None
    arena: int | None
    interpreter: int | None
    index_in_pool: int | None
    pool_used: int | None
    pool_free: int | None
    reason: str | None
    pool_neighbours: tuple[Neighbours, ...] | None = None
    arena_neighbours: tuple[Neighbours, ...] | None = None

    def __repr__(self) -> str:
        return f"<Block {self.address:#x}: {self.size} bytes, {self.domain}>"


@dataclass(frozen=True, repr=False)
class Allocation(Model):
    """The path that one real allocation took.

    function -- "PyObject_Malloc", "PyMem_Malloc" or "PyMem_RawMalloc"
    path     -- "pymalloc", "mimalloc", "glibc heap", "glibc mmapped", "other"
    usable   -- bytes of the block that holds it (chunk size less its header for glibc)
    waste    -- usable - requested
    """

    function: str
    requested: int
    path: str
    address: int
    usable: int | None
    waste: int | None
    size_class: int | None
    pool: int | None
    arena: int | None
    reason: str | None

    def __repr__(self) -> str:
        return f"<Allocation {self.function}({self.requested}): {self.path}, {self.usable} usable>"


@dataclass(frozen=True, repr=False)
class FreeList(Model):
    """One line of CPython's object free lists (`_PyObject_DebugTypeStats`): count of objects of `size` bytes kept."""

    name: str
    count: int
    size: int | None

    def __repr__(self) -> str:
        return f"<FreeList {self.name}: {self.count}>"


@dataclass(frozen=True, repr=False)
class DebugMallocStats(Model):
    """CPython's own statistics (`sys._debugmallocstats()`), parsed.

    Figures that the text does not hold are None. `arenas` are those now allocated, `arenas_highwater` the most ever.
    """

    size_classes: tuple[SizeClass, ...]
    arenas_allocated_total: int | None
    arenas_reclaimed: int | None
    arenas_highwater: int | None
    arenas: int | None
    arena_size: int | None
    bytes: HeapBytes | None
    free_lists: tuple[FreeList, ...]
    text: str

    def __repr__(self) -> str:
        return f"<DebugMallocStats: {self.arenas} arenas, {len(self.size_classes)} size classes>"
