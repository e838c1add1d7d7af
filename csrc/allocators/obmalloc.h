/* obmalloc.h - pymalloc's arenas, pools and blocks (Objects/obmalloc.c, Include/internal/pycore_obmalloc.h).
 *
 * A state (struct _obmalloc_state) has a table of arena objects. An arena with an address is allocated; its pools lie from
 * the first pool-aligned address in it up to `pool_address`, behind that they were never used. A pool begins with a header:
 * `ref.count` blocks of size class `szidx` are in use (0: the pool is free); blocks from `nextoffset` on were never handed
 * out; those handed out and given back form a list from `freeblock` on, each free block's first word naming the next. So
 *     blocks touched - length of the free list == ref.count.
 * The walk reads the table and every header, and for a bitmap of live blocks each free list once. It holds nothing still:
 * with the GIL of the state's interpreter held nothing moves; otherwise what contradicts itself is counted as torn. */
#ifndef MI_OBMALLOC_H
#define MI_OBMALLOC_H

#include "layout.h"
#include "target.h"

#define MI_MAX_SIZE_CLASSES 64
#define MI_POOL_FREE 0xffff /* `size_class` of a pool that holds no block */

/* The records are handed out as bytes: their layout is part of the raw format (probes/heap.py). */
typedef struct mi_pool {
    uint64_t address;
    uint32_t arena; /* index into mi_heap.arenas */
    uint16_t size_class;
    uint16_t used, free, untouched; /* blocks; free counts the untouched ones too */
    uint32_t torn;                  /* the header or the free list contradicts itself */
} mi_pool;

typedef struct mi_arena {
    uint64_t address;
    uint64_t used_bytes, free_bytes; /* in used pools */
    int64_t interpreter;             /* id of the first interpreter that uses the state */
    uint32_t index;                  /* in the state's table */
    uint32_t pools_total, pools_free, pools_never_used;
    uint32_t used_blocks;
    uint32_t alignment_bytes; /* before the first and behind the last pool */
} mi_arena;

typedef struct mi_class_total {
    uint64_t pools, used, free, untouched;
} mi_class_total;

/* Where a state keeps its table. */
typedef struct mi_arena_table {
    uintptr_t address;
    uint32_t count; /* maxarenas */
} mi_arena_table;

/* fill mi_heap.pools; fill mi_heap.blocks; heap_walk.h alone: nothing moves */
enum { MI_WALK_POOLS = 1, MI_WALK_BLOCKS = 2, MI_WALK_FROZEN = 4, MI_WALK_HELD = 8 };

/* What walks of one or more states found. All tables are from mi_os_alloc. */
typedef struct mi_heap {
    mi_arena *arenas;
    size_t arena_count, arena_room;
    uint32_t *arena_used; /* live blocks of arena i: one number for each of the layout's size classes, arena by arena */
    size_t arena_used_room;
    mi_pool *pools;
    size_t pool_count, pool_room;
    /* With MI_WALK_BLOCKS: for arena i the bits from i * arena_size / 16 on, one per 16 bytes from its address on; set
     * where a block in use begins. */
    uint64_t *blocks;
    size_t blocks_room; /* in words */
    /* of mi_heap_mark: whether the bits of each arena are set, or NULL */
    unsigned char *marked;
    mi_class_total classes[MI_MAX_SIZE_CLASSES];
    uint64_t torn_pools, torn_arenas;
    uint64_t arenas_left; /* not walked: the target's time was up */
} mi_heap;

/* The table of a state, by the layout's fields. */
mi_error mi_obmalloc_table(const mi_target *target, const mi_layout *layout, uintptr_t state, mi_arena_table *table);
/* Adds the arenas of a table to `heap`. MI_E_LAYOUT or MI_E_TORN leave it as it was before the call; a target
 * that is late leaves arenas out and counts them. One that was given back meanwhile counts as torn. */
mi_error mi_obmalloc_walk(const mi_target *target, const mi_layout *layout, const mi_arena_table *table,
                          int64_t interpreter, unsigned what, mi_heap *heap);
/* The addresses of a table's arenas alone; `to` has room for table->count. MI_E_TORN when the table was being changed. */
mi_error mi_obmalloc_addresses(const mi_target *target, const mi_layout *layout, const mi_arena_table *table,
                               uintptr_t *to, size_t *count);
/* Whether the map of the target has the table and all its arenas: one that was made since it was read is not in it. */
int mi_obmalloc_is_mapped(const mi_target *target, const mi_layout *layout, const mi_arena_table *table);
/* Sets heap->blocks of arenas that were walked before, those that few live blocks keep first, until the target is late.
 * The first `held` of them are held still; of the others a copy is taken. One is marked, or left as zeros where it is not
 * any more as it was walked. For a heap without blocks. */
mi_error mi_heap_mark(const mi_target *target, const mi_layout *layout, size_t held, mi_heap *heap);
/* Takes out again what was added since `before`, a copy of the structure. */
void mi_heap_cut(mi_heap *heap, const mi_heap *before);
void mi_heap_free(mi_heap *heap);

/* The pool and arena that hold an address; MI_E_ABSENT when the table has none (it is not pymalloc's). */
typedef struct mi_block_place {
    uintptr_t pool, arena, block;
    uint32_t arena_index, size_class, index_in_pool, used, free;
    size_t size;
} mi_block_place;
mi_error mi_obmalloc_place(const mi_target *target, const mi_layout *layout, const mi_arena_table *table,
                           uintptr_t address, mi_block_place *place);

/* ---- obmalloc_find.c: 3.11, where no symbol leads to the table ------------------------------------------------------ */

/* The table of this process: found by the places where blocks of our own lie, demanded to be the only one, and held
 * against a new block at every call. Needs the GIL. MI_E_ABSENT when pymalloc is not in force. */
mi_error mi_obmalloc_find(const mi_layout *layout, mi_arena_table *table);
/* The same variable in another process of this build. */
mi_error mi_obmalloc_find_in(const mi_target *target, const mi_layout *layout, mi_arena_table *table);

#endif
