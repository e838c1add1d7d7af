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
    for (size_t i = 0; i < heap->arena_count; i++) {
        const mi_arena *arena = &heap->arenas[i];
        uintptr_t start = (uintptr_t)arena->address, pool = (uintptr_t)layout->pool_size;
        if (!mi_os_maps_covers(&all->target->maps, start, (size_t)layout->arena_size)) return MI_E_UNMAPPED;
        uintptr_t pools = (start + pool - 1) / pool * pool;
        all->spans[i] = (mi_arena_span){start, pools, pools + (arena->pools_total - arena->pools_never_used) * pool};
        span_add(all, start >> all->arena_shift, (uint32_t)i);
        if (start & ((uintptr_t)layout->arena_size - 1)) span_add(all, (start >> all->arena_shift) + 1, (uint32_t)i);
    }
    return MI_OK;
}

long mi_census_span_near(const mi_claims *mine, uintptr_t address) {
    const mi_arena_span *near = &mine->all->spans[mine->last_span];
    if (address >= near->pools && address < near->pools_end) return (long)mine->last_span;
    return mi_census_span(mine->all, address);
}

int mi_census_block_at(mi_claims *mine, uintptr_t address, mi_census_block *block) {
    mi_census_shared *all = mine->all;
    long found = mi_census_span_near(mine, address);
    if (found < 0) {
        mine->outside++;
        return 0;
    }
    mine->last_span = block->span = (size_t)found;
    uintptr_t pool = address & ~(uintptr_t)all->pool_mask;
    const mi_layout *layout = all->layout;
    if (!mi_census_number(pool, layout->pool_count)) {
        mine->free++;
        return 0;
    }
    uint32_t class = mi_census_number(pool, layout->pool_szidx), offset = (uint32_t)(address - pool);
    if (class >= (uint32_t)layout->size_classes || offset < (uint32_t)layout->pool_header_size) {
        mine->misplaced++;
        return 0;
    }
    uint32_t size = (class + 1) * (uint32_t)layout->alignment, inside = offset - (uint32_t)layout->pool_header_size;
    uint32_t index = (uint32_t)((uint64_t)inside * all->reciprocal[class] >> 32);
    if (index * size != inside || offset >= mi_census_number(pool, layout->pool_nextoffset)) {
        mine->misplaced++;
        return 0;
    }
    block->size_class = class;
    block->size = size;
    return 1;
}

int mi_census_find(mi_claims *mine, uintptr_t address, mi_census_block *block) {
    mi_large_chunk chunk;
    if (mi_census_span(mine->all, address) >= 0) return mi_census_block_at(mine, address, block);
    if (!mine->all->large || !mi_large_at(mine->all->large, address, &chunk)) return 0;
    if (!(mi_large_state(&chunk) & MI_LARGE_LIVE)) return 0;
    uint32_t size = chunk.room > UINT32_MAX ? UINT32_MAX : (uint32_t)chunk.room;
    *block = (mi_census_block){.size = size, .size_class = MI_CENSUS_LARGE};
    return 1;
}

int mi_census_read(const mi_claims *mine, uintptr_t address, void *to, size_t size) {
    const mi_census_shared *all = mine->all;
    if (mi_census_span(all, address) < 0)
        return all->large && mi_large_span_of(all->large, address) && !mi_target_read(all->target, address, to, size);
    memcpy(to, (const void *)address, size);
    return 1;
}

int mi_census_is_free(const mi_census_shared *all, uintptr_t block) {
    uintptr_t pool = block & ~(uintptr_t)all->pool_mask, next;
    uint32_t end = mi_census_number(pool, all->layout->pool_nextoffset), left = (all->pool_mask + 1) / MI_UNIT;
    memcpy(&next, (const void *)(pool + (uintptr_t)all->layout->pool_freeblock), sizeof next);
    while (next && left--) {
        if (next == block) return 1;
        if (next - pool >= end || next % MI_UNIT) return 0;
        memcpy(&next, (const void *)next, sizeof next);
    }
    return 0;
}

void mi_census_free_mask(const mi_census_shared *all, const mi_pool *pool, uint64_t *mask) {
    uintptr_t start = (uintptr_t)pool->address, block;
    uint32_t end = mi_census_number(start, all->layout->pool_nextoffset), left = pool->free;
    memset(mask, 0, ((all->pool_mask + 1) / MI_UNIT + 63) / 64 * sizeof *mask);
    for (uint32_t line = 0; line < end; line += 64) __builtin_prefetch((const void *)(start + line));
    if (pool->free == pool->untouched) return; /* nothing was given back: a full or fresh pool */
    memcpy(&block, (const void *)(start + (uintptr_t)all->layout->pool_freeblock), sizeof block);
    while (block && left--) {
        uintptr_t offset = block - start;
        if (offset >= end || offset % MI_UNIT) return;
        mask[offset / MI_UNIT / 64] |= 1ull << (offset / MI_UNIT % 64);
        memcpy(&block, (const void *)block, sizeof block);
    }
}
