# The census of another process, read from outside: csrc/census/census_outside.h.

cdef extern from "pages.h":
    ctypedef struct mi_outside_pages "mi_pages":
        uint64_t *sums
        size_t count
    mi_error mi_outside_pages_open "mi_pages_open"(mi_outside_pages *pages, pid_t pid, const mi_maps *maps, int plain)
    mi_error mi_outside_pages_read "mi_pages_read"(mi_outside_pages *pages, const mi_maps *maps)
    void mi_outside_pages_close "mi_pages_close"(mi_outside_pages *pages)

cdef extern from "runtime.h":
    mi_error mi_runtime_translate(const mi_maps *own_maps, const mi_target *target, uintptr_t own, uintptr_t *address)
    mi_error mi_runtime_interpreters(const mi_runtime *runtime, mi_interpreter *items, size_t capacity, size_t *count)

cdef extern from "census_outside.h":
    ctypedef struct mi_replica:
        uint64_t copied_bytes, lost_bytes, blocked_bytes
    ctypedef struct mi_outside_job:
        const mi_target *from_ "from"
        const mi_outside_pages *pages
        uintptr_t runtime, tuple_type
        mi_census_job census
        mi_census_sum *rows
        mi_type_name *names
        mi_replica *replica
        size_t *types_cut
    mi_error mi_census_outside_run(const mi_target *self, void *job) noexcept nogil


cdef struct outside_result:
    mi_census_found found
    mi_replica replica
    size_t types_cut
    mi_census_sum[65536] rows
    mi_type_name[65536] names


cdef class _OutsideResult:
    """What comes back from the copy; only what is written takes memory."""
    cdef outside_result *result

    def __cinit__(self):
        self.result = <outside_result *>mi_os_alloc_shared(sizeof(outside_result))
        if self.result == NULL:
            check(MI_E_MEMORY)

    def __dealloc__(self):
        if self.result != NULL:
            mi_os_free(self.result, sizeof(outside_result))


cdef class _Pages:
    """What is resident of another process."""
    cdef mi_outside_pages pages
    cdef bint opened

    cdef int open(self, pid_t pid, const mi_maps *maps) except -1:
        check(mi_outside_pages_open(&self.pages, pid, maps, 0))
        self.opened = True
        check(mi_outside_pages_read(&self.pages, maps))
        return 0

    def __dealloc__(self):
        if self.opened:
            mi_outside_pages_close(&self.pages)


cdef class _ClassTotals:
    """The live blocks of each size class of another process, and whether two readings of them agreed."""
    cdef list used
    cdef bint steady, debug
    cdef size_t arenas

    cdef int read(self, const mi_runtime *runtime, const mi_arena_table *hidden) except -1:
        cdef mi_heap_walk walk
        cdef mi_error error
        cdef size_t i
        with nogil:
            error = mi_heap_walk_all(runtime, 0, hidden, 0, &walk)
        try:
            check(error)
            self.used = [walk.heap.classes[i].used for i in range(<size_t>runtime.layout.size_classes)]
            self.steady, self.arenas = walk.steady, walk.heap.arena_count
            self.debug = has_debug_frames(runtime.target.pid, runtime.layout, &walk.heap)
        finally:
            mi_heap_walk_free(&walk)
        return 0


cdef uintptr_t outside_of(_Target own, _Target there, uintptr_t address) except? 0:
    cdef uintptr_t found = 0
    check(mi_runtime_translate(&(<mi_mapped_target *>&own.target).maps, &there.target, address, &found))
    return found


cdef uintptr_t main_interpreter(const mi_runtime *runtime) except? 0:
    cdef uintptr_t address = 0
    check(mi_target_word(runtime.target, runtime.address + runtime.layout.runtime_main, &address))
    return address


