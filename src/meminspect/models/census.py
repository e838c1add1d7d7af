"""The census: what is in every live block, as an object of a type, a buffer with its owner, or unknown."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model, shown


@dataclass(frozen=True, repr=False)
class TypeRow(Model):
    """The living objects of one type.

    type, module -- `__qualname__` and `__module__` as the type's structure and dict hold them; module None: unknown
    count        -- objects that live in a block of their own (static and embedded ones have none)
    bytes        -- of their blocks, as allocated: GC head, pre-header and rounding included
    requested_bytes -- of these, what was asked for: from the type's sizes and the object's own (`tp_basicsize`,
                    `tp_itemsize`, `ob_size`, a str's length, inline values). The rest is rounding.
    large_count, large_bytes -- of count and bytes, those from malloc (more than 512 bytes)
    """

    type: str
    module: str | None
    count: int
    bytes: int
    requested_bytes: int | None
    large_count: int = 0
    large_bytes: int = 0

    @property
    def name(self) -> str:
        """The qualified name with its module, as in "collections.OrderedDict"; built-in types without one."""
        return self.type if self.module in (None, "builtins") else f"{self.module}.{self.type}"

    def __repr__(self) -> str:
        return f"<TypeRow {shown(self.name)}: {self.count} objects, {self.bytes} bytes>"


@dataclass(frozen=True, repr=False)
class BufferRow(Model):
    """Blocks that are no objects but belong to one, or to the interpreter.

    owner -- what kind of object and which part of it, as "list: items"
    count, bytes -- blocks, and their bytes as allocated
    requested_bytes -- what was asked for, None where the owner does not tell it
    large_count, large_bytes -- of count and bytes, those from malloc (more than 512 bytes)
    """

    owner: str
    count: int
    bytes: int
    requested_bytes: int | None
    large_count: int = 0
    large_bytes: int = 0

    def __repr__(self) -> str:
        return f"<BufferRow {self.owner}: {self.count} blocks, {self.bytes} bytes>"


@dataclass(frozen=True, repr=False)
class FreeListRow(Model):
    """Blocks that CPython keeps for objects to come: allocated, and not alive.

    name -- which list
    """

    name: str
    count: int
    bytes: int

    def __repr__(self) -> str:
        return f"<FreeListRow {self.name}: {self.count} blocks, {self.bytes} bytes>"


@dataclass(frozen=True, repr=False)
class UnknownGroup(Model):
    """Live blocks of one size that nothing named.

    size_class -- bytes of one block; None: chunks of malloc, of any size, a group for each guess
    guess      -- a GUESS: what points to them most often, as "pointed to by re.Scanner"; of malloc's chunks also a
                  library, as "pointed to by static data of libcrypto.so.3"; None where no word does or was looked for
    """

    size_class: int | None
    count: int
    bytes: int
    guess: str | None = None

    def __repr__(self) -> str:
        size = "large" if self.size_class is None else f"{self.size_class}-byte"
        return f"<UnknownGroup {self.count} {size} blocks, {self.bytes} bytes>"


@dataclass(frozen=True, repr=False)
class SizeClassRow(Model):
    """What the live blocks of one size class hold, in blocks.

    size -- bytes of a block
    """

    size: int
    count: int
    bytes: int
    objects: int
    buffers: int
    free_lists: int
    unknown: int

    def __repr__(self) -> str:
        return f"<SizeClassRow {self.size}: {self.count} blocks, {self.unknown} unknown>"


@dataclass(frozen=True, repr=False)
class Coverage(Model):
    """How much of what is alive has a name, as fractions (1.0: all).

    blocks, bytes -- of the small path: pymalloc's blocks (mimalloc's in free-threaded builds)
    large_blocks, large_bytes -- of malloc's, None where its heaps could not be walked. What C libraries allocate is
                     there too and has no owner among Python's objects.
    """

    blocks: float
    bytes: float
    large_blocks: float | None = None
    large_bytes: float | None = None

    def __repr__(self) -> str:
        return f"<Coverage {self.bytes:.3%} of the bytes, {self.blocks:.3%} of the blocks>"


@dataclass(frozen=True, repr=False)
class PathTotals(Model):
    """One way that blocks are allocated: sums over what is alive in it.

    allocator -- "pymalloc", "mimalloc" or "malloc"
    count, bytes -- live blocks, free lists included, and their bytes as allocated
    objects_bytes, buffers_bytes, free_lists_bytes, unknown_bytes -- of these bytes; they sum to `bytes`
    """

    allocator: str
    count: int
    bytes: int
    objects: int
    objects_bytes: int
    buffers: int
    buffers_bytes: int
    free_lists: int
    free_lists_bytes: int
    unknown: int
    unknown_bytes: int

    def __repr__(self) -> str:
        return f"<PathTotals {self.allocator}: {self.count} blocks, {self.bytes} bytes, {self.unknown_bytes} unknown>"


@dataclass(frozen=True, repr=False)
class SiteType(Model):
    """What one line allocated of one kind, and is alive.

    type -- the qualified name of an object's type with its module; None: no objects
    what -- "object", "buffer" (it belongs to an object), or "unknown"
    """

    type: str | None
    what: str
    count: int
    bytes: int

    def __repr__(self) -> str:
        return f"<SiteType {shown(self.type or self.what)}: {self.count} blocks, {self.bytes} bytes>"


@dataclass(frozen=True, repr=False)
class Site(Model):
    """The live blocks of the small path that one line of the program allocated, as tracemalloc saw it.

    file, line -- of the most recent frame
    count, bytes -- blocks and their bytes as allocated
    types -- the same by what is in them, the most bytes first
    """

    file: str
    line: int
    count: int
    bytes: int
    types: tuple[SiteType, ...]

    def __repr__(self) -> str:
        return f"<Site {shown(self.file)}:{self.line}: {self.count} blocks, {self.bytes} bytes>"


@dataclass(frozen=True, repr=False)
class ThreadFrames(Model):
    """The frames that one thread runs, as its thread state leads to them.

    native_id   -- the kernel's id of the thread
    interpreter -- id of its interpreter (0: the main one)
    frames, embedded_frames -- that run: of functions, on the thread's data stack; of generators and coroutines, in
                   these objects
    chunks, chunk_bytes -- of the data stack: mappings of their own beside the arenas, in no other figure of the census
    objects, objects_bytes -- that these frames refer to (code, function, variables, and the evaluation stack where the
                   frame tells it), each once, and the bytes of their blocks; objects that have no block do not count
    """

    native_id: int
    interpreter: int
    frames: int
    embedded_frames: int
    chunks: int
    chunk_bytes: int
    objects: int
    objects_bytes: int

    def __repr__(self) -> str:
        return f"<ThreadFrames {self.native_id}: {self.frames} frames, {self.objects} objects>"


@dataclass(frozen=True, repr=False)
class FrozenCopy(Model):
    """The frozen copy of the process in which a consistent census walked (csrc/interpreter/clone.h).

    call_s    -- the system call that made it: threads that write to memory wait so long
    lived_s   -- until it had ended
    minor_faults, major_faults -- page faults of the whole process while the copy lived (getrusage): what it writes then
                 is copied page by page
    needed_bytes -- the most that those copies could have taken: anonymous resident memory and its page tables
    room_bytes, room_by -- what was left for them, by which limit ("memory.max", "MemAvailable"); None: not known
    missing_bytes -- readable memory that the process keeps from copies (MADV_DONTFORK)
    torn      -- steps of the walk that ended in a fault
    """

    call_s: float
    lived_s: float
    minor_faults: int
    major_faults: int
    needed_bytes: int
    room_bytes: int | None
    room_by: str | None
    missing_bytes: int
    torn: int

    def __repr__(self) -> str:
        return f"<FrozenCopy made in {self.call_s:.4f} s, {self.minor_faults} page faults while it lived>"


@dataclass(frozen=True, repr=False)
class MallocChunks(Model):
    """glibc's heaps, chunk by chunk; bytes are of whole chunks, their headers included.

    arenas -- of malloc (`struct malloc_state`)
    live, live_bytes -- in use, mmapped ones included: what the census names or counts as unknown
    free, free_bytes -- in bins and fast bins
    tcache, tcache_bytes -- freed and kept for a thread, which malloc itself counts as in use
    top_bytes      -- behind the last chunk of each heap
    overhead_bytes -- end marks of heaps
    mmapped, mmapped_bytes -- of `live`: mappings of their own

    `live_bytes - mmapped_bytes + tcache_bytes` is what mallinfo2() calls `uordblks` summed over the arenas, and
    `free_bytes + top_bytes` its `fordblks`.
    """

    arenas: int
    live: int
    live_bytes: int
    free: int
    free_bytes: int
    tcache: int
    tcache_bytes: int
    top_bytes: int
    overhead_bytes: int
    mmapped: int
    mmapped_bytes: int

    def __repr__(self) -> str:
        return f"<MallocChunks {self.live} live, {self.live_bytes} bytes>"


@dataclass(frozen=True, repr=False)
class Census(Model):
    """`census()`: every live block of the process, read from pymalloc's pools and from what the objects say they own.

    types      -- by bytes, the most first
    buffers, free_lists, unknown -- the same
    size_classes -- of the small path
    coverage   -- how much has a name
    small, large -- pymalloc (mimalloc) and malloc apart; large None: see large_reason
    malloc     -- glibc's heaps by what their chunks are; None where `large` is
    waste_bytes -- bytes of objects and buffers less what was asked for, where that is known: rounding
    padding_bytes -- what debug hooks put around each block
    looked_like_objects -- buffers that would pass for an object if nobody owned them
    seconds    -- of the whole, names included; pause_s -- how long the GIL was held (the world stopped, in
                  free-threaded builds; until the copy was made, when consistent)
    consistent -- True: taken in a frozen copy of the process, asked for or because an interpreter has a GIL of its
                  own. False: with the GIL held, which C code that allocates without it does not wait for.
    frozen     -- the copy, when consistent: what it cost the process
    pid        -- of the other process that was read from outside; None: this one. It is not stopped (pause_s is 0):
                  where it changed meanwhile, `exact` is False
    sites      -- on request, of the small path: which lines allocated what is alive, the most bytes first; None: not
                  asked for, or see sites_reason. Together with untraced_count and untraced_bytes (allocated
                  while tracemalloc did not trace) they are all live blocks.
    thread_frames -- the frames that each thread runs, of the interpreters that were held still; none of another process
                  before CPython 3.13, whose C stacks lead to them
    exporters_asked, exporters_refused -- objects of unknown structure that were asked what they lend (foreign="call"),
                  and those that lend nothing in one piece now; None: none was to be asked
    threads    -- native threads that walked
    bitmap_bytes, table_bytes -- our own memory while it ran, given back since
    exact      -- False when something was left out; `reason` says what
    """

    types: tuple[TypeRow, ...]
    buffers: tuple[BufferRow, ...]
    free_lists: tuple[FreeListRow, ...]
    unknown: tuple[UnknownGroup, ...]
    size_classes: tuple[SizeClassRow, ...]
    coverage: Coverage
    small: PathTotals
    large: PathTotals | None
    large_reason: str | None
    waste_bytes: int | None
    padding_bytes: int
    looked_like_objects: int
    seconds: float
    pause_s: float
    consistent: bool
    threads: int
    bitmap_bytes: int
    table_bytes: int
    exact: bool
    reason: str | None
    frozen: FrozenCopy | None = None
    malloc: MallocChunks | None = None
    pid: int | None = None
    sites: tuple[Site, ...] | None = None
    sites_reason: str | None = None
    untraced_count: int | None = None
    untraced_bytes: int | None = None
    thread_frames: tuple[ThreadFrames, ...] = ()
    exporters_asked: int | None = None
    exporters_refused: int | None = None

    @property
    def count(self) -> int:
        """Live blocks of both paths."""
        return self.small.count + (self.large.count if self.large else 0)

    @property
    def bytes(self) -> int:
        """Bytes of the live blocks of both paths, as allocated."""
        return self.small.bytes + (self.large.bytes if self.large else 0)

    def __repr__(self) -> str:
        return f"<Census {self.count} blocks, {self.bytes} bytes, {self.coverage.bytes:.3%} named>"
