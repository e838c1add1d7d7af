# Collections as gc.callbacks tells of them, without a trace of the GIL: csrc/interpreter/gc_log.h.

cdef extern from "gc_log.h":
    ctypedef enum mi_gc_trigger:
        MI_GC_TRIGGER_UNKNOWN
    ctypedef struct mi_gc_record:
        uint64_t begin_ns, end_ns
    ctypedef struct mi_gc_log:
        mi_gc_record *records
        uint64_t room, count, lost, begin_ns
    mi_gc_trigger mi_gc_trigger_now(const mi_layout *layout, uintptr_t interpreter, int generation)
    mi_error mi_gc_log_begin(mi_gc_log *log, uint64_t bytes)
    void mi_gc_log_collection_begins(mi_gc_log *log, int generation, mi_gc_trigger trigger)
    void mi_gc_log_collection_ends(mi_gc_log *log, int64_t collected, int64_t uncollectable)
    void mi_gc_log_free(mi_gc_log *log)

cdef mi_gc_log gc_log
cdef const mi_layout *gc_log_layout = NULL  # NULL where none could be verified: then no trigger is told


cdef mi_gc_trigger gc_trigger(int generation):
    if gc_log_layout == NULL:
        return MI_GC_TRIGGER_UNKNOWN
    return mi_gc_trigger_now(gc_log_layout, <uintptr_t>PyInterpreterState_Get(), generation)


cdef void gc_trigger_prepare():
    global gc_log_layout
    try:
        gc_log_layout = the_layout()
    except NativeError:
        gc_log_layout = NULL


def gc_log_start(uint64_t log_bytes):
    """Begins a log of collections with room for `log_bytes`; gc_log_collected is the callback that fills it.

    Raises NativeError "limit" when there is one already.
    """
    if gc_log.records != NULL:
        raise NativeError("limit", "collections are logged already")
    gc_trigger_prepare()
    check(mi_gc_log_begin(&gc_log, log_bytes))


def gc_log_collected(str phase, dict info):
    """For gc.callbacks (invoke_gc_callback in Python/gc.c)."""
    if gc_log.records == NULL:
        return
    if phase == "start":
        mi_gc_log_collection_begins(&gc_log, info["generation"], gc_trigger(info["generation"]))
    else:
        mi_gc_log_collection_ends(&gc_log, info["collected"], info["uncollectable"])


def gc_log_stop():
    """{"begin_ns", "end_ns", "lost", "records", "names": {native id: name}}; the log is over.

    records: packed mi_gc_record (struct format "=QQqqQii": begin and end in nanoseconds of CLOCK_MONOTONIC, collected,
    uncollectable, native thread id, generation, trigger). Raises NativeError "absent" when there is none.
    """
    if gc_log.records == NULL:
        raise NativeError("absent", "collections are not logged")
    raw = {
        "begin_ns": gc_log.begin_ns, "end_ns": mi_os_now_ns(), "lost": gc_log.lost,
        "records": (<char *>gc_log.records)[:gc_log.count * sizeof(mi_gc_record)],
        "names": thread_names_by_native_id(),
    }
    mi_gc_log_free(&gc_log)
    return raw
