/* gil_sampler.h - a thread without the GIL that looks at it at a chosen rate: who holds it, how many wait.
 *
 * Nothing is redirected and nothing of CPython's is taken: each look is some reads, of static memory or by calls that fail
 * instead of faulting. The moments of the looks are spread at random around the rate, so that
 * a program that does the same thing at every tick is not always met at the same place.
 *
 * How many wait is read from gil->cond: glibc counts the threads inside pthread_cond_timedwait in its __wrefs. Where that
 * lies is found out by a wait of our own, and where it is not found, waiters are unknown.
 *
 * A free-threaded build has no GIL: there the looks count which threads are attached, detached or suspended. */
#ifndef MI_GIL_SAMPLER_H
#define MI_GIL_SAMPLER_H

#include "runtime.h"

enum { MI_SAMPLED_THREADS_MOST = 1024, MI_SAMPLED_WAITERS = 64, MI_SAMPLED_RUNS = 32, MI_THREAD_STATES = 4 };

typedef struct mi_sampled_thread {
    uint64_t state, native_id;         /* of the PyThreadState that was seen; both tell a thread from later ones */
    char name[16];                     /* the kernel's, when it was first seen; "": not known */
    uint64_t held;                     /* looks at which it held the GIL */
    uint64_t states[MI_THREAD_STATES]; /* free-threaded: looks at which it was detached, attached, suspended, ending */
} mi_sampled_thread;

typedef struct mi_gil_sampling {
    uint64_t begin_ns, end_ns, cpu_ns; /* cpu_ns: of the sampling thread */
    uint64_t looks, failed;            /* failed: the memory could not be read, the interpreter had ended */
    uint64_t locked, unknown;          /* somebody held it; of these: nobody that is alive */
    uint64_t switches;                 /* the change of CPython's switch_number between the first look and the last */
    int waiters_known;
    uint64_t waiters[MI_SAMPLED_WAITERS + 1]; /* looks at which so many waited; the last: or more */
    uint64_t waiting;                         /* sum of the waiters of all looks */
    uint64_t runs[MI_SAMPLED_RUNS];           /* holds that were met at 1, 2-3, 4-7, ... looks in a row */
    uint32_t threads, left_out;
    mi_sampled_thread thread[MI_SAMPLED_THREADS_MOST];
} mi_gil_sampling;

/* Starts to look at `gil` (0: the threads' states) of the interpreter at this address. MI_E_LIMIT: it is being done
 * already; MI_E_OS: no thread could be made. */
mi_error mi_gil_sampler_start(const mi_runtime *runtime, uintptr_t interpreter, uintptr_t gil, double rate_hz);
/* Stops; best without the GIL. What was seen stays valid until the next start; NULL when nothing is being sampled in this
 * process (a child after fork). */
const mi_gil_sampling *mi_gil_sampler_stop(void);
int mi_gil_sampler_runs(void);

#endif
