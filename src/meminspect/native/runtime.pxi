# Targets and the runtime's lists for the other files: csrc/os/target.h, csrc/interpreter/runtime.h.

cdef extern from "target.h":
    ctypedef enum mi_target_kind:
        MI_TARGET_SELF
        MI_TARGET_COPY
        MI_TARGET_PROCESS
    ctypedef struct mi_target:
        mi_target_kind kind
        pid_t pid
    mi_error mi_target_open(mi_target *target, mi_target_kind kind, pid_t pid) nogil
    void mi_target_close(mi_target *target) nogil
    mi_error mi_target_read(const mi_target *target, uintptr_t address, void *to, size_t size) nogil
    mi_error mi_target_word(const mi_target *target, uintptr_t address, uintptr_t *word) nogil

cdef extern from "runtime.h":
    ctypedef struct mi_runtime:
        const mi_target *target
        const mi_layout *layout
        uintptr_t address
    ctypedef struct mi_interpreter:
        uintptr_t address
        int64_t id
        uintptr_t gil, obmalloc
    mi_error mi_runtime_open(mi_runtime *runtime, const mi_target *target, const mi_layout *layout) nogil
    mi_error mi_runtime_verify(const mi_runtime *runtime) nogil
    mi_error mi_runtime_interpreter_at(const mi_runtime *runtime, uintptr_t address, mi_interpreter *to) nogil


cdef void target_without_map(mi_target *target):
    """This process, for reads of single fields: its map is not read, so views of it are refused."""
    memset(target, 0, sizeof(mi_target))
    target.kind = MI_TARGET_COPY


cdef mi_error runtime_of(mi_runtime *runtime, const mi_target *target, const mi_layout *layout):
    """The runtime of a target; another process' is verified as well."""
    cdef mi_error error = mi_runtime_open(runtime, target, layout)
    if error == MI_OK and target.kind == MI_TARGET_PROCESS:
        error = mi_runtime_verify(runtime)
    return error
