# No thread of ours while the program forks: csrc/gil/gil_fork.h.

cdef extern from "gil_fork.h":
    void mi_gil_trace_pause()
    void mi_gil_trace_resume()
    void mi_gil_sampler_pause()
    void mi_gil_sampler_resume()

cdef extern from "Python.h":
    int Py_AddPendingCall(int (*function)(void *) noexcept, void *argument)

cdef bint gil_forks_followed = False  # functions of os.register_at_fork() cannot be taken back


def gil_before_fork():
    """For os.register_at_fork(): ends the threads that drain a trace and sample the GIL; gil_after_fork() begins them again."""
    mi_gil_trace_pause()
    mi_gil_sampler_pause()


def gil_after_fork():
    """The sampler's begins when the main thread next runs Python code: CPython 3.13 has yet to count the threads."""
    mi_gil_trace_resume()
    if Py_AddPendingCall(gil_sampler_again, NULL):
        mi_gil_sampler_resume()


cdef int gil_sampler_again(void *unused) noexcept:
    mi_gil_sampler_resume()
    return 0


cdef gil_follow_forks():
    """Once, when the first of these threads is about to begin."""
    global gil_forks_followed
    if not gil_forks_followed:
        import posix  # built in, and imported since the interpreter began
        posix.register_at_fork(before=gil_before_fork, after_in_parent=gil_after_fork)
        gil_forks_followed = True
