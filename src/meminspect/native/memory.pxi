# Where the resident memory is: csrc/memory/resident.h.

cdef extern from "resident.h":
    enum: MI_LEAF_DEPTH
    ctypedef struct mi_leaf:
        const char *path[4]
        int32_t tid
        uint64_t resident_bytes, virtual_bytes, count
    ctypedef struct mi_painter
    ctypedef mi_error (*mi_memory_source)(mi_painter *painter, void *context) noexcept
    ctypedef struct mi_memory_request:
        pid_t pid
        int plain_pagemap
        mi_hold *hold
        void (*look)(void *context) noexcept
        void *look_context
    ctypedef struct mi_malloc_arena:
        uintptr_t address
        uint64_t size_bytes, live_chunks, live_bytes, free_chunks, free_bytes, free_resident_bytes
        uint64_t tcache_chunks, tcache_bytes, top_bytes, trim_bytes, torn_bytes, below_top_bytes
        uintptr_t below_top
    ctypedef struct mi_memory:
        pid_t pid
        const mi_leaf *leaves
        size_t leaf_count
        const mi_malloc_arena *arenas
        size_t arena_count
        uint64_t tree_bytes, unattributed_bytes, zero_bytes
        int64_t rss_bytes, rss_before, rss_after, pss_bytes, uss_bytes, swap_bytes, peak_rss_bytes
        int64_t trim_bytes, mmapped_chunks, mmapped_bytes, mmap_threshold
        char malloc_name[64]
        int exact
        char reason[512]
        uint64_t pause_ns
    mi_error mi_memory_take(const mi_memory_request *request, mi_memory *out)
    void mi_memory_free(mi_memory *memory)
    void mi_memory_request_add(mi_memory_request *request, mi_memory_source claim, void *context, const char *name)

cdef extern from "resident_python.h":
    ctypedef struct mi_identity:
        uint64_t ident, native_id
    ctypedef struct mi_python_memory:
        const mi_layout *layout
        int held
        mi_identity *identities
        size_t identity_count
    mi_error mi_python_memory_prepare(mi_python_memory *python, const mi_layout *layout, pid_t pid)
    void mi_python_memory_look(void *context) noexcept
    mi_error mi_python_memory_claim(mi_painter *painter, void *context) noexcept
    void mi_python_memory_free(mi_python_memory *python)

cdef extern from "resident_mimalloc.h":
    ctypedef struct mi_mimalloc_memory:
        const mi_layout *layout
        pid_t pid
    mi_error mi_mimalloc_memory_claim(mi_painter *painter, void *context) noexcept
    void mi_mimalloc_memory_free(mi_mimalloc_memory *memory)

from libc.string cimport memset

cdef extern from "jemalloc.h":
    ctypedef struct mi_jemalloc:
        size_t allocated_bytes, resident_bytes
    mi_error mi_jemalloc_read(mi_jemalloc *figures)

cdef extern from "malloc.h" nogil:
    int c_malloc_trim "malloc_trim"(size_t pad)


cdef str text_of(const char *text):
    return (<bytes>text).decode("utf-8", "surrogateescape")


cdef object figure_or_none(int64_t figure):
    return figure if figure >= 0 else None


cdef list leaves_of(const mi_memory *memory):
    cdef size_t at
    cdef int depth
    cdef const mi_leaf *leaf
    leaves = []
    for at in range(memory.leaf_count):
        leaf = &memory.leaves[at]
        path = tuple([text_of(leaf.path[depth]) for depth in range(MI_LEAF_DEPTH) if leaf.path[depth] is not NULL])
        leaves.append((path, leaf.tid, leaf.resident_bytes, leaf.virtual_bytes, leaf.count))
    return leaves


cdef enum:
    WORTH_AN_OWNER = 1048576  # bytes: what is free in an arena


cdef list malloc_arenas_of(const mi_memory *memory):
    cdef size_t at
    arenas = []
    for at in range(memory.arena_count):
        arenas.append(memory.arenas[at])  # a struct becomes a dict of its members
    return arenas


cdef list below_tops(list arenas):
    """Of each arena the type of the object in the last chunk before its top: (module, name), or None."""
    if not any([arena["below_top"] and arena["top_bytes"] + arena["free_bytes"] >= WORTH_AN_OWNER for arena in arenas]):
        return [None] * len(arenas)  # to name the types costs more than it tells
    try:
        return types_at([arena["below_top"] + 2 * sizeof(uintptr_t) if arena["below_top"] else 0 for arena in arenas])
    except NativeError:
        return [None] * len(arenas)


