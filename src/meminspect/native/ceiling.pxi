# How long a capture may keep the program waiting: csrc/os/ceiling.h.

cdef extern from "ceiling.h":
    ctypedef struct mi_hold:
        uint64_t until_ns
        void (*let_go)(void *context) noexcept
        void *context
        uint64_t let_go_ns

cdef extern from "target.h":
    ctypedef struct mi_timed_target "mi_target":
        uint64_t until_ns


cdef uint64_t ceiling_of(object max_pause) except? 0:
    """When a pause of so many seconds is over, by the core's clock; 0 for None: never."""
    cdef double seconds
    if max_pause is None:
        return 0
    seconds = max_pause
    if not seconds >= 0:
        raise ValueError(f"max_pause must be a number of seconds from 0 on, or None, not {max_pause!r}")
    if seconds > 1e9:
        return 0
    return mi_os_now_ns() + <uint64_t>(seconds * 1e9)


cdef void give_gil_back(void *context) noexcept:
    (<PyThreadState **>context)[0] = PyEval_SaveThread()
