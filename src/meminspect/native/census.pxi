# What is in every block: csrc/census/census.h. The raw format is documented in probes/census.py.

cdef extern from "types.h":
    ctypedef struct mi_type:
        uintptr_t address
        uint32_t basicsize, itemsize
        uint16_t preheader, kind
    ctypedef struct mi_types:
        mi_type *items
        size_t count
    mi_error mi_types_add(mi_types *types, const mi_type *items, size_t count)
    mi_error mi_types_read(mi_types *types, const mi_target *target, const mi_layout *layout,
                           const uintptr_t *addresses, size_t count)
    void mi_types_free(mi_types *types)

cdef extern from "owners.h":
    ctypedef enum mi_owner:
        pass
    enum:
        MI_OWNERS
        MI_OWNER_FREE_OBJECTS
    const char *mi_owner_name(mi_owner owner)

cdef extern from "census_large.h":
    ctypedef struct mi_large_totals:
        uint64_t live_chunks, live_bytes, free_chunks, free_bytes, tcache_chunks, tcache_bytes, top_bytes, fence_bytes
        uint64_t torn_bytes, mmapped_chunks, mmapped_bytes, missing_chunks, arenas, left_bytes

cdef extern from "thread_blocks.h":
    ctypedef struct mi_thread_block:
        pass
    ctypedef struct mi_thread_blocks:
        size_t count
        uint64_t freed
        int lost
    mi_error mi_thread_blocks_begin(const mi_runtime *runtime, uintptr_t interpreter)
    mi_error mi_thread_blocks_end(mi_thread_blocks *found)

cdef extern from "census.h":
    enum: MI_CENSUS_GUESSES
    ctypedef struct mi_apart_row:
        uint64_t count, bytes, small, small_bytes, moved
    ctypedef struct mi_apart:
        mi_thread_blocks blocks
        mi_apart_row *rows
        size_t row_count
    void mi_apart_free(mi_apart *apart)
    ctypedef struct mi_census_row:
        uint64_t[64] blocks
        uint64_t large_blocks, large_bytes, requested_bytes, unasked
    ctypedef struct mi_census_sum:
        uint64_t small_blocks, small_bytes, large_blocks, large_bytes, requested_bytes, unasked
    enum: MI_CENSUS_LARGE_GUESSES
    ctypedef struct mi_census_large_guess:
        int32_t kind, type
        uint32_t offset, chunks
        uint64_t through, bytes
        char[48] object
    ctypedef struct mi_census_guess:
        int32_t type, owner
        uint32_t offset, count
    enum: MI_SEEN_CLAIMED
    ctypedef struct mi_census_seen:
        uint64_t address
        int32_t type
        uint16_t size
    ctypedef struct mi_census_lent:
        uintptr_t address
        size_t size
    ctypedef struct mi_census:
        mi_census_sum *objects
        size_t types
        mi_census_row typed
        mi_census_row *buffers
        mi_census_row unknown, live
        mi_census_guess[65][8] guesses
        uint64_t claims_outside, claims_misplaced, claims_free, claims_small, claims_again
        uint64_t looked_like_objects, bitmap_bytes, table_bytes, pools_left, walk_ns
        int threads, rounds
        mi_census_seen *seen
        size_t seen_count, seen_bytes
        mi_error large_error
        mi_large_totals large
        uint64_t[64] sizes
        size_t size_count
        mi_census_large_guess[256] large_guesses
    ctypedef struct mi_content:
        uint16_t unit, code
    ctypedef struct mi_content_arena:
        uint64_t address
    ctypedef struct mi_contents:
        size_t most_blocks
        uint16_t *pools
        size_t pool_count
        mi_content_arena *arenas
        size_t arena_count
        mi_content *blocks
        size_t block_count
        unsigned char *seen
        size_t codes
    mi_census_sum mi_census_sum_of(const mi_census *census, const mi_census_row *row) nogil
    void mi_contents_free(mi_contents *contents)
    ctypedef struct mi_census_request:
        const mi_target *target
        const mi_layout *layout
        const mi_heap *heap
        const mi_types *types
        uint32_t padding
        int threads, guesses, list
        const mi_census_lent *lent
        size_t lent_count
        mi_contents *contents
        mi_apart *apart

cdef extern from "census_frames.h":
    enum: MI_CENSUS_THREADS
    ctypedef struct mi_thread_frames:
        uint64_t native_id
        int64_t interpreter
        uint64_t chunks, chunk_bytes, frames, embedded, objects, bytes

