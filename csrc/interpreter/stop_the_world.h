/* stop_the_world.h - holding all threads of an interpreter still, in builds without a GIL.
 *
 * Python/pystate.c exports _PyEval_StopTheWorld() from 3.14 on (3.13 does not): it is looked up at run time. Between stop
 * and start no Python object may be made or released, nothing may be allocated and no lock may be taken: a thread that
 * was stopped may hold it. Only threads with a thread state of that interpreter are stopped. */
#ifndef MI_STOP_THE_WORLD_H
#define MI_STOP_THE_WORLD_H

#include <stdint.h>

#include "error.h"

/* One stop: what it cost the other threads, in nanoseconds, and how it is ended. */
typedef struct mi_pause {
    void (*start)(void *interpreter);
    uint64_t asked_ns;   /* when the stop was asked for */
    uint64_t stopped_ns; /* when all threads stood still */
    uint64_t started_ns; /* when they were let go */
} mi_pause;

/* True when this interpreter exports the pair of functions (in builds with a GIL they do nothing). */
int mi_world_can_stop(void);
/* The calling thread is attached to `interpreter` (a PyInterpreterState *), and only it may be stopped: another one could
 * end while the stop is asked for. Waits for threads that are inside C code, as a garbage collection does. */
mi_error mi_world_stop(void *interpreter, mi_pause *pause);
void mi_world_start(void *interpreter, mi_pause *pause);

#endif
