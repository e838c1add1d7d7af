/* blocks.h - the live blocks of the arenas that were walked, found by any address.
 *
 * A heap walk (obmalloc.h) leaves a bitmap of live blocks per arena. Here an address leads to its arena by hash, and to
 * whether a live block begins at it and how large that is. A second bitmap of the same shape marks blocks as taken by an
 * owner. Nothing outside the arenas is read. */
#ifndef MI_BLOCKS_H
#define MI_BLOCKS_H

#include "obmalloc.h"

typedef struct mi_blocks {
    const mi_heap *heap; /* walked with MI_WALK_POOLS and MI_WALK_BLOCKS, and held still */
    const mi_layout *layout;
    uint32_t *slots; /* open addressing over address / arena_size; arena + 1 */
    unsigned slot_bits, arena_shift;
    size_t words; /* of one arena's bitmap */
    uint64_t *taken;
} mi_blocks;

mi_error mi_blocks_open(mi_blocks *blocks, const mi_heap *heap, const mi_layout *layout);
void mi_blocks_close(mi_blocks *blocks);

/* The index in heap->arenas of the arena that holds `address`, or -1. */
long mi_blocks_arena(const mi_blocks *blocks, uintptr_t address);
/* Bytes of the live block that begins at `address`, 0 when none does. */
uint32_t mi_blocks_size(const mi_blocks *blocks, uintptr_t address);
/* Sets or clears the mark of a live block; returns whether it was set before. */
int mi_blocks_take(mi_blocks *blocks, uintptr_t address);
int mi_blocks_give(mi_blocks *blocks, uintptr_t address);

#endif
