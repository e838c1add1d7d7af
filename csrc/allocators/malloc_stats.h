/* malloc_stats.h - CPython's own statistics of its allocators, written to memory of ours.
 *
 * sys._debugmallocstats() writes to file descriptor 2; the functions behind it take a stream. They describe the
 * interpreter of the calling thread, which holds its GIL; nothing is allocated from pymalloc on the way. */
#ifndef MI_MALLOC_STATS_H
#define MI_MALLOC_STATS_H

#include <stddef.h>

#include "error.h"

typedef struct mi_malloc_stats {
    char *text; /* ended by a 0 */
    size_t length, room;
    int has_allocator;  /* the allocator printed something: not under PYTHONMALLOC=malloc or behind a hook */
    int has_free_lists; /* the object free lists are in the text too (3.11 and 3.12) */
} mi_malloc_stats;

/* MI_E_ABSENT when the interpreter does not export the function. */
mi_error mi_malloc_stats_take(mi_malloc_stats *stats);
void mi_malloc_stats_free(mi_malloc_stats *stats);

#endif
