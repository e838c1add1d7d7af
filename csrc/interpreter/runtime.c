/* runtime.c - follows _PyRuntime's lists with reads that cannot fault; no lock is taken and nothing is called. */
#include "runtime.h"

#include <stdio.h>

extern char _PyRuntime[]; /* Include/internal/pycore_runtime.h: exported by every CPython since 3.7 */

uintptr_t mi_runtime_own_address(void) { return (uintptr_t)_PyRuntime; }

/* ---- finding _PyRuntime ------------------------------------------------------------------------------------------- */

/* The file mapping that an address belongs to: its own, or, for .bss, the nearest file mapping below in one piece. */
static const mi_mapping *file_of(const mi_maps *maps, uintptr_t address) {
    const mi_mapping *mapping = mi_os_maps_find(maps, address);
    while (mapping && !mapping->inode && mapping > maps->items && mapping[-1].end == mapping->start) mapping--;
    return mapping && mapping->inode ? mapping : NULL;
}

static const mi_mapping *first_of_file(const mi_maps *maps, const mi_mapping *file) {
    for (size_t i = 0; i < maps->count; i++)
        if (mi_mapping_same_file(&maps->items[i], file)) return &maps->items[i];
    return NULL;
}

mi_error mi_runtime_translate(const mi_maps *own_maps, const mi_target *target, uintptr_t own, uintptr_t *address) {
    const mi_mapping *file = file_of(own_maps, own);
    if (!file) return MI_E_LAYOUT;
    const mi_mapping *base = first_of_file(own_maps, file);
    uintptr_t distance = file->start - base->start;
    /* A process may map the file a second time to read it (a debugger does), so the distance decides which is loaded. */
    for (size_t i = 0; i < target->maps.count; i++) {
        const mi_mapping *other = &target->maps.items[i];
        if (!mi_mapping_same_file(other, file) || other->offset != base->offset) continue;
        const mi_mapping *data = mi_os_maps_find(&target->maps, other->start + distance);
        if (data && mi_mapping_same_file(data, file) &&
            data->offset + (other->start + distance - data->start) == file->offset) {
            *address = other->start + (own - base->start);
            return MI_OK;
        }
    }
    return MI_E_ABSENT;
}

mi_error mi_runtime_open(mi_runtime *runtime, const mi_target *target, const mi_layout *layout) {
    runtime->target = target;
    runtime->layout = layout;
    runtime->address = mi_runtime_own_address();
    if (target->kind != MI_TARGET_PROCESS) return MI_OK;
    mi_maps own_maps;
    mi_error error = mi_os_maps(0, &own_maps);
    if (error) return error;
    error = mi_runtime_translate(&own_maps, target, mi_runtime_own_address(), &runtime->address);
    mi_os_maps_free(&own_maps);
    return error;
}

/* ---- one structure ------------------------------------------------------------------------------------------------ */

static mi_error word_at(const mi_runtime *runtime, uintptr_t base, int32_t offset, uintptr_t *word) {
    return mi_target_word(runtime->target, base + (uintptr_t)offset, word);
}

/* Where the pymalloc state of an interpreter is (get_state() in Objects/obmalloc.c). */
static mi_error obmalloc_of(const mi_runtime *runtime, uintptr_t interpreter, uintptr_t *state) {
    const mi_layout *layout = runtime->layout;
    *state = 0;
    if (layout->interpreter_obmalloc == MI_ABSENT) return MI_OK;
    if (layout->interpreter_obmalloc_is_pointer)
        return word_at(runtime, interpreter, layout->interpreter_obmalloc, state);
    uintptr_t flags, owner = interpreter;
    mi_error error = word_at(runtime, interpreter, layout->interpreter_feature_flags, &flags);
    if (!error && flags & (uintptr_t)layout->flag_use_main_obmalloc)
        error = word_at(runtime, runtime->address, layout->runtime_main, &owner);
    if (!error && owner) *state = owner + (uintptr_t)layout->interpreter_obmalloc;
    return error;
}

mi_error mi_runtime_interpreter_at(const mi_runtime *runtime, uintptr_t address, mi_interpreter *interpreter) {
    const mi_layout *layout = runtime->layout;
    *interpreter = (mi_interpreter){.address = address};
    interpreter->gc = address + (uintptr_t)layout->interpreter_gc;
    mi_error error = mi_target_read(runtime->target, address + (uintptr_t)layout->interpreter_id, &interpreter->id,
                                    sizeof interpreter->id);
    if (!error) error = word_at(runtime, address, layout->interpreter_threads, &interpreter->first_thread);
    if (!error) error = obmalloc_of(runtime, address, &interpreter->obmalloc);
    if (layout->interpreter_gil == MI_ABSENT) {
        interpreter->gil = runtime->address + (uintptr_t)layout->runtime_gil;
        return error;
    }
    int own_gil = 0;
    if (!error) error = word_at(runtime, address, layout->interpreter_gil, &interpreter->gil);
    if (!error)
        error =
            mi_target_read(runtime->target, address + (uintptr_t)layout->interpreter_own_gil, &own_gil, sizeof own_gil);
    /* The main interpreter's GIL is its own too; what matters is whether it is another one than the main one's. */
    interpreter->own_gil = own_gil && interpreter->id != 0;
    return error;
}

