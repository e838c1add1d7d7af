# Every event of every GIL: csrc/gil/gil_trace.h, csrc/gil/gil_export.h.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

cdef extern from "gil_ring.h":
    ctypedef struct mi_gil_region:
        pass
    ctypedef struct mi_gil_event:
        pass
    ctypedef struct mi_gil_code:
        uint64_t address
    ctypedef struct mi_gil_long_hold:
        uint64_t begin, time
        uint32_t thread, code, instruction
        int gil, how
        char *stack
    mi_gil_code *mi_gil_codes(const mi_gil_region *region)
    enum: MI_GIL_CLOCK_TSC
    enum: MI_GIL_COLLECTION_BEGIN
    enum: MI_GIL_COLLECTION_END
    enum: MI_GIL_PREPARED
    mi_error mi_gil_region_make(int fd, uint64_t log_bytes, mi_gil_region **region) nogil
    mi_error mi_gil_region_open(int fd, int writable, mi_gil_region **region) nogil
    void mi_gil_region_close(mi_gil_region *region) nogil

cdef extern from "gil_trace.h":
    ctypedef struct mi_gil_start:
        const mi_runtime *runtime
        const void *inside
        uintptr_t own_gil
        int drop_pending
        int quiet
        void *(*own_thread_state)() noexcept
        uintptr_t code_type
        uint64_t long_hold_ns
    ctypedef enum mi_gil_event_kind:
        pass
    mi_error mi_gil_trace_start(mi_gil_region *region, const mi_gil_start *start)
    mi_error mi_gil_trace_stop(size_t *foreign)
    void mi_gil_trace_finish() nogil
    mi_gil_region *mi_gil_trace_region()
    void mi_gil_trace_name(const char *name)
    void mi_gil_trace_note(uintptr_t gil, mi_gil_event_kind kind, uint64_t detail)

cdef extern from "gil_export.h":
    ctypedef struct mi_gil_head:
        uint64_t begin_ns, end_ns
        uint32_t clock, state, gils, threads, gils_left_out, threads_left_out
        int32_t pid
        uint64_t logged, taken, unlogged, log_events, strayed
        uint32_t attributed, codes, codes_left_out, long_holds, long_holds_left_out
        uint64_t long_hold_ns
    ctypedef struct mi_gil_totals:
        int64_t interpreter
        uint64_t acquisitions, releases, forced_releases, hand_offs, forced_hand_offs, tstate_switches, timeouts
        uint64_t abandoned, switch_number_begin, switch_number_end, lost
        int closed
        uint32_t holder
        uint64_t held_since_ns
    ctypedef struct mi_gil_thread_totals:
        int32_t native_id
        uint64_t first_ns, last_ns, acquisitions, held_ns, waited_ns, lost, unlogged
        char *name
        char *given
    ctypedef struct mi_gil_code_text:
        const char *name
        const char *file
        const char *lines
        uint32_t name_size, file_size, lines_size
        int32_t first_line
    void mi_gil_export_code(const mi_gil_region *region, uint32_t code, mi_gil_code_text *text) nogil
    void mi_gil_export_long_hold(const mi_gil_region *region, uint32_t index, mi_gil_long_hold *hold) nogil
    void mi_gil_export_holder(const mi_gil_region *region, uint32_t gil, uint32_t *thread, uint64_t *since_ns) nogil
    void mi_gil_recover(mi_gil_region *region) nogil
    void mi_gil_take(mi_gil_region *region, uint64_t taken) nogil
    void mi_gil_export_head(const mi_gil_region *region, mi_gil_head *head) nogil
    void mi_gil_export_gil(const mi_gil_region *region, uint32_t gil, mi_gil_totals *totals) nogil
    void mi_gil_export_thread(const mi_gil_region *region, uint32_t thread, mi_gil_thread_totals *totals) nogil
    void mi_gil_export_events(const mi_gil_region *region, uint64_t start, uint64_t count, mi_gil_event *events) nogil

