# Reports by signal: csrc/signal/signal_report.h. The second thread enters Python here.

cdef extern from "signal_report.h":
    ctypedef enum mi_signal_claim:
        MI_CLAIM_OK
        MI_CLAIM_TAKEN
        MI_CLAIM_IGNORED
        MI_CLAIM_BLOCKED
        MI_CLAIM_INVALID
        MI_CLAIM_INSTALLED
    ctypedef struct mi_partial_head:
        const char *report
        size_t report_size
        const char *process
        size_t process_size
        mi_python_memory python
    ctypedef struct mi_signal_config:
        int signal
        const char *path
        size_t path_size
        mi_partial_head head
        int (*full)() noexcept nogil
    ctypedef struct mi_signal_state:
        int signal
        int threads
        int handler_in_place
        uint64_t requests
        uint64_t partial_reports
        uint64_t full_reports
        mi_error last_error
        int last_errno
    mi_signal_claim mi_signal_report_install(const mi_signal_config *config, mi_error *error) nogil
    mi_error mi_signal_report_start() nogil
    int mi_signal_report_stop(unsigned milliseconds) nogil
    int mi_signal_report_uninstall(unsigned milliseconds) nogil
    mi_error mi_signal_report_store(const void *bytes, size_t size) nogil
    mi_error mi_signal_report_store_partial(const char *reason) nogil
    void mi_signal_report_state(mi_signal_state *state) nogil

cdef extern from "Python.h":
    int PyGC_Disable()
    int PyGC_Enable()

cdef object full_report = None  # makes the whole document, as bytes


cdef bytes make_full_report():
    """The document; the collector is off meanwhile, since it would run finalisers of the program in our thread."""
    cdef int collects = PyGC_Disable()
    try:
        return full_report(bool(collects))
    finally:
        if collects:
            PyGC_Enable()


cdef int store_full_report() noexcept with gil:
    """Runs in the thread of ours that waits for the GIL; true when the file holds the whole report."""
    cdef bytes document
    cdef bytes reason
    cdef const char *text
    cdef size_t size
    cdef mi_error error
    try:
        document = make_full_report()
        text = document
        size = len(document)
        with nogil:
            error = mi_signal_report_store(text, size)
        return error == MI_OK
    except BaseException as failure:  # nothing of ours may reach the program's hooks for unhandled errors
        reason = f"the full report failed: {type(failure).__name__}: {failure}".encode("utf-8", "replace")
        text = reason
        with nogil:
            mi_signal_report_store_partial(text)
        return False


def signal_install(int signal, bytes path, bytes report_head, bytes process_head, object full):
    """Claims a signal and starts the threads that answer it.

    path: a byte 0 stands for the process id; heads: JSON members that are the same in every report; full(gc_enabled):
    a callable that returns the whole document as bytes. Returns None, or why the signal cannot be had: "taken",
    "ignored", "blocked", "invalid", "installed" (by an earlier call).
    """
    global full_report
    cdef mi_signal_config config
    cdef mi_signal_claim claimed
    cdef mi_error error
    if PyInterpreterState_Get() != PyInterpreterState_Main():
        raise RuntimeError("reports by signal are installed in the main interpreter only")
    memset(&config, 0, sizeof(config))
    try:  # the thread without the GIL can neither choose a layout nor look for a hidden table
        check(mi_python_memory_prepare(&config.head.python, the_layout(), 0))
    except NativeError:
        config.head.python.layout = NULL  # its report says so
    config.signal = signal
    config.path = path
    config.path_size = len(path)
    config.head.report = report_head
    config.head.report_size = len(report_head)
    config.head.process = process_head
    config.head.process_size = len(process_head)
    config.full = store_full_report
    with nogil:
        claimed = mi_signal_report_install(&config, &error)
    check(error)
    if claimed != MI_CLAIM_OK:
        return {MI_CLAIM_TAKEN: "taken", MI_CLAIM_IGNORED: "ignored", MI_CLAIM_BLOCKED: "blocked",
                MI_CLAIM_INVALID: "invalid", MI_CLAIM_INSTALLED: "installed"}[claimed]
    full_report = full
    signal_start()
    return None


def signal_start():
    """Starts the threads that do not run, for example in a child after fork; nothing when not installed."""
    cdef mi_error error
    with nogil:
        error = mi_signal_report_start()
    check(error)


def signal_stop(unsigned milliseconds):
    """Ends and joins the threads; False when one was still busy after that time and goes on."""
    cdef int ended
    with nogil:
        ended = mi_signal_report_stop(milliseconds)
    return bool(ended)


def signal_uninstall(unsigned milliseconds):
    """Stops for good; the handler stays and does nothing. False when a thread was still busy after that time."""
    cdef int ended
    with nogil:
        ended = mi_signal_report_uninstall(milliseconds)
    return bool(ended)


def signal_state():
    """What became of the requests: a dict of numbers."""
    cdef mi_signal_state state
    with nogil:
        mi_signal_report_state(&state)
    return {"signal": state.signal, "threads": state.threads, "handler_in_place": bool(state.handler_in_place),
            "requests": state.requests, "partial_reports": state.partial_reports, "full_reports": state.full_reports,
            "last_error": reason_of(state.last_error) if state.last_error else None, "last_errno": state.last_errno}
