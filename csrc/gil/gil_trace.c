/* gil_trace.c - see gil_trace.h: the functions that libpython calls in place of pthread's, and their life from start
 * through fork, new interpreters and their end to stop. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "gil_trace.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os.h"
#include "relocations.h"

#define DRAIN_EVERY_NS 10000000L
#define LOOKS_AT_NAMES_EVERY 10 /* drains */

/* ---- what is known -------------------------------------------------------------------------------------------------------- */

/* A GIL that is traced. All but the first three is only touched between enter() and leave(), with its mutex held.
 *
 * A subinterpreter's own GIL is never destroyed: its memory is given back as it is (finalize_interp_delete() in
 * Python/pylifecycle.c says why), and nobody is told. So its mutex is not taken by us, and `busy` says instead that a
 * thread is at work here. */
typedef struct traced_gil {
    _Atomic(pthread_mutex_t *) mutex; /* NULL: not traced */
    _Atomic int busy;                 /* of a subinterpreter's own GIL */
    int foreign;                      /* it is one */
    int known;                        /* what follows is true of it: from its first event on */
    uintptr_t address;
    mi_gil_counts *counts;
    uint16_t index;
    int held;
    int32_t last_tid; /* the OS thread that had it last, 0: not known */
    uint64_t hold_begin;
    uintptr_t last_holder;
    int asked, last_forced;  /* a drop request is pending; it was at the last release */
    uint32_t asker;          /* row of the thread whose wait timed out */
    _Atomic uint32_t holder; /* row; read without the mutex by threads that ask whether it is them */
} traced_gil;

/* A thread's own notes, by its row. In memory that is never given back: a thread may write here after a stop. */
typedef struct own_notes {
    int32_t tid;
    int waiting;      /* its WAIT is noted */
    uint64_t request; /* when it asked for the GIL, 0: before the trace */
    char padding[48];
} own_notes;
_Static_assert(sizeof(own_notes) == 64, "a cache line each");

static struct {
    traced_gil gils[MI_GILS_MOST];
    _Atomic uint32_t count;      /* of gils that were ever traced in this session */
    _Atomic uint64_t generation; /* of the session that runs, 0: none */
    uint64_t generations;
    mi_gil_region *region; /* read with the mutex of an open GIL held, by the drain, and under `registry` */
    mi_gil_clock clock;
    mi_runtime runtime; /* for interpreters that are made on the way */
    mi_target target;
    mi_relocations calls;
    pthread_t drainer;
    int drains;
    int owner; /* process that the trace is of */
} session;

static own_notes *notes;
static pthread_key_t self_key;                               /* generation << 17 | row */
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER; /* guards the opening and closing of GILs */
static pthread_mutex_t wake_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake;
static int stopping; /* under wake_lock */