cdef extern from "record.h":
    enum: MI_RECORD_ORDER

cdef extern from "fcntl.h":
    enum: O_RDWR
    enum: O_CLOEXEC
    int open_file "open"(const char *path, int flags)

cdef extern from "unistd.h":
    int close_file "close"(int fd)
    ssize_t pread(int fd, void *to, size_t size, int64_t offset)

cdef extern from "Python.h":
    object PyInstanceMethod_New(object function)
    ctypedef struct PyFrameObject:
        pass
    PyFrameObject *PyEval_GetFrame()

cdef extern from *:
    """
    #define MI_INSIDE_PYTHON ((const void *)PyEval_SaveThread)
    #define MI_CODE_TYPE ((uintptr_t)&PyCode_Type)
    #define MI_CODE_OF(frame) ((PyObject *)PyFrame_GetCode(frame))
    static void *own_thread_state(void) { return PyGILState_GetThisThreadState(); }
    """
    const void *MI_INSIDE_PYTHON
    const uintptr_t MI_CODE_TYPE
    void *own_thread_state() noexcept
    object MI_CODE_OF(PyFrameObject *frame)

# Of the trace that runs: its names, and whether the layout of the GIL's mutex has been proven in this process.
cdef dict gil_trace_names = {}
cdef uintptr_t gil_trace_own = 0
cdef bint gil_trace_proven = False
cdef bint gil_attribution_proven = False
cdef object gil_trace_original = None  # threading.Thread._set_native_id while ours stands in its place


def gil_trace_start(uint64_t log_bytes=1 << 27, int fd=-1, bint attribution=False, uint64_t long_hold_ns=0):
    """Starts to trace; the events may take `log_bytes` of memory. `fd`: an empty file in memory, to put all in.

    attribution: each release names the Python function and line. long_hold_ns: with attribution, a hold that lasts this
    long is looked at from outside, once (0: none is).

    Raises NativeError: code "limit" when a trace runs already, "absent" where there is no GIL or its calls cannot be
    found, "permission" when the pages of their slots may not be changed, "layout" when no event was seen in a trial, or
    the function that made it was not found.
    """
    global gil_trace_proven, gil_attribution_proven
    if not gil_trace_proven or attribution and not gil_attribution_proven:
        gil_trace_begin(1 << 16, -1, True, attribution, 0)
        gil_trace_trial(attribution)
        gil_trace_proven = True
        gil_attribution_proven |= attribution
    gil_follow_forks()
    gil_trace_begin(log_bytes, fd, False, attribution, long_hold_ns)
    gc_trigger_prepare()
    gil_trace_names.clear()
    gil_trace_names.update(thread_names_by_native_id())
    thread_names_remember()


cdef gil_trace_begin(uint64_t log_bytes, int fd, bint quiet, bint attribution, uint64_t long_hold_ns):
    global gil_trace_own
    cdef mi_target target
    cdef mi_runtime runtime
    cdef mi_gil gil
    cdef mi_gil_start start
    cdef mi_gil_region *region = NULL
    cdef const mi_layout *layout = the_layout()
    cdef mi_error error
    if mi_gil_trace_region() != NULL:
        raise NativeError("limit", "the GIL is traced already")
    target_without_map(&target)
    check(runtime_of(&runtime, &target, layout))
    gil_trace_own = measured_gil(&runtime, 0)
    check(mi_gil_counters(&target, layout, gil_trace_own, &gil))
    if MI_FREE_THREADED:
        raise NativeError("absent", "there is no GIL in this build" if gil.enabled == 0 else
                          "this is a free-threaded build that runs with its GIL switched on: it is not traced")
    start.runtime = &runtime
    start.inside = MI_INSIDE_PYTHON
    start.own_gil = gil_trace_own
    start.drop_pending = drop_pending(layout, &target)
    start.quiet = quiet
    start.own_thread_state = NULL
    if attribution:
        start.own_thread_state = own_thread_state
    start.code_type = MI_CODE_TYPE
    start.long_hold_ns = long_hold_ns if attribution else 0
    check(mi_gil_region_make(fd, log_bytes, &region))
    error = mi_gil_trace_start(region, &start)
    if error != MI_OK:
        mi_gil_region_close(region)
        if error == MI_E_ABSENT:
            raise NativeError("absent", "libpython's calls of pthread functions cannot be found in this build"
                              + INSTEAD)
        if error == MI_E_PERMISSION:
            raise NativeError("permission", "the pages that hold libpython's calls may not be made writable: mprotect "
                              "was refused (seccomp, SELinux or mseal)" + INSTEAD)
        check(error)


