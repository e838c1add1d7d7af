# A frozen copy of this process: csrc/interpreter/clone.h, and how much room its copies of pages have.

cdef extern from "clone.h":
    ctypedef mi_error (*mi_clone_work)(const mi_target *target, void *context) noexcept nogil
    ctypedef struct mi_clone_order:
        mi_clone_work work
        void *context
        uint64_t lifetime_ns, room_bytes
        void *interpreter
    ctypedef enum mi_clone_end:
        MI_CLONE_NOT_MADE
        MI_CLONE_DONE
        MI_CLONE_CRASHED
        MI_CLONE_LATE
        MI_CLONE_LOST
    ctypedef struct mi_clone_result:
        mi_clone_end end
        mi_error error
        int system_error, signal
        uint64_t fault_address, torn, missing_bytes, needed_bytes, pause_ns, world_ns, lived_ns
        uint64_t minor_faults, major_faults
    ctypedef struct mi_clone:
        mi_clone_result result
    mi_error mi_clone_start(mi_clone *clone, const mi_clone_order *order) nogil
    void mi_clone_wait(mi_clone *clone) nogil
    ctypedef void (*mi_clone_step)(void *context) noexcept nogil
    int mi_clone_attempt(mi_clone_step step, void *context) noexcept nogil

cdef extern from "os.h":
    void *mi_os_alloc_shared(size_t size) nogil

cdef extern from "target.h":
    ctypedef struct mi_clone_view "mi_view":
        const unsigned char *bytes
    mi_error mi_clone_view_make "mi_target_view"(const mi_target *target, uintptr_t address, size_t size,
                                                 mi_clone_view *view) nogil
    void mi_clone_view_free "mi_view_free"(mi_clone_view *view) nogil

cdef extern from "stop_the_world.h":
    int mi_world_can_stop()


cdef object number_in(text, bytes name=b""):
    """The number that a file of /proc or of a control group holds, alone or behind a name; None when it has none."""
    for line in (text or b"").splitlines():
        words = line.replace(b":", b" ").split()
        if name:
            words = words[1:] if words and words[0] == name else []
        if words and words[0].isdigit():
            return int(words[0])
    return None


def clone_room():
    """(bytes, name of the limit): how much memory may still be taken, by the nearest limit; (None, None): unknown.

    Each level of the control group has room for its limit less what is used, where file pages that nobody used lately
    (inactive_file) can make way; the machine has MemAvailable.
    """
    rooms = []
    groups = cgroup_capture()
    limit, usage, idle = (("memory.max", "memory.current", b"inactive_file") if groups["version"] == 2 else
                          ("memory.limit_in_bytes", "memory.usage_in_bytes", b"total_inactive_file"))
    for depth, level in enumerate(groups["levels"]):
        most, used = number_in(level[limit]), number_in(level[usage])
        if most is not None and used is not None:
            where = limit if not depth else f"{limit}, {depth} above"
            rooms.append((max(0, most - used + (number_in(level["memory.stat"], idle) or 0)), where))
    available = number_in(slurp_path(b"/proc/meminfo"), b"MemAvailable")
    if available is not None:
        rooms.append((available * 1024, "MemAvailable"))
    return min(rooms) if rooms else (None, None)


cdef int clone_order_fill(mi_clone_order *order, mi_clone_work work, void *context, lifetime_s, room) except -1:
    """An order that is guarded as this build needs it; `room` is what clone_room() gave."""
    cdef bint stops = the_layout().free_threaded and mi_world_can_stop()
    order.work, order.context = work, context
    order.lifetime_ns = <uint64_t>(lifetime_s * 1e9)
    order.room_bytes = <uint64_t>-1 if room[0] is None else room[0]
    order.interpreter = <void *>PyInterpreterState_Get() if stops else NULL
    return 0