def census_outside_capture(pid_t pid, bint guesses=False, deadline=60.0):
    """census_capture() of another process of the same build, which runs on; see probes/census.py for the format.

    Its memory is copied into a frozen copy of this process and counted there. NativeError: "memory" where there is no
    room for that, "late" at the deadline (seconds), "limit" when its memory lies where this process' own must stay, and
    what remote_verify() raises.
    """
    cdef const mi_layout *layout = the_layout()
    cdef _Target own = _Target()
    cdef _Target there = _Target()
    cdef _Pages pages = _Pages()
    cdef _OutsideResult shared = _OutsideResult()
    cdef _ClassTotals before = _ClassTotals()
    cdef _ClassTotals after = _ClassTotals()
    cdef outside_result *result = shared.result
    cdef mi_runtime runtime
    cdef mi_arena_table table
    cdef mi_outside_job job
    cdef mi_clone_order order
    cdef mi_clone clone
    cdef mi_error error
    cdef bint hidden = layout.interpreter_obmalloc == MI_ABSENT
    cdef uint64_t begun = mi_os_now_ns()
    cdef size_t i
    if layout.free_threaded or layout.object_refcount == MI_ABSENT:
        check(MI_E_ABSENT)
    own.open(MI_TARGET_SELF, 0)
    there.open(MI_TARGET_PROCESS, pid)
    check(runtime_of(&runtime, &there.target, layout))
    memset(&table, 0, sizeof(table))
    if hidden:
        check(mi_obmalloc_find_in(&there.target, layout, &table))
    before.read(&runtime, &table if hidden else NULL)
    check(mi_target_refresh(&there.target))
    pages.open(pid, &(<mi_mapped_target *>&there.target).maps)
    needed, room = pages.pages.sums[pages.pages.count], clone_room()
    if room[0] is not None and needed > room[0]:
        raise NativeError("memory", f"a copy of the {needed} resident bytes of process {pid} is needed, and {room[1]} "
                                    f"leaves {room[0]}")
    memset(&job, 0, sizeof(job))
    job.from_, job.pages, job.runtime = &there.target, &pages.pages, runtime.address
    job.tuple_type = outside_of(own, there, <uintptr_t><PyObject *>tuple)
    job.census.self, job.census.hidden = main_interpreter(&runtime), &table if hidden else NULL
    job.census.found, job.rows, job.names = &result.found, result.rows, result.names
    job.replica, job.types_cut = &result.replica, &result.types_cut
    job.census.request.layout, job.census.request.guesses = layout, guesses
    job.census.request.padding = 16 if before.debug else 0
    clone_order_fill(&order, mi_census_outside_run, &job, deadline, room)
    error = mi_clone_start(&clone, &order)
    if error == MI_OK:
        with nogil:
            mi_clone_wait(&clone)
    frozen = clone_to_raw(&clone, error, room)
    if frozen["reason"] is not None:
        raise outside_error(pid, error if error != MI_OK else clone.result.error, frozen)
    after.read(&runtime, &table if hidden else NULL)
    check_plausible(pid, &result.found.census, min(sum(before.used), sum(after.used)))
    names = [type_name(&result.names[i]) if not sum_is_empty(&result.rows[i]) else None
             for i in range(result.found.census.types)]
    raw = census_to_raw(layout, names, &result.found)
    live = [result.found.census.live.blocks[i] for i in range(<size_t>layout.size_classes)]
    if not (before.steady and after.steady and before.used == live == after.used):
        raw["reasons"].append("it ran while it was read: the figures are of more than one moment")
    raw["large_reason"] = "malloc's heaps of another process are not walked"
    if result.replica.lost_bytes:
        raw["reasons"].append(f"{result.replica.lost_bytes} bytes were given back before they could be read")
    if result.types_cut:
        raw["reasons"].append(f"{result.types_cut} types beyond {MI_HEAP_TYPES} were left out")
    raw.update({
        "allocator": ("pymalloc_debug" if before.debug else "pymalloc") if before.arenas else "unknown",
        "padding_bytes": MI_DEBUG_AROUND if before.debug else 0, "hook": None, "pause_s": 0.0, "pid": pid,
        "seconds": (mi_os_now_ns() - begun) * 1e-9,
    })
    return raw


cdef int check_plausible(pid_t pid, const mi_census *census, uint64_t expected) except -1:
    """Refuses a copy in which the heap's own tables were torn: its blocks, or the types of most of them, are not there."""
    cdef uint64_t live = 0, unknown = 0
    cdef int i
    for i in range(64):
        live += census.live.blocks[i]
        unknown += census.unknown.blocks[i]
    if 2 * live < expected or 2 * unknown > live:
        raise NativeError("torn", f"process {pid} changed so much while it was read that it could not be counted")
    return 0


cdef object outside_error(pid_t pid, mi_error error, dict told):
    """What went wrong in the copy, in the reader's words."""
    if told["end"] == "late":
        return NativeError("late", f"process {pid} was not counted after {told['lived_s']:.3f} s, and that was ended")
    if told["end"] == "crashed":
        return NativeError("torn", f"process {pid} changed so much while it was read that it could not be counted")
    if error == MI_E_LIMIT:
        return NativeError("limit", f"memory of process {pid} lies where this process' own must stay: try again")
    names = {MI_E_MEMORY: "memory", MI_E_PERMISSION: "permission", MI_E_GONE: "gone", MI_E_LAYOUT: "layout",
             MI_E_UNMAPPED: "torn"}
    return NativeError(names.get(error, "torn"), told["reason"])
