/* resident_result.h - what mi_memory_take (resident.h) gives: the leaves, malloc's arenas, the sums, and what to doubt.
 *
 * Figures are bytes where the name says so; one that is not known is MI_UNKNOWN. Every part of the reading may add a
 * clause to the reason why the whole is not exact. */
#ifndef MI_RESIDENT_RESULT_H
#define MI_RESIDENT_RESULT_H

#include "paint.h"

#define MI_UNKNOWN (-1) /* of the signed figures */

/* One arena of glibc; bytes are of chunks with their headers, resident or not, where the name does not say otherwise. */
typedef struct mi_malloc_arena {
    uintptr_t address; /* its first byte of memory */
    uint64_t size_bytes;
    uint64_t live_chunks, live_bytes;
    uint64_t free_chunks, free_bytes; /* in bins and fast bins */
    uint64_t free_resident_bytes;     /* of the free chunks and of top */
    uint64_t tcache_chunks, tcache_bytes;
    uint64_t top_bytes;
    uint64_t trim_bytes; /* what malloc_trim(0) would give back of it */
    uintptr_t below_top; /* the last chunk in use before top, which keeps all below it from going: 0 without any */
    uint64_t below_top_bytes;
    uint64_t torn_bytes; /* where no chunks could be recognised */
} mi_malloc_arena;

typedef struct mi_memory {
    pid_t pid;
    const mi_leaf *leaves; /* sum to tree_bytes */
    size_t leaf_count;
    const mi_malloc_arena *arenas; /* main first */
    size_t arena_count;
    uint64_t tree_bytes, unattributed_bytes;
    uint64_t zero_bytes;           /* present zero pages, which are no memory */
    int64_t rss_bytes;             /* Rss of smaps_rollup, of the two readings the one nearer to the tree */
    int64_t rss_before, rss_after; /* right before the page map was read, and right behind */
    int64_t pss_bytes, uss_bytes, swap_bytes, peak_rss_bytes;
    int64_t trim_bytes; /* of all arenas */
    int64_t mmapped_chunks, mmapped_bytes, mmap_threshold;
    char malloc_name[64];
    int exact;
    char reason[512];  /* clauses, "" when there is nothing to say */
    uint64_t pause_ns; /* from the first reading to the last, or to where the process was let go on */
    /* ours */
    mi_painter painter;
    mi_malloc_arena *arena_table;
    size_t arena_table_size;
} mi_memory;

/* Adds a clause to out->reason; `inexact` takes `exact` back as well. */
void mi_memory_say(mi_memory *out, int inexact, const char *clause);

#endif
