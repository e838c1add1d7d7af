/* jemalloc.h - what jemalloc says of itself, where it is the malloc of this process.
 *
 * Its heaps are not walked; these are its own counters, by mallctl(3). The call takes jemalloc's locks, so it is made
 * for a caller of this process' Python alone: never in a signal handler or for a thread that must not wait. */
#ifndef MI_JEMALLOC_H
#define MI_JEMALLOC_H

#include "error.h"

#include <stddef.h>

typedef struct mi_jemalloc {
    size_t allocated_bytes; /* stats.allocated: given out and not freed */
    size_t resident_bytes;  /* stats.resident: mapped and, as it knows, resident, metadata included */
} mi_jemalloc;

/* MI_E_ABSENT where no mallctl is exported or it was built without statistics. */
mi_error mi_jemalloc_read(mi_jemalloc *figures);

#endif
