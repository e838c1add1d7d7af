/* gil.h - what each GIL of a process counts, and who holds it.
 *
 * The fields are CPython's own (struct _gil_runtime_state, written by take_gil and drop_gil in Python/ceval_gil.c).
 * Everything here is a read that fails instead of faulting: no lock is taken, the GIL is not needed, and the holder is
 * named only when it stands in the list of live thread states, because `last_holder` may dangle. */
#ifndef MI_GIL_H
#define MI_GIL_H

#include "runtime.h"

enum { MI_GIL_SHARERS = 64 };

typedef struct mi_gil {
    uintptr_t address;
    uint64_t switch_number; /* changes of thread state so far */
    uint64_t interval_us;
    int32_t locked;
    int32_t enabled;                         /* MI_ABSENT in builds whose GIL cannot be off */
    uintptr_t holder;                        /* its thread state; 0: nobody holds it, or not known */
    uint64_t holder_ident, holder_native_id; /* of that thread state */
    int64_t holder_interpreter;              /* id */
    int32_t holder_unknown;                  /* locked, but last_holder is no live thread state of its interpreters */
    uint32_t sharer_count;                   /* interpreters that share it; more than are listed when it exceeds */
    int64_t sharers[MI_GIL_SHARERS];         /* their ids */
} mi_gil;

/* The counters alone, of the GIL at an address: two words and two ints. */
mi_error mi_gil_counters(const mi_target *target, const mi_layout *layout, uintptr_t address, mi_gil *gil);

/* Every GIL of the process, the main interpreter's included. MI_E_LIMIT when there are more than `capacity`. */
mi_error mi_gil_read(const mi_runtime *runtime, mi_gil *gils, size_t capacity, size_t *count);

#endif