static int (*original_lock)(pthread_mutex_t *);
static int (*original_unlock)(pthread_mutex_t *);
static int (*original_timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
static int (*original_cond_init)(pthread_cond_t *, const pthread_condattr_t *);
static int (*original_cond_destroy)(pthread_cond_t *);

static uint64_t now(void) { return mi_gil_clock_read(session.clock); }

static int gil_locked(uintptr_t gil) {
    return atomic_load_explicit((_Atomic int *)(gil + (uintptr_t)session.runtime.layout->gil_locked),
                                memory_order_relaxed);
}
static uintptr_t gil_last_holder(uintptr_t gil) {
    return atomic_load_explicit((_Atomic uintptr_t *)(gil + (uintptr_t)session.runtime.layout->gil_last_holder),
                                memory_order_relaxed);
}
/* an unsigned long that CPython changes with gil->mutex held */
static uint64_t gil_switch_number(uintptr_t gil) {
    return *(volatile unsigned long *)(gil + (uintptr_t)session.runtime.layout->gil_switch_number);
}
static pthread_mutex_t *gil_mutex(uintptr_t gil) {
    return (pthread_mutex_t *)(gil + (uintptr_t)session.runtime.layout->gil_mutex);
}
static pthread_cond_t *gil_cond(uintptr_t gil) {
    return (pthread_cond_t *)(gil + (uintptr_t)session.runtime.layout->gil_cond);
}

/* ---- threads ---------------------------------------------------------------------------------------------------------------- */

enum { ROW_BITS = 17 };

static uintptr_t self_word(uint64_t generation, uint32_t row) { return (uintptr_t)(generation << ROW_BITS | row); }

/* The calling thread's row in this session; a new one at its first event. 0 when there is no more room. With the mutex of
 * an open GIL held, so that the session is not ended meanwhile. */
static uint32_t own_row(void) {
    uint64_t generation = atomic_load_explicit(&session.generation, memory_order_relaxed);
    uintptr_t known = (uintptr_t)pthread_getspecific(self_key);
    if (known >> ROW_BITS == generation) return (uint32_t)(known & ((1u << ROW_BITS) - 1));
    mi_gil_region *region = session.region;
    uint32_t row = atomic_fetch_add(&region->threads, 1);
    if (row >= MI_GIL_THREADS_MOST) {
        atomic_store(&region->threads, MI_GIL_THREADS_MOST);
        atomic_fetch_add(&region->threads_left_out, 1);
        row = 0;
    }
    if (row) notes[row] = (own_notes){.tid = (int32_t)syscall(SYS_gettid)};
    pthread_setspecific(self_key, (void *)self_word(generation, row));
    return row;
}

static int32_t tid_of(uint32_t row) { return row ? notes[row].tid : (int32_t)syscall(SYS_gettid); }

/* ---- events ------------------------------------------------------------------------------------------------------------------ */

/* With the mutex of an open GIL held. */
static void put(traced_gil *gil, mi_gil_event_kind kind, uint32_t thread, uint64_t time, uint64_t detail,
                uint32_t other) {
    mi_gil_thread_row *row = &mi_gil_threads(session.region)[thread];
    if (thread) {
        if (!atomic_load_explicit(&row->first, memory_order_relaxed)) {
            row->ident = (uint64_t)pthread_self();
            atomic_store_explicit(&row->first, time, memory_order_relaxed);
            atomic_store_explicit(&row->native_id, notes[thread].tid, memory_order_release);
        }
        atomic_store_explicit(&row->last, time, memory_order_relaxed);
    }
    mi_gil_put(session.region, (mi_gil_event){.time = time,
                                              .detail = detail,
                                              .thread = thread,
                                              .other = other,
                                              .gil = gil->index,
                                              .kind = (uint16_t)kind});
}

static void hold_ends(traced_gil *gil, uint32_t thread, uint64_t time) {
    mi_gil_add(&mi_gil_threads(session.region)[thread].held, time - gil->hold_begin);
    gil->held = 0;
    atomic_store_explicit(&gil->holder, 0, memory_order_relaxed);
    atomic_store_explicit(&gil->counts->holder, 0, memory_order_relaxed);
    atomic_store_explicit(&gil->counts->held_since, 0, memory_order_relaxed);
}

static void hold_begins(traced_gil *gil, uint32_t thread, uint64_t time) {
    gil->held = 1;
    gil->hold_begin = time;
    gil->asked = 0;
    gil->asker = 0;
    atomic_store_explicit(&gil->holder, thread, memory_order_relaxed);
    atomic_store_explicit(&gil->counts->holder, thread, memory_order_relaxed);
    atomic_store_explicit(&gil->counts->held_since, time, memory_order_relaxed);
}

/* The first event of a GIL that was in use before: the counting begins behind it. */
static void become_known(traced_gil *gil) {
    gil->last_holder = gil_last_holder(gil->address);
    atomic_store(&gil->counts->switch_number_begin, gil_switch_number(gil->address));
    atomic_store(&gil->counts->switch_number_end, gil_switch_number(gil->address));
    gil->known = 1;
}

static void acquired(traced_gil *gil, uint32_t thread, uint64_t time) {
    mi_gil_thread_row *row = &mi_gil_threads(session.region)[thread];
    uint64_t request = thread ? notes[thread].request : time;
    uintptr_t last_holder = gil_last_holder(gil->address);
    int32_t tid = tid_of(thread);
    if (last_holder != gil->last_holder) {
        mi_gil_add(&gil->counts->tstate_switches, 1);
        gil->last_holder = last_holder;
    }
    if (gil->foreign) /* it may be gone when the trace is stopped, and this changes nowhere else */
        atomic_store_explicit(&gil->counts->switch_number_end, gil_switch_number(gil->address), memory_order_relaxed);
    if (gil->last_tid && tid != gil->last_tid) {
        mi_gil_add(&gil->counts->hand_offs, 1);
        mi_gil_add(&gil->counts->forced_hand_offs, (uint64_t)gil->last_forced);
    }
    mi_gil_add(&gil->counts->acquisitions, 1);
    mi_gil_add(&row->acquisitions, 1);
    mi_gil_add(&row->waited, time - (request ? request : session.region->begin.ticks));
    gil->last_tid = tid;
    hold_begins(gil, thread, time);
    put(gil, MI_GIL_ACQUIRED, thread, time, request, 0);
    if (thread) {
        notes[thread].request = 0;
        notes[thread].waiting = 0;
    }
}

static void released(traced_gil *gil, uint32_t thread, uint64_t time) {
    gil->last_forced = gil->asked;
    gil->last_tid = tid_of(thread);
    gil->last_holder = gil_last_holder(gil->address); /* drop_gil() may have rewritten it: PyThreadState_Swap */
    mi_gil_add(&gil->counts->releases, 1);
    mi_gil_add(&gil->counts->forced_releases, (uint64_t)gil->asked);
    hold_ends(gil, thread, time);
    put(gil, MI_GIL_RELEASED, thread, time, (uint64_t)gil->asked, gil->asker);
}

/* ---- in the place of pthread's functions ------------------------------------------------------------------------------------- */

static int is_open(const traced_gil *gil, pthread_mutex_t *mutex) {
    return atomic_load_explicit(&gil->mutex, memory_order_acquire) == mutex;
}

static traced_gil *traced(pthread_mutex_t *mutex) {
    uint32_t count = atomic_load_explicit(&session.count, memory_order_acquire);
    for (uint32_t at = 0; at < count; at++)
        if (is_open(&session.gils[at], mutex)) return &session.gils[at];
    return NULL;
}

/* With the mutex held: whether its GIL is still traced, and then the region stays until leave(). The main GIL is closed
 * with its mutex held; for the others this is Dekker's entry with close_gil(). */
static int enter(traced_gil *gil, pthread_mutex_t *mutex) {
    if (!gil->foreign) return is_open(gil, mutex);
    atomic_store(&gil->busy, 1);
    if (atomic_load(&gil->mutex) != mutex) {
        atomic_store_explicit(&gil->busy, 0, memory_order_release);
        return 0;
    }
    return 1;
}

static void leave(traced_gil *gil) {
    if (gil->foreign) atomic_store_explicit(&gil->busy, 0, memory_order_release);
}

/* The beginning of take_gil (a request) or of drop_gil (this thread holds the GIL). Only with the mutex held is it known
 * that the trace goes on: nothing is written before. */
static int lock_in_place(pthread_mutex_t *mutex) {
    traced_gil *gil = traced(mutex);
    if (!gil) return original_lock(mutex);
    uintptr_t known = (uintptr_t)pthread_getspecific(self_key);
    uint32_t holder = atomic_load_explicit(&gil->holder, memory_order_relaxed);
    if (holder && known == self_word(atomic_load_explicit(&session.generation, memory_order_relaxed), holder))
        return original_lock(mutex); /* to drop it */
    uint64_t request = now();
    int error = original_lock(mutex);
    if (error || !enter(gil, mutex)) return error;
    uint32_t row = own_row();
    if (row) notes[row].request = request;
    if (row) notes[row].waiting = 0;
    leave(gil);
    return error;
}

static void before_unlock(traced_gil *gil) {
    uint64_t time = now();
    uint32_t row = own_row();
    int locked = gil_locked(gil->address);
    if (!gil->known) {
        become_known(gil);
        gil->held = !locked;
        gil->hold_begin = time; /* how long it had been held is not known */
    }
    if (!locked) {
        if (gil->held) released(gil, row, time);
    } else if (!gil->held) {
        acquired(gil, row, time);
    } else { /* nobody has let it go, so this thread gives up waiting: the interpreter ends */
        mi_gil_add(&gil->counts->abandoned, 1);
        put(gil, MI_GIL_ABANDONED, row, time, row ? notes[row].request : 0, 0);
    }
}

static int unlock_in_place(pthread_mutex_t *mutex) {
    traced_gil *gil = traced(mutex);
    if (gil && enter(gil, mutex)) {
        before_unlock(gil);
        leave(gil);
    }
    return original_unlock(mutex);
}

static int timedwait_in_place(pthread_cond_t *cond, pthread_mutex_t *mutex, const struct timespec *until) {
    traced_gil *gil = traced(mutex);
    if (!gil || cond != gil_cond(gil->address)) return original_timedwait(cond, mutex, until);
    uintptr_t address = gil->address;
    uint64_t switch_number = gil_switch_number(address);
    if (enter(gil, mutex)) {
        uint32_t row = own_row();
        if (row && !notes[row].waiting) {
            notes[row].waiting = 1;
            put(gil, MI_GIL_WAIT, row, now(), notes[row].request, 0);
        }
        leave(gil);
    }
    int error = original_timedwait(cond, mutex, until);
    gil = traced(mutex); /* of another trace, or of none, by now */
    /* as take_gil() itself decides on a drop request, next and under the same mutex */
    int asks = error == ETIMEDOUT && gil && gil_locked(address) && gil_switch_number(address) == switch_number;
    if (asks && enter(gil, mutex)) {
        uint32_t row = own_row();
        mi_gil_add(&gil->counts->timeouts, 1);
        if (!gil->asked) gil->asker = row;
        gil->asked = 1;
        put(gil, MI_GIL_TIMEOUT, row, now(), 0, 0);
        leave(gil);
    }
    return error;
}

/* ---- GILs that come and go ---------------------------------------------------------------------------------------------------- */

/* What is known of a GIL when its trace begins. */
typedef enum gil_origin {
    OWN_GIL,  /* the caller holds it, and it cannot go away */
    USED_GIL, /* a subinterpreter's; nothing is known before its first event */
    NEW_GIL   /* create_gil() is making it: nobody has used it */
} gil_origin;

static void close_gil(traced_gil *gil);

/* Under `registry`. */
static mi_error open_gil(uintptr_t address, int64_t interpreter, gil_origin origin, int drop_pending) {
    mi_gil_region *region = session.region;
    uint32_t index = atomic_load(&session.count);
    pthread_mutex_t *mutex = gil_mutex(address);
    for (uint32_t at = 0; at < index; at++) /* an interpreter that has gone, whose memory another one was given */
        if (is_open(&session.gils[at], mutex)) close_gil(&session.gils[at]);
    if (index == MI_GILS_MOST) {
        atomic_fetch_add(&region->gils_left_out, 1);
        return MI_E_LIMIT;
    }
    mi_gil_row *row = &mi_gil_rows(region)[index];
    traced_gil *gil = &session.gils[index];
    if (origin == OWN_GIL) original_lock(mutex);
    row->interpreter = interpreter;
    row->address = address;
    gil->address = address;
    gil->counts = &row->counts;
    gil->index = (uint16_t)index;
    gil->foreign = origin != OWN_GIL;
    gil->held = gil->asked = gil->last_forced = 0;
    gil->last_tid = 0;
    gil->known = origin != USED_GIL;
    gil->last_holder = 0;
    atomic_store(&gil->busy, 0);
    atomic_store(&gil->holder, 0);
    atomic_store(&region->gils, index + 1);
    if (gil->known) atomic_store(&row->counts.switch_number_begin, gil_switch_number(address));
    if (origin == OWN_GIL) {
        uint64_t time = now();
        uint32_t self = own_row();
        become_known(gil);
        hold_begins(gil, self, time);
        gil->asked = drop_pending;
        gil->last_tid = tid_of(self);
        put(gil, MI_GIL_HELD, self, time, 0, 0);
    }
    atomic_store(&gil->mutex, mutex);
    atomic_store(&session.count, index + 1);
    if (origin == OWN_GIL) original_unlock(mutex);
    return MI_OK;
}

/* Under `registry`; the main GIL with its mutex held. Afterwards no thread writes to its part of the region. */
static void close_gil(traced_gil *gil) {
    pthread_mutex_t *mutex = atomic_load(&gil->mutex);
    if (!mutex) return;
    if (!gil->foreign) atomic_store(&gil->counts->switch_number_end, gil_switch_number(gil->address));
    atomic_store(&gil->mutex, NULL);
    while (atomic_load(&gil->busy)) sched_yield();
    atomic_store(&gil->counts->closed, 1);
    if (gil->held) {
        uint32_t holder = atomic_load(&gil->holder);
        mi_gil_add(&mi_gil_threads(session.region)[holder].held, now() - gil->hold_begin);
    }
}

/* create_gil() makes gil->cond after gil->mutex, and nobody has used either. */
static int cond_init_in_place(pthread_cond_t *cond, const pthread_condattr_t *attributes) {
    int error = original_cond_init(cond, attributes);
    if (error || !atomic_load(&session.generation) || getpid() != session.owner) return error;
    uintptr_t address = (uintptr_t)cond - (uintptr_t)session.runtime.layout->gil_cond;
    size_t size = MI_MAX_INTERPRETERS * sizeof(mi_interpreter), count = 0;
    if (session.runtime.layout->interpreter_gil_storage == MI_ABSENT) return error;
    mi_interpreter *items = mi_os_alloc(size);
    if (!items) return error;
    mi_runtime_interpreters(&session.runtime, items, MI_MAX_INTERPRETERS, &count);
    for (size_t at = 0; at < count && at < MI_MAX_INTERPRETERS; at++) {
        if (items[at].address + (uintptr_t)session.runtime.layout->interpreter_gil_storage != address) continue;
        original_lock(&registry);
        if (atomic_load(&session.generation)) open_gil(address, items[at].id, NEW_GIL, 0);
        original_unlock(&registry);
    }
    mi_os_free(items, size);
    return error;
}

/* destroy_gil() takes gil->cond down first; only the main GIL is ever destroyed, where an embedding program initialises
 * Python once more. */
static int cond_destroy_in_place(pthread_cond_t *cond) {
    if (atomic_load(&session.generation) && getpid() == session.owner) {
        original_lock(&registry);
        for (uint32_t at = 0; at < atomic_load(&session.count); at++)
            if (gil_cond(session.gils[at].address) == cond) close_gil(&session.gils[at]);
        original_unlock(&registry);
    }
    return original_cond_destroy(cond);
}

static mi_error open_all(const mi_gil_start *start) {
    size_t size = MI_MAX_INTERPRETERS * sizeof(mi_interpreter), count = 0;
    mi_interpreter *items = mi_os_alloc(size);
    if (!items) return MI_E_MEMORY;
    mi_error error = mi_runtime_interpreters(&session.runtime, items, MI_MAX_INTERPRETERS, &count);
    for (size_t at = count; !error && at-- > 0;) { /* the oldest first */
        int known = !items[at].gil;
        for (uint32_t gil = 0; gil < atomic_load(&session.count); gil++)
            known |= session.gils[gil].address == items[at].gil;
        if (known) continue;
        int own = items[at].gil == start->own_gil;
        mi_error failed = open_gil(items[at].gil, items[at].id, own ? OWN_GIL : USED_GIL, start->drop_pending);
        if (own) error = failed;
    }
    mi_os_free(items, size);
    return error;
}

static void close_all(void) {
    for (uint32_t at = 0; at < atomic_load(&session.count); at++) {
        traced_gil *gil = &session.gils[at];
        pthread_mutex_t *mutex = atomic_load(&gil->mutex);
        if (mutex && !gil->foreign) original_lock(mutex);
        close_gil(gil);
        if (mutex && !gil->foreign) original_unlock(mutex);
    }
}

/* ---- the drain ------------------------------------------------------------------------------------------------------------------ */

/* The kernel's names of threads: of those that are new, and of all now and then, since a name may be given late. */
static void read_names(uint32_t *seen, int all) {
    mi_gil_region *region = session.region;
    uint32_t count = atomic_load(&region->threads);
    char path[64], name[MI_GIL_NAME];
    for (uint32_t at = all ? 1 : *seen; at < count && at < MI_GIL_THREADS_MOST; at++) {
        mi_gil_thread_row *row = &mi_gil_threads(region)[at];
        int32_t tid = atomic_load_explicit(&row->native_id, memory_order_acquire);
        if (!tid) return; /* its first event is on the way */
        if (at >= *seen) *seen = at + 1;
        snprintf(path, sizeof path, "/proc/self/task/%d/comm", (int)tid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) continue;
        ssize_t got = read(fd, name, sizeof name - 1);
        close(fd);
        if (got <= 1) continue;
        name[got - 1] = 0;
        memcpy(row->name, name, (size_t)got);
        atomic_store_explicit(&row->named, 1, memory_order_release);
    }
}

static void *drain_run(void *unused) {
    uint32_t seen = 1;
    unsigned turn = 0;
    prctl(PR_SET_NAME, "meminspect-gil");
    for (int last = 0; !last; turn++) {
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += DRAIN_EVERY_NS;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_nsec -= 1000000000L;
            until.tv_sec++;
        }
        pthread_mutex_lock(&wake_lock);
        while (!stopping && pthread_cond_timedwait(&wake, &wake_lock, &until) != ETIMEDOUT) {
        }
        last = stopping;
        pthread_mutex_unlock(&wake_lock);
        mi_gil_drain(session.region);
        read_names(&seen, !last && turn % LOOKS_AT_NAMES_EVERY == 0 && seen < 1024);
        pthread_mutex_lock(&registry);
        if (atomic_load(&session.generation)) { /* else the trace has had its end already */
            mi_gil_calibrate(session.region);
            mi_gil_add(&session.region->strayed, mi_relocations_strayed(&session.calls, 1));
        }
        pthread_mutex_unlock(&registry);
    }
    return unused;
}

