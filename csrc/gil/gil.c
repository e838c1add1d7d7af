/* gil.c - reads the GILs of a process: counters first, then which live thread state is the holder. */
#include "gil.h"

#include <string.h>

mi_error mi_gil_counters(const mi_target *target, const mi_layout *layout, uintptr_t address, mi_gil *gil) {
    memset(gil, 0, sizeof *gil);
    gil->address = address;
    gil->enabled = MI_ABSENT;
    mi_error error = mi_target_read(target, address + (uintptr_t)layout->gil_switch_number, &gil->switch_number,
                                    sizeof gil->switch_number);
    if (!error)
        error = mi_target_read(target, address + (uintptr_t)layout->gil_interval, &gil->interval_us,
                               sizeof gil->interval_us);
    if (!error)
        error = mi_target_read(target, address + (uintptr_t)layout->gil_locked, &gil->locked, sizeof gil->locked);
    if (!error && layout->gil_enabled != MI_ABSENT)
        error = mi_target_read(target, address + (uintptr_t)layout->gil_enabled, &gil->enabled, sizeof gil->enabled);
    return error;
}

/* Looks for the thread state `wanted` among those of one interpreter. */
static mi_error find_holder(const mi_runtime *runtime, const mi_interpreter *interpreter, uintptr_t wanted,
                            mi_thread *threads, mi_gil *gil) {
    size_t count;
    mi_error error = mi_runtime_threads(runtime, interpreter, threads, MI_MAX_THREADS, &count);
    for (size_t i = 0; i < count; i++)
        if (threads[i].address == wanted && !gil->holder) {
            gil->holder = wanted;
            gil->holder_ident = threads[i].ident;
            gil->holder_native_id = threads[i].native_id;
            gil->holder_interpreter = interpreter->id;
        }
    return error;
}

/* The holder is what last_holder says while the GIL is locked (take_gil sets both under gil->mutex). Read locked again
 * behind it: where the GIL was let go meanwhile, the one that was read need not be the one that holds it. */
static mi_error read_holder(const mi_runtime *runtime, const mi_interpreter *interpreters, size_t count,
                            mi_thread *threads, mi_gil *gil) {
    uintptr_t last_holder;
    mi_gil again;
    if (gil->locked != 1) return MI_OK;
    mi_error error =
        mi_target_word(runtime->target, gil->address + (uintptr_t)runtime->layout->gil_last_holder, &last_holder);
    if (!error) error = mi_gil_counters(runtime->target, runtime->layout, gil->address, &again);
    if (error) return error;
    if (again.locked == 1 && again.switch_number == gil->switch_number)
        for (size_t i = 0; i < count && !gil->holder; i++)
            if (interpreters[i].gil == gil->address) find_holder(runtime, &interpreters[i], last_holder, threads, gil);
    gil->holder_unknown = !gil->holder;
    return MI_OK;
}

mi_error mi_gil_read(const mi_runtime *runtime, mi_gil *gils, size_t capacity, size_t *count) {
    size_t interpreters_size = MI_MAX_INTERPRETERS * sizeof(mi_interpreter), found;
    size_t threads_size = MI_MAX_THREADS * sizeof(mi_thread);
    *count = 0;
    mi_interpreter *interpreters = mi_os_alloc(interpreters_size);
    mi_thread *threads = mi_os_alloc(threads_size);
    mi_error error = interpreters && threads ? MI_OK : MI_E_MEMORY;
    if (!error) error = mi_runtime_interpreters(runtime, interpreters, MI_MAX_INTERPRETERS, &found);
    for (size_t i = 0; !error && i < found; i++) {
        if (!interpreters[i].gil) continue; /* being made or torn down */
        size_t at = 0;
        while (at < *count && gils[at].address != interpreters[i].gil) at++;
        if (at == capacity) {
            error = MI_E_LIMIT;
            break;
        }
        if (at == *count) {
            error = mi_gil_counters(runtime->target, runtime->layout, interpreters[i].gil, &gils[at]);
            if (error) break;
            ++*count;
        }
        if (gils[at].sharer_count < MI_GIL_SHARERS) gils[at].sharers[gils[at].sharer_count] = interpreters[i].id;
        gils[at].sharer_count++;
    }
    for (size_t i = 0; !error && i < *count; i++) error = read_holder(runtime, interpreters, found, threads, &gils[i]);
    mi_os_free(threads, threads_size);
    mi_os_free(interpreters, interpreters_size);
    return error;
}
