/* gil_trace.h - every event of every GIL of this process, exactly, by redirecting libpython's calls of pthread functions.
 *
 * take_gil() and drop_gil() (Python/ceval_gil.c, ceval_gil.h in 3.11) change a GIL under gil->mutex and unlock it last. A
 * function in the place of pthread_mutex_unlock that finds `locked` set has seen this thread acquire it, and one that finds
 * it clear has seen it let go; one in the place of pthread_cond_timedwait sees each wait begin and time out. Everything
 * is noted while gil->mutex is held, so the events of a GIL have one order and its counters need no atomic of their own.
 *
 * Two numbers are kept apart. `hand_offs`: the GIL went from one OS thread to another. `tstate_switches`: it was acquired
 * with another last_holder than before, which is what CPython's switch_number counts.
 *
 * Forced is a release while a drop request was pending: a thread had waited for an interval, found the GIL still locked
 * and switch_number unchanged, and so asked the holder to drop it. Whose wait that was is noted at that moment. Voluntary
 * is every other release. No thread state is ever followed: last_holder may dangle, and is only compared. */
#ifndef MI_GIL_TRACE_H
#define MI_GIL_TRACE_H

#include "gil_ring.h"
#include "runtime.h"

/* What is known at the start by the thread that starts the trace, which holds the GIL of its interpreter. */
typedef struct mi_gil_start {
    const mi_runtime *runtime;
    const void *inside; /* an address in the object that holds take_gil */
    uintptr_t own_gil;  /* the GIL that this thread holds */
    int drop_pending;   /* a drop request is pending at this thread */
    int quiet;          /* no thread that drains: a short trial */
    /* attribution: NULL for none; else PyGILState_GetThisThreadState, and the address of PyCode_Type */
    void *(*own_thread_state)(void);
    uintptr_t code_type;
    uint64_t long_hold_ns; /* a hold that lasts this long is looked at; 0: none is */
} mi_gil_start;

/* Starts. The region is the caller's; with the GIL held. MI_E_LIMIT: a trace runs already; MI_E_ABSENT: the calls cannot
 * be found here; MI_E_PERMISSION: the pages of their slots may not be changed; nothing is left changed then. */
mi_error mi_gil_trace_start(mi_gil_region *region, const mi_gil_start *start);
/* Ends the counting of all GILs and puts the calls back; with the GIL held. *foreign: slots that somebody else had
 * changed meanwhile, and that were left alone. MI_E_ABSENT: no trace runs. */
mi_error mi_gil_trace_stop(size_t *foreign);
/* Then, best without the GIL: ends the thread that drains and empties the rings; the region is the caller's again. */
void mi_gil_trace_finish(void);
/* A trace runs in this process: its region, else NULL. */
mi_gil_region *mi_gil_trace_region(void);
/* Notes an event of the interpreter that holds `gil`, which the calling thread holds (collections). */
void mi_gil_trace_note(uintptr_t gil, mi_gil_event_kind kind, uint64_t detail);
/* Remembers the program's name of the calling thread, which holds the GIL that the trace was started under. */
void mi_gil_trace_name(const char *name);

#endif
