# What threads of a free-threaded build wait for: csrc/gil/waits.h.

cdef extern from "waits.h":
    ctypedef struct mi_wait:
        uint64_t begin_ns
    ctypedef struct mi_waits:
        mi_wait *items
        uint64_t room, count, lost, begin_ns, end_ns
    mi_error mi_waits_start(const mi_runtime *runtime, const void *inside, uintptr_t interpreter,
                            void *(*own_thread_state)() noexcept, uint64_t bytes)
    mi_error mi_waits_stop(mi_waits *waits, size_t *foreign)
    void mi_waits_free(mi_waits *waits)
    int mi_waits_run()

cdef dict waits_names = {}


def waits_start(uint64_t log_bytes):
    """Starts to note the waits of this process in `log_bytes` of memory.

    Raises NativeError "limit" when they are noted already, "absent" in builds with a GIL or where the calls cannot be
    found, "permission" when the pages of their slots may not be changed.
    """
    cdef mi_target target
    cdef mi_runtime runtime
    cdef mi_error error
    cdef const mi_layout *layout = the_layout()
    if not MI_FREE_THREADED:
        raise NativeError("absent", "this build has a GIL: its waits are those of gil.trace()")
    target_without_map(&target)
    check(runtime_of(&runtime, &target, layout))
    error = mi_waits_start(&runtime, MI_INSIDE_PYTHON, <uintptr_t>PyInterpreterState_Get(), own_thread_state, log_bytes)
    if error == MI_E_LIMIT:
        raise NativeError("limit", "waits are noted already")
    if error == MI_E_ABSENT:
        raise NativeError("absent", "this build's calls of sem_wait cannot be found")
    check(error)
    waits_names.clear()
    waits_names.update(thread_names_by_native_id())


def waits_running():
    """Waits are noted in this process."""
    return bool(mi_waits_run())


def waits_stop():
    """{"begin_ns", "end_ns", "lost", "waits", "names": {native id: name}, "left_in_place": why calls could not be put back}

    waits: packed mi_wait (struct format "=QQQiiII": begin and end in nanoseconds of CLOCK_MONOTONIC, address, native ids of
    the thread and of the one that stopped the world, kind, errno of its end). Raises NativeError "absent" when none are
    noted.
    """
    cdef mi_waits waits
    cdef size_t foreign = 0
    if not mi_waits_run():
        raise NativeError("absent", "no waits are noted in this process")
    names = dict(waits_names)
    names.update(thread_names_by_native_id())
    cdef mi_error error = mi_waits_stop(&waits, &foreign)
    raw = {
        "begin_ns": waits.begin_ns, "end_ns": waits.end_ns, "lost": waits.lost, "pid": getpid(),
        "waits": (<char *>waits.items)[:waits.count * sizeof(mi_wait)], "names": names,
        "left_in_place": reason_of(error) if error != MI_OK else None,
    }
    mi_waits_free(&waits)
    return raw


def waits_begin(uint64_t log_bytes, double rate_hz):
    """waits_start(), with a log of collections and, unless `rate_hz` is 0, looks at the threads' states."""
    waits_start(log_bytes)
    if rate_hz:
        gil_sampler_start(rate_hz)
    gc_log_start(max(<uint64_t>1, log_bytes // 16))
    vars_of_module(__import__("gc"))["callbacks"].append(gc_log_collected)


def waits_end(double rate_hz):
    """waits_stop(), with "gc": gc_log_stop(), "sample": gil_sampler_stop() or None, and "rate_hz"."""
    callbacks = vars_of_module(__import__("gc")).get("callbacks")
    if type(callbacks) is list and gc_log_collected in callbacks:
        callbacks.remove(gc_log_collected)
    raw = waits_stop()
    raw["gc"] = gc_log_stop()
    raw["sample"] = gil_sampler_stop() if rate_hz else None
    raw["rate_hz"] = rate_hz
    return raw
