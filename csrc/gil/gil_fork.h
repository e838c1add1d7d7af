/* gil_fork.h - our threads end before the program forks, and begin again after it.
 *
 * CPython warns of a fork in a process of more than one thread, which it counts by the kernel's books (3.12 on,
 * get_number_of_os_threads() in Modules/posixmodule.c); a program that is looked at must not be warned of us. So around a
 * fork of the program's own there is no thread of ours: events wait in the rings, and nothing is sampled. A fork that
 * CPython does not announce to the functions of os.register_at_fork() gives no warning either. */
#ifndef MI_GIL_FORK_H
#define MI_GIL_FORK_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

/* Before and after a fork, with the GIL held or a thread state attached; they may nest. From 3.13 on the threads are
 * counted after os.register_at_fork()'s functions, with the GIL held: the thread that drains begins at the first release of
 * a traced GIL from mi_gil_trace_resume() on, the one that samples at once. */
void mi_gil_trace_pause(void);
void mi_gil_trace_resume(void);
void mi_gil_sampler_pause(void);
void mi_gil_sampler_resume(void);

/* Joins a thread that is about to end, and then waits, shortly, until it has left the kernel's books as well: its join
 * is let go a little before. */
static inline void mi_gil_join(pthread_t thread, int32_t native_id) {
    pthread_join(thread, NULL);
#ifdef __linux__
    struct timespec spell = {0, 50000};
    for (int tries = 0; tries < 2000 && !syscall(SYS_tgkill, getpid(), native_id, 0); tries++)
        if (tries < 10)
            sched_yield();
        else
            nanosleep(&spell, NULL);
#else
    (void)native_id;
#endif
}

#endif
