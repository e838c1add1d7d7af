/* gil_session.h - what the parts of the tracer share: the session that runs, its GILs and the threads' own notes.
 *
 * gil_events.c makes the events, gil_lives.c follows GILs that come and go, gil_drain.c empties the rings, gil_trace.c
 * starts and stops. Only these include it. */
#ifndef MI_GIL_SESSION_H
#define MI_GIL_SESSION_H

#include <pthread.h>
#include <time.h>

#include "gil_trace.h"
#include "relocations.h"

/* A GIL that is traced. All but the first three is only touched between mi_gil_enter() and mi_gil_leave(), with its mutex
 * held.
 *
 * A subinterpreter's own GIL is never destroyed: its memory is given back as it is (finalize_interp_delete() in
 * Python/pylifecycle.c says why), and nobody is told. So its mutex is not taken by us, and `busy` says instead that a
 * thread is at work here. */
typedef struct mi_traced_gil {
    _Alignas(64) _Atomic(pthread_mutex_t *) mutex; /* NULL: not traced */
    _Atomic int busy;                              /* of a subinterpreter's own GIL */
    int foreign;                                   /* it is one */
    int known;                                     /* what follows is true of it: from its first event on */
    int held;
    uintptr_t address;
    mi_gil_counts *counts;
    mi_gil_put_to to;
    uint64_t hold_begin;
    uintptr_t last_holder;
    int asked;       /* a drop request is pending, or was at the last release */
    uint32_t asker;  /* row of the thread whose wait timed out */
    uint32_t holder; /* row; while it is held */
    /* The holder by mi_gil_self(), 0: not known; read without the mutex by threads that ask whether it is them. */
    _Atomic uintptr_t holder_self;
    /* Who took the mutex, and its row, until the mutex is let go: saves the unlock behind it a look-up. */
    uintptr_t locker;
    uint32_t locker_row;
    int32_t last_tid; /* the OS thread that had it last, 0: not known */
    uint16_t index;
    uint64_t looked_at; /* the drain's: the beginning of the last hold that it took a sample of */
} mi_traced_gil;

/* A thread's own notes, by its row. In memory that is never given back: a thread may write here after a stop. */
typedef struct mi_own_notes {
    int32_t tid;
    int waiting;         /* its WAIT is noted */
    uint64_t request;    /* when it asked for the GIL, the last time; 0: before the trace, MI_GIL_AT_ONCE */
    uint64_t wait_began; /* when it found the GIL taken, 0: it has not yet */
    mi_gil_thread_row *row;
    char padding[32];
} mi_own_notes;
_Static_assert(sizeof(mi_own_notes) == 64, "a cache line each");

