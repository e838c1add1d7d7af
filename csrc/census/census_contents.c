/* census_contents.c - what single blocks hold: of each pool what most of its blocks hold, and every block of the arenas
 * that few blocks keep.
 *
 * While the census is walked, one byte a block notes who claimed it. Behind it the pools are gone through once more: a
 * block is its owner's where it was claimed, else an object of its type. */
#include "census_parts.h"

#include "sort.h"

_Static_assert(MI_OWNERS < 255, "an owner fits into a byte");

static size_t pools_of(const mi_census_shared *all, size_t span) {
    return (all->spans[span].pools_end - all->spans[span].pools) / (all->pool_mask + 1u);
}

static size_t capacity_of(const mi_pool *pool) {
    return pool->size_class == MI_POOL_FREE || pool->torn ? 0 : (size_t)pool->used + pool->free;
}

static size_t owners_size(const mi_census_shared *all) { return all->first_blocks[all->heap->pool_count]; }

mi_error mi_census_contents_open(mi_census_shared *all) {
    const mi_heap *heap = all->heap;
    all->first_blocks = mi_os_alloc((heap->pool_count + 1) * sizeof *all->first_blocks);
    all->first_pools = mi_os_alloc((heap->arena_count + 1) * sizeof *all->first_pools);
    if (!all->first_blocks || !all->first_pools) return MI_E_MEMORY;
    for (size_t i = 0; i < heap->pool_count; i++)
        all->first_blocks[i + 1] = all->first_blocks[i] + capacity_of(&heap->pools[i]);
    for (size_t i = 0; i < heap->arena_count; i++) all->first_pools[i + 1] = all->first_pools[i] + pools_of(all, i);
    if (all->first_pools[heap->arena_count] != heap->pool_count) return MI_OK; /* without contents */
    all->owners = mi_os_alloc(owners_size(all));
    return all->owners ? MI_OK : MI_E_MEMORY;
}

void mi_census_contents_close(mi_census_shared *all) {
    if (all->owners) mi_os_free(all->owners, owners_size(all));
    mi_os_free(all->first_blocks, (all->heap->pool_count + 1) * sizeof *all->first_blocks);
    mi_os_free(all->first_pools, (all->heap->arena_count + 1) * sizeof *all->first_pools);
}

/* Where a block's byte is. */
static uint8_t *owner_of(const mi_census_shared *all, size_t span, uintptr_t block) {
    size_t pool = all->first_pools[span] + (block - all->spans[span].pools) / (all->pool_mask + 1u);
    size_t size = (all->heap->pools[pool].size_class + 1u) * (size_t)all->layout->alignment;
    size_t offset = (block & all->pool_mask) - (size_t)all->layout->pool_header_size;
    return &all->owners[all->first_blocks[pool] + offset / size];
}

void mi_census_note_owner(mi_census_shared *all, const mi_arena_span *span, uintptr_t block, mi_owner owner) {
    *owner_of(all, (size_t)(span - all->spans), block) = (uint8_t)(owner + 1);
}

static uint16_t code_of(mi_claims *mine, size_t span, size_t bit, uintptr_t block, uint32_t size) {
    uint32_t before;
    if (mi_census_is_claimed(mine->all, bit)) return (uint16_t)(*owner_of(mine->all, span, block) - 1u);
    int type = mi_census_classify(mine, (const unsigned char *)block, size, &before);
    if (type < 0 || type >= MI_CONTENT_UNKNOWN - MI_OWNERS || mi_census_is_excluded(mine->all, block))
        return MI_CONTENT_UNKNOWN;
    return (uint16_t)(MI_OWNERS + type);
}

/* Counts the blocks of a pool by code; tells them one by one where `to` is not NULL. The code that most of them have. */
static uint16_t tell_pool(mi_claims *mine, mi_contents *contents, size_t span, const mi_pool *pool, uint16_t *counts,
                          mi_content **to) {
    const mi_census_shared *all = mine->all;
    uint64_t live[MI_POOL_WORDS];
    uint16_t codes[MI_POOL_WORDS * 64], best = MI_CONTENT_UNKNOWN;
    uintptr_t start = (uintptr_t)pool->address;
    uint32_t size = (pool->size_class + 1u) * (uint32_t)all->layout->alignment, count = 0, most = 0;
    size_t place = (size_t)(pool - all->heap->pools);
    mi_census_live_blocks(all, place, live);
    for (uint32_t word = 0; word < MI_POOL_WORDS; word++) {
        for (uint64_t bits = live[word]; bits;) {
            uint32_t offset = mi_census_next(&bits, word);
            uint16_t code = code_of(mine, span, mi_census_bit(all, place, offset), start + offset, size);
            codes[count++] = code;
            contents->seen[code] = 1;
            if (++counts[code] > most) {
                most = counts[code];
                best = code;
            }
            if (to) *(*to)++ = (mi_content){(uint16_t)((start + offset - all->spans[span].start) / MI_UNIT), code};
        }
    }
    while (count) counts[codes[--count]] = 0;
    return best;
}

