# The heaps of free-threaded builds: csrc/allocators/mimalloc.h. Builds with a GIL have no such heaps per thread.

cdef extern from "stop_the_world.h":
    ctypedef struct mi_pause:
        uint64_t asked_ns, stopped_ns, started_ns

cdef extern from "mimalloc.h":
    ctypedef struct mi_mimalloc_owner:
        pass
    ctypedef struct mi_mimalloc_segment:
        uintptr_t address
        uint64_t size
        uintptr_t thread
        uint32_t huge
    ctypedef struct mi_mimalloc_page:
        uintptr_t area, first
        uint64_t area_size, block_size
        uintptr_t heap
        uint32_t capacity, reserved, used
        unsigned char tag, large
    ctypedef struct mi_mimalloc_walk:
        mi_mimalloc_owner *owners
        mi_mimalloc_segment *segments
        mi_mimalloc_page *pages
        size_t owner_count, segment_count, page_count
        uintptr_t cookie
        uint64_t inconsistent, miscounted, lost_delayed, delayed_count, delayed_bytes
        int timed_out
    mi_error mi_mimalloc_open(mi_mimalloc_walk *walk, const mi_layout *layout, uintptr_t interpreter)
    void mi_mimalloc_close(mi_mimalloc_walk *walk)
    mi_error mi_mimalloc_walk_world(mi_mimalloc_walk *walk, uint64_t max_pause_ns, mi_pause *pause)
    mi_error mi_mimalloc_find_others(mi_mimalloc_walk *walk)
    mi_error mi_mimalloc_locate(const mi_layout *layout, const mi_target *target, uintptr_t cookie, uintptr_t address,
                                mi_mimalloc_segment *segment, mi_mimalloc_page *page)
    mi_error mi_mimalloc_verify(const mi_layout *layout, const mi_target *target, uintptr_t block, size_t size, int tag,
                                uintptr_t *cookie)

cdef extern from "runtime.h":
    ctypedef struct mi_thread:
        uintptr_t address
    enum:
        MI_MAX_INTERPRETERS
        MI_MAX_THREADS
    mi_error mi_runtime_interpreters(const mi_runtime *runtime, mi_interpreter *items, size_t capacity, size_t *count)
    mi_error mi_runtime_threads(const mi_runtime *runtime, const mi_interpreter *interpreter, mi_thread *items,
                                size_t capacity, size_t *count)

cdef extern from "Python.h":
    void *PyObject_Malloc(size_t size)
    void PyObject_Free(void *block)

MIMALLOC_TAGS = ("mem", "object", "gc", "gc_pre")


cdef mi_error mimalloc_cookie(const mi_layout *layout, uintptr_t *cookie):
    """Holds the layout against a block allocated for it; the cookie is that of every segment of this process."""
    cdef mi_target target
    cdef size_t size = 48
    cdef void *block
    cdef mi_error error = mi_target_open(&target, MI_TARGET_SELF, 0)
    if error != MI_OK:
        return error
    block = PyObject_Malloc(size)
    error = MI_E_MEMORY if block == NULL else mi_mimalloc_verify(layout, &target, <uintptr_t>block, size, 1, cookie)
    PyObject_Free(block)
    mi_target_close(&target)
    return error


cdef list mimalloc_other_heaps(const mi_layout *layout):
    """[(interpreter id, address of a thread state's heaps, their bytes)] of the interpreters that were not stopped."""
    cdef mi_target target
    cdef mi_runtime runtime
    cdef mi_interpreter *interpreters = NULL
    cdef mi_thread *threads = NULL
    cdef size_t count = 0, thread_count = 0, i, j
    cdef uintptr_t own = <uintptr_t>PyInterpreterState_Get()
    found = []
    if mi_target_open(&target, MI_TARGET_SELF, 0) != MI_OK:
        return found
    try:
        if mi_runtime_open(&runtime, &target, layout) != MI_OK:
            return found
        interpreters = <mi_interpreter *>mi_os_alloc(MI_MAX_INTERPRETERS * sizeof(mi_interpreter))
        threads = <mi_thread *>mi_os_alloc(MI_MAX_THREADS * sizeof(mi_thread))
        if interpreters == NULL or threads == NULL:
            return found
        if mi_runtime_interpreters(&runtime, interpreters, MI_MAX_INTERPRETERS, &count) not in (MI_OK, MI_E_LIMIT):
            return found
        for i in range(count):
            if interpreters[i].address == own:
                continue
            mi_runtime_threads(&runtime, &interpreters[i], threads, MI_MAX_THREADS, &thread_count)
            found.append((interpreters[i].id, 0, 0))
            for j in range(thread_count):
                found.append((interpreters[i].id, threads[j].address + layout.thread_mimalloc + layout.mimalloc_heaps,
                              layout.mimalloc_heap_size * layout.mimalloc_heap_count))
        return found
    finally:
        mi_os_free(interpreters, MI_MAX_INTERPRETERS * sizeof(mi_interpreter))
        mi_os_free(threads, MI_MAX_THREADS * sizeof(mi_thread))
        mi_target_close(&target)


