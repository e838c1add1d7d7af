# Looking at the GIL at a chosen rate: csrc/gil/gil_sampler.h.

cdef extern from "gil_sampler.h":
    enum: MI_SAMPLED_WAITERS
    enum: MI_SAMPLED_RUNS
    ctypedef struct mi_sampled_thread:
        uint64_t state, native_id, held
        const char *name
        uint64_t[4] states
    ctypedef struct mi_gil_sampling:
        uint64_t begin_ns, end_ns, cpu_ns, looks, failed, locked, unknown, switches, waiting
        int waiters_known
        const uint64_t *waiters
        const uint64_t *runs
        uint32_t threads, left_out
        const mi_sampled_thread *thread
    mi_error mi_gil_sampler_start(const mi_runtime *runtime, uintptr_t interpreter, uintptr_t gil, double rate_hz)
    const mi_gil_sampling *mi_gil_sampler_stop() nogil
    int mi_gil_sampler_runs()

cdef dict gil_sampler_exact = None  # held nanoseconds of each thread by the trace that ran at the start, None: none did
cdef uint64_t gil_sampler_began = 0  # that trace's beginning, which tells it from another one


def gil_sampler_start(double rate_hz):
    """Starts to look at this interpreter's GIL, or at the states of its threads where there is none.

    Raises NativeError "limit" when it is being sampled already, "layout" when no layout could be verified.
    """
    global gil_sampler_exact, gil_sampler_began
    cdef mi_target target
    cdef mi_runtime runtime
    cdef mi_error error
    cdef const mi_layout *layout = the_layout()
    target_without_map(&target)
    check(runtime_of(&runtime, &target, layout))
    gil_follow_forks()
    error = mi_gil_sampler_start(&runtime, <uintptr_t>PyInterpreterState_Get(),
                                 0 if MI_FREE_THREADED else measured_gil(&runtime, 0), rate_hz)
    if error == MI_E_LIMIT:
        raise NativeError("limit", "the GIL is sampled already")
    check(error)
    gil_sampler_exact = gil_held_exactly(&gil_sampler_began)


def gil_sampler_running():
    """It is being sampled in this process."""
    return bool(mi_gil_sampler_runs())


def gil_sampler_stop():
    """{"begin_ns", "end_ns", "cpu_ns", "looks", "failed", "locked", "unknown", "switches", "waiters": counts of looks by how
    many waited, None where that is unknown, "waiting", "runs": [...], "threads": [(native id, held, [states], kernel's name)],
    "left_out", "names", "pid", "free_threaded", "exact_held_ns": {native id: ns} by the trace that ran meanwhile, None
    where none did from before the first look until now}

    Raises NativeError "absent" when nothing is sampled in this process.
    """
    cdef const mi_gil_sampling *result
    cdef uint64_t began = 0
    cdef size_t at
    after = gil_held_exactly(&began)
    exact = None
    if after is not None and gil_sampler_exact is not None and began == gil_sampler_began:
        exact = {native_id: held - gil_sampler_exact.get(native_id, 0) for native_id, held in after.items()}
    names = thread_names_by_native_id()
    with nogil:
        result = mi_gil_sampler_stop()
    if result == NULL:
        raise NativeError("absent", "nothing is sampled in this process")
    names.update(thread_names_by_native_id())
    return {
        "begin_ns": result.begin_ns, "end_ns": result.end_ns, "cpu_ns": result.cpu_ns, "looks": result.looks,
        "failed": result.failed, "locked": result.locked, "unknown": result.unknown, "switches": result.switches,
        "waiters": [result.waiters[at] for at in range(<size_t>MI_SAMPLED_WAITERS + 1)] if result.waiters_known else None,
        "waiting": result.waiting, "runs": [result.runs[at] for at in range(<size_t>MI_SAMPLED_RUNS)],
        "threads": [(result.thread[at].native_id, result.thread[at].held,
                     [result.thread[at].states[state] for state in range(4)],
                     result.thread[at].name.decode("utf-8", "replace")) for at in range(result.threads)],
        "left_out": result.left_out, "names": names, "pid": getpid(), "free_threaded": bool(MI_FREE_THREADED),
        "exact_held_ns": exact,
    }


cdef dict gil_held_exactly(uint64_t *began):
    """What each thread has held so far by the trace that runs, the hold that goes on included; None when none runs."""
    cdef mi_gil_region *region = mi_gil_trace_region()
    cdef mi_gil_head head
    cdef mi_gil_thread_totals thread
    cdef uint32_t at, holder = 0
    cdef uint64_t since = 0
    if region == NULL:
        return None
    mi_gil_export_head(region, &head)
    began[0] = head.begin_ns
    held = {}
    for at in range(1, head.threads):
        mi_gil_export_thread(region, at, &thread)
        if thread.native_id:
            held[thread.native_id] = held.get(thread.native_id, 0) + thread.held_ns
    mi_gil_export_holder(region, 0, &holder, &since)
    if holder:
        mi_gil_export_thread(region, holder, &thread)
        held[thread.native_id] = held.get(thread.native_id, 0) + (mi_os_now_ns() - head.begin_ns - since)
    return held