cdef extern from "heap_types.h":
    enum: MI_HEAP_TYPES
    ctypedef struct mi_type_name:
        uint64_t address
        char[256] module
        char[256] qualname

cdef extern from "census_job.h":
    ctypedef struct mi_census_found:
        mi_census census
        uint64_t torn_pools, torn_arenas, arenas_left
        size_t interpreters, own_types, others_cut
        int mimalloc_late
        size_t omitted_count
        mi_omitted[64] omitted
        size_t thread_count
        mi_thread_frames[512] threads
    ctypedef struct mi_census_job:
        uintptr_t self
        const mi_arena_table *hidden
        int frozen
        mi_census_request request
        mi_types *own_types
        const uintptr_t *type_addresses
        size_t type_count
        uintptr_t tuple_type
        size_t others_room
        mi_census_sum *rows
        mi_type_name *other_names
        mi_census_found *found
    mi_error mi_census_job_run(const mi_target *target, void *job) noexcept nogil

cdef extern from "census_others.h":
    mi_error mi_others_count(const mi_runtime *runtime, uintptr_t self, size_t *others, size_t *apart)


cdef class _Lent  # census_lent.pxi
cdef class _Graph  # graph_read.pxi


cdef extern from *:
    """
    /* A heap type without this has no subclasses; in a static one of an interpreter of its own it is an index
       (Objects/typeobject.c, lookup_tp_subclasses). */
    #define MI_MAY_HAVE_SUBCLASSES(type) \
        (((PyTypeObject *)(type))->tp_subclasses || !PyType_HasFeature((PyTypeObject *)(type), Py_TPFLAGS_HEAPTYPE))
    """
    bint MI_MAY_HAVE_SUBCLASSES(PyObject *type)


_subclasses = type.__dict__["__subclasses__"]


cdef list all_types():
    """Every type that `object` leads to by its subclasses; type.__subclasses__ is C and asks no metaclass."""
    subclasses = _subclasses
    found, todo = {}, [object]
    while todo:
        item = todo.pop()
        key = <uintptr_t><PyObject *>item
        if key in found:
            continue
        found[key] = item
        if MI_MAY_HAVE_SUBCLASSES(<PyObject *>item):
            todo.extend(subclasses(item))
    return list(found.values())


def _all_types():
    """all_types(), for the tests."""
    return all_types()


_type_module = type.__dict__["__module__"].__get__
_type_qualname = type.__dict__["__qualname__"].__get__


cdef object plain_text(object text):
    """A bounded copy of a str, None of anything else (a class body may have put any object there)."""
    return str.encode(text[:256], "utf-8", "surrogatepass") if type(text) is str else None


cdef tuple type_text(object item):
    """(module, qualified name) of a type: `type`'s own getters, which read its structure and dict and call nothing."""
    try:
        module = plain_text(_type_module(item))
    except AttributeError:
        module = None
    return module, plain_text(_type_qualname(item))


cdef tuple sum_tuple(const mi_census_sum *row):
    return row.small_blocks, row.small_bytes, row.large_blocks, row.large_bytes, row.requested_bytes, row.unasked


cdef tuple row_tuple(const mi_census *census, const mi_census_row *row):
    cdef mi_census_sum summed = mi_census_sum_of(census, row)
    return sum_tuple(&summed)


cdef bint sum_is_empty(const mi_census_sum *row):
    return not row.small_blocks and not row.large_blocks


cdef list class_tuples(const mi_layout *layout, const mi_census *census, size_t classes):
    """[(size, live blocks, objects, buffers, on free lists, unknown)] of each size class."""
    cdef size_t i
    cdef int owner
    cdef uint64_t buffers, kept
    found = []
    for i in range(classes):
        buffers = kept = 0
        for owner in range(MI_OWNERS):
            if owner < MI_OWNER_FREE_OBJECTS:
                buffers += census.buffers[owner].blocks[i]
            else:
                kept += census.buffers[owner].blocks[i]
        found.append((census.sizes[i] if census.size_count else (i + 1) * layout.alignment, census.live.blocks[i],
                      census.typed.blocks[i], buffers, kept, census.unknown.blocks[i]))
    return found