typedef struct choice {
    uintptr_t used_bytes;
    size_t place;
} choice;

/* Orders the arenas, those that few live blocks keep first, and makes room for the blocks of the first ones. */
static mi_error choose(const mi_heap *heap, mi_contents *contents, choice *order, size_t *chosen) {
    size_t count = 0;
    for (size_t i = 0; i < heap->arena_count; i++) {
        const mi_arena *arena = &heap->arenas[i];
        contents->arenas[i] =
            (mi_content_arena){.address = arena->address, .pools = arena->pools_total - arena->pools_never_used};
        if (arena->used_blocks) order[count++] = (choice){(uintptr_t)arena->used_bytes, i};
    }
    mi_sort(order, count, sizeof *order);
    for (*chosen = 0; *chosen < count; ++*chosen) {
        uint32_t live = heap->arenas[order[*chosen].place].used_blocks;
        if (contents->block_room + live > contents->most_blocks) break;
        contents->block_room += live;
    }
    contents->blocks = mi_os_alloc(contents->block_room * sizeof *contents->blocks);
    return contents->blocks ? MI_OK : MI_E_MEMORY;
}

static void tell_arena(mi_claims *mine, mi_contents *contents, size_t span, uint16_t *counts) {
    const mi_census_shared *all = mine->all;
    mi_content *next = contents->blocks + contents->block_count;
    for (size_t pool = all->first_pools[span]; pool < all->first_pools[span + 1]; pool++)
        if (capacity_of(&all->heap->pools[pool]))
            contents->pools[pool] = tell_pool(mine, contents, span, &all->heap->pools[pool], counts, &next);
    contents->arenas[span].first = contents->block_count;
    contents->block_count = (size_t)(next - contents->blocks);
    contents->arenas[span].blocks = (uint32_t)(contents->block_count - contents->arenas[span].first);
}

mi_error mi_census_contents_take(mi_claims *mine, mi_contents *contents) {
    const mi_census_shared *all = mine->all;
    const mi_heap *heap = all->heap;
    size_t counts_size = (MI_CONTENT_UNKNOWN + 1) * sizeof(uint16_t), chosen = 0;
    if (!all->owners) return MI_OK;
    uint16_t *counts = mi_os_alloc(counts_size);
    choice *order = mi_os_alloc(heap->arena_count * sizeof *order);
    contents->codes = MI_CONTENT_UNKNOWN + 1;
    contents->seen = mi_os_alloc(contents->codes);
    contents->pool_count = heap->pool_count;
    contents->pools = mi_os_alloc(heap->pool_count * sizeof *contents->pools);
    contents->arena_count = heap->arena_count;
    contents->arenas = mi_os_alloc(heap->arena_count * sizeof *contents->arenas);
    int made = counts && order && contents->seen && contents->pools && contents->arenas;
    mi_error error = made ? choose(heap, contents, order, &chosen) : MI_E_MEMORY;
    if (!error) memset(contents->pools, 0xff, heap->pool_count * sizeof *contents->pools);
    for (size_t i = 0; i < chosen && !error && !mi_target_is_late(all->target); i++)
        tell_arena(mine, contents, order[i].place, counts);
    for (size_t i = 0; i < heap->pool_count && !error && !mi_target_is_late(all->target); i++) {
        const mi_pool *pool = &heap->pools[i];
        if (capacity_of(pool) && !contents->arenas[pool->arena].blocks)
            contents->pools[i] = tell_pool(mine, contents, pool->arena, pool, counts, NULL);
    }
    mi_os_free(counts, counts_size);
    mi_os_free(order, heap->arena_count * sizeof *order);
    return error;
}

void mi_contents_free(mi_contents *contents) {
    mi_os_free(contents->pools, contents->pool_count * sizeof *contents->pools);
    mi_os_free(contents->arenas, contents->arena_count * sizeof *contents->arenas);
    mi_os_free(contents->blocks, contents->block_room * sizeof *contents->blocks);
    mi_os_free(contents->seen, contents->codes);
    memset(contents, 0, sizeof *contents);
}