static int drain_start(void) {
    enum { STACK = 256 << 10 };
    pthread_attr_t attributes;
    sigset_t all, old;
    stopping = 0;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* the program's handlers run in the program's threads */
    int error = pthread_create(&session.drainer, &attributes, drain_run, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return !error;
}

static void drain_stop(void) {
    pthread_mutex_lock(&wake_lock);
    stopping = 1;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&wake_lock);
    pthread_join(session.drainer, NULL);
}

/* ---- start and stop -------------------------------------------------------------------------------------------------------------- */

static void wake_make(void) {
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&wake, &clock);
    pthread_condattr_destroy(&clock);
}

/* In a child after fork: the trace, its thread and its memory are the parent's. */
static void in_child(void) {
    size_t foreign;
    if (!atomic_load(&session.generation)) return;
    for (uint32_t at = 0; at < MI_GILS_MOST; at++) atomic_store(&session.gils[at].mutex, NULL);
    atomic_store(&session.count, 0);
    atomic_store(&session.generation, 0);
    session.region = NULL;
    session.drains = 0;
    mi_relocations_restore(&session.calls, &foreign);
    registry = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    wake_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    wake_make();
}

static mi_error prepare_once(void) {
    static int prepared;
    if (prepared) return MI_OK;
    if (!notes) notes = mi_os_alloc(MI_GIL_THREADS_MOST * sizeof *notes);
    if (!notes) return MI_E_MEMORY;
    if (pthread_key_create(&self_key, NULL)) return MI_E_LIMIT;
    wake_make();
    pthread_atfork(NULL, NULL, in_child);
    prepared = 1;
    return MI_OK;
}

