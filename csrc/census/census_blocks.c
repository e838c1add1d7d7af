/* census_blocks.c - from an address to the block of pymalloc that begins there, and which blocks are on a free list. */
#include "census_parts.h"

#include <string.h>

static size_t slot_of(const mi_census_shared *all, uintptr_t key) {
    return (size_t)((key * 0x9E3779B97F4A7C15u) >> (64 - all->slot_bits));
}

static void span_add(mi_census_shared *all, uintptr_t key, uint32_t span) {
    size_t mask = ((size_t)1 << all->slot_bits) - 1, at = slot_of(all, key);
    while (all->slots[at]) at = (at + 1) & mask;
    all->slots[at] = span + 1;
}

/* An arena touches two slots, so both its keys are in the table. */
long mi_census_span(const mi_census_shared *all, uintptr_t address) {
    uintptr_t key = address >> all->arena_shift;
    size_t mask = ((size_t)1 << all->slot_bits) - 1;
    for (size_t at = slot_of(all, key); all->slots[at]; at = (at + 1) & mask) {
        const mi_arena_span *span = &all->spans[all->slots[at] - 1];
        if (address >= span->pools && address < span->pools_end) return (long)all->slots[at] - 1;
    }
    return -1;
}

mi_error mi_census_find_arenas(mi_census_shared *all) {
    const mi_layout *layout = all->layout;
    const mi_heap *heap = all->heap;
    size_t first = 0;
    for (size_t i = 0; i < heap->arena_count; i++) {
        const mi_arena *arena = &heap->arenas[i];
        uintptr_t start = (uintptr_t)arena->address, pool = (uintptr_t)layout->pool_size;
        size_t carved = arena->pools_total - arena->pools_never_used;
        if (!mi_os_maps_covers(&all->target->maps, start, (size_t)layout->arena_size)) return MI_E_UNMAPPED;
        uintptr_t pools = (start + pool - 1) / pool * pool;
        if (carved > heap->pool_count - first) return MI_E_TORN;
        all->spans[i] = (mi_arena_span){start, pools, pools + carved * pool, first};
        first += carved;
        mi_near_add(&all->near, all->spans[i].pools, all->spans[i].pools_end);
        span_add(all, start >> all->arena_shift, (uint32_t)i);
        if (start & ((uintptr_t)layout->arena_size - 1)) span_add(all, (start >> all->arena_shift) + 1, (uint32_t)i);
    }
    return MI_OK;
}

int mi_census_block_at(mi_claims *mine, uintptr_t address, mi_census_block *block) {
    const mi_arena_span *span = mi_census_span_near(mine, address);
    if (span) return mi_census_block_in(mine, span, address, block);
    mine->outside++;
    return 0;
}

int mi_census_find(mi_claims *mine, uintptr_t address, mi_census_block *block) {
    mi_large_chunk chunk;
    if (mi_census_span(mine->all, address) >= 0) return mi_census_block_at(mine, address, block);
    if (!mi_census_large(mine->all) || !mi_large_at(mine->all->large, address, &chunk)) return 0;
    if (!(mi_large_state(&chunk) & MI_LARGE_LIVE)) return 0;
    uint32_t size = chunk.room > UINT32_MAX ? UINT32_MAX : (uint32_t)chunk.room;
    *block = (mi_census_block){.size = size, .size_class = MI_CENSUS_LARGE};
    return 1;
}

int mi_census_read(const mi_claims *mine, uintptr_t address, void *to, size_t size) {
    const mi_census_shared *all = mine->all;
    if (mi_census_span(all, address) < 0)
        return mi_census_large(all) && mi_large_span_of(all->large, address) &&
               mi_page_copies_read(mine->copies, address, to, size);
    memcpy(to, (const void *)address, size);
    return 1;
}

static uintptr_t first_free(const mi_census_shared *all, uintptr_t pool) {
    uintptr_t block;
    memcpy(&block, (const void *)(pool + (uintptr_t)all->layout->pool_freeblock), sizeof block);
    return block;
}

int mi_census_is_free(const mi_census_shared *all, uintptr_t block) {
    uintptr_t pool = block & ~(uintptr_t)all->pool_mask, next = first_free(all, pool);
    uint32_t left = (all->pool_mask + 1) / MI_UNIT;
    while (next && left--) {
        if (next == block) return 1;
        if (next - pool > all->pool_mask || next % MI_UNIT) return 0;
        memcpy(&next, (const void *)next, sizeof next);
    }
    return 0;
}

/* The blocks that were handed out, less those on the free list, which is followed once. */
void mi_census_live_blocks(const mi_census_shared *all, size_t place, uint64_t *live) {
    const mi_pool *pool = &all->heap->pools[place];
    uintptr_t start = (uintptr_t)pool->address;
    uint32_t touched = all->pools[place].touched, left = pool->free, class = pool->size_class;
    uint32_t end = (uint32_t)all->layout->pool_header_size / MI_UNIT + touched * (class + 1u);
    memcpy(live, all->starts[class], sizeof all->starts[class]);
    if (pool->untouched && end < MI_POOL_WORDS * 64) {
        live[end / 64] &= (1ull << (end % 64)) - 1;
        for (uint32_t word = end / 64 + 1; word < MI_POOL_WORDS; word++) live[word] = 0;
    }
    if (pool->free == pool->untouched) return; /* nothing was given back: a full or fresh pool */
    for (uintptr_t block = first_free(all, start); block && left--;) {
        uintptr_t unit = (block - start) / MI_UNIT;
        if (unit >= end || block % MI_UNIT) return;
        live[unit / 64] &= ~(1ull << (unit % 64));
        memcpy(&block, (const void *)block, sizeof block);
    }
}
