/* gil_events.c - see gil_trace.h: the functions that libpython calls in place of pthread's, and the events they make. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "gil_session.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gil_code.h"

/* An uncontended turn of the GIL is a release and an acquisition, and the most frequent of all by far: what is done at
 * each is one straight piece of code, what is done once stands apart. What seldom changes is only written when it does:
 * the unlock behind an event waits until all that was written before has reached the cache. */
#define HOT __attribute__((always_inline))
#define COLD __attribute__((noinline, cold))

/* ---- threads ---------------------------------------------------------------------------------------------------------------- */

static uintptr_t self_word(uint64_t generation, uint32_t row) {
    return (uintptr_t)(generation << MI_GIL_ROW_BITS | row);
}

static COLD uint32_t new_row(uint64_t generation) {
    mi_gil_region *region = mi_gil_tracing.region;
    uint32_t row = atomic_fetch_add(&region->threads, 1);
    if (row >= MI_GIL_THREADS_MOST) {
        atomic_store(&region->threads, MI_GIL_THREADS_MOST);
        atomic_fetch_add(&region->threads_left_out, 1);
        row = 0;
    }
    if (row)
        mi_gil_tracing.notes[row] =
            (mi_own_notes){.tid = (int32_t)syscall(SYS_gettid), .row = &mi_gil_threads(region)[row]};
    pthread_setspecific(mi_gil_tracing.self_key, (void *)self_word(generation, row));
    return row;
}

static inline uint32_t own_row(void) {
    uint64_t generation = atomic_load_explicit(&mi_gil_tracing.generation, memory_order_relaxed);
    uintptr_t known = (uintptr_t)pthread_getspecific(mi_gil_tracing.self_key);
    if (known >> MI_GIL_ROW_BITS == generation) return (uint32_t)(known & ((1u << MI_GIL_ROW_BITS) - 1));
    return new_row(generation);
}

uint32_t mi_gil_own_row(void) { return own_row(); }

static COLD int32_t tid_of_unlisted(void) { return (int32_t)syscall(SYS_gettid); }

int32_t mi_gil_tid_of(uint32_t row) { return row ? mi_gil_tracing.notes[row].tid : tid_of_unlisted(); }

/* ---- events ------------------------------------------------------------------------------------------------------------------ */

static COLD void first_event(mi_gil_thread_row *row, uint32_t thread, uint64_t time) {
    row->ident = (uint64_t)pthread_self();
    atomic_store_explicit(&row->first, time, memory_order_relaxed);
    atomic_store_explicit(&row->native_id, mi_gil_tracing.notes[thread].tid, memory_order_release);
}

static inline HOT void put_of(const mi_traced_gil *gil, mi_gil_thread_row *row, mi_gil_event event) {
    if (event.thread) {
        if (!atomic_load_explicit(&row->first, memory_order_relaxed)) first_event(row, event.thread, event.time);
        atomic_store_explicit(&row->last, event.time, memory_order_relaxed);
    }
    event.gil = gil->index;
    mi_gil_put(&gil->to, row, event);
}

void mi_gil_put_of(mi_traced_gil *gil, mi_gil_event_kind kind, uint32_t thread, uint64_t time, uint64_t detail,
                   uint32_t other) {
    put_of(gil, mi_gil_tracing.notes[thread].row,
           (mi_gil_event){.time = time, .detail = detail, .thread = thread, .other = other, .kind = (uint16_t)kind});
}

static inline HOT void hold_ends(mi_traced_gil *gil, mi_gil_counts *counts, mi_gil_thread_row *row, uint64_t time) {
    mi_gil_add(&row->held, time - gil->hold_begin);
    gil->held = 0;
    atomic_store_explicit(&gil->holder_self, 0, memory_order_relaxed);
    atomic_store_explicit(&counts->holder, 0, memory_order_relaxed);
    atomic_store_explicit(&counts->held_since, 0, memory_order_relaxed);
}

static inline HOT void hold_begins(mi_traced_gil *gil, mi_gil_counts *counts, uint32_t thread, uint64_t time) {
    gil->held = 1;
    gil->hold_begin = time;
    if (gil->asked) gil->asked = gil->asker = 0;
    gil->holder = thread;
    atomic_store_explicit(&gil->holder_self, thread ? mi_gil_self() : 0, memory_order_relaxed);
    atomic_store_explicit(&counts->holder, thread, memory_order_relaxed);
    atomic_store_explicit(&counts->held_since, time, memory_order_relaxed);
}

void mi_gil_hold_begins(mi_traced_gil *gil, uint32_t thread, uint64_t time) {
    hold_begins(gil, gil->counts, thread, time);
}

