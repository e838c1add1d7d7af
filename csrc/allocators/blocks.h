/* blocks.h - the live blocks of the heaps that were walked, found by any address.
 *
 * A heap walk (obmalloc.h) leaves a bitmap of live blocks per arena; of mimalloc's pages (mimalloc.h) one is made here, a bit
 * for each block. An address leads to its arena, or segment, by hash, and to whether a live block begins at it and how large
 * that is. A second bitmap of the same shape marks blocks as taken by an owner. Nothing outside the heaps is read. */
#ifndef MI_BLOCKS_H
#define MI_BLOCKS_H

#include "mimalloc.h"
#include "obmalloc.h"

typedef struct mi_blocks {
    const mi_heap *heap; /* walked with MI_WALK_POOLS and MI_WALK_BLOCKS, and held still; NULL: mimalloc's */
    const mi_layout *layout;
    uint32_t *slots; /* open addressing over address / arena_size; arena + 1 */
    unsigned slot_bits, arena_shift;
    size_t words; /* of one arena's bitmap */
    const uint64_t *alive;
    uint64_t *taken;
    size_t bitmap_words; /* of each of the two */
    /* of mimalloc */
    const mi_mimalloc_walk *mimalloc;
    uint64_t *own_alive; /* `alive`, made here */
    size_t *first_bit;   /* of each page of the walk */
    uint64_t torn_pages; /* whose free lists contradict themselves: nothing in them counts as alive */
} mi_blocks;

mi_error mi_blocks_open(mi_blocks *blocks, const mi_heap *heap, const mi_layout *layout);
/* Of mimalloc, while its threads are held still; what waits to be freed by its owner is not alive. */
mi_error mi_blocks_open_mimalloc(mi_blocks *blocks, const mi_mimalloc_walk *walk, const mi_target *target);
void mi_blocks_close(mi_blocks *blocks);

/* The index in heap->arenas (mimalloc: of the walk's segments) of the one that holds `address`, or -1. */
long mi_blocks_arena(const mi_blocks *blocks, uintptr_t address);
/* Bytes of the live block that begins at `address`, 0 when none does. */
uint64_t mi_blocks_size(const mi_blocks *blocks, uintptr_t address);
/* Sets or clears the mark of a live block; returns whether it was set before. */
int mi_blocks_take(mi_blocks *blocks, uintptr_t address);
int mi_blocks_give(mi_blocks *blocks, uintptr_t address);

/* Places for blocks of one size, one behind the other: a pool, or a page. The bit of the n-th is bit + n * step. */
typedef struct mi_block_run {
    uintptr_t first;
    uint64_t size;
    size_t count, arena, bit, step;
} mi_block_run;
/* How many numbers runs have, and one of them: false when no block is in use there. */
size_t mi_blocks_runs(const mi_blocks *blocks);
int mi_blocks_run(const mi_blocks *blocks, size_t number, mi_block_run *run);

static inline int mi_block_is(const uint64_t *bitmap, size_t bit) { return (int)(bitmap[bit / 64] >> bit % 64 & 1); }

#endif
