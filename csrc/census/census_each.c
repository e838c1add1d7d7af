/* census_each.c - every live block once more, behind the walk, with what the census took it for. */
#include "census_parts.h"

void mi_census_each_block(mi_claims *mine, mi_census_visit visit, void *context) {
    const mi_census_shared *all = mine->all;
    uint64_t live[MI_POOL_WORDS];
    for (size_t place = 0; place < all->heap->pool_count && !mi_target_is_late(all->target); place++) {
        const mi_pool *pool = &all->heap->pools[place];
        uintptr_t start = (uintptr_t)pool->address;
        uint32_t size = (pool->size_class + 1u) * (uint32_t)all->layout->alignment;
        if (pool->size_class == MI_POOL_FREE || pool->torn) continue;
        mi_census_live_blocks(all, place, live);
        for (uint32_t word = 0; word < MI_POOL_WORDS; word++) {
            for (uint64_t bits = live[word]; bits;) {
                uint32_t offset = mi_census_next(&bits, word), before = all->padding;
                int type = MI_SEEN_CLAIMED;
                if (!mi_census_is_claimed(all, mi_census_bit(all, place, offset))) {
                    type = mi_census_classify(mine, (const unsigned char *)(start + offset), size, &before);
                    if (type < 0 || mi_census_is_excluded(all, start + offset)) type = MI_SEEN_UNKNOWN;
                }
                visit(mine, context, start + offset, pool->size_class, type, before);
            }
        }
    }
}

typedef struct listing {
    mi_census *census;
    size_t room;
} listing;

static void count_one(mi_claims *mine, void *context, uintptr_t block, uint32_t class, int type, uint32_t before) {
    (void)mine, (void)block, (void)class, (void)type, (void)before;
    ((listing *)context)->room++;
}

static void list_one(mi_claims *mine, void *context, uintptr_t block, uint32_t class, int type, uint32_t before) {
    listing *to = context;
    if (to->census->seen_count >= to->room) return;
    uint32_t size = (class + 1) * (uint32_t)mine->all->layout->alignment;
    mi_census_seen *seen = &to->census->seen[to->census->seen_count++];
    *seen = (mi_census_seen){.address = block, .type = type, .size = (uint16_t)size, .before = (uint16_t)before};
    memcpy(seen->start, (const void *)block, sizeof seen->start);
    if (type >= 0 && before >= sizeof seen->head)
        memcpy(seen->head, (const void *)(block + before - sizeof seen->head), sizeof seen->head);
}

mi_error mi_census_list(mi_claims *mine, mi_census *census) {
    listing to = {census, 0};
    mi_census_each_block(mine, count_one, &to);
    census->seen_bytes = to.room * sizeof *census->seen;
    census->seen = mi_os_alloc(census->seen_bytes);
    if (!census->seen) return MI_E_MEMORY;
    mi_census_each_block(mine, list_one, &to);
    if (mi_target_is_late(mine->all->target)) { /* a part of the list is none */
        mi_os_free(census->seen, census->seen_bytes);
        census->seen = NULL;
        census->seen_count = census->seen_bytes = 0;
    }
    return MI_OK;
}