cdef dict clone_to_raw(const mi_clone *clone, mi_error started, room):
    """What became of a copy; `reason` is None when its work was done to its end."""
    cdef const mi_clone_result *result = &clone.result
    ends = {MI_CLONE_NOT_MADE: "not made", MI_CLONE_DONE: "done", MI_CLONE_CRASHED: "crashed", MI_CLONE_LATE: "late",
            MI_CLONE_LOST: "lost"}
    reason = None
    if started == MI_E_MEMORY and room[0] is not None and result.needed_bytes > room[0]:
        reason = (f"a frozen copy may need {result.needed_bytes} bytes for what the program writes meanwhile, and "
                  f"{room[1]} leaves {room[0]}")
    elif started == MI_E_PERMISSION:
        reason = "clone() is refused to this process (a seccomp filter?)"
    elif started != MI_OK:
        reason = "no frozen copy could be made: " + reason_of(started)
    elif result.end == MI_CLONE_CRASHED:
        reason = f"the frozen copy ended by signal {result.signal}"
    elif result.end == MI_CLONE_LATE:
        reason = f"the frozen copy was not ready after {result.lived_ns * 1e-9:.3f} s, and was ended"
    elif result.end == MI_CLONE_LOST:
        reason = "the frozen copy ended without a result"
    elif result.error != MI_OK:
        reason = reason_of(result.error)
    return {
        "end": ends[result.end], "reason": reason, "signal": result.signal or None, "torn": result.torn,
        "system_error": result.system_error or None,
        "missing_bytes": result.missing_bytes, "needed_bytes": result.needed_bytes, "room_bytes": room[0],
        "room_by": room[1], "pause_s": result.pause_ns * 1e-9, "world_s": result.world_ns * 1e-9,
        "lived_s": result.lived_ns * 1e-9, "minor_faults": result.minor_faults, "major_faults": result.major_faults,
    }


# ---- a piece of work that tests the copy itself

cdef struct clone_probe:
    int what
    uintptr_t address
    size_t size
    uint64_t *answer


cdef enum:
    PROBE_SUM
    PROBE_ATTEMPT
    PROBE_ENDLESS
    PROBE_RAISE
    PROBE_VIEW

cdef extern from "<signal.h>" nogil:
    int c_raise "raise"(int number)
    int SIGABRT


cdef void probe_sum(void *context) noexcept nogil:
    cdef clone_probe *probe = <clone_probe *>context
    cdef const unsigned char *bytes = <const unsigned char *>probe.address
    cdef uint64_t total = 0
    cdef size_t i
    for i in range(probe.size):
        total += bytes[i]
    probe.answer[0] = total


cdef mi_error probe_work(const mi_target *target, void *context) noexcept nogil:
    cdef clone_probe *probe = <clone_probe *>context
    cdef mi_clone_view view
    cdef mi_error error
    cdef volatile int turning = 1
    if probe.what == PROBE_ATTEMPT:
        mi_clone_attempt(probe_sum, context)
    elif probe.what == PROBE_ENDLESS:
        while turning:
            pass
    elif probe.what == PROBE_RAISE:
        c_raise(SIGABRT)
    elif probe.what == PROBE_VIEW:
        error = mi_clone_view_make(target, probe.address, probe.size, &view)
        if error != MI_OK:
            return error
        mi_clone_view_free(&view)
        probe_sum(context)
    else:
        probe_sum(context)
    return MI_OK


def _clone_probe(str what, uintptr_t address=0, size_t size=0, lifetime_s=10.0, room_bytes=None):
    """Does one thing in a frozen copy, for the tests of it: sums bytes ("sum"; "attempt": in a step that may fault;
    "view": by a proven view), or turns for ever ("endless"), or raises SIGABRT, which is blocked ("raise")."""
    cdef mi_clone_order order
    cdef mi_clone clone
    cdef mi_error error
    cdef clone_probe probe
    probe.what = {"sum": PROBE_SUM, "attempt": PROBE_ATTEMPT, "endless": PROBE_ENDLESS, "raise": PROBE_RAISE,
                  "view": PROBE_VIEW}[what]
    probe.address, probe.size = address, size
    room = clone_room() if room_bytes is None else (room_bytes, "the test")
    probe.answer = <uint64_t *>mi_os_alloc_shared(sizeof(uint64_t))
    if probe.answer == NULL:
        check(MI_E_MEMORY)
    try:
        clone_order_fill(&order, probe_work, &probe, lifetime_s, room)
        error = mi_clone_start(&clone, &order)
        if error == MI_OK:
            with nogil:
                mi_clone_wait(&clone)
        return {**clone_to_raw(&clone, error, room), "answer": probe.answer[0]}
    finally:
        mi_os_free(probe.answer, sizeof(uint64_t))
