/* resident_mimalloc.h - the resident pages of mimalloc's segments split by block: free-threaded builds.
 *
 * A source for mi_memory_take, of this process and of another. Segments are found by their cookie, those of every
 * interpreter and of PyMem_RawMalloc (from 3.15 on) alike; nothing is held still, so a process that runs on is a little
 * torn. What was a segment once and is resident yet was given back and waits to be purged. */
#ifndef MI_RESIDENT_MIMALLOC_H
#define MI_RESIDENT_MIMALLOC_H

#include "mimalloc.h"
#include "resident.h"

typedef struct mi_mimalloc_memory {
    const mi_layout *layout; /* verified */
    pid_t pid;               /* 0: this process */
    /* ours, while the memory is taken */
    mi_target target;
    mi_mimalloc_walk walk;
    uint64_t bits[(UINT16_MAX + 1) / 64]; /* of one page: its count of blocks is a uint16_t */
    size_t hint;
    uint32_t live, free, pages, untouched, rest, given_back; /* leaves */
} mi_mimalloc_memory;

/* The source: its context is a mi_mimalloc_memory with layout and pid. MI_E_ABSENT in builds with a GIL. */
mi_error mi_mimalloc_memory_claim(mi_painter *painter, void *context);
/* Gives back what the source made; behind mi_memory_take. */
void mi_mimalloc_memory_free(mi_mimalloc_memory *memory);

#endif
