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
#include <unistd.h>

#include "gil_long_hold.h"

#define DRAIN_EVERY_NS 10000000L
#define LOOKS_AT_NAMES_EVERY 10 /* drains */

static pthread_t drainer;
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

int mi_gil_drain_start(void) {
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

void mi_gil_drain_stop(void) {
    pthread_mutex_lock(&wake_lock);
    stopping = 1;
    pthread_cond_signal(&wake);
    pthread_mutex_unlock(&wake_lock);
    pthread_join(drainer, NULL);
}

void mi_gil_drain_prepare(void) {
    wake_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&wake, &clock);
    pthread_condattr_destroy(&clock);
}
#endif