cdef list guesses_of(list names, const mi_census_guess *guesses):
    """[(kind, (module, qualified name) or None, offset of the word, how many)]; kind: "type", "object", "buffer" or
    "unknown"."""
    cdef int i
    cdef const mi_census_guess *guess
    found = []
    for i in range(MI_CENSUS_GUESSES):
        guess = &guesses[i]
        if not guess.count:
            break
        name = names[guess.type] if guess.type >= 0 else None
        kind = "object" if guess.type >= 0 else {-1: "buffer", -2: "unknown", -3: "type"}[guess.type]
        found.append((kind, name, guess.offset, guess.count))
    return found


cdef tuple type_name(const mi_type_name *name):
    return <bytes>name.module or None, <bytes>name.qualname or None


cdef tuple name_at(const mi_types *types, const mi_census_job *job, size_t i):
    """(module, qualified name) of a type of this interpreter, or of another one behind them."""
    if i < types.count:
        return type_text(<object><PyObject *>types.items[i].address)
    return type_name(&job.other_names[i - types.count])


cdef list names_of(const mi_types *types, const mi_census_job *job):
    """(module, qualified name) of each type that has objects, None of the others."""
    cdef size_t i
    return [name_at(types, job, i) if not sum_is_empty(&job.rows[i]) else None
            for i in range(job.found.census.types)]


cdef list threads_of(const mi_census_found *found):
    """[(native id, interpreter, chunks, bytes of chunks, frames, embedded frames, objects, bytes of objects)]"""
    cdef size_t i
    cdef const mi_thread_frames *row
    told = []
    for i in range(min(found.thread_count, <size_t>MI_CENSUS_THREADS)):
        row = &found.threads[i]
        told.append((row.native_id, row.interpreter, row.chunks, row.chunk_bytes, row.frames, row.embedded,
                     row.objects, row.bytes))
    return told


cdef dict census_to_raw(const mi_layout *layout, list names, const mi_census_found *found):
    cdef const mi_census *census = &found.census
    cdef size_t i
    cdef int owner
    cdef size_t classes = census.size_count or <size_t>layout.size_classes
    guesses = {i: guesses_of(names, census.guesses[i]) for i in range(classes)
               if census.guesses[i][0].count}
    rows = [(mi_owner_name(<mi_owner>owner).decode(), row_tuple(census, &census.buffers[owner]))
            for owner in range(MI_OWNERS)]
    large = large_to_raw(census)
    return {
        "size_classes": class_tuples(layout, census, classes), "own_sizes": census.size_count != 0,
        "types": [(*names[i], sum_tuple(&census.objects[i])) for i in range(<size_t>len(names))
                  if names[i] is not None],
        "buffers": rows[:MI_OWNER_FREE_OBJECTS], "free_lists": rows[MI_OWNER_FREE_OBJECTS:],
        "thread_frames": threads_of(found),
        "guesses": guesses, "large_guesses": large_guesses_of(names, census), **large,
        "objects": row_tuple(census, &census.typed),
        "unknown": row_tuple(census, &census.unknown), "live": row_tuple(census, &census.live),
        "claims": {"outside": census.claims_outside, "misplaced": census.claims_misplaced,
                   "free": census.claims_free, "small": census.claims_small, "again": census.claims_again},
        "looked_like_objects": census.looked_like_objects, "rounds": census.rounds,
        "bitmap_bytes": census.bitmap_bytes, "table_bytes": census.table_bytes,
        "threads": census.threads, "consistent": False, "frozen": None,
        "reasons": heap_reasons(found) + large["reasons"],
    }


cdef list large_guesses_of(list names, const mi_census *census):
    """[(kind, (module, qualified name) of a type or (None, file) or None, offset, chunks, bytes, by way of
    other chunks)]; kinds as in guesses_of, and "data" and "nothing"."""
    cdef int i
    cdef const mi_census_large_guess *guess
    kinds = ("nothing", "unknown", "buffer", "data", "type", "object")
    found = []
    for i in range(MI_CENSUS_LARGE_GUESSES):
        guess = &census.large_guesses[i]
        if not guess.chunks:
            continue
        name = (None, guess.object) if guess.object[0] else None
        if guess.type >= 0:
            name = names[guess.type]
        found.append((kinds[guess.kind], name, guess.offset, guess.chunks, guess.bytes,
                      bool(guess.through)))
    return found


