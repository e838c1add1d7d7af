/* gil_code.h - which Python function a thread is in, and the table of functions that a trace names by number.
 *
 * A release is made by a thread whose frame keeps its code object alive, and which holds gil->mutex, so that nobody else
 * can have the GIL: there the frame is followed as it lies in memory. Its thread state is the one that
 * PyGILState_GetThisThreadState() gives, which CPython takes away before it gives a thread state's memory back; where that
 * is not the last holder of the GIL (a thread at its end, in 3.11 one of another interpreter) nothing is followed.
 *
 * A code object's names and its table of lines are copied the first time it is seen, so a trace can be told when the
 * program has ended, was killed, or has given the code object back. Objects at a recycled address are told apart by what
 * else they refer to. No reference is taken. */
#ifndef MI_GIL_CODE_H
#define MI_GIL_CODE_H

#include "gil_ring.h"
#include "runtime.h"

typedef struct mi_gil_place {
    uint32_t code;        /* row in the table of codes, 0: not known */
    uint32_t instruction; /* index of the code unit that is executed */
} mi_gil_place;

/* What attribution needs beside the layout; the table is empty afterwards. With the GIL held. MI_E_LAYOUT: this build's
 * layout lacks a field. */
mi_error mi_gil_code_begin(mi_gil_region *region, const mi_runtime *runtime, uintptr_t code_type,
                           void *(*own_thread_state)(void));
void mi_gil_code_end(void);
/* In a child after fork. */
void mi_gil_code_forget(void);

/* Where the calling thread is, which is letting the GIL go. */
mi_gil_place mi_gil_place_own(uintptr_t last_holder);
/* Where the holder of a GIL is, read from outside by reads that fail instead of faulting. */
mi_gil_place mi_gil_place_of(uintptr_t last_holder);

#endif