static mi_error find_calls(const void *inside) {
    mi_hook hooks[] = {
        {.symbol = "pthread_mutex_unlock", .replacement = (void *)unlock_in_place},
        {.symbol = "pthread_mutex_lock", .replacement = (void *)lock_in_place},
        {.symbol = "pthread_cond_timedwait", .replacement = (void *)timedwait_in_place},
        {.symbol = "pthread_cond_init", .replacement = (void *)cond_init_in_place},
        {.symbol = "pthread_cond_destroy", .replacement = (void *)cond_destroy_in_place},
    };
    size_t count = sizeof hooks / sizeof *hooks;
    mi_error error = mi_relocations_find(&session.calls, inside, hooks, count);
    for (size_t at = 0; !error && at < count; at++)
        if (!session.calls.hooks[at].slots) error = MI_E_ABSENT;
    if (error) return error;
    *(void **)&original_unlock = session.calls.hooks[0].original;
    *(void **)&original_lock = session.calls.hooks[1].original;
    *(void **)&original_timedwait = session.calls.hooks[2].original;
    *(void **)&original_cond_init = session.calls.hooks[3].original;
    *(void **)&original_cond_destroy = session.calls.hooks[4].original;
    return MI_OK;
}

mi_error mi_gil_trace_start(mi_gil_region *region, const mi_gil_start *start) {
    size_t foreign;
    const mi_layout *layout = start->runtime->layout;
    if (session.region) return MI_E_LIMIT; /* one at a time: its region is being written, or emptied */
    if (layout->gil_mutex == MI_ABSENT || layout->gil_cond == MI_ABSENT) return MI_E_ABSENT;
    mi_error error = prepare_once();
    if (!error && session.calls.replaced) error = mi_relocations_restore(&session.calls, &foreign);
    if (!error) error = find_calls(start->inside);
    if (error) return error;
    session.target = *start->runtime->target;
    session.runtime = *start->runtime;
    session.runtime.target = &session.target;
    session.clock = (mi_gil_clock)region->clock;
    session.owner = getpid();
    session.region = region;
    atomic_store(&session.count, 0);
    region->pid = session.owner;
    mi_gil_calibrate(region);
    region->begin = region->recent[atomic_load(&region->which)];
    error = mi_relocations_replace(&session.calls);
    if (!error) { /* only now: a GIL that is made or destroyed from here on is seen */
        mi_relocations_strayed(&session.calls, 1);
        original_lock(&registry);
        atomic_store(&session.generation, ++session.generations);
        error = open_all(start);
        original_unlock(&registry);
    }
    if (!error) {
        atomic_store(&region->state, MI_GIL_TRACING);
        session.drains = !start->quiet && drain_start();
        if (!start->quiet && !session.drains) error = MI_E_OS;
    }
    if (error) {
        mi_gil_trace_stop(&foreign);
        session.region = NULL;
    }
    return error;
}

