# The collector: csrc/interpreter/gc.h.

cdef extern from "layout.h":
    ctypedef struct mi_gc_layout "mi_layout":
        int32_t runtime_main

cdef extern from "gc.h":
    enum: MI_GC_GENERATIONS
    ctypedef struct mi_gc_generation:
        int64_t objects
        int32_t count, threshold
        int64_t collections, collected, uncollectable, candidates
        double duration_s
    ctypedef struct mi_gc_state:
        int32_t enabled, collecting, visited_space
        mi_gc_generation[3] generations
        int64_t frozen, long_lived_total, long_lived_pending, deferred
        mi_error lists
        uint64_t pause_ns
    mi_error mi_gc_state_read(const mi_target *target, const mi_layout *layout, uintptr_t interpreter,
                              mi_gc_state *state) nogil
    mi_error mi_gc_generation_find(const mi_target *target, const mi_layout *layout, uintptr_t interpreter,
                                   uintptr_t head, uint32_t steps, int *generation) nogil


def gc_capture(pid_t pid=0, max_pause=1.0):
    """The collector of this interpreter, or of the main interpreter of another process of the same build.

    {"free_threaded", "enabled", "collecting", "visited_space", "generations": three dicts as they lie in memory,
    "frozen", "long_lived_total", "long_lived_pending", "deferred", "lists_reason", "late", "pause_s"}; None where
    there is no such figure.
    `late`: lists were left out, since the GIL had been held for `max_pause` seconds (None: no ceiling).
    No Python code runs while it is taken, so no callback of the collector's either.
    """
    cdef mi_target target
    cdef mi_runtime runtime
    cdef mi_gc_state state
    cdef const mi_layout *layout = the_layout()
    cdef uintptr_t interpreter = <uintptr_t>PyInterpreterState_Get()
    cdef mi_error error
    cdef uint64_t until = ceiling_of(max_pause)
    check(mi_target_open(&target, MI_TARGET_PROCESS if pid else MI_TARGET_SELF, pid))
    try:
        if pid:
            check(runtime_of(&runtime, &target, layout))
            check(mi_target_word(&target, runtime.address + (<const mi_gc_layout *>layout).runtime_main, &interpreter))
            with nogil:
                error = mi_gc_state_read(&target, layout, interpreter, &state)
        else:
            (<mi_timed_target *>&target).until_ns = until
            error = mi_gc_state_read(&target, layout, interpreter, &state)
    finally:
        mi_target_close(&target)
    check(error)
    return {
        "free_threaded": bool(layout.free_threaded), "enabled": bool(state.enabled),
        "collecting": bool(state.collecting),
        "visited_space": None if state.visited_space == MI_ABSENT else state.visited_space,
        "generations": [gc_generation(&state.generations[i]) for i in range(MI_GC_GENERATIONS)],
        "frozen": known(state.frozen), "long_lived_total": known(state.long_lived_total),
        "long_lived_pending": known(state.long_lived_pending), "deferred": known(state.deferred),
        "lists_reason": None if state.lists == MI_OK else reason_of(state.lists),
        "late": state.lists == MI_E_LATE, "pause_s": state.pause_ns * 1e-9,
    }


cdef object known(int64_t number):
    return None if number < 0 else number


cdef dict gc_generation(const mi_gc_generation *generation):
    return {
        "objects": known(generation.objects), "count": generation.count, "threshold": generation.threshold,
        "collections": known(generation.collections), "collected": known(generation.collected),
        "uncollectable": known(generation.uncollectable), "candidates": known(generation.candidates),
        "duration_s": None if generation.duration_s < 0 else generation.duration_s,
    }