def mimalloc_capture(double max_pause=1.0):
    """Every segment, page and waiting free of this interpreter's mimalloc heaps, with its other threads stopped.

    max_pause -- seconds after which the walk ends and its result is partial

    {"kind": "mimalloc", "interpreter": id, "reason": text or None, "timed_out": bool, "inconsistent": pages,
    "miscounted": heaps, "lost_delayed": blocks, "delayed": (count, bytes) of frees that ended threads left,
    "wait_s", "pause_s": until all threads stood still, and the whole, "segments", "pages", "owners": the tables of
    csrc/allocators/mimalloc.h (formats in probes/heap_mimalloc.py), "others": [(interpreter, address, bytes), ...],
    "slice_bytes", "cookie"}. Without a walk the tables are empty and `reason` says why.
    """
    cdef const mi_layout *layout = the_layout()
    cdef mi_mimalloc_walk walk
    cdef mi_pause pause = mi_pause(0, 0, 0)
    cdef uintptr_t cookie = 0
    cdef int attempt
    cdef mi_error error = mimalloc_cookie(layout, &cookie)
    result = {"kind": "mimalloc", "interpreter": PyInterpreterState_GetID(PyInterpreterState_Get()), "reason": None,
              "timed_out": False, "inconsistent": 0, "miscounted": 0, "lost_delayed": 0, "delayed": (0, 0),
              "wait_s": 0.0, "pause_s": 0.0, "segments": b"", "pages": b"", "owners": b"", "others": [],
              "slice_bytes": layout.mimalloc_slice_size, "cookie": cookie}
    if error != MI_OK:
        result["reason"] = "mimalloc's heaps were not walked: " + reason_of(error)
        return result
    for attempt in range(3):
        error = mi_mimalloc_open(&walk, layout, <uintptr_t>PyInterpreterState_Get())
        if error == MI_OK:
            # between stop and start only C runs: no Python object, no allocation, no lock
            error = mi_mimalloc_walk_world(&walk, <uint64_t>(max_pause * 1e9), &pause)
            if error != MI_E_LIMIT or walk.timed_out:
                break
            mi_mimalloc_close(&walk)  # the process grew beyond the tables before it was stopped
    try:
        if error == MI_E_ABSENT:
            result["reason"] = ("this build does not export _PyEval_StopTheWorld: other threads cannot be held still, "
                                "so nothing was walked")
            return result
        if error == MI_OK or walk.timed_out:
            mi_mimalloc_find_others(&walk)
            result["others"] = mimalloc_other_heaps(layout)
            result["segments"] = (<char *>walk.segments)[:walk.segment_count * sizeof(mi_mimalloc_segment)]
            result["pages"] = (<char *>walk.pages)[:walk.page_count * sizeof(mi_mimalloc_page)]
            result["owners"] = (<char *>walk.owners)[:walk.owner_count * sizeof(mi_mimalloc_owner)]
        if walk.timed_out:
            result["reason"] = f"the walk ended after {max_pause} s with the other threads stopped: it is partial"
        elif error != MI_OK:
            result["reason"] = "mimalloc's heaps were not walked: " + reason_of(error)
        elif walk.inconsistent or walk.miscounted or walk.lost_delayed or walk.cookie != cookie:
            result["reason"] = (f"{walk.inconsistent} pages, {walk.miscounted} heaps and {walk.lost_delayed} delayed "
                                "frees contradict themselves: a thread without a thread state frees memory, or the "
                                "layout is wrong")
        result["timed_out"] = bool(walk.timed_out)
        result["inconsistent"] = walk.inconsistent
        result["miscounted"] = walk.miscounted
        result["lost_delayed"] = walk.lost_delayed
        result["delayed"] = (walk.delayed_count, walk.delayed_bytes)
        if pause.started_ns:
            result["wait_s"] = (pause.stopped_ns - pause.asked_ns) / 1e9
            result["pause_s"] = (pause.started_ns - pause.asked_ns) / 1e9
        return result
    finally:
        mi_mimalloc_close(&walk)
