# The small-object heap: csrc/allocators/heap_walk.h, csrc/allocators/malloc_stats.h. The raw format is documented in probes/heap.py.

cdef extern from "os.h":
    ctypedef struct mi_mapping:
        uintptr_t start, end
        uint64_t inode
        const char *name
    ctypedef struct mi_maps:
        mi_mapping *items
        size_t count
    const mi_mapping *mi_os_maps_find(const mi_maps *maps, uintptr_t address)

cdef extern from "target.h":
    ctypedef struct mi_mapped_target "mi_target":
        mi_maps maps
    mi_error mi_target_refresh(mi_target *target)

cdef extern from "obmalloc.h":
    enum: MI_MAX_SIZE_CLASSES
    enum: MI_WALK_POOLS
    enum: MI_WALK_BLOCKS
    ctypedef struct mi_pool:
        uint64_t address
        uint32_t arena
        uint16_t size_class, used
    ctypedef struct mi_arena:
        uint64_t address
        uint32_t pools_total, pools_never_used
    ctypedef struct mi_class_total:
        uint64_t pools, used, free, untouched
    ctypedef struct mi_arena_table:
        uintptr_t address
        uint32_t count
    ctypedef struct mi_heap:
        mi_arena *arenas
        size_t arena_count
        uint32_t *arena_used
        mi_pool *pools
        size_t pool_count
        uint64_t *blocks
        mi_class_total[64] classes
        unsigned char *marked
        uint64_t torn_pools, torn_arenas, arenas_left
    mi_error mi_heap_mark(const mi_target *target, const mi_layout *layout, size_t held, mi_heap *heap)
    ctypedef struct mi_block_place:
        uintptr_t pool, arena, block
        uint32_t arena_index, size_class, index_in_pool, used, free
        size_t size
    mi_error mi_obmalloc_table(const mi_target *target, const mi_layout *layout, uintptr_t state, mi_arena_table *table)
    mi_error mi_obmalloc_place(const mi_target *target, const mi_layout *layout, const mi_arena_table *table,
                               uintptr_t address, mi_block_place *place)
    int mi_obmalloc_is_mapped(const mi_target *target, const mi_layout *layout, const mi_arena_table *table)
    mi_error mi_obmalloc_find(const mi_layout *layout, mi_arena_table *table)
    mi_error mi_obmalloc_find_in(const mi_target *target, const mi_layout *layout, mi_arena_table *table)

cdef extern from "heap_walk.h":
    ctypedef enum mi_omission:
        MI_OMIT_ERROR
        MI_OMIT_GIL_HELD
        MI_OMIT_MOVED
        MI_OMIT_LATE
        MI_OMIT_APART
    ctypedef struct mi_omitted:
        int64_t interpreter
        mi_omission why
        mi_error error
    ctypedef struct mi_heap_walk:
        mi_heap heap
        mi_class_total[64] own_classes
        size_t own_arenas, interpreters, states, omitted_count
        int own_walked, steady, cut
        mi_omitted *omitted
        uint64_t pause_ns
    mi_error mi_heap_walk_all(const mi_runtime *runtime, uintptr_t self, const mi_arena_table *hidden, unsigned what,
                              mi_heap_walk *walk) nogil
    void mi_heap_walk_free(mi_heap_walk *walk)

cdef extern from "malloc_stats.h":
    ctypedef struct mi_malloc_stats:
        char *text
        size_t length
        int has_allocator, has_free_lists
    mi_error mi_malloc_stats_take(mi_malloc_stats *stats) nogil
    void mi_malloc_stats_free(mi_malloc_stats *stats)


cdef class _Target:
    """A target that is closed when it is no longer referred to."""
    cdef mi_target target

    cdef int open(self, mi_target_kind kind, pid_t pid) except -1:
        check(mi_target_open(&self.target, kind, pid))
        return 0

    def __dealloc__(self):
        mi_target_close(&self.target)

    cdef const mi_mapping *mapping(self, uintptr_t address):
        return mi_os_maps_find(&(<mi_mapped_target *>&self.target).maps, address)


