/* census.h - what is in every live block of pymalloc: an object of a type, a buffer with its owner, or unknown.
 *
 * One walk: in each used pool the free list is followed once into a mask, then every block that is not free is held
 * against the types (types.h), and what an object owns is claimed (owners.h). A buffer can look like an object, so a
 * claim is final: it sets the block's bit in a bitmap, and where the block was counted as an object too, that count is
 * taken back. So the order in which blocks are visited does not matter, and arenas may be shared out among threads.
 * The caller holds the GIL (or walks in a frozen copy of the process); nothing here makes a Python object. */
#ifndef MI_CENSUS_H
#define MI_CENSUS_H

#include "obmalloc.h"
#include "owners.h"

#define MI_CENSUS_MAX_THREADS 16

typedef struct mi_census_row { /* of one type, or of one owner of buffers */
    uint64_t blocks[MI_MAX_SIZE_CLASSES]; /* by size class */
} mi_census_row;

typedef struct mi_census {
    mi_census_row *objects; /* one a type, in the order of mi_types */
    size_t types;
    mi_census_row buffers[MI_OWNERS];
    mi_census_row unknown;
    mi_census_row live;
    /* claims that named no block in use: outside of the arenas (static or large), inside but no block's start, free, too
     * small for what it should hold, or claimed before (shared) */
    uint64_t claims_outside, claims_misplaced, claims_free, claims_small, claims_again;
    uint64_t looked_like_objects; /* buffers that the types alone would have taken for an object */
    uint64_t bitmap_bytes, table_bytes; /* our own memory while it ran */
    uint64_t walk_ns;
    int threads;
} mi_census;

/* Memory outside the heap whose words may point into it: an interpreter's own structure. What a word points to is claimed
 * only where it is a block in use that no type explains. */
typedef struct mi_census_roots {
    uintptr_t address;
    size_t size;
} mi_census_roots;

/* Walks the arenas of `heap` (with its pools: MI_WALK_POOLS), all of them held still and proven mapped by the target.
 * `padding` is what a debug allocator puts before a block, 0 without. `threads` 0: as many as help. */
mi_error mi_census_take(const mi_target *target, const mi_layout *layout, const mi_heap *heap, const mi_types *types,
                        uint32_t padding, int threads, const mi_census_roots *roots, size_t root_count, mi_census *census);
void mi_census_free(mi_census *census);

#endif
