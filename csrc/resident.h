/* resident.h - where the resident memory of a process is: every resident page split by what lies in it.
 *
 * mi_memory_take reads the memory map and the page map at one moment, finds what it knows in the anonymous memory
 * (malloc's heaps, Python's arenas, stacks, the buffers of libraries, our own) and paints it; files and shared memory
 * are counted by name. It needs no GIL (what is held is let go when it takes too
 * long), calls no malloc and works on this process and another alike; a process that goes
 * on running is a little torn, which is counted and said. */
#ifndef MI_RESIDENT_H
#define MI_RESIDENT_H

#include "paint.h"

#define MI_UNKNOWN (-1) /* of the signed figures */

/* Claims what one more kind of heap owns: called behind the moment, with the painter's window to read by. Python's heaps
 * come this way. What it returns is part of the reason when it is not MI_OK or MI_E_ABSENT. */
typedef mi_error (*mi_memory_source)(mi_painter *painter, void *context);

enum { MI_SOURCES_MOST = 4 };

typedef struct mi_memory_request {
    pid_t pid;         /* 0: this process */
    int plain_pagemap; /* do not use PAGEMAP_SCAN (tests) */
    mi_hold *hold;     /* of this process: what keeps it waiting, let go when the time is up; may be NULL */
    struct {
        mi_memory_source claim;
        void *context;
        const char *name; /* for the reason */
    } sources[MI_SOURCES_MOST];
    size_t source_count;
} mi_memory_request;

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

void mi_memory_request_add(mi_memory_request *request, mi_memory_source claim, void *context, const char *name);

mi_error mi_memory_take(const mi_memory_request *request, mi_memory *out);
void mi_memory_free(mi_memory *memory);

#endif