cdef class _Table:
    """A table in memory of our own, which a survey of the process names as such, until `take` makes bytes of it."""
    cdef char *data
    cdef size_t size

    cdef int clear(self, size_t size) except -1:
        """So many zeros."""
        self.data = <char *>mi_os_alloc(size or 1)
        if self.data == NULL:
            raise MemoryError("no room for the tables of the heap")
        self.size = size
        return 0

    cdef int fill(self, const void *data, size_t size) except -1:
        self.clear(size)
        memcpy(self.data, data, size)
        return 0

    cdef bytes take(self):
        return self.data[:self.size] if self.size else b""

    def __dealloc__(self):
        if self.data != NULL:
            mi_os_free(self.data, self.size or 1)


cdef object table_of(const void *data, size_t size, bint aside):
    cdef _Table table
    if not aside:
        return (<const char *>data)[:size] if size else b""
    table = _Table()
    table.fill(data, size)
    return table


cdef mi_error own_table(const mi_target *target, const mi_layout *layout, mi_arena_table *table, bint *hidden):
    """The arena table of the interpreter that runs; `hidden` when no layout leads to it."""
    cdef mi_runtime runtime
    cdef mi_interpreter interpreter
    cdef mi_error error
    memset(table, 0, sizeof(mi_arena_table))
    hidden[0] = layout.interpreter_obmalloc == MI_ABSENT
    if hidden[0]:
        return mi_obmalloc_find(layout, table)
    error = mi_runtime_open(&runtime, target, layout)
    if error == MI_OK:
        error = mi_runtime_interpreter_at(&runtime, <uintptr_t>PyInterpreterState_Get(), &interpreter)
    if error == MI_OK:
        error = mi_obmalloc_table(target, layout, interpreter.obmalloc, table)
    return error


cdef str omission_text(const mi_omitted *omitted):
    if omitted.why == MI_OMIT_GIL_HELD:
        return "it has a GIL of its own, which was held: its heap could not be held still"
    if omitted.why == MI_OMIT_MOVED:
        return "its heap changed while it was read, in every try"
    if omitted.why == MI_OMIT_LATE:
        return "max_pause was reached before it was read"
    if omitted.why == MI_OMIT_APART:
        return "it has a GIL of its own: it stands still in a frozen copy alone"
    if omitted.error == MI_E_ABSENT:
        return "it has no pymalloc heap"
    return reason_of(omitted.error)


cdef bytes arena_classes(const mi_layout *layout, const mi_heap *heap):
    """(place of the arena, size class, live blocks), three uint32 for each that has any."""
    cdef uint32_t[3] row
    cdef size_t arena
    cdef uint32_t size_class, classes = layout.size_classes
    cdef bytearray result = bytearray()
    for arena in range(heap.arena_count):
        for size_class in range(classes):
            row[2] = heap.arena_used[arena * classes + size_class]
            if row[2]:
                row[0], row[1] = <uint32_t>arena, size_class
                result += (<char *>row)[:sizeof(row)]
    return bytes(result)


