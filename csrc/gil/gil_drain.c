/* gil_drain.c - see gil_session.h: the thread, without the GIL, that moves events from the rings to the log. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "gil_session.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gil_fork.h"
#include "gil_long_hold.h"

#define DRAIN_EVERY_NS 10000000L
#define LOOKS_AT_NAMES_EVERY 10 /* drains */

static pthread_t drainer;
static int32_t drainer_id; /* the kernel's; read after its end */
static pthread_mutex_t wake_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake;
static int stopping; /* under wake_lock */

/* The kernel's names of threads: of those that are new, and of all now and then, since a name may be given late. */
static void read_names(uint32_t *seen, int all) {
    mi_gil_region *region = mi_gil_tracing.region;
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
    drainer_id = (int32_t)syscall(SYS_gettid);
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
        mi_gil_drain(mi_gil_tracing.region);
        mi_gil_look_at_long_holds();
        read_names(&seen, !last && turn % LOOKS_AT_NAMES_EVERY == 0 && seen < 1024);
        pthread_mutex_lock(&mi_gil_tracing.registry);
        if (atomic_load(&mi_gil_tracing.generation)) { /* else the trace has had its end already */
            mi_gil_calibrate(mi_gil_tracing.region);
            mi_gil_add(&mi_gil_tracing.region->strayed, mi_relocations_strayed(&mi_gil_tracing.calls, 1));
        }
        pthread_mutex_unlock(&mi_gil_tracing.registry);
    }
    return unused;
}

static int begin(void) {
    enum { STACK = 256 << 10 };
    pthread_attr_t attributes;
    sigset_t all, old;
    stopping = 0;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* the program's handlers run in the program's threads */
    int error = pthread_create(&drainer, &attributes, drain_run, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return !error;
}

static void end(void) {
    pthread_mutex_lock(&wake_lock);
    stopping = 1;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&wake_lock);
    mi_gil_join(drainer, drainer_id);
}

/* ---- its lives: one for a trace, but for forks ---------------------------------------------------------------------- */

static pthread_mutex_t lives = PTHREAD_MUTEX_INITIALIZER; /* guards what follows */
static int runs, pauses;
static int owed; /* it is to run again after the last pause: then mi_gil_tracing.drain_due is set */

int mi_gil_drain_start(void) {
    pthread_mutex_lock(&lives);
    int begun = runs = begin();
    pthread_mutex_unlock(&lives);
    return begun;
}

void mi_gil_drain_stop(void) {
    pthread_mutex_lock(&lives);
    if (runs) end();
    runs = owed = 0;
    atomic_store(&mi_gil_tracing.drain_due, 0);
    pthread_mutex_unlock(&lives);
}

void mi_gil_trace_pause(void) {
    pthread_mutex_lock(&lives);
    pauses++;
    atomic_store(&mi_gil_tracing.drain_due, 0);
    if (runs) {
        end();
        runs = 0;
        owed = 1;
    }
    pthread_mutex_unlock(&lives);
}

void mi_gil_trace_resume(void) {
    pthread_mutex_lock(&lives);
    if (pauses) pauses--;
    if (!pauses && owed) atomic_store(&mi_gil_tracing.drain_due, 1);
    pthread_mutex_unlock(&lives);
}

void mi_gil_drain_again(void) {
    int error = errno; /* of the code that lets the GIL go */
    pthread_mutex_lock(&lives);
    if (atomic_exchange(&mi_gil_tracing.drain_due, 0)) {
        owed = 0;
        runs = begin(); /* if not, the rings fill, and what is lost is counted */
    }
    pthread_mutex_unlock(&lives);
    errno = error;
}

void mi_gil_drain_prepare(void) {
    lives = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    runs = owed = pauses = 0;
    atomic_store(&mi_gil_tracing.drain_due, 0);
    wake_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&wake, &clock);
    pthread_condattr_destroy(&clock);
}
#else
#include "gil_fork.h"

void mi_gil_trace_pause(void) {}
void mi_gil_trace_resume(void) {}
#endif