/* The first event of a GIL that was in use before: the counting begins behind it. */
void mi_gil_become_known(mi_traced_gil *gil) {
    gil->last_holder = mi_gil_last_holder(gil->address);
    atomic_store(&gil->counts->switch_number_begin, mi_gil_switch_number(gil->address));
    atomic_store(&gil->counts->switch_number_end, mi_gil_switch_number(gil->address));
    gil->known = 1;
}

/* When a thread asked for the GIL that it has, or gives up, at `time`; 0: before the trace. */
static uint64_t request_of(uint32_t thread, uint64_t time) {
    uint64_t request = thread ? mi_gil_tracing.notes[thread].request : MI_GIL_AT_ONCE;
    return request == MI_GIL_AT_ONCE ? time : request;
}

static inline HOT void acquired(mi_traced_gil *gil, uint32_t thread, uint64_t time) {
    mi_gil_thread_row *row = mi_gil_tracing.notes[thread].row;
    mi_gil_counts *counts = gil->counts;
    uint64_t request = request_of(thread, time);
    uintptr_t last_holder = mi_gil_last_holder(gil->address);
    int32_t tid = mi_gil_tid_of(thread);
    if (last_holder != gil->last_holder) {
        mi_gil_add(&counts->tstate_switches, 1);
        gil->last_holder = last_holder;
    }
    if (gil->foreign) /* it may be gone when the trace is stopped, and this changes nowhere else */
        atomic_store_explicit(&counts->switch_number_end, mi_gil_switch_number(gil->address), memory_order_relaxed);
    if (tid != gil->last_tid && gil->last_tid) {
        mi_gil_add(&counts->hand_offs, 1);
        mi_gil_add(&counts->forced_hand_offs, (uint64_t)gil->asked);
    }
    mi_gil_add(&counts->acquisitions, 1);
    mi_gil_add(&row->acquisitions, 1);
    mi_gil_add(&row->waited, time - (request ? request : mi_gil_tracing.region->begin.ticks));
    gil->last_tid = tid;
    hold_begins(gil, counts, thread, time);
    put_of(gil, row, (mi_gil_event){.time = time, .detail = request, .thread = thread, .kind = MI_GIL_ACQUIRED});
}

static inline HOT void released(mi_traced_gil *gil, uint32_t thread, uint64_t time) {
    mi_gil_thread_row *row = mi_gil_tracing.notes[thread].row;
    mi_gil_counts *counts = gil->counts;
    int forced = gil->asked;
    int32_t tid = mi_gil_tid_of(thread);
    uintptr_t last_holder = mi_gil_last_holder(gil->address);
    if (gil->last_tid != tid) gil->last_tid = tid;
    if (gil->last_holder != last_holder) gil->last_holder = last_holder; /* by drop_gil(), after PyThreadState_Swap */
    mi_gil_add(&counts->releases, 1);
    if (forced) mi_gil_add(&counts->forced_releases, 1);
    hold_ends(gil, counts, row, time);
    mi_gil_place place = {0, 0};
    if (mi_gil_tracing.region->attributed) place = mi_gil_place_own(last_holder);
    put_of(gil, row,
           (mi_gil_event){.time = time,
                          .detail = mi_gil_release(forced, place.code, place.instruction),
                          .thread = thread,
                          .other = gil->asker,
                          .kind = MI_GIL_RELEASED});
}

/* ---- in the place of pthread's functions ------------------------------------------------------------------------------------- */

/* The beginning of take_gil (a request) or of drop_gil (this thread holds the GIL). Only with the mutex held is it known
 * that the trace goes on: nothing is written before. The clock is read as seldom as can be, it costs more than all else
 * here: where the mutex and the GIL were free, the moment at which the thread has it is the one at which it asked. */
static __attribute__((noinline)) int lock_to_take(mi_traced_gil *gil, pthread_mutex_t *mutex, uintptr_t self) {
    uint64_t request = MI_GIL_AT_ONCE;
    int error = pthread_mutex_trylock(mutex);
    if (error) {
        request = mi_gil_now();
        error = mi_gil_tracing.original.lock(mutex);
    }
    if (error || !mi_gil_enter(gil, mutex)) return error;
    uint32_t row = own_row();
    gil->locker = self;
    gil->locker_row = row;
    if (row) {
        mi_own_notes *notes = &mi_gil_tracing.notes[row];
        uint64_t wait_began = mi_gil_locked(gil->address) ? mi_gil_now() : 0;
        if (request == MI_GIL_AT_ONCE && wait_began) request = wait_began;
        if (notes->waiting) notes->waiting = 0;
        if (notes->wait_began != wait_began) notes->wait_began = wait_began;
        if (notes->request != request) notes->request = request;
    }
    mi_gil_leave(gil);
    return error;
}