mi_error mi_runtime_thread_at(const mi_runtime *runtime, uintptr_t address, mi_thread *thread) {
    const mi_layout *layout = runtime->layout;
    uintptr_t ident = 0, native_id = 0;
    *thread = (mi_thread){.address = address};
    mi_error error = word_at(runtime, address, layout->thread_interpreter, &thread->interpreter);
    if (!error) error = word_at(runtime, address, layout->thread_ident, &ident);
    if (!error) error = word_at(runtime, address, layout->thread_native_id, &native_id);
    if (!error) error = word_at(runtime, address, layout->thread_data_stack, &thread->stack_chunk);
    thread->ident = ident;
    thread->native_id = native_id;
    return error;
}

/* ---- lists -------------------------------------------------------------------------------------------------------- */

mi_error mi_runtime_interpreters(const mi_runtime *runtime, mi_interpreter *items, size_t capacity, size_t *count) {
    uintptr_t at;
    *count = 0;
    mi_error error = word_at(runtime, runtime->address, runtime->layout->runtime_interpreters, &at);
    while (!error && at) {
        if (*count == capacity) return MI_E_LIMIT;
        error = mi_runtime_interpreter_at(runtime, at, &items[*count]);
        if (!error) {
            ++*count;
            error = word_at(runtime, at, runtime->layout->interpreter_next, &at);
        }
    }
    return error;
}

mi_error mi_runtime_threads(const mi_runtime *runtime, const mi_interpreter *interpreter, mi_thread *items,
                            size_t capacity, size_t *count) {
    uintptr_t at = interpreter->first_thread;
    mi_error error = MI_OK;
    *count = 0;
    while (!error && at) {
        if (*count == capacity) return MI_E_LIMIT;
        mi_thread *thread = &items[*count];
        error = mi_runtime_thread_at(runtime, at, thread);
        if (!error && thread->interpreter != interpreter->address) error = MI_E_TORN; /* freed while it was followed */
        if (!error) {
            ++*count;
            error = word_at(runtime, at, runtime->layout->thread_next, &at);
        }
    }
    return error;
}

mi_error mi_runtime_stack_chunks(const mi_runtime *runtime, const mi_thread *thread, mi_stack_chunk *items,
                                 size_t capacity, size_t *count) {
    uintptr_t at = thread->stack_chunk;
    mi_error error = MI_OK;
    *count = 0;
    while (!error && at) {
        if (*count == capacity) return MI_E_LIMIT;
        uintptr_t size;
        error = word_at(runtime, at, runtime->layout->stack_chunk_size, &size);
        /* push_chunk() in Python/pystate.c asks the arena allocator for powers of two from 16 KiB on */
        if (!error && (size < mi_os_page_size() || size % mi_os_page_size())) error = MI_E_TORN;
        if (!error) {
            items[*count] = (mi_stack_chunk){.address = at, .size = size, .newest = *count == 0};
            ++*count;
            error = word_at(runtime, at, runtime->layout->stack_chunk_previous, &at);
        }
    }
    return error;
}

/* ---- another process ---------------------------------------------------------------------------------------------- */

static int kernel_knows(pid_t pid, uint64_t thread) {
    char path[80], name[32];
    mi_error error;
    snprintf(path, sizeof path, "/proc/%d/task/%llu/comm", (int)pid, (unsigned long long)thread);
    return mi_os_slurp(path, name, sizeof name, &error) >= 0;
}

/* One look at the main interpreter. Threads that end while their list is followed end it early: what was read up to
 * there counts. MI_OK: a thread of it runs. MI_E_LAYOUT: the list is whole and shows none. Else what ended it. */
static mi_error look_for_thread(const mi_runtime *runtime) {
    enum { SOME = 64 };
    mi_interpreter interpreter;
    mi_thread threads[SOME];
    size_t count;
    uintptr_t main;
    mi_error error = word_at(runtime, runtime->address, runtime->layout->runtime_main, &main);
    if (error || !main) return error ? error : MI_E_LAYOUT;
    error = mi_runtime_interpreter_at(runtime, main, &interpreter);
    if (error || interpreter.id != 0) return error ? error : MI_E_LAYOUT;
    error = mi_runtime_threads(runtime, &interpreter, threads, SOME, &count);
    for (size_t i = 0; i < count; i++)
        if (kernel_knows(runtime->target->pid, threads[i].native_id)) return MI_OK;
    return error == MI_E_LIMIT || !error ? MI_E_LAYOUT : error;
}

mi_error mi_runtime_verify(const mi_runtime *runtime) {
    enum { LOOKS = 50, PAUSE_NS = 1000000 };
    mi_error error = MI_OK;
    for (int look = 0; look < LOOKS; look++) {
        error = look_for_thread(runtime);
        if (!error || error == MI_E_PERMISSION || error == MI_E_GONE) return error;
        mi_os_sleep_ns(PAUSE_NS); /* a thread that starts or ends is through by then */
    }
    return error == MI_E_UNMAPPED ? MI_E_TORN : error;
}
