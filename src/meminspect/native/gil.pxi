# The GIL's counters, and waiting for it: csrc/gil/gil.h.

cdef extern from "gil.h":
    enum: MI_GIL_SHARERS
    ctypedef struct mi_gil:
        uintptr_t address
        uint64_t switch_number, interval_us
        int32_t locked, enabled
        uintptr_t holder
        uint64_t holder_ident, holder_native_id
        int64_t holder_interpreter
        int32_t holder_unknown
        uint32_t sharer_count
        int64_t[64] sharers
    mi_error mi_gil_counters(const mi_target *target, const mi_layout *layout, uintptr_t address, mi_gil *gil) nogil
    mi_error mi_gil_read(const mi_runtime *runtime, mi_gil *gils, size_t capacity, size_t *count) nogil

cdef extern from "Python.h":
    PyThreadState *PyEval_SaveThread() nogil
    void PyEval_RestoreThread(PyThreadState *thread) nogil
    int PyErr_CheckSignals() except -1

cdef extern from "os.h":
    void *mi_os_alloc(size_t size) nogil

cdef extern from "time.h":
    int nanosleep(const timespec *span, timespec *left) nogil

cdef enum:
    MOST_GILS = 256


def gil_capture(pid_t pid=0):
    """Every GIL of this process, or of another of the same build.

    {"free_threaded", "pid", "interval_s", "names": {ident: thread name} of this process, "reason", "gils": [{
    "own": the measured interpreter runs under it, "interpreters": ids, "tstate_switches", "locked", "interval_s", "enabled": None where it cannot be off,
    "holder_ident", "holder_native_id", "holder_unknown"}, ...]}. When the layout could not be verified `gils` is empty,
    `reason` says so and `interval_s` is all that is known.
    """
    cdef mi_target target
    cdef mi_runtime runtime
    cdef const mi_layout *layout = NULL
    cdef size_t count = 0, size = MOST_GILS * sizeof(mi_gil)
    cdef mi_gil *gils
    cdef uintptr_t own
    cdef mi_error error
    cdef list found = []
    raw = {"free_threaded": bool(MI_FREE_THREADED), "pid": pid or getpid(), "interval_s": None if pid else interval(),
           "names": {} if pid else thread_names(), "reason": None, "gils": found}
    try:
        layout = the_layout()
    except NativeError as failure:
        if pid:
            raise
        raw["reason"] = str(failure)
        return raw
    if pid:
        check(mi_target_open(&target, MI_TARGET_PROCESS, pid))
    else:
        target_without_map(&target)
    gils = <mi_gil *>mi_os_alloc(size)
    if gils == NULL:
        mi_target_close(&target)
        raise MemoryError("no room for the GILs")
    try:
        check(runtime_of(&runtime, &target, layout))
        own = measured_gil(&runtime, pid)
        if pid:
            with nogil:
                error = mi_gil_read(&runtime, gils, MOST_GILS, &count)
        else:  # keep the GIL: no thread state comes or goes, and letting it go would change what is measured
            error = mi_gil_read(&runtime, gils, MOST_GILS, &count)
        if error == MI_E_LIMIT:
            raw["reason"] = f"only the first {MOST_GILS} GILs are listed"
        else:
            check(error)
        for i in range(count):
            found.append(gil_to_dict(&gils[i], gils[i].address == own))
    finally:
        mi_os_free(gils, size)
        mi_target_close(&target)
    return raw


cdef dict gil_to_dict(const mi_gil *gil, bint own):
    cdef uint32_t listed = min(gil.sharer_count, <uint32_t>MI_GIL_SHARERS)
    return {
        "own": own, "interpreters": [gil.sharers[i] for i in range(listed)], "tstate_switches": gil.switch_number,
        "locked": bool(gil.locked), "interval_s": gil.interval_us / 1e6,
        "enabled": None if gil.enabled == MI_ABSENT else bool(gil.enabled),
        "holder_ident": gil.holder_ident if gil.holder else None,
        "holder_native_id": gil.holder_native_id if gil.holder else None, "holder_unknown": bool(gil.holder_unknown),
    }


cdef object interval():
    """sys.getswitchinterval(), None where the program put something else in its place."""
    function = interpreter_function("getswitchinterval")
    return None if function is None else function()


cdef uintptr_t measured_gil(const mi_runtime *runtime, pid_t pid) except? 0:
    """The address of the GIL of this thread's interpreter, or of another process' main interpreter."""
    cdef mi_interpreter interpreter
    cdef uintptr_t address = <uintptr_t>PyInterpreterState_Get()
    if pid:
        check(mi_target_word(runtime.target, runtime.address + (<const mi_gc_layout *>runtime.layout).runtime_main,
                             &address))
    check(mi_runtime_interpreter_at(runtime, address, &interpreter))
    return interpreter.gil


def gil_sleep(double seconds):
    """Sleeps without the GIL and counts meanwhile: (seconds slept, thread-state switches of this interpreter's GIL).

    Both ends of the count are read while this thread does not hold the GIL, so its own return is not in it. Handlers of
    signals run as in time.sleep(). The switches are None where there is no GIL.
    """
    cdef mi_target target
    cdef mi_gil before, after
    cdef const mi_layout *layout = the_layout()
    cdef mi_runtime runtime
    cdef uintptr_t address
    cdef uint64_t begin = mi_os_now_ns(), now = begin, end = begin + <uint64_t>(seconds * 1e9), switches = 0, nap
    cdef timespec span
    cdef mi_error error = MI_OK
    target_without_map(&target)
    check(runtime_of(&runtime, &target, layout))
    address = measured_gil(&runtime, 0)
    while now < end and error == MI_OK:
        # A signal that comes just before the sleep does not end it: no nap is longer than a reader of Ctrl-C would wait.
        nap = min(end - now, <uint64_t>500000000)
        span.tv_sec = 0
        span.tv_nsec = <long>nap
        with nogil:
            error = mi_gil_counters(&target, layout, address, &before)
            if error == MI_OK:
                nanosleep(&span, NULL)
                error = mi_gil_counters(&target, layout, address, &after)
        check(error)
        switches += after.switch_number - before.switch_number
        PyErr_CheckSignals()
        now = mi_os_now_ns()
    return (now - begin) / 1e9, None if after.enabled == 0 else switches


def gil_wait(double seconds, double pause):
    """Lets the GIL go for `pause` seconds and asks for it again, over and over.

    (seconds spent in all, native-endian uint64 nanoseconds of each wait as bytes). The signal handlers of the program
    run between two waits, as in any blocking call.
    """
    cdef size_t room = min(<size_t>1 << 22, <size_t>(seconds / max(pause, 1e-6)) + 16), count = 0
    cdef uint64_t *waits = <uint64_t *>mi_os_alloc(room * sizeof(uint64_t))
    cdef uint64_t begin = mi_os_now_ns(), end = begin + <uint64_t>(seconds * 1e9), asked, now = begin
    cdef timespec span
    cdef PyThreadState *thread
    span.tv_sec = <int64_t>pause
    span.tv_nsec = <long>((pause - span.tv_sec) * 1e9)
    if waits == NULL:
        raise MemoryError("no room for the waits")
    try:
        while now < end and count < room:
            thread = PyEval_SaveThread()
            nanosleep(&span, NULL)
            asked = mi_os_now_ns()
            PyEval_RestoreThread(thread)
            now = mi_os_now_ns()
            waits[count] = now - asked
            count += 1
            PyErr_CheckSignals()
        return (now - begin) / 1e9, (<char *>waits)[:count * sizeof(uint64_t)]
    finally:
        mi_os_free(waits, room * sizeof(uint64_t))