cdef dict large_to_raw(const mi_census *census):
    """What is known of malloc's heaps, and why it is not more."""
    if census.large_error != MI_OK and not census.size_count:
        reason = ("another malloc than glibc's is in force, whose heaps are not walked" if census.large_error == MI_E_ABSENT
                  else f"malloc's heaps could not be walked: {mi_error_text(census.large_error).decode()}")
        return {"large": False, "large_reason": reason, "malloc": None, "reasons": []}
    totals = census.large
    reasons = []
    if totals.left_bytes:
        reasons.append(f"max_pause was reached: {totals.left_bytes} bytes of malloc's heaps were not looked into")
    if totals.torn_bytes:
        reasons.append(f"{totals.torn_bytes} bytes of malloc's heaps changed while they were read or are no chunks")
    if totals.missing_chunks:
        reasons.append(f"{totals.missing_chunks} of malloc's mmapped chunks were not found")
    return {"large": True, "large_reason": None, "reasons": reasons,
            "malloc": totals if census.large_error == MI_OK else None}


cdef dict contents_to_raw(const mi_types *types, const mi_census_job *job, const mi_contents *contents):
    """What single blocks hold; see probes/contents.py for the format. None when it was not told."""
    cdef size_t i
    if contents.pools == NULL:
        return None
    names = {}
    for i in range(contents.codes - 1):
        if contents.seen[i]:
            names[i] = (mi_owner_name(<mi_owner>i).decode() if i < MI_OWNERS else
                        name_at(types, job, i - MI_OWNERS))
    return {
        "names": names,
        "arenas": (<char *>contents.arenas)[:contents.arena_count * sizeof(mi_content_arena)],
        "pools": (<char *>contents.pools)[:contents.pool_count * sizeof(uint16_t)],
        "blocks": (<char *>contents.blocks)[:contents.block_count * sizeof(mi_content)],
    }


cdef tuple apart_row(const mi_apart_row *row):
    return row.count, row.bytes, row.small, row.small_bytes, row.moved


cdef dict apart_to_raw(const mi_types *types, const mi_census_job *job, const mi_apart *apart):
    """What the blocks hold that other threads were given, each row (count, bytes, of these on the small path: count and
    bytes, blocks beside them that were only resized):

    types   -- [(module, qualified name, *row), ...]
    owners  -- [(owner of a buffer or free list, *row), ...]
    unknown -- row
    freed   -- blocks that other threads gave back and had not been given meanwhile
    lost    -- some could not be noted
    """
    cdef size_t i
    found, owners = [], []
    for i in range(apart.row_count):
        row = apart_row(&apart.rows[i])
        if not (row[0] or row[4]) or i == apart.row_count - 1:
            continue
        if i < MI_OWNERS:
            owners.append((mi_owner_name(<mi_owner>i).decode(), *row))
        else:
            found.append((*name_at(types, job, i - MI_OWNERS), *row))
    return {"types": found, "owners": owners,
            "unknown": apart_row(&apart.rows[apart.row_count - 1]) if apart.row_count else (0, 0, 0, 0, 0),
            "freed": apart.blocks.freed, "lost": bool(apart.blocks.lost)}


def thread_blocks_begin():
    """Notes from here on which blocks other threads are given: csrc/allocators/thread_blocks.h. Whether it does: not in
    free-threaded builds, where there is no other thread, or while another measurement notes already."""
    cdef const mi_layout *layout = the_layout()
    cdef _Target guard = _Target()
    cdef mi_runtime runtime
    guard.open(MI_TARGET_SELF, 0)
    check(mi_runtime_open(&runtime, &guard.target, layout))
    return mi_thread_blocks_begin(&runtime, <uintptr_t>PyInterpreterState_Get()) == MI_OK


cdef mi_apart noted_apart # of the one measurement that notes: what it found, until it is told


cdef void thread_blocks_end():
    """Ends what was begun: what was noted is in noted_apart, to be freed by thread_blocks_drop()."""
    memset(&noted_apart, 0, sizeof(noted_apart))
    mi_thread_blocks_end(&noted_apart.blocks)


cdef void thread_blocks_drop():
    mi_apart_free(&noted_apart)


cdef bytes addresses_of(list held):
    """The address of each object, uintptr_t."""
    cdef bytes found = PyBytes_FromStringAndSize(NULL, len(held) * sizeof(uintptr_t))
    cdef uintptr_t *to = <uintptr_t *><char *>found
    cdef size_t i
    for i in range(<size_t>len(held)):
        to[i] = <uintptr_t><PyObject *>held[i]
    return found


