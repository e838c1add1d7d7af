/* census_large.h - malloc's chunks and mimalloc's blocks, for a census: which are alive, claimed, or objects.
 *
 * glibc's heaps are walked chunk by chunk (glibc_heap.h) into a map of four bits per 32 bytes of heap, where no two
 * chunks begin. C code that holds no GIL may allocate and free meanwhile, so nothing of a chunk is dereferenced: what is
 * looked at is copied by a read that fails. Only where no other thread lives that could do so, [heap] is read where it lies
 * (mi_large_steady). Chunks that are free, in a bin or kept by tcache, are marked as such before anything is claimed. */
#ifndef MI_CENSUS_LARGE_H
#define MI_CENSUS_LARGE_H

#include <stdatomic.h>

#include "glibc_heap.h"
#include "mimalloc.h"
#include "near.h"
#include "obmalloc.h"

enum { MI_LARGE_SIZES = 64, MI_LARGE_NO_CLASS = MI_LARGE_SIZES };
enum { MI_LARGE_GRANULE = 32, MI_LARGE_PER_WORD = 16, MI_LARGE_COPY = 1 << 16, MI_LARGE_HEAD = 16 };
/* A granule's four bits are 0 where no chunk begins. ODD: it begins 16 bytes into the granule. Without LIVE it is free, or
 * no chunk. */
enum { MI_LARGE_LIVE = 1, MI_LARGE_ODD = 2, MI_LARGE_CLAIMED = 4, MI_LARGE_TYPED = 8 };

/* Chunks that lie one behind the other; a mmapped chunk is a span of its own with a single granule in the map. Or a page of
 * mimalloc, which has a granule for each block. */
typedef struct mi_large_span {
    uintptr_t start, end;
    uintptr_t header; /* of a mmapped chunk, behind `start` when it has an alignment; 0: a heap */
    size_t word;      /* of the map, where its granules begin */
    size_t before;    /* words of the spans before it */
    uint64_t stride;  /* bytes of each block of a page of mimalloc; 0: chunks */
    uint16_t class;   /* of large->sizes; MI_LARGE_NO_CLASS: not of the small path */
    uint16_t untyped; /* a page of memory that is no object (PyMem) */
} mi_large_span;

/* Sums over all chunks, in bytes with their headers; part of the raw format (probes/census.py). */
typedef struct mi_large_totals {
    uint64_t live_chunks, live_bytes; /* mmapped ones included */
    uint64_t free_chunks, free_bytes; /* in bins */
    uint64_t tcache_chunks, tcache_bytes;
    uint64_t top_bytes, fence_bytes;
    uint64_t torn_bytes; /* changed while they were read, or no chunks */
    uint64_t mmapped_chunks, mmapped_bytes;
    uint64_t missing_chunks; /* mmapped chunks that malloc counts and that were not found */
    uint64_t arenas;
    uint64_t left_bytes; /* of the map: not looked into, the time was up */
} mi_large_totals;

typedef struct mi_large {
    const mi_target *target;
    mi_pages pages; /* mapped memory, in the form that a window reads: not which of it is resident */
    mi_window window;
    mi_glibc glibc;
    mi_malloc_kind malloc;
    mi_large_span *spans;                 /* ascending */
    size_t span_count, span_room, sorted; /* sorted: the first ones are, and can be found */
    mi_near near;                         /* spans, as far as they are sorted */
    _Atomic uint64_t *map;
    size_t map_words, map_room;
    mi_large_totals totals;
    uintptr_t data_start, data_end; /* static data of the object that holds the interpreter */
    mi_error malloc_error;          /* why malloc's heaps are not in the map, where mimalloc's are */
    int late, failed;               /* the time was up while chunks were looked for; no room for our tables */
    size_t visited;                 /* the span whose chunks are being entered */
    uint64_t chunks;
    /* of mimalloc: the sizes of its pages of several blocks, live blocks of each, and those that are alone in a page */
    uint64_t sizes[MI_LARGE_SIZES], live_of_size[MI_LARGE_SIZES];
    size_t size_count;
    uint64_t alone_blocks, alone_bytes;
} mi_large;

/* A chunk in use or not, whose user's bytes begin at `user`. */
typedef struct mi_large_chunk {
    uintptr_t user;
    uint64_t size, room; /* with its header; of these the user's */
    _Atomic uint64_t *word;
    unsigned shift;
    uint16_t class, untyped; /* as its span's */
} mi_large_chunk;

/* Finds and enters the chunks of malloc's heaps in this process. MI_E_ABSENT: another malloc is in force (large->malloc says
 * which). steady -- see mi_large_steady() */
mi_error mi_large_begin(mi_large *large, const mi_target *target, mi_steady steady);
/* Then the mmapped ones. `begun` is what mi_large_begin() returned; `heap` names pymalloc's arenas, which are no chunks;
 * `mimalloc` (may be NULL) is a walk whose pages are entered, too: then nothing but MI_E_MEMORY is an error, and
 * large->malloc_error tells of malloc. */
mi_error mi_large_finish(mi_large *large, mi_error begun, const mi_heap *heap, size_t arena_size,
                         const mi_mimalloc_walk *mimalloc);
void mi_large_close(mi_large *large);
/* [heap] of a process in which nothing else runs: no other thread of it can change it or give it back. */
mi_steady mi_large_steady(const mi_target *target);
/* census_mimalloc.c: enters all blocks of a walk. */
mi_error mi_large_add_mimalloc(mi_large *large, const mi_mimalloc_walk *walk);
mi_large_span *mi_large_add_span(mi_large *large, mi_large_span span);
void mi_large_sort(mi_large *large);
/* Makes a live block a dead one. */
void mi_large_bury(const mi_large_chunk *chunk);
/* Forgets what was claimed and typed. */
void mi_large_reset(mi_large *large);

/* The span that holds `address`, or NULL. */
const mi_large_span *mi_large_span_of(const mi_large *large, uintptr_t address);
/* The chunk whose user's bytes begin at `address`; 0 when none does. */
int mi_large_at(const mi_large *large, uintptr_t address, mi_large_chunk *chunk);
/* The span that word `at` of all spans in their order belongs to. */
const mi_large_span *mi_large_span_at(const mi_large *large, size_t at);
/* The live chunks that begin in word `at`; how many (at most MI_LARGE_PER_WORD). */
int mi_large_in_word(const mi_large *large, const mi_large_span *span, size_t at, mi_large_chunk *chunks);
static inline unsigned mi_large_state(const mi_large_chunk *chunk) {
    return (unsigned)(atomic_load_explicit(chunk->word, memory_order_relaxed) >> chunk->shift) & 15u;
}
/* Sets bits and returns the state before. */
static inline unsigned mi_large_set(const mi_large_chunk *chunk, unsigned bits) {
    return (unsigned)(atomic_fetch_or(chunk->word, (uint64_t)bits << chunk->shift) >> chunk->shift) & 15u;
}
/* Copies through a window; false where the memory is gone. */
int mi_large_copy(mi_window *window, uintptr_t address, void *to, size_t size);

#endif
