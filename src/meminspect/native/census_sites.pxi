# Where the blocks of a census were allocated, as the standard library's tracemalloc knows it.
#
# tracemalloc is asked block by block (Include/internal/pycore_tracemalloc.h; exported by every version): it alone knows
# whether its tables are locked. So there are objects made here, one block at a time, but none inside the walk: what it
# listed is of the moment before.

cdef extern from *:
    """
    extern PyObject *_PyTraceMalloc_GetTraceback(unsigned int domain, uintptr_t address);
    """
    object _PyTraceMalloc_GetTraceback(unsigned int domain, uintptr_t address)


cdef dict sites_of(const mi_census_found *found, uint32_t padding, list names):
    """{"sites": [(file, line, [(what, module, qualified name, blocks, bytes), ...]), ...], "untraced": (blocks, bytes)}

    what -- "object", "buffer" (of any owner), or "unknown"; the names are those of an object's type
    """
    cdef const mi_census *census = &found.census
    cdef const mi_census_seen *block
    cdef size_t i
    cdef dict sites = {}, here
    cdef list row
    cdef uint64_t untraced = 0, untraced_bytes = 0
    cdef int collects = PyGC_Disable()  # no finalizer runs, and nothing of what was listed is freed
    try:
        for i in range(census.seen_count):
            block = &census.seen[i]
            traceback = _PyTraceMalloc_GetTraceback(0, block.address + padding)
            if traceback is None:
                untraced += 1
                untraced_bytes += block.size
                continue
            here = sites.setdefault(traceback[0], {})  # the most recent frame
            row = here.get(block.type)
            if row is None:
                here[block.type] = row = [0, 0]
            row[0] += 1
            row[1] += block.size
    finally:
        if collects:
            PyGC_Enable()
    told = []
    for (file, line), here in sites.items():
        kinds = []
        for kind, (blocks, size) in here.items():
            module, qualname = names[kind] if kind >= 0 else (None, None)
            what = "object" if kind >= 0 else "buffer" if kind == -1 else "unknown"
            kinds.append((what, module, qualname, blocks, size))
        told.append((plain_text(file), line, kinds))
    return {"sites": told, "untraced": (untraced, untraced_bytes)}


cdef dict sites_or_reason(const mi_census_found *found, uint32_t padding, list names):
    """sites_of(), or why there is none: tracemalloc does not trace, or the list of blocks was not ready in time."""
    import _tracemalloc
    if not _tracemalloc.is_tracing():
        return {"sites": None, "untraced": None,
                "reason": "tracemalloc is not tracing (python -X tracemalloc, or tracemalloc.start())"}
    if found.census.seen == NULL:
        return {"sites": None, "untraced": None,
                "reason": "listing each block for them took longer than the program may be kept waiting (max_pause)"}
    return {**sites_of(found, padding, names), "reason": None}


def census_record_sites(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """census_record() with allocation sites."""
    record_write(fd, kind, {"census": census_capture(max_pause, 0, True, sites=True),
                            "own_blocks": None if own_blocks < 0 else own_blocks})
