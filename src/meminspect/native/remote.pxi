# What another process is, before its captures are taken: csrc/interpreter/runtime.h.

cdef extern from "runtime.h":
    uintptr_t mi_runtime_own_address() nogil


def remote_runtime(pid_t pid):
    """The address of _PyRuntime in another process; None when it has not mapped the file that holds ours.

    Reads its map alone. NativeError: "gone", "permission".
    """
    cdef mi_target target
    cdef mi_runtime runtime
    cdef mi_error error
    check(mi_target_open(&target, MI_TARGET_PROCESS, pid))
    error = mi_runtime_open(&runtime, &target, NULL)
    mi_target_close(&target)
    if error == MI_E_ABSENT:
        return None
    check(error)
    return runtime.address


def remote_verify(pid_t pid):
    """Reads the lists of its interpreters and threads and holds them against the kernel's.

    NativeError: "permission" when its memory may not be read, "layout" when no interpreter runs in it, "torn" when the
    list of its threads changed each time that it was read, "gone".
    """
    cdef mi_target target
    cdef mi_runtime runtime
    cdef mi_error error
    cdef const mi_layout *layout = the_layout()
    cdef uintptr_t first
    check(mi_target_open(&target, MI_TARGET_PROCESS, pid))
    error = mi_runtime_open(&runtime, &target, layout)
    if error == MI_OK:
        error = mi_target_word(&target, runtime.address, &first)
    if error == MI_OK:
        error = mi_runtime_verify(&runtime)
    mi_target_close(&target)
    check(error)