cdef class _CensusResult:
    """What a walk leaves, in one mapping that a frozen copy shares: a mi_census_found, a row for each type, names of those
    of other interpreters. Only what is written of it takes memory."""
    cdef mi_census_found *found
    cdef size_t size

    cdef int open(self, mi_census_job *job, size_t types) except -1:
        cdef size_t rows = types + job.others_room
        self.close()
        self.size = sizeof(mi_census_found) + rows * sizeof(mi_census_sum) + job.others_room * sizeof(mi_type_name)
        self.found = <mi_census_found *>mi_os_alloc_shared(self.size)
        if self.found == NULL:
            check(MI_E_MEMORY)
        job.found, job.rows = self.found, <mi_census_sum *>(self.found + 1)
        job.other_names = <mi_type_name *>(job.rows + rows)
        return 0

    cdef void close(self):
        if self.found != NULL:
            mi_os_free(self.found, self.size)
        self.found = NULL

    def __dealloc__(self):
        self.close()


cdef dict census_frozen(mi_clone_work work, void *job, _Graph beside, deadline, room, uint64_t held_from):
    """Runs the job in a frozen copy, waits for it without the GIL, and tells what became of it (clone_to_raw).

    beside -- a graph that the job makes as well: its types are held from here on
    NativeError: "memory" where there is no room for a copy, "late" when it was ended at its deadline, "permission",
    "torn" when it did not come to its end.
    """
    cdef mi_clone_order order
    cdef mi_clone clone
    cdef mi_error error
    cdef uint64_t copied
    clone_order_fill(&order, work, job, deadline, room)
    error = mi_clone_start(&clone, &order)
    copied = mi_os_now_ns()
    if error == MI_OK:
        if beside is not None and not beside.pinned:
            beside.hold_types()
        with nogil:
            mi_clone_wait(&clone)
    told = clone_to_raw(&clone, error, room)
    told["held_s"] = told["world_s"] or (copied - held_from) * 1e-9
    if told["reason"] is not None:
        if error == MI_OK:
            error = clone.result.error
        names = {MI_E_MEMORY: "memory", MI_E_PERMISSION: "permission", MI_E_LAYOUT: "layout", MI_E_ABSENT: "absent"}
        raise NativeError("late" if told["end"] == "late" else names.get(error, "torn"), told["reason"])
    return told


def census_capture(max_pause=1.0, int threads=0, bint guesses=False, bint consistent=False, deadline=60.0,
                   room_bytes=None, bint blocks=False, bint sites=False, size_t contents=0, foreign="scan",
                   bint may_copy=True, bint apart=False):
    """Every live block of this process' heaps as an object of a type, an owner's buffer, or unknown; see
    probes/census.py for the format.

    max_pause -- seconds for which the GIL may be held (other threads stopped); None: no ceiling
    threads   -- native threads that walk, 0: as many as help
    guesses   -- look for what points to unknown blocks
    consistent -- walk in a frozen copy of the process: only making it is waited for, so max_pause does not apply
    deadline  -- seconds after which the copy is ended, and NativeError raised
    room_bytes -- how much the copies of pages may take; None: what the control groups and the machine leave
    blocks    -- list what each block was taken for, too: tens of bytes for each; not in a copy
    sites     -- ask tracemalloc where each block was allocated, see sites_of(); not in a copy. The walk is not longer for
                 it, but the GIL is held until all is asked
    contents  -- tell what single blocks hold, of this many at most; not from a frozen copy
    foreign   -- "call": ask objects of unknown structure before the walk what they lend by the buffer protocol; their code
                 runs. "scan": call nothing
    may_copy  -- of a process with interpreters that have a GIL of their own, which nothing here holds still, walk in a
                 frozen copy though it was not asked for; else, and where none can be made, they are left out
    apart     -- tell what the blocks hold that thread_blocks_end() found; see apart_to_raw(). Not from a copy
    """
    return census_take(None, max_pause, threads, guesses, consistent, deadline, room_bytes, blocks, sites, contents, foreign,
                       may_copy, apart)


