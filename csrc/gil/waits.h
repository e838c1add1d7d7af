/* waits.h - what threads of a free-threaded build wait for, by functions in the place of sem_wait and its like.
 *
 * A thread that has to wait for a PyMutex, a critical section, an event or the end of a stopped world parks: it sleeps on a
 * semaphore in a record on its own stack, beside the address that it waits for (Python/parking_lot.c, struct wait_entry).
 * What spins and gets what it wants is never seen here, and neither is attaching or detaching: those make no call.
 *
 * A record is only read when it lies in the stack of the calling thread just above the call, and is taken for one when it
 * is linked into the parking lot's list; a wait of another kind (CPython's raw mutexes, which guard that list) is counted
 * apart. */
#ifndef MI_WAITS_H
#define MI_WAITS_H

#include "runtime.h"

typedef enum mi_wait_kind {
    MI_WAIT_PARKED = 1, /* for a lock, a critical section or an event at `address` */
    MI_WAIT_STOPPED,    /* for the world to go on: `other` is the thread that stopped it, 0: not known */
    MI_WAIT_STOPPING,   /* for all others to stand still: this thread stops the world */
    MI_WAIT_RAW         /* on a semaphore that is none of the parking lot's */
} mi_wait_kind;

typedef struct mi_wait {
    uint64_t begin_ns, end_ns; /* CLOCK_MONOTONIC */
    uint64_t address;
    int32_t thread, other; /* the kernel's ids */
    uint32_t kind;
    uint32_t ended; /* 0: it got what it waited for, else errno: ETIMEDOUT, EINTR */
} mi_wait;

typedef struct mi_waits {
    mi_wait *items;
    uint64_t room, count, lost;
    uint64_t begin_ns, end_ns;
} mi_waits;

/* Starts to note waits of the object that holds `inside`. `own_thread_state` is PyGILState_GetThisThreadState.
 * MI_E_LIMIT: they are noted already; MI_E_ABSENT: the calls cannot be found here; MI_E_PERMISSION: their slots may not be
 * changed. */
mi_error mi_waits_start(const mi_runtime *runtime, const void *inside, uintptr_t interpreter,
                        void *(*own_thread_state)(void), uint64_t bytes);
/* Puts the calls back. What was noted stays until mi_waits_free, which must come at once in this thread: a wait that goes
 * on is left out, and is not written any more. MI_E_ABSENT: nothing is noted in this process. */
mi_error mi_waits_stop(mi_waits *waits, size_t *foreign);
void mi_waits_free(mi_waits *waits);
int mi_waits_run(void);

#endif