cdef bint drop_pending(const mi_layout *layout, const mi_target *target):
    """A thread has asked this one to drop the GIL (_PY_GIL_DROP_REQUEST_BIT, gil_drop_request up to 3.12)."""
    cdef uintptr_t word = 0
    cdef uintptr_t at
    if layout.thread_eval_breaker != MI_ABSENT:
        at = <uintptr_t>PyThreadState_Get() + layout.thread_eval_breaker
        return mi_target_read(target, at, &word, sizeof(word)) == MI_OK and word & 1
    if layout.interpreter_drop_request != MI_ABSENT:
        at = <uintptr_t>PyInterpreterState_Get() + layout.interpreter_drop_request
        return mi_target_read(target, at, &word, 4) == MI_OK and word != 0
    return False


cdef gil_trace_trial(bint attribution):
    """Lets the GIL go once and takes it again: NativeError unless the trace saw just that, and where. It ends the trace."""
    cdef size_t foreign
    cdef mi_gil_region *region = mi_gil_trace_region()
    cdef mi_gil_head head
    cdef mi_gil_totals totals
    cdef PyFrameObject *frame = PyEval_GetFrame()  # None at start-up, before the first line
    code = MI_CODE_OF(frame) if frame != NULL else None
    cdef PyThreadState *thread = PyEval_SaveThread()
    PyEval_RestoreThread(thread)
    mi_gil_export_gil(region, 0, &totals)
    mi_gil_trace_stop(&foreign)
    mi_gil_trace_finish()
    mi_gil_export_head(region, &head)
    cdef bint seen = totals.releases >= 1 and totals.acquisitions >= 1
    cdef bint found = code is None or head.codes > 1 and mi_gil_codes(region)[1].address == <uintptr_t><PyObject *>code
    mi_gil_region_close(region)
    if not seen:
        raise NativeError("layout", "no call of this interpreter's was seen where its GIL should be" + INSTEAD)
    if attribution and not found:
        raise NativeError("layout", "the function that a thread is in was not found where it should be: no attribution")


def gil_trace_stop(bint events=True):
    """Stops: the dict of gil_region_to_dict() and {"names": {native id: name}, "interval_s", "left_in_place": why calls
    could not be put back, or None}; without `events`, which lie in the launcher's file.

    Raises NativeError "absent" when no trace runs.
    """
    cdef size_t foreign = 0
    cdef mi_gil_region *region = mi_gil_trace_region()
    cdef mi_error error = mi_gil_trace_stop(&foreign)
    if region == NULL:
        raise NativeError("absent", "no trace of the GIL runs in this process")
    thread_names_forget()
    names = dict(gil_trace_names)
    names.update(thread_names_by_native_id())
    with nogil:
        mi_gil_trace_finish()
    try:
        raw = gil_region_to_dict(region, events)
    finally:
        mi_gil_region_close(region)
    raw["names"] = names
    raw["strayed"] += foreign
    raw["interval_s"] = interval()
    raw["left_in_place"] = reason_of(error) if error != MI_OK else None
    return raw