cdef dict census_take(_Graph beside, max_pause=1.0, int threads=0, bint guesses=False, bint consistent=False, deadline=60.0,
                      room_bytes=None, bint blocks=False, bint sites=False, size_t contents=0, foreign="scan",
                      bint may_copy=True, bint apart=False):
    """census_capture(); with `consistent` the frozen copy makes the graph `beside` as well, unless that is None."""
    cdef const mi_layout *layout = the_layout()
    cdef _Target guard = _Target()
    cdef _CensusResult result = _CensusResult()
    cdef mi_arena_table table
    cdef mi_allocator allocator
    cdef mi_types own_types
    cdef mi_types *types = &own_types
    cdef mi_runtime runtime
    cdef mi_census_job job
    cdef mi_graph_job graph_job
    cdef mi_arena_table graph_table
    cdef mi_moment_job moment
    cdef _Shared graph_error_kept = None
    cdef mi_contents told
    cdef bytes addresses
    cdef size_t others = 0, apart_count = 0
    cdef uintptr_t self = <uintptr_t>PyInterpreterState_Get()
    cdef bint hidden = False
    cdef uint64_t begun = mi_os_now_ns(), held_from
    cdef mi_error error
    cdef _Lent lent = _Lent()
    if foreign not in ("scan", "call"):
        raise ValueError(f"foreign is 'scan' or 'call', not {foreign!r}")
    if foreign == "call":
        lent.ask(max_pause)
    if consistent and (blocks or sites):
        raise ValueError("blocks are listed in the process itself alone, and consistent walks in a copy")
    if consistent and not 0 < deadline <= 1e9:
        raise ValueError(f"deadline must be a number of seconds above 0, not {deadline!r}")
    held = all_types() if beside is None else []
    addresses = addresses_of(held)
    # From here to the end of the walk, or until the copy is made, nothing is allocated from pymalloc, but of a copy's orders.
    guard.open(MI_TARGET_SELF, 0)
    own_table(&guard.target, layout, &table, &hidden)
    check(mi_allocator_look(&guard.target, layout, &table, &allocator))
    check(mi_runtime_open(&runtime, &guard.target, layout))
    check(mi_others_count(&runtime, self, &others, &apart_count))
    cdef bint copied = consistent or (apart_count and may_copy
                                       and not (layout.free_threaded or blocks or sites or contents or apart))
    if copied:
        room = clone_room() if room_bytes is None else (room_bytes, "room_bytes")
    memset(&own_types, 0, sizeof(own_types))
    memset(&job, 0, sizeof(job))
    if beside is None and not copied and not layout.free_threaded:  # by the job, which may have a thread for it
        job.own_types, job.type_addresses, job.type_count = types, <const uintptr_t *><const char *>addresses, len(held)
    elif beside is None:
        check(mi_types_read(types, &guard.target, layout, <const uintptr_t *><const char *>addresses, len(held)))
    else:  # its types, which no list holds: that would be in the graph
        resident = number_in(slurp_path(b"/proc/self/status"), b"RssAnon")
        room = room_beside(room, resident)
        graph_error_kept = _Shared()
        graph_error_kept.open(sizeof(mi_error))
        beside.order_copy(&graph_job, &graph_table, resident)
        types = &beside.types
        moment.graph, moment.graph_error = &graph_job, <mi_error *>graph_error_kept.room
    memset(&told, 0, sizeof(told))
    try:
        job.self, job.frozen = self, copied
        job.tuple_type, job.others_room = <uintptr_t><PyObject *>tuple, MI_HEAP_TYPES if others else 0
        result.open(&job, types.count + job.type_count)
        job.request.layout, job.request.types = layout, types
        job.request.padding = 16 if allocator.debug else 0
        job.request.threads, job.request.guesses, job.request.list = threads, guesses, blocks or sites
        job.request.lent, job.request.lent_count = lent.items, lent.count
        told.most_blocks = contents
        job.request.contents = &told if contents and not consistent else NULL
        own_table(&guard.target, layout, &table, &hidden)
        if copied or not mi_obmalloc_is_mapped(&guard.target, layout, &table):
            check(mi_target_refresh(&guard.target))  # looking at the allocator has made an arena, or a larger table
        job.hidden = &table if hidden else NULL
        held_from = mi_os_now_ns()
        frozen = None
        job.request.apart = &noted_apart if apart else NULL
        moment.census = &job
        if copied:
            try:
                frozen = (census_frozen(mi_census_job_run, &job, None, deadline, room, held_from) if beside is None else
                          census_frozen(mi_moment_run, &moment, beside, deadline, room, held_from))
                pause = frozen["held_s"]
            except NativeError:
                if consistent:
                    raise
                job.frozen = copied = False
                result.open(&job, types.count + job.type_count)
                check(mi_target_refresh(&guard.target))
                own_table(&guard.target, layout, &table, &hidden)
                held_from = mi_os_now_ns()
        if not copied:
            (<mi_timed_target *>&guard.target).until_ns = ceiling_of(max_pause)
            error = mi_census_job_run(&guard.target, &job)
            pause = (mi_os_now_ns() - held_from) * 1e-9
            check(error)
        raw_allocator = allocator_to_raw(guard, &allocator)
        if beside is not None:
            beside.take_copied(moment.graph_error[0], frozen)
        names = names_of(types, &job)
        asked = sites_or_reason(result.found, job.request.padding, names) if sites else None
        raw = census_to_raw(layout, names, result.found)
        raw["sites"] = asked
        raw["reasons"] += others_unknown(layout, others, raw_allocator["allocator"]) + cut_reasons(result.found.others_cut)
        raw.update(raw_allocator)
        raw["consistent"], raw["frozen"] = bool(copied), frozen
        raw["exporters"] = (lent.count, lent.refused) if foreign == "call" else None
        if frozen is not None and frozen["missing_bytes"]:
            raw["reasons"].append(f"{frozen['missing_bytes']} bytes of memory are kept from copies (MADV_DONTFORK)")
        if blocks and result.found.census.seen == NULL:
            check(MI_E_LATE)
        if blocks:
            raw["seen"] = (<char *>result.found.census.seen)[:result.found.census.seen_count * sizeof(mi_census_seen)]
            raw["type_addresses"] = b"".join([
                (<uint64_t>(types.items[i].address if i < types.count else
                            job.other_names[i - types.count].address)).to_bytes(8, "little")
                for i in range(result.found.census.types)])
        raw["contents"] = contents_to_raw(types, &job, &told)
        raw["apart"] = apart_to_raw(types, &job, &noted_apart) if apart else None
        raw["pause_s"] = pause
        raw["seconds"] = (mi_os_now_ns() - begun) * 1e-9
        return raw
    finally:
        mi_types_free(&own_types)
        if result.found != NULL:
            mi_os_free(result.found.census.seen, result.found.census.seen_bytes)
        mi_contents_free(&told)