typedef struct mi_pthread_functions {
    int (*lock)(pthread_mutex_t *);
    int (*unlock)(pthread_mutex_t *);
    int (*timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    int (*cond_init)(pthread_cond_t *, const pthread_condattr_t *);
    int (*cond_destroy)(pthread_cond_t *);
} mi_pthread_functions;

typedef struct mi_gil_session {
    /* what each event needs */
    _Alignas(64) _Atomic uint32_t count; /* of gils that were ever traced in this session */
    _Atomic int drain_due;               /* the program has forked: the drain is to begin again */
    _Atomic uint64_t generation;         /* of the session that runs, 0: none */
    mi_gil_region *region; /* read with the mutex of an open GIL held, by the drain, and under `registry` */
    mi_own_notes *notes;
    mi_pthread_functions original;
    mi_gil_clock clock;
    pthread_key_t self_key; /* generation << 17 | row */
    mi_runtime runtime;     /* for interpreters that are made on the way */
    mi_traced_gil gils[MI_GILS_MOST];
    uint64_t generations;
    mi_target target;
    mi_relocations calls;
    pthread_mutex_t registry; /* guards the opening and closing of GILs */
    int owner;                /* process that the trace is of */
} mi_gil_session;

/* hidden, though only declared here: else each access goes by way of the table of global offsets */
extern __attribute__((visibility("hidden"))) mi_gil_session mi_gil_tracing;

/* ---- gil_events.c ----------------------------------------------------------------------------------------------------- */

enum {
    MI_GIL_ROW_BITS = 17,
    MI_GIL_AT_ONCE = 1 /* as a request: the GIL was free, so it was asked for at the moment it was had */
};

/* The calling thread's row in this session; a new one at its first event. 0 when there is no more room. With the mutex of
 * an open GIL held, so that the session is not ended meanwhile. */
uint32_t mi_gil_own_row(void);
int32_t mi_gil_tid_of(uint32_t row);
/* With the mutex of an open GIL held. */
void mi_gil_put_of(mi_traced_gil *gil, mi_gil_event_kind kind, uint32_t thread, uint64_t time, uint64_t detail,
                   uint32_t other);
void mi_gil_hold_begins(mi_traced_gil *gil, uint32_t thread, uint64_t time);
__attribute__((cold)) void mi_gil_become_known(mi_traced_gil *gil);

/* In the place of pthread's functions; cond_init and cond_destroy are of gil_lives.c. */
int mi_gil_lock_in_place(pthread_mutex_t *mutex);
int mi_gil_unlock_in_place(pthread_mutex_t *mutex);
int mi_gil_timedwait_in_place(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until);
int mi_gil_cond_init_in_place(pthread_cond_t *cond, const pthread_condattr_t *attributes);
int mi_gil_cond_destroy_in_place(pthread_cond_t *cond);

/* ---- gil_lives.c and gil_drain.c -------------------------------------------------------------------------------------- */

/* Both under `registry`. */
mi_error mi_gil_open_all(const mi_gil_start *start);
void mi_gil_close_all(void);

int mi_gil_drain_start(void);
void mi_gil_drain_stop(void); /* if it runs */
/* Begins it again after a fork, if that is due. */
__attribute__((cold)) void mi_gil_drain_again(void);
/* The drain's lock, made new: once, and in a child after fork. */
void mi_gil_drain_prepare(void);

/* ---- a GIL's own fields ----------------------------------------------------------------------------------------------- */

/* Tells the calling thread from all that live. */
static inline uintptr_t mi_gil_self(void) {
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
    return (uintptr_t)__builtin_thread_pointer();
#else
    return (uintptr_t)pthread_self();
#endif
}

static inline uint64_t mi_gil_now(void) { return mi_gil_clock_read(mi_gil_tracing.clock); }

static inline int mi_gil_locked(uintptr_t gil) {
    return atomic_load_explicit((_Atomic int *)(gil + (uintptr_t)mi_gil_tracing.runtime.layout->gil_locked),
                                memory_order_relaxed);
}
static inline uintptr_t mi_gil_last_holder(uintptr_t gil) {
    return atomic_load_explicit((_Atomic uintptr_t *)(gil + (uintptr_t)mi_gil_tracing.runtime.layout->gil_last_holder),
                                memory_order_relaxed);
}
/* an unsigned long that CPython changes with gil->mutex held */
static inline uint64_t mi_gil_switch_number(uintptr_t gil) {
    return *(volatile unsigned long *)(gil + (uintptr_t)mi_gil_tracing.runtime.layout->gil_switch_number);
}
static inline pthread_mutex_t *mi_gil_mutex(uintptr_t gil) {
    return (pthread_mutex_t *)(gil + (uintptr_t)mi_gil_tracing.runtime.layout->gil_mutex);
}
static inline pthread_cond_t *mi_gil_cond(uintptr_t gil) {
    return (pthread_cond_t *)(gil + (uintptr_t)mi_gil_tracing.runtime.layout->gil_cond);
}
static inline int mi_gil_is_open(const mi_traced_gil *gil, pthread_mutex_t *mutex) {
    return atomic_load_explicit(&gil->mutex, memory_order_acquire) == mutex;
}

static inline mi_traced_gil *mi_gil_traced(pthread_mutex_t *mutex) {
    if (mi_gil_is_open(&mi_gil_tracing.gils[0], mutex)) return &mi_gil_tracing.gils[0]; /* the only one, mostly */
    uint32_t count = atomic_load_explicit(&mi_gil_tracing.count, memory_order_acquire);
    for (uint32_t at = 1; at < count; at++)
        if (mi_gil_is_open(&mi_gil_tracing.gils[at], mutex)) return &mi_gil_tracing.gils[at];
    return NULL;
}

/* With the mutex held: whether its GIL is still traced, and then the region stays until mi_gil_leave(). The main GIL is closed
 * with its mutex held; for the others this is Dekker's entry with close_gil(). */
static inline int mi_gil_enter(mi_traced_gil *gil, pthread_mutex_t *mutex) {
    if (!gil->foreign) return mi_gil_is_open(gil, mutex);
    atomic_store(&gil->busy, 1);
    if (atomic_load(&gil->mutex) == mutex) return 1;
    atomic_store_explicit(&gil->busy, 0, memory_order_release);
    return 0;
}

static inline void mi_gil_leave(mi_traced_gil *gil) {
    if (gil->foreign) atomic_store_explicit(&gil->busy, 0, memory_order_release);
}

#endif
