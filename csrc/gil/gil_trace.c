/* gil_trace.c - see gil_trace.h: a trace's start, its end, and what becomes of it in a child after fork. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "gil_session.h"

#include <string.h>
#include <unistd.h>

#include "gil_code.h"
#include "os.h"

mi_gil_session mi_gil_tracing = {.registry = PTHREAD_MUTEX_INITIALIZER};

/* In a child after fork: the trace, its thread and its memory are the parent's. */
static void in_child(void) {
    size_t foreign;
    mi_gil_drain_prepare();
    if (!atomic_load(&mi_gil_tracing.generation)) return;
    for (uint32_t at = 0; at < MI_GILS_MOST; at++) atomic_store(&mi_gil_tracing.gils[at].mutex, NULL);
    atomic_store(&mi_gil_tracing.count, 0);
    atomic_store(&mi_gil_tracing.generation, 0);
    mi_gil_tracing.region = NULL;
    mi_gil_code_forget();
    mi_relocations_restore(&mi_gil_tracing.calls, &foreign);
    mi_gil_tracing.registry = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

static mi_error prepare_once(void) {
    static int prepared;
    if (prepared) return MI_OK;
    if (!mi_gil_tracing.notes) mi_gil_tracing.notes = mi_os_alloc(MI_GIL_THREADS_MOST * sizeof(mi_own_notes));
    if (!mi_gil_tracing.notes) return MI_E_MEMORY;
    if (pthread_key_create(&mi_gil_tracing.self_key, NULL)) return MI_E_LIMIT;
    mi_gil_drain_prepare();
    pthread_atfork(NULL, NULL, in_child);
    prepared = 1;
    return MI_OK;
}

static mi_error find_calls(const void *inside) {
    mi_hook hooks[] = {
        {.symbol = "pthread_mutex_unlock", .replacement = (void *)mi_gil_unlock_in_place},
        {.symbol = "pthread_mutex_lock", .replacement = (void *)mi_gil_lock_in_place},
        {.symbol = "pthread_cond_timedwait", .replacement = (void *)mi_gil_timedwait_in_place},
        {.symbol = "pthread_cond_init", .replacement = (void *)mi_gil_cond_init_in_place},
        {.symbol = "pthread_cond_destroy", .replacement = (void *)mi_gil_cond_destroy_in_place},
    };
    size_t count = sizeof hooks / sizeof *hooks;
    mi_error error = mi_relocations_find(&mi_gil_tracing.calls, inside, hooks, count);
    for (size_t at = 0; !error && at < count; at++)
        if (!mi_gil_tracing.calls.hooks[at].slots) error = MI_E_ABSENT;
    if (error) return error;
    *(void **)&mi_gil_tracing.original.unlock = mi_gil_tracing.calls.hooks[0].original;
    *(void **)&mi_gil_tracing.original.lock = mi_gil_tracing.calls.hooks[1].original;
    *(void **)&mi_gil_tracing.original.timedwait = mi_gil_tracing.calls.hooks[2].original;
    *(void **)&mi_gil_tracing.original.cond_init = mi_gil_tracing.calls.hooks[3].original;
    *(void **)&mi_gil_tracing.original.cond_destroy = mi_gil_tracing.calls.hooks[4].original;
    return MI_OK;
}

/* The rate of the counter is known from two moments: at the start it has only one, and a short spell gives the other. */
static uint64_t ticks_of(mi_gil_region *region, uint64_t ns) {
    if (!ns || region->clock != MI_GIL_CLOCK_TSC) return ns;
    struct timespec spell = {0, 1000000};
    nanosleep(&spell, NULL);
    mi_gil_calibrate(region);
    mi_gil_moment now = region->recent[atomic_load(&region->which)];
    return (uint64_t)((double)ns * (double)(now.ticks - region->begin.ticks) / (double)(now.ns - region->begin.ns));
}

mi_error mi_gil_trace_start(mi_gil_region *region, const mi_gil_start *start) {
    size_t foreign;
    const mi_layout *layout = start->runtime->layout;
    if (mi_gil_tracing.region) return MI_E_LIMIT; /* one at a time: its region is being written, or emptied */
    if (layout->gil_mutex == MI_ABSENT || layout->gil_cond == MI_ABSENT) return MI_E_ABSENT;
    mi_error error = prepare_once();
    if (!error && mi_gil_tracing.calls.replaced) error = mi_relocations_restore(&mi_gil_tracing.calls, &foreign);
    if (!error) error = find_calls(start->inside);
    if (error) return error;
    mi_gil_tracing.target = *start->runtime->target;
    mi_gil_tracing.runtime = *start->runtime;
    mi_gil_tracing.runtime.target = &mi_gil_tracing.target;
    mi_gil_tracing.clock = (mi_gil_clock)region->clock;
    mi_gil_tracing.owner = getpid();
    mi_gil_tracing.region = region;
    mi_gil_tracing.notes[0].row = mi_gil_threads(region);
    atomic_store(&mi_gil_tracing.count, 0);
    region->pid = mi_gil_tracing.owner;
    mi_gil_calibrate(region);
    region->begin = region->recent[atomic_load(&region->which)];
    region->long_hold = ticks_of(region, start->long_hold_ns);
    if (start->own_thread_state)
        error = mi_gil_code_begin(region, &mi_gil_tracing.runtime, start->code_type, start->own_thread_state);
    if (!error) error = mi_relocations_replace(&mi_gil_tracing.calls);
    if (!error) { /* only now: a GIL that is made or destroyed from here on is seen */
        mi_relocations_strayed(&mi_gil_tracing.calls, 1);
        mi_gil_tracing.original.lock(&mi_gil_tracing.registry);
        atomic_store(&mi_gil_tracing.generation, ++mi_gil_tracing.generations);
        error = mi_gil_open_all(start);
        mi_gil_tracing.original.unlock(&mi_gil_tracing.registry);
    }
    if (!error) {
        atomic_store(&region->state, MI_GIL_TRACING);
        if (!start->quiet && !mi_gil_drain_start()) error = MI_E_OS;
    }
    if (error) {
        mi_gil_trace_stop(&foreign);
        mi_gil_code_end();
        mi_gil_tracing.region = NULL;
    }
    return error;
}

mi_error mi_gil_trace_stop(size_t *foreign) {
    *foreign = 0;
    if (!mi_gil_tracing.region) return MI_E_ABSENT;
    /* After this no thread writes to the region: that is only done while a GIL is open. */
    mi_gil_tracing.original.lock(&mi_gil_tracing.registry);
    mi_gil_close_all();
    mi_gil_calibrate(mi_gil_tracing.region); /* the end of the trace */
    atomic_store(&mi_gil_tracing.generation, 0);
    mi_error error = mi_relocations_restore(&mi_gil_tracing.calls, foreign);
    mi_gil_tracing.original.unlock(&mi_gil_tracing.registry);
    return error;
}

void mi_gil_trace_finish(void) {
    if (!mi_gil_tracing.region) return;
    mi_gil_drain_stop();
    mi_gil_drain(mi_gil_tracing.region);
    mi_gil_code_end();
    atomic_store(&mi_gil_tracing.region->state, MI_GIL_STOPPED);
    mi_gil_tracing.region = NULL;
}

mi_gil_region *mi_gil_trace_region(void) { return mi_gil_tracing.region; }

void mi_gil_trace_note(uintptr_t address, mi_gil_event_kind kind, uint64_t detail) {
    if (!atomic_load(&mi_gil_tracing.generation)) return;
    pthread_mutex_t *mutex = mi_gil_mutex(address);
    mi_traced_gil *gil = mi_gil_traced(mutex);
    if (!gil) return;
    mi_gil_tracing.original.lock(mutex);
    if (mi_gil_enter(gil, mutex)) {
        mi_gil_put_of(gil, kind, mi_gil_own_row(), mi_gil_now(), detail, 0);
        mi_gil_leave(gil);
    }
    mi_gil_tracing.original.unlock(mutex);
}

void mi_gil_trace_name(const char *name) {
    uintptr_t known = (uintptr_t)pthread_getspecific(mi_gil_tracing.self_key);
    uint64_t generation = atomic_load(&mi_gil_tracing.generation);
    uint32_t row = (uint32_t)(known & ((1u << MI_GIL_ROW_BITS) - 1));
    if (!generation || known >> MI_GIL_ROW_BITS != generation || !row) return;
    strncpy(mi_gil_threads(mi_gil_tracing.region)[row].given, name, MI_GIL_NAME - 1);
}

#else
#include "gil_trace.h"

mi_error mi_gil_trace_start(mi_gil_region *region, const mi_gil_start *start) {
    (void)region, (void)start;
    return MI_E_ABSENT;
}
mi_error mi_gil_trace_stop(size_t *foreign) {
    *foreign = 0;
    return MI_E_ABSENT;
}
void mi_gil_trace_finish(void) {}
mi_gil_region *mi_gil_trace_region(void) { return NULL; }
void mi_gil_trace_note(uintptr_t gil, mi_gil_event_kind kind, uint64_t detail) { (void)gil, (void)kind, (void)detail; }
void mi_gil_trace_name(const char *name) { (void)name; }
#endif