mi_error mi_gil_trace_stop(size_t *foreign) {
    *foreign = 0;
    if (!session.region) return MI_E_ABSENT;
    /* After this no thread writes to the region: that is only done while a GIL is open. */
    original_lock(&registry);
    close_all();
    mi_gil_calibrate(session.region); /* the end of the trace */
    atomic_store(&session.generation, 0);
    mi_error error = mi_relocations_restore(&session.calls, foreign);
    original_unlock(&registry);
    return error;
}

void mi_gil_trace_finish(void) {
    if (!session.region) return;
    if (session.drains) drain_stop();
    session.drains = 0;
    mi_gil_drain(session.region);
    atomic_store(&session.region->state, MI_GIL_STOPPED);
    session.region = NULL;
}

mi_gil_region *mi_gil_trace_region(void) { return session.region; }

void mi_gil_trace_note(uintptr_t address, mi_gil_event_kind kind, uint64_t detail) {
    if (!atomic_load(&session.generation)) return;
    pthread_mutex_t *mutex = gil_mutex(address);
    traced_gil *gil = traced(mutex);
    if (!gil) return;
    original_lock(mutex);
    if (enter(gil, mutex)) {
        put(gil, kind, own_row(), now(), detail, 0);
        leave(gil);
    }
    original_unlock(mutex);
}

void mi_gil_trace_name(const char *name) {
    uintptr_t known = (uintptr_t)pthread_getspecific(self_key);
    uint64_t generation = atomic_load(&session.generation);
    uint32_t row = (uint32_t)(known & ((1u << ROW_BITS) - 1));
    if (!generation || known >> ROW_BITS != generation || !row) return;
    strncpy(mi_gil_threads(session.region)[row].given, name, MI_GIL_NAME - 1);
}

const char *mi_gil_trace_object(void) { return session.calls.object; }
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
const char *mi_gil_trace_object(void) { return ""; }
#endif
