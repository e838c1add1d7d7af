/* census_apart.c - what the blocks hold that other threads were given: each is looked up once, behind the walk. */
#include "census_parts.h"

void mi_census_apart_claimed(mi_apart *apart, uintptr_t address, mi_owner owner) {
    mi_thread_block *block = mi_thread_blocks_find(&apart->blocks, address);
    if (block) block->owner = (uint8_t)(owner + 1);
}

void mi_census_apart_reset(mi_apart *apart) {
    for (size_t at = 0; apart->blocks.items && at >> apart->blocks.bits == 0; at++) apart->blocks.items[at].owner = 0;
}

static void count(const mi_claims *mine, mi_apart *apart, const mi_thread_block *block, int type, uint64_t bytes,
                  int small) {
    size_t place = apart->row_count - 1;
    if (block->owner)
        place = block->owner - 1u;
    else if (type >= 0 && (size_t)type < mine->all->types->count)
        place = MI_OWNERS + (size_t)type;
    mi_apart_row *row = &apart->rows[place];
    if (block->moved) {
        row->moved++;
        return;
    }
    row->count++;
    row->bytes += bytes;
    row->small += (uint64_t)small;
    row->small_bytes += small ? bytes : 0;
}

static void look_at(mi_claims *mine, mi_apart *apart, const mi_thread_block *item) {
    const mi_census_shared *all = mine->all;
    uintptr_t start = item->address - all->padding;
    mi_census_block block;
    mi_large_chunk chunk;
    uint32_t before;
    int type = -1;
    if (mi_census_span(all, start) >= 0) {
        if (!mi_census_block_at(mine, start, &block)) return;
        if (!item->owner && !mi_census_is_excluded(all, start))
            type = mi_census_classify(mine, (const unsigned char *)start, block.size, &before);
        count(mine, apart, item, type, block.size, 1);
    } else if (all->large && mi_census_chunk_of(mine, item->address, &chunk) &&
               mi_large_state(&chunk) & MI_LARGE_LIVE) {
        if (!item->owner && !mi_census_is_excluded(all, chunk.user))
            type = mi_census_chunk_type(mine, NULL, &chunk, &before);
        count(mine, apart, item, type, chunk.size, 0);
    }
}

mi_error mi_census_apart_take(mi_claims *mine, mi_apart *apart) {
    apart->row_count = MI_OWNERS + mine->all->types->count + 1;
    apart->rows = mi_os_alloc(apart->row_count * sizeof *apart->rows);
    if (!apart->rows) return MI_E_MEMORY;
    for (size_t at = 0; apart->blocks.items && at >> apart->blocks.bits == 0; at++)
        if (apart->blocks.items[at].address) look_at(mine, apart, &apart->blocks.items[at]);
    return MI_OK;
}

void mi_apart_free(mi_apart *apart) {
    mi_thread_blocks_free(&apart->blocks);
    mi_os_free(apart->rows, apart->row_count * sizeof *apart->rows);
    memset(apart, 0, sizeof *apart);
}