cdef dict heap_to_raw(const mi_layout *layout, const mi_heap_walk *walk, unsigned what, bint aside):
    cdef const mi_heap *heap = &walk.heap
    cdef size_t classes = layout.size_classes * sizeof(mi_class_total)
    cdef size_t blocks = heap.arena_count * (layout.arena_size // 128)
    reasons = []
    if heap.torn_pools or heap.torn_arenas:
        reasons.append(f"{heap.torn_pools} pools and {heap.torn_arenas} arenas contradict themselves")
    if heap.arenas_left:
        reasons.append(f"max_pause was reached: {heap.arenas_left} of {heap.arenas_left + heap.arena_count} arenas "
                       "were left out")
    if walk.cut:
        reasons.append("there are more interpreters than are walked")
    return {
        "arena_size": layout.arena_size, "pool_size": layout.pool_size, "pool_header_size": layout.pool_header_size,
        "alignment": layout.alignment, "size_class_count": layout.size_classes,
        "arenas": (<char *>heap.arenas)[:heap.arena_count * sizeof(mi_arena)] if heap.arena_count else b"",
        "pools": table_of(heap.pools, heap.pool_count * sizeof(mi_pool), aside) if what & MI_WALK_POOLS else None,
        "blocks": table_of(heap.blocks, blocks, aside) if what & MI_WALK_BLOCKS else None,
        "marked": None,
        "arena_classes": arena_classes(layout, heap),
        "classes": (<char *>heap.classes)[:classes],
        "own_classes": (<char *>walk.own_classes)[:classes] if walk.own_walked else None,
        "own_arenas": walk.own_arenas, "interpreters": walk.interpreters, "states": walk.states,
        "omitted": [(walk.omitted[i].interpreter, omission_text(&walk.omitted[i]))
                    for i in range(walk.omitted_count)],
        "reasons": reasons, "pause_s": walk.pause_ns * 1e-9,
    }


cdef dict heap_of_this_process(unsigned what, bint statistics, uint64_t until, bint aside):
    cdef const mi_layout *layout = the_layout()
    cdef _Target guard = _Target()
    cdef mi_runtime runtime
    cdef mi_arena_table table
    cdef mi_allocator allocator
    cdef mi_heap_walk walk
    cdef mi_malloc_stats stats
    cdef mi_error found, error, stats_error, marks_error = MI_E_ABSENT
    cdef uintptr_t self = <uintptr_t>PyInterpreterState_Get()
    cdef bint hidden = False
    cdef uint64_t begun = mi_os_now_ns(), marks_begun = 0, marks_end = 0
    guard.open(MI_TARGET_SELF, 0)
    check(mi_runtime_open(&runtime, &guard.target, layout))
    found = own_table(&guard.target, layout, &table, &hidden)
    check(mi_allocator_look(&guard.target, layout, &table, &allocator))
    # The probe and what Cython did since may have made an arena, and moved the table.
    check(mi_target_refresh(&guard.target))
    found = own_table(&guard.target, layout, &table, &hidden)
    # From here to the end of the walks nothing is allocated from pymalloc: all of them describe one moment.
    (<mi_timed_target *>&guard.target).until_ns = until
    error = mi_heap_walk_all(&runtime, self, &table if hidden else NULL, what & ~<unsigned>MI_WALK_BLOCKS, &walk)
    # CPython goes the same way for its statistics and cannot be stopped: not without time for it.
    if not statistics:
        stats_error = MI_E_ABSENT
    elif until and mi_os_now_ns() + walk.pause_ns > until:
        stats_error = MI_E_LATE
    else:
        stats_error = mi_malloc_stats_take(&stats)
    # The bitmap takes many times as long, so it has a time of its own: without it the figures above are still whole.
    if what & MI_WALK_BLOCKS and error == MI_OK:
        marks_begun = mi_os_now_ns()
        (<mi_timed_target *>&guard.target).until_ns = marks_begun + until - begun if until else 0
        marks_error = mi_heap_mark(&guard.target, layout, walk.own_arenas, &walk.heap)
        marks_end = mi_os_now_ns()
    try:
        check(error)
        raw = heap_to_raw(layout, &walk, what & ~<unsigned>MI_WALK_BLOCKS, aside)
        if marks_error == MI_OK:
            raw["blocks"] = table_of(walk.heap.blocks, walk.heap.arena_count * (layout.arena_size // 128), aside)
            raw["marked"] = (<char *>walk.heap.marked)[:walk.heap.arena_count] if walk.heap.arena_count else b""
            raw["pause_s"] += (marks_end - marks_begun) * 1e-9
        raw.update(allocator_to_raw(guard, &allocator))
        raw["stats"] = stats.text[:stats.length] if stats_error == MI_OK else None
        raw["stats_reason"] = None
        if not statistics:
            raw["stats_reason"] = "CPython's statistics were not asked for"
        elif stats_error != MI_OK:
            raw["stats_reason"] = "CPython's statistics cannot be taken here: " + reason_of(stats_error)
        elif not stats.has_allocator:
            raw["stats_reason"] = ("CPython prints no statistics under this allocator" if allocator.name != NULL else
                                   "CPython prints no statistics while a hook stands before its allocator")
    finally:
        mi_heap_walk_free(&walk)
        if stats_error == MI_OK:
            mi_malloc_stats_free(&stats)
    raw["kind"] = "pymalloc" if allocator.pymalloc or raw["arenas"] else "malloc"
    probed = bool(allocator.pymalloc)
    expected = allocator.name != NULL and raw["allocator"].startswith("pymalloc")
    raw["facts"] = [("a block of our own lies in the arena table", probed if probed or expected else None)]
    if expected and not probed:
        raw["reasons"].append("pymalloc's arena table could not be found: "
                              + reason_of(found if found != MI_OK else MI_E_LAYOUT))
    raw["pid"] = 0
    return raw


cdef dict heap_of_process(pid_t pid, unsigned what):
    cdef const mi_layout *layout = the_layout()
    cdef _Target guard = _Target()
    cdef mi_runtime runtime
    cdef mi_arena_table table
    cdef mi_heap_walk walk
    cdef mi_error error
    cdef bint hidden = layout.interpreter_obmalloc == MI_ABSENT
    guard.open(MI_TARGET_PROCESS, pid)
    check(runtime_of(&runtime, &guard.target, layout))
    memset(&table, 0, sizeof(table))
    if hidden:
        error = mi_obmalloc_find_in(&guard.target, layout, &table)
        if error != MI_OK and error != MI_E_ABSENT:
            check(error)
    with nogil:
        error = mi_heap_walk_all(&runtime, 0, &table if hidden else NULL, what, &walk)
    try:
        check(error)
        raw = heap_to_raw(layout, &walk, what, False)
        if not walk.steady:
            raw["reasons"].append("it ran while it was read: the figures are of more than one moment")
        debug = has_debug_frames(pid, layout, &walk.heap)
    finally:
        mi_heap_walk_free(&walk)
    walked = bool(raw["arenas"])
    raw.update({
        "kind": "pymalloc" if walked else "malloc", "pid": pid, "hook": None, "facts": [],
        "allocator": ("pymalloc_debug" if debug else "pymalloc") if walked else "unknown",
        "padding_bytes": MI_DEBUG_AROUND if debug else 0, "stats": None, "stats_reason": "read from outside",
    })
    return raw


cdef bint has_debug_frames(pid_t pid, const mi_layout *layout, const mi_heap *heap):
    """Whether a block of the first pools carries what _PyMem_DebugRawAlloc writes: a letter and 7 bytes of 0xfd."""
    cdef uintptr_t pool, mask = <uintptr_t>layout.pool_size - 1
    cdef size_t i
    cdef bytes fence = b"\xfd" * 7
    frames = [b"o" + fence, b"m" + fence, b"r" + fence]
    for i in range(<size_t>4 if heap.arena_count else <size_t>0):
        pool = ((heap.arenas[0].address + mask) & ~mask) + i * <uintptr_t>layout.pool_size
        try:
            content = read_memory(pool, layout.pool_size, pid)
        except NativeError:
            continue
        if any(frame in content for frame in frames):
            return True
    return False


def heap_capture(pid_t pid=0, bint pools=False, bint blocks=False, bint statistics=True, max_pause=1.0, bint aside=False):
    """The small-object heap of this process, or of another that runs the same build; see probes/heap.py for the format.

    pools, blocks -- with a record of each pool; with a bitmap of the live blocks
    statistics    -- take CPython's own in the same call, to compare
    max_pause     -- seconds for which the GIL may be held (other threads stopped), then arenas are left out; None: no
                     ceiling. It does not concern another process, which goes on.
    aside         -- of this process: leave `pools` and `blocks` in memory of our own, as _Table; raw_take's alone
    """
    cdef unsigned what = (MI_WALK_POOLS if pools else 0) | (MI_WALK_BLOCKS if blocks else 0)
    cdef uint64_t until = ceiling_of(max_pause)
    if the_layout().free_threaded:
        if pid:
            check(MI_E_ABSENT)
        raw = mimalloc_capture(1e9 if max_pause is None else max_pause)
        raw.update(allocator_capture())
        return raw
    return heap_of_process(pid, what) if pid else heap_of_this_process(what, statistics, until, aside)


def malloc_stats_capture():
    """CPython's own statistics of the calling interpreter: {"text": bytes, "has_free_lists": bool}."""
    cdef mi_malloc_stats stats
    check(mi_malloc_stats_take(&stats))
    try:
        return {"text": stats.text[:stats.length], "has_free_lists": bool(stats.has_free_lists)}
    finally:
        mi_malloc_stats_free(&stats)