def gil_trace_native_id(thread):
    """In the place of threading.Thread._set_native_id: a thread that begins tells its name, which ends with its object."""
    result = gil_trace_original(thread)
    name = attribute_or_none(thread, "_name")
    if type(name) is str:
        text = name[:64].encode("utf-8", "replace")
        mi_gil_trace_name(text)
    return result


cdef thread_names_remember():
    """Puts it there, where the threading module was imported and has its own; a builtin has no frame in tracebacks."""
    global gil_trace_original
    cdef PyObject *found = sys_object("modules")
    modules = <object>found if found != NULL else None
    threading = modules.get("threading") if type(modules) is dict else None
    kind = None if threading is None else vars_of_module(threading).get("Thread")
    if type(kind) is not type or gil_trace_original is not None:
        return
    own = kind.__dict__.get("_set_native_id")
    if own is None:
        return
    gil_trace_original = own
    kind._set_native_id = PyInstanceMethod_New(gil_trace_native_id)


cdef thread_names_forget():
    """Puts threading's own back, unless somebody else has put another there."""
    global gil_trace_original
    if gil_trace_original is None:
        return
    modules = <object>sys_object("modules")
    kind = vars_of_module(modules["threading"]).get("Thread") if "threading" in modules else None
    if type(kind) is type and type(kind.__dict__.get("_set_native_id")) is type(
        PyInstanceMethod_New(gil_trace_native_id)
    ):
        kind._set_native_id = gil_trace_original
        gil_trace_original = None


def gil_trace_running():
    """A trace runs in this process."""
    return mi_gil_trace_region() != NULL


def gil_trace_collected(str phase, dict info):
    """For gc.callbacks (Python/gc.c, invoke_gc_callback): notes the beginning and the end of a collection."""
    cdef uint64_t generation = info["generation"], collected, uncollectable
    if phase == "start":
        mi_gil_trace_note(gil_trace_own, <mi_gil_event_kind>MI_GIL_COLLECTION_BEGIN,
                          generation | <uint64_t>gc_trigger(<int>generation) << 8)
    else:
        collected = min(info["collected"], 0xFFFFFFFF)
        uncollectable = min(info["uncollectable"], 0xFFFFFF)
        mi_gil_trace_note(gil_trace_own, <mi_gil_event_kind>MI_GIL_COLLECTION_END,
                          generation | collected << 8 | uncollectable << 40)


cdef class GilFollower:
    """The trace in a launcher's file in memory, while its process runs and after it has ended."""

    cdef mi_gil_region *region
    cdef int fd

    def __cinit__(self, int fd):
        self.fd = fd

    def __dealloc__(self):
        if self.region != NULL:
            mi_gil_region_close(self.region)

    def begun(self):
        """A trace has begun in the file."""
        cdef mi_gil_head head
        if self.region == NULL and mi_gil_region_open(self.fd, 1, &self.region) != MI_OK:
            self.region = NULL
            return False
        mi_gil_export_head(self.region, &head)
        return head.state != MI_GIL_PREPARED

    def take(self, uint64_t most=1 << 16):
        """The next events, packed as in gil_region_to_dict(), at most so many; their room in the log is free again."""
        cdef mi_gil_head head
        if not self.begun():
            return b""
        mi_gil_export_head(self.region, &head)
        if head.end_ns <= head.begin_ns:  # times cannot be told before both clocks have been read a second time
            return b""
        cdef uint64_t count = min(head.logged, most)
        events = PyBytes_FromStringAndSize(NULL, count * sizeof(mi_gil_event))
        cdef mi_gil_event *to = <mi_gil_event *>PyBytes_AS_STRING(events)
        with nogil:
            mi_gil_export_events(self.region, head.taken, count, to)
            mi_gil_take(self.region, head.taken + count)
        return events

    def recover(self):
        """The process has ended: what it left in its rings can be taken too. NativeError "layout": no trace was begun."""
        if not self.begun():
            raise NativeError("layout", "no trace of the GIL was begun")
        with nogil:
            mi_gil_recover(self.region)

    def thread(self, uint32_t row):
        """One thread of figures()."""
        cdef mi_gil_head head
        if not self.begun():
            raise NativeError("layout", "no trace of the GIL was begun")
        mi_gil_export_head(self.region, &head)
        if row >= head.threads:
            raise IndexError("there is no such thread")
        return gil_thread_to_dict(self.region, row)

    def figures(self):
        """As gil_trace_stop(), without events and without what only the process knows. NativeError as recover()."""
        if not self.begun():
            raise NativeError("layout", "no trace of the GIL was begun")
        raw = gil_region_to_dict(self.region, False)
        raw.update(names={}, interval_s=None, left_in_place=None)
        return raw


