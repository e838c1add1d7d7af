# Reading memory: csrc/os/os.h.

cdef extern from "os.h":
    ctypedef int pid_t
    ctypedef enum mi_read_method:
        MI_READ_NONE
        MI_READ_PROCESS_VM
        MI_READ_PIPE
        MI_READ_PROC_MEM
    mi_error mi_os_read(pid_t pid, uintptr_t address, void *to, size_t size)
    mi_read_method mi_os_read_method(pid_t pid)
    void mi_os_read_reset()


def read_memory(uintptr_t address, size_t size, pid_t pid=0):
    """`size` bytes at an address of this process (pid 0) or another, by a call that fails instead of faulting."""
    cdef bytes result = bytes(size)
    check(mi_os_read(pid, address, <void *><char *>result, size))
    return result


def read_method(pid_t pid=0):
    """How memory is read: "process_vm_readv", "pipe", "/proc/PID/mem" or None."""
    return {MI_READ_PROCESS_VM: "process_vm_readv", MI_READ_PIPE: "pipe",
            MI_READ_PROC_MEM: "/proc/PID/mem"}.get(mi_os_read_method(pid))


def read_method_reset():
    """Looks for a way to read memory again (after a seccomp filter was installed)."""
    mi_os_read_reset()
