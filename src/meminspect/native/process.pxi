# Facts about a process: csrc/os/process.h.

cdef extern from "os.h":
    ssize_t mi_os_slurp(const char *path, char *to, size_t size, mi_error *error)
    uint64_t mi_os_now_ns()

cdef extern from "process.h":
    mi_error mi_process_entries(pid_t pid, const char *name, size_t *count)
    int mi_process_dumpable()
    void mi_process_libc(char *to, size_t size)
    void mi_process_kernel(char *to, size_t size)
    long mi_process_clock_ticks()

cdef extern from "unistd.h":
    pid_t getpid() nogil

cdef extern from "time.h":
    enum: CLOCK_REALTIME
    enum: CLOCK_BOOTTIME
    cdef struct timespec:
        int64_t tv_sec
        long tv_nsec
    int clock_gettime(int clock, timespec *to)

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED
    #define MI_FREE_THREADED 1
    #else
    #define MI_FREE_THREADED 0
    #endif
    #ifdef Py_DEBUG
    #define MI_PY_DEBUG 1
    #else
    #define MI_PY_DEBUG 0
    #endif
    """
    enum: MI_FREE_THREADED
    enum: MI_PY_DEBUG
    const char *Py_GetVersion()
    const unsigned long Py_Version
    ctypedef void *borrowed "PyObject *"
    borrowed PySys_GetObject(const char *name)


cdef object slurp_proc(pid_t pid, bytes name):
    """A small file of /proc/PID (pid 0: this process) as bytes, None where it cannot be read."""
    cdef char text[16384]
    cdef mi_error error
    cdef bytes path = b"/proc/%s/%s" % (b"self" if pid == 0 else str(pid).encode(), name)
    cdef ssize_t length = mi_os_slurp(path, text, sizeof(text), &error)
    return None if length < 0 else text[:length]


cdef object count_proc(pid_t pid, const char *name, size_t ours=0):
    """Entries of /proc/PID/NAME less `ours`, None where they cannot be listed."""
    cdef size_t count
    return count - ours if mi_process_entries(pid, name, &count) == MI_OK else None


def process_capture(pid_t pid=0):
    """What ProcessInfo is built from: the texts of /proc/PID/stat, status and cmdline, counts, and the machine.

    `dumpable` (0, 1 or 2) is known of this process only. The start of the process, field 22 of `stat`, is in clock ticks
    on the clock of `since_boot_s`.
    """
    cdef char libc[64]
    cdef char kernel[256]
    cdef timespec now, since_boot
    mi_process_libc(libc, sizeof(libc))
    mi_process_kernel(kernel, sizeof(kernel))
    clock_gettime(CLOCK_REALTIME, &now)
    clock_gettime(CLOCK_BOOTTIME, &since_boot)
    return {
        "pid": pid if pid else getpid(),
        "stat": slurp_proc(pid, b"stat"),
        "status": slurp_proc(pid, b"status"),
        "cmdline": slurp_proc(pid, b"cmdline"),
        "threads": count_proc(pid, b"task"),
        "open_files": count_proc(pid, b"fd", 1 if pid == 0 else 0),  # the one that lists them is not the program's
        "dumpable": mi_process_dumpable() if pid == 0 else None,
        "clock_ticks": mi_process_clock_ticks(),
        "taken_s": now.tv_sec + now.tv_nsec * 1e-9,
        "since_boot_s": since_boot.tv_sec + since_boot.tv_nsec * 1e-9,
        "libc": libc.decode("ascii", "replace"),
        "kernel": kernel.decode("utf-8", "replace"),
    }


def python_capture():
    """What PythonInfo is built from, told by the interpreter that runs (`version`) and the headers (`debug`)."""
    cdef borrowed executable = PySys_GetObject("executable")
    return {
        "version": Py_GetVersion().split()[0].decode("ascii", "replace"),
        "build": Py_GetVersion().decode("utf-8", "replace"),
        "hexversion": Py_Version,
        "implementation": "CPython",
        "free_threaded": MI_FREE_THREADED == 1,
        "debug": MI_PY_DEBUG == 1,
        "executable": <object>executable if executable and type(<object>executable) is str else None,
    }