cdef dict gil_thread_to_dict(mi_gil_region *region, uint32_t row):
    cdef mi_gil_thread_totals thread
    mi_gil_export_thread(region, row, &thread)
    return {
        "native_id": thread.native_id or None, "kernel_name": thread.name.decode("utf-8", "replace"),
        "given_name": thread.given.decode("utf-8", "ignore"),
        "first_ns": thread.first_ns, "last_ns": thread.last_ns, "acquisitions": thread.acquisitions,
        "held_ns": thread.held_ns, "waited_ns": thread.waited_ns, "lost": thread.lost, "unlogged": thread.unlogged,
    }


cdef dict gil_region_to_dict(mi_gil_region *region, bint with_events):
    """{"begin_ns", "end_ns", "clock", "stopped", "gils", "threads", "events", "logged", "unlogged", ...}

    events: packed mi_gil_event (struct format "=QQIIIHH": time, detail, thread, other, number, gil, kind), times in
    nanoseconds since the beginning, in the order of each GIL. What detail is, by kind: mi_gil_event_kind in
    csrc/gil/gil_ring.h. codes: (function, file, first line, co_linetable) by the row that a release names, row 0 is
    none. long_holds: (gil, thread, begin_ns, at_ns, code, instruction, how, stack) of holds beyond long_hold_ns.
    """
    cdef mi_gil_head head
    cdef mi_gil_totals totals
    cdef mi_gil_code_text code
    cdef mi_gil_long_hold hold
    cdef uint32_t at
    mi_gil_export_head(region, &head)
    gils = []
    for at in range(head.gils):
        mi_gil_export_gil(region, at, &totals)
        gils.append({
            "interpreter": totals.interpreter, "acquisitions": totals.acquisitions, "releases": totals.releases,
            "forced_releases": totals.forced_releases, "hand_offs": totals.hand_offs,
            "forced_hand_offs": totals.forced_hand_offs, "tstate_switches": totals.tstate_switches,
            "timeouts": totals.timeouts, "abandoned": totals.abandoned, "lost": totals.lost,
            "switch_number_delta":
                totals.switch_number_end - totals.switch_number_begin if totals.closed else None,
            "holder": totals.holder, "held_since_ns": totals.held_since_ns or None,
        })
    threads = []
    for at in range(head.threads):
        threads.append(gil_thread_to_dict(region, at))
    codes = []
    for at in range(head.codes):
        mi_gil_export_code(region, at, &code)
        codes.append((code.name[:code.name_size].decode("utf-8", "replace"),
                      code.file[:code.file_size].decode("utf-8", "replace"),
                      code.first_line, code.lines[:code.lines_size]))
    long_holds = []
    for at in range(head.long_holds):
        mi_gil_export_long_hold(region, at, &hold)
        long_holds.append((hold.gil, hold.thread, hold.begin, hold.time, hold.code, hold.instruction, hold.how,
                           hold.stack.decode("utf-8", "replace")))
    events = PyBytes_FromStringAndSize(NULL, head.logged * sizeof(mi_gil_event) if with_events else 0)
    cdef mi_gil_event *to = <mi_gil_event *>PyBytes_AS_STRING(events)
    if with_events:
        with nogil:
            mi_gil_export_events(region, head.taken, head.logged, to)
    return {
        "pid": head.pid, "begin_ns": head.begin_ns, "end_ns": head.end_ns,
        "clock": "tsc" if head.clock == MI_GIL_CLOCK_TSC else "monotonic", "state": head.state,
        "gils": gils, "threads": threads, "events": events, "logged": head.taken + head.logged, "unlogged": head.unlogged,
        "gils_left_out": head.gils_left_out, "threads_left_out": head.threads_left_out, "strayed": head.strayed,
        "attributed": bool(head.attributed), "codes": codes, "codes_left_out": head.codes_left_out,
        "long_holds": long_holds, "long_holds_left_out": head.long_holds_left_out, "long_hold_ns": head.long_hold_ns,
    }