int mi_gil_lock_in_place(pthread_mutex_t *mutex) {
    mi_traced_gil *gil = mi_gil_traced(mutex);
    uintptr_t self = mi_gil_self();
    if (!gil || atomic_load_explicit(&gil->holder_self, memory_order_relaxed) == self) /* to drop it */
        return mi_gil_tracing.original.lock(mutex);
    return lock_to_take(gil, mutex, self);
}

/* The calling thread's row, of one that holds the mutex. Who holds the GIL, and who took the mutex, lives: nobody else can
 * be at its address. */
static inline HOT uint32_t row_of_locker(mi_traced_gil *gil) {
    uintptr_t self = mi_gil_self(), locker = gil->locker;
    gil->locker = 0;
    if (locker == self) return gil->locker_row;
    if (atomic_load_explicit(&gil->holder_self, memory_order_relaxed) == self) return gil->holder;
    return mi_gil_own_row();
}

/* Nobody has let the GIL go, so this thread gives up waiting: the interpreter ends. */
static COLD void abandoned(mi_traced_gil *gil, uint32_t row, uint64_t time) {
    mi_gil_add(&gil->counts->abandoned, 1);
    mi_gil_put_of(gil, MI_GIL_ABANDONED, row, time, request_of(row, time), 0);
}

static inline HOT void before_unlock(mi_traced_gil *gil) {
    uint64_t time = mi_gil_now();
    uint32_t row = row_of_locker(gil);
    int locked = mi_gil_locked(gil->address);
    if (!gil->known) {
        mi_gil_become_known(gil);
        gil->held = !locked;
        gil->hold_begin = time; /* how long it had been held is not known */
    }
    if (!locked) {
        if (gil->held) released(gil, row, time);
    } else if (!gil->held) {
        acquired(gil, row, time);
    } else {
        abandoned(gil, row, time);
    }
}

static __attribute__((noinline)) int unlock_traced(mi_traced_gil *gil, pthread_mutex_t *mutex) {
    int is_free = 0;
    if (mi_gil_enter(gil, mutex)) {
        before_unlock(gil);
        is_free = !gil->held;
        mi_gil_leave(gil);
    }
    int error = mi_gil_tracing.original.unlock(mutex);
    if (atomic_load_explicit(&mi_gil_tracing.drain_due, memory_order_relaxed) && is_free) mi_gil_drain_again();
    return error;
}

int mi_gil_unlock_in_place(pthread_mutex_t *mutex) {
    mi_traced_gil *gil = mi_gil_traced(mutex);
    return gil ? unlock_traced(gil, mutex) : mi_gil_tracing.original.unlock(mutex);
}

int mi_gil_timedwait_in_place(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
    mi_traced_gil *gil = mi_gil_traced(mutex);
    if (!gil || cond != mi_gil_cond(gil->address)) return mi_gil_tracing.original.timedwait(cond, mutex, until);
    uintptr_t address = gil->address;
    uint64_t switch_number = mi_gil_switch_number(address);
    if (mi_gil_enter(gil, mutex)) {
        uint32_t row = row_of_locker(gil); /* the wait lets the mutex go */
        mi_own_notes *notes = &mi_gil_tracing.notes[row];
        if (row && !notes->waiting) {
            notes->waiting = 1;
            mi_gil_put_of(gil, MI_GIL_WAIT, row, notes->wait_began ? notes->wait_began : mi_gil_now(), notes->request,
                          0);
        }
        mi_gil_leave(gil);
    }
    int error = mi_gil_tracing.original.timedwait(cond, mutex, until);
    gil = mi_gil_traced(mutex); /* of another trace, or of none, by now */
    /* as take_gil() itself decides on a drop request, next and under the same mutex */
    int asks = error == ETIMEDOUT && gil && mi_gil_locked(address) && mi_gil_switch_number(address) == switch_number;
    if (asks && mi_gil_enter(gil, mutex)) {
        uint32_t row = mi_gil_own_row();
        mi_gil_add(&gil->counts->timeouts, 1);
        if (!gil->asked) gil->asker = row;
        gil->asked = 1;
        mi_gil_put_of(gil, MI_GIL_TIMEOUT, row, mi_gil_now(), 0, 0);
        mi_gil_leave(gil);
    }
    return error;
}
#endif