def memory_capture(pid_t pid=0, bint plain_pagemap=False, max_pause=1.0, bint ask_malloc=False):
    """Where the resident memory of a process is (pid 0: this one), as probes/memory.py builds it.

    `leaves` are (names from the top, thread id or 0, resident bytes, virtual bytes, count). Unknown figures are None.
    `thread_names` has names given by the program, by thread id; `cgroup` is what cgroup_capture() returns.
    `plain_pagemap` leaves the PAGEMAP_SCAN ioctl unused, as on kernels before 6.7.

    `ask_malloc` lets another malloc tell its own figures where it can; it takes its locks, so no thread that answers a
    signal may ask for it.
    The GIL is held, so that the process stands still. After `max_pause` seconds (None: no ceiling) it is given back,
    and the rest is read while the process goes on, which makes the result inexact. Another process goes on anyway.
    """
    cdef mi_memory_request request
    cdef mi_memory memory
    cdef mi_python_memory python
    cdef mi_mimalloc_memory mimalloc
    cdef mi_error error
    cdef PyThreadState *state = NULL  # not NULL: the GIL was given back
    cdef mi_hold hold = mi_hold(until_ns=ceiling_of(max_pause), let_go=give_gil_back, context=&state, let_go_ns=0)
    memset(&request, 0, sizeof(request))
    memset(&python, 0, sizeof(python))
    memset(&mimalloc, 0, sizeof(mimalloc))
    request.pid = 0 if pid == getpid() else pid
    request.plain_pagemap = plain_pagemap
    no_python = mimalloc_reason = None
    try:
        check(mi_python_memory_prepare(&python, the_layout(), request.pid))
        python.held = not MI_FREE_THREADED
        if request.pid:
            request.look = mi_python_memory_look
            request.look_context = &python
        mi_memory_request_add(&request, mi_python_memory_claim, &python, "CPython's own heaps")
        mimalloc.layout = the_layout()
        mimalloc.pid = request.pid
        mi_memory_request_add(&request, mi_mimalloc_memory_claim, &mimalloc, "mimalloc's heaps")
        mimalloc_reason = mimalloc_unread(request.pid)
    except NativeError as failure:
        no_python = f"CPython's own heaps: {failure}"
    if request.pid == 0 and not MI_FREE_THREADED:
        request.hold = &hold
    error = mi_memory_take(&request, &memory)
    if state != NULL:
        PyEval_RestoreThread(state)
    try:
        check(error)
        arenas = malloc_arenas_of(&memory)
        return {
            "pid": pid or getpid(),
            "leaves": leaves_of(&memory),
            "malloc_arenas": arenas, "below_tops": [None] * len(arenas) if pid else below_tops(arenas),
            "tree_bytes": memory.tree_bytes,
            "unattributed_bytes": memory.unattributed_bytes,
            "zero_bytes": memory.zero_bytes,
            "rss_bytes": memory.rss_bytes,
            "rss_before_bytes": figure_or_none(memory.rss_before),
            "rss_after_bytes": figure_or_none(memory.rss_after),
            "pss_bytes": figure_or_none(memory.pss_bytes),
            "uss_bytes": figure_or_none(memory.uss_bytes),
            "swap_bytes": figure_or_none(memory.swap_bytes),
            "peak_rss_bytes": figure_or_none(memory.peak_rss_bytes),
            "trim_would_return_bytes": figure_or_none(memory.trim_bytes),
            "mmapped_chunks": figure_or_none(memory.mmapped_chunks),
            "mmapped_bytes": figure_or_none(memory.mmapped_bytes),
            "mmap_threshold_bytes": figure_or_none(memory.mmap_threshold),
            "malloc_says": jemalloc_says(&memory) if ask_malloc and request.pid == 0 else None,
            "malloc": memory.malloc_name.decode("utf-8", "replace"),
            "exact": bool(memory.exact) and no_python is None and mimalloc_reason is None,
            "reason": "; ".join(filter(None, (no_python, memory.reason.decode("utf-8", "replace"),
                                              mimalloc_reason))) or None,
            "pause_s": memory.pause_ns * 1e-9,
            "thread_names": names_by_native_id(&python) if request.pid == 0 else {},
            "cgroup": cgroup_capture(request.pid),
        }
    finally:
        mi_python_memory_free(&python)
        mi_mimalloc_memory_free(&mimalloc)
        if error == MI_OK:
            mi_memory_free(&memory)


cdef object jemalloc_says(const mi_memory *memory):
    cdef mi_jemalloc figures
    if memory.malloc_name != b"jemalloc" or mi_jemalloc_read(&figures) != MI_OK:
        return None
    return {"allocated_bytes": figures.allocated_bytes, "resident_bytes": figures.resident_bytes}


cdef object mimalloc_unread(pid_t pid):
    """Builds with a GIL can be told to use mimalloc (PYTHONMALLOC), whose segments only free-threaded builds show."""
    if pid or MI_FREE_THREADED or not allocator_capture()["allocator"].startswith("mimalloc"):
        return None
    return ("objects are allocated by mimalloc, which is read in free-threaded builds alone: its memory is without a name "
            "or among the buffers of libraries")


cdef dict names_by_native_id(const mi_python_memory *python):
    """{kernel's thread id: the name that the program gave it}."""
    cdef size_t at
    by_ident = thread_names()
    names = {}
    for at in range(python.identity_count):
        if python.identities[at].ident in by_ident:
            names[python.identities[at].native_id] = by_ident[python.identities[at].ident]
    return names


def malloc_trim():
    """Calls malloc_trim(0), which gives free memory back to the kernel, and returns (Rss before, Rss after) in bytes."""
    cdef char text[4096]
    before = rss_now(text, sizeof(text))
    with nogil:
        c_malloc_trim(0)
    return before, rss_now(text, sizeof(text))


cdef object rss_now(char *text, size_t size):
    cdef mi_error error
    if mi_os_slurp(b"/proc/self/smaps_rollup", text, size, &error) <= 0:
        return None
    for line in (<bytes>text).splitlines():
        if line.startswith(b"Rss:"):
            return int(line.split()[1]) * 1024
    return None