cdef enum:
    WAITS_RATE_HZ = 100  # of the looks in a free-threaded build


cdef str INSTEAD = "; gil.sample() needs nothing of this, and estimates"
cdef double SAMPLED_RATE_HZ = 100.0
cdef str gil_trace_refused = None  # why a program that the launcher started is sampled instead


def gil_record(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """What csrc/launch/preload.c calls in a program that the launcher traces: starts before its first line, stops at its end.

    The launcher's order (MI_RECORD_ORDER, the first record) is "PID:FD:BYTES:ATTRIBUTION:NS": the file in memory for the
    events, how much of it they may take, 1 for attribution and from when on a hold is looked at. The final record is as
    gil_trace_stop() returns it, without events where the launcher has them in its file; in a free-threaded build as
    waits_end() does. `threading` and `gc` are imported, for the names of threads and for collections. Where no trace can
    begin the GIL is sampled instead, and the record is {"refused": why, "sample": gil_sampler_stop(), "rate_hz"}.
    """
    global gil_trace_refused
    if MI_FREE_THREADED and (waits_running() or kind == MI_RECORD_START):
        if kind == MI_RECORD_START:
            __import__("threading")
            waits_begin(int(launch_order(fd).split(":")[2]), WAITS_RATE_HZ)
        else:
            record_write(fd, kind, waits_end(WAITS_RATE_HZ))
        return
    if kind == MI_RECORD_START:
        launcher, number, size, attribution, long_hold_ns = launch_order(fd).split(":")
        shared = gil_open(f"/proc/{launcher}/fd/{number}")
        try:
            __import__("threading")
            gil_trace_start(int(size), shared, int(attribution) != 0, int(long_hold_ns))
        except NativeError as error:
            gil_trace_refused = str(error).removesuffix(INSTEAD)
        finally:
            if shared >= 0:
                gil_close(shared)
        if gil_trace_refused is not None:
            gil_sampler_start(SAMPLED_RATE_HZ)
            return
        vars_of_module(__import__("gc"))["callbacks"].append(gil_trace_collected)
        return
    if gil_trace_refused is not None and gil_sampler_running():
        record_write(fd, kind, {"refused": gil_trace_refused, "sample": gil_sampler_stop(), "rate_hz": SAMPLED_RATE_HZ})
        return
    if not gil_trace_running():
        return  # it did not start, which has been said
    callbacks = vars_of_module(__import__("gc")).get("callbacks")
    if type(callbacks) is list and gil_trace_collected in callbacks:
        callbacks.remove(gil_trace_collected)
    record_write(fd, kind, gil_trace_stop(not gil_trace_shared))


cdef bint gil_trace_shared = False  # the events lie in the launcher's file


cdef int gil_open(str path):
    """The launcher's file, -1 where it may not be opened: then the final record holds all."""
    global gil_trace_shared
    cdef bytes name = path.encode()
    cdef int fd = open_file(name, O_RDWR | O_CLOEXEC)
    gil_trace_shared = fd >= 0
    return fd


cdef void gil_close(int fd):
    close_file(fd)
