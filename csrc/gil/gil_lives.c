/* gil_lives.c - see gil_session.h: GILs that are there when a trace begins, that come and go, and their end. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "gil_session.h"

#include <sched.h>
#include <unistd.h>

#include "os.h"

/* What is known of a GIL when its trace begins. */
typedef enum gil_origin {
    OWN_GIL,  /* the caller holds it, and it cannot go away */
    USED_GIL, /* a subinterpreter's; nothing is known before its first event */
    NEW_GIL   /* create_gil() is making it: nobody has used it */
} gil_origin;

static void close_gil(mi_traced_gil *gil);

/* Under `registry`. */
static mi_error open_gil(uintptr_t address, int64_t interpreter, gil_origin origin, int drop_pending) {
    mi_gil_region *region = mi_gil_tracing.region;
    uint32_t index = atomic_load(&mi_gil_tracing.count);
    pthread_mutex_t *mutex = mi_gil_mutex(address);
    for (uint32_t at = 0; at < index; at++) /* an interpreter that has gone, whose memory another one was given */
        if (mi_gil_is_open(&mi_gil_tracing.gils[at], mutex)) close_gil(&mi_gil_tracing.gils[at]);
    if (index == MI_GILS_MOST) {
        atomic_fetch_add(&region->gils_left_out, 1);
        return MI_E_LIMIT;
    }
    mi_gil_row *row = &mi_gil_rows(region)[index];
    mi_traced_gil *gil = &mi_gil_tracing.gils[index];
    if (origin == OWN_GIL) mi_gil_tracing.original.lock(mutex);
    row->interpreter = interpreter;
    row->address = address;
    gil->address = address;
    gil->counts = &row->counts;
    gil->to = mi_gil_put_to_of(region, index);
    gil->index = (uint16_t)index;
    gil->foreign = origin != OWN_GIL;
    gil->held = gil->asked = 0;
    gil->last_tid = 0;
    gil->known = origin != USED_GIL;
    gil->last_holder = 0;
    gil->looked_at = 0;
    atomic_store(&gil->busy, 0);
    gil->asker = gil->holder = gil->locker_row = 0;
    gil->locker = 0;
    atomic_store(&gil->holder_self, 0);
    atomic_store(&region->gils, index + 1);
    if (gil->known) atomic_store(&row->counts.switch_number_begin, mi_gil_switch_number(address));
    if (origin == OWN_GIL) {
        uint64_t time = mi_gil_now();
        uint32_t self = mi_gil_own_row();
        mi_gil_become_known(gil);
        mi_gil_hold_begins(gil, self, time);
        gil->asked = drop_pending;
        gil->last_tid = mi_gil_tid_of(self);
        mi_gil_put_of(gil, MI_GIL_HELD, self, time, 0, 0);
    }
    atomic_store(&gil->mutex, mutex);
    atomic_store(&mi_gil_tracing.count, index + 1);
    if (origin == OWN_GIL) mi_gil_tracing.original.unlock(mutex);
    return MI_OK;
}

/* Under `registry`; the main GIL with its mutex held. Afterwards no thread writes to its part of the region. */
static void close_gil(mi_traced_gil *gil) {
    pthread_mutex_t *mutex = atomic_load(&gil->mutex);
    if (!mutex) return;
    if (!gil->foreign) atomic_store(&gil->counts->switch_number_end, mi_gil_switch_number(gil->address));
    atomic_store(&gil->mutex, NULL);
    while (atomic_load(&gil->busy)) sched_yield();
    atomic_store(&gil->counts->closed, 1);
    if (gil->held) {
        mi_gil_add(&mi_gil_threads(mi_gil_tracing.region)[gil->holder].held, mi_gil_now() - gil->hold_begin);
    }
}

/* create_gil() makes gil->cond after gil->mutex, and nobody has used either. */
int mi_gil_cond_init_in_place(pthread_cond_t *cond, const pthread_condattr_t *attributes) {
    int error = mi_gil_tracing.original.cond_init(cond, attributes);
    if (error || !atomic_load(&mi_gil_tracing.generation) || getpid() != mi_gil_tracing.owner) return error;
    uintptr_t address = (uintptr_t)cond - (uintptr_t)mi_gil_tracing.runtime.layout->gil_cond;
    size_t size = MI_MAX_INTERPRETERS * sizeof(mi_interpreter), count = 0;
    if (mi_gil_tracing.runtime.layout->interpreter_gil_storage == MI_ABSENT) return error;
    mi_interpreter *items = mi_os_alloc(size);
    if (!items) return error;
    mi_runtime_interpreters(&mi_gil_tracing.runtime, items, MI_MAX_INTERPRETERS, &count);
    for (size_t at = 0; at < count && at < MI_MAX_INTERPRETERS; at++) {
        if (items[at].address + (uintptr_t)mi_gil_tracing.runtime.layout->interpreter_gil_storage != address) continue;
        mi_gil_tracing.original.lock(&mi_gil_tracing.registry);
        if (atomic_load(&mi_gil_tracing.generation)) open_gil(address, items[at].id, NEW_GIL, 0);
        mi_gil_tracing.original.unlock(&mi_gil_tracing.registry);
    }
    mi_os_free(items, size);
    return error;
}

/* destroy_gil() takes gil->cond down first; only the main GIL is ever destroyed, where an embedding program initialises
 * Python once more. */
int mi_gil_cond_destroy_in_place(pthread_cond_t *cond) {
    if (atomic_load(&mi_gil_tracing.generation) && getpid() == mi_gil_tracing.owner) {
        mi_gil_tracing.original.lock(&mi_gil_tracing.registry);
        for (uint32_t at = 0; at < atomic_load(&mi_gil_tracing.count); at++)
            if (mi_gil_cond(mi_gil_tracing.gils[at].address) == cond) close_gil(&mi_gil_tracing.gils[at]);
        mi_gil_tracing.original.unlock(&mi_gil_tracing.registry);
    }
    return mi_gil_tracing.original.cond_destroy(cond);
}

mi_error mi_gil_open_all(const mi_gil_start *start) {
    size_t size = MI_MAX_INTERPRETERS * sizeof(mi_interpreter), count = 0;
    mi_interpreter *items = mi_os_alloc(size);
    if (!items) return MI_E_MEMORY;
    mi_error error = mi_runtime_interpreters(&mi_gil_tracing.runtime, items, MI_MAX_INTERPRETERS, &count);
    for (size_t at = count; !error && at-- > 0;) { /* the oldest first */
        int known = !items[at].gil;
        for (uint32_t gil = 0; gil < atomic_load(&mi_gil_tracing.count); gil++)
            known |= mi_gil_tracing.gils[gil].address == items[at].gil;
        if (known) continue;
        int own = items[at].gil == start->own_gil;
        mi_error failed = open_gil(items[at].gil, items[at].id, own ? OWN_GIL : USED_GIL, start->drop_pending);
        if (own) error = failed;
    }
    mi_os_free(items, size);
    return error;
}

void mi_gil_close_all(void) {
    for (uint32_t at = 0; at < atomic_load(&mi_gil_tracing.count); at++) {
        mi_traced_gil *gil = &mi_gil_tracing.gils[at];
        pthread_mutex_t *mutex = atomic_load(&gil->mutex);
        if (mutex && !gil->foreign) mi_gil_tracing.original.lock(mutex);
        close_gil(gil);
        if (mutex && !gil->foreign) mi_gil_tracing.original.unlock(mutex);
    }
}
#endif