def census_record(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """census_capture() with guesses as a record of the launcher's file; what csrc/launch/preload.c calls."""
    record_write(fd, kind, {"census": census_capture(max_pause, 0, True),
                            "own_blocks": None if own_blocks < 0 else own_blocks})


def census_record_consistent(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """The same, walked in a frozen copy."""
    record_write(fd, kind, {"census": census_capture(max_pause, 0, True, True),
                            "own_blocks": None if own_blocks < 0 else own_blocks})


cdef list others_unknown(const mi_layout *layout, size_t others, allocator):
    """What is not known of other interpreters: texts. Those that were left out are omitted_reasons'."""
    if layout.free_threaded:
        return [f"{others} other interpreters were not stopped: their objects are not counted"] if others else []
    if others and not allocator.startswith("pymalloc"):
        return [f"the classes of {others} other interpreters are not known, as there is no heap of pymalloc's to find them "
                "in: their objects are unknown"]
    return []


cdef list cut_reasons(size_t cut):
    return [f"{cut} types of other interpreters beyond {MI_HEAP_TYPES} are not known"] if cut else []


cdef list omitted_reasons(const mi_omitted *omitted, size_t count):
    cdef size_t i
    reasons = [f"interpreter {omitted[i].interpreter} was left out: {omission_text(&omitted[i])}"
               for i in range(min(count, <size_t>64))]
    if count > 64:
        reasons.append(f"{count - 64} more interpreters were left out")
    return reasons


cdef list heap_reasons(const mi_census_found *found):
    """Why the walk was not whole: texts."""
    reasons = omitted_reasons(found.omitted, found.omitted_count)
    if found.torn_pools or found.torn_arenas:
        reasons.append(f"{found.torn_pools} pools and {found.torn_arenas} arenas contradict themselves")
    if found.mimalloc_late:
        reasons.append("max_pause was reached while mimalloc's pages were walked: the rest was left out")
    if found.arenas_left:
        reasons.append(f"max_pause was reached: {found.arenas_left} arenas were left out")
    if found.thread_count > MI_CENSUS_THREADS:
        reasons.append(f"the frames of {found.thread_count - MI_CENSUS_THREADS} more threads were not looked into")
    if found.census.pools_left:
        reasons.append(f"max_pause was reached: {found.census.pools_left} pools were left out, and what their objects "
                       "own is unknown")
    return reasons
