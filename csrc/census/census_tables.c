/* census_tables.c - the tables of a census: opened before it, added up behind it. */
#include "census_parts.h"

#include <string.h>

static void make_classes(mi_census_shared *all) {
    const mi_layout *layout = all->layout;
    for (uint32_t class = 0; class < (uint32_t)layout->size_classes; class ++) {
        uint32_t size = (class + 1) * (uint32_t)layout->alignment, at = (uint32_t)layout->pool_header_size;
        all->reciprocal[class] = (uint32_t)((1ull << 32) / size) + 1;
        all->proofs[class] = mi_proof_of(layout, all->types, size, all->padding);
        for (; at + size <= all->pool_mask + 1; at += size)
            all->starts[class][at / MI_UNIT / 64] |= 1ull << (at / MI_UNIT % 64);
    }
}

/* Bits for the blocks of pools in use alone: of a heap that is almost empty they are almost nothing. */
static mi_error make_pools(mi_census_shared *all) {
    const mi_heap *heap = all->heap;
    all->pools = mi_os_alloc_whole((heap->pool_count + 1) * sizeof *all->pools);
    if (!all->pools) return MI_E_MEMORY;
    for (size_t i = 0; i < heap->pool_count; i++) {
        const mi_pool *pool = &heap->pools[i];
        all->pools[i] = (mi_pool_key){(uint32_t)all->claimed_words, 0, MI_POOL_FREE};
        if (pool->size_class == MI_POOL_FREE || pool->torn) continue;
        uint32_t touched = (uint32_t)pool->used + pool->free - pool->untouched;
        all->pools[i].touched = (uint16_t)touched;
        all->pools[i].class = pool->size_class;
        all->claimed_words += (touched + 63) / 64;
    }
    all->claimed = mi_os_alloc_whole((all->claimed_words + 1) * sizeof *all->claimed);
    return all->claimed ? MI_OK : MI_E_MEMORY;
}

mi_error mi_census_shared_open(mi_census_shared *all, const mi_census_request *request, mi_census *census) {
    const mi_layout *layout = request->layout;
    const mi_heap *heap = request->heap;
    memset(all, 0, sizeof *all);
    all->target = request->target;
    all->layout = layout;
    all->heap = heap;
    all->types = request->types;
    all->padding = request->padding;
    all->apart = request->apart;
    all->steady = request->ahead->steady;
    all->pool_mask = (uint32_t)layout->pool_size - 1;
    if (layout->pool_size > MI_POOL_WORDS * 64 * MI_UNIT) return MI_E_LAYOUT;
    while ((1u << all->arena_shift) < (uint32_t)layout->arena_size) all->arena_shift++;
    while ((1u << all->pool_shift) < (uint32_t)layout->pool_size) all->pool_shift++;
    for (all->slot_bits = 8; (size_t)1 << all->slot_bits < heap->arena_count * 8; all->slot_bits++) {
    }
    size_t slots = sizeof *all->slots << all->slot_bits, spans = (heap->arena_count + 1) * sizeof *all->spans;
    all->slots = mi_os_alloc(slots);
    all->spans = mi_os_alloc(spans);
    if (!all->slots || !all->spans) return MI_E_MEMORY;
    make_classes(all);
    mi_error error = make_pools(all);
    census->bitmap_bytes = all->claimed_words * sizeof *all->claimed;
    census->table_bytes = slots + spans + heap->pool_count * sizeof *all->pools;
    /* what the walk of the headers and the reading of the types left */
    census->table_bytes += heap->pool_count * sizeof *heap->pools + heap->arena_count * sizeof *heap->arenas;
    census->table_bytes += all->types->count * sizeof *all->types->items;
    census->table_bytes += sizeof *all->types->keys << all->types->index_bits;
    return error ? error : mi_census_find_arenas(all);
}

void mi_census_shared_reset(mi_census_shared *all) {
    memset((void *)all->claimed, 0, all->claimed_words * sizeof *all->claimed);
    atomic_store(&all->next_pool, 0);
    atomic_store(&all->pools_left, 0);
    atomic_store(&all->next_word, 0);
    atomic_store(&all->next_piece, 0);
    atomic_store(&all->roots_open, 0);
    atomic_store(&all->words_left, 0);
    if (all->large) mi_large_reset(all->large);
    if (all->apart) mi_census_apart_reset(all->apart);
}

void mi_census_shared_close(mi_census_shared *all) {
    mi_os_free(all->slots, sizeof *all->slots << all->slot_bits);
    mi_os_free(all->spans, (all->heap->arena_count + 1) * sizeof *all->spans);
    mi_os_free(all->pools, (all->heap->pool_count + 1) * sizeof *all->pools);
    mi_os_free((void *)all->claimed, (all->claimed_words + 1) * sizeof *all->claimed);
}

static size_t counts_size(const mi_census_shared *all) {
    return all->types->count * ((all->classes + 3) * sizeof(int64_t) + 1);
}

static size_t claims_size(const mi_census_shared *all) { return sizeof(mi_claims) + counts_size(all); }

size_t mi_census_claims_size(const mi_census_shared *all) {
    return claims_size(all) + MI_MET_TYPES * sizeof(mi_met_type);
}

mi_claims *mi_census_claims_open(mi_census_shared *all) {
    mi_claims *mine = mi_os_alloc(claims_size(all));
    if (!mine) return NULL;
    mine->all = all;
    mine->lookalikes = mi_os_alloc(MI_LOOKALIKES_MOST * sizeof *mine->lookalikes);
    int large = all->large || !atomic_load(&all->large_known);
    mine->copy = large ? mi_os_alloc(MI_LARGE_COPY) : NULL;
    mine->copies = large ? mi_page_copies_open(all->target->pid, all->steady) : NULL;
    int open = !large || (mine->copy && mine->copies && !mi_window_open(&mine->window, all->pages, all->steady));
    mine->opaque = mi_os_alloc(MI_OPAQUE_MOST * sizeof *mine->opaque);
    if (!mine->lookalikes || !mine->opaque || !open || mi_census_walk_open(mine)) {
        mi_census_claims_close(mine);
        return NULL;
    }
    size_t types = all->types->count;
    mi_census_owners_open(mine);
    for (int i = 0; i < MI_LAST_SPANS; i++) mine->last_spans[i] = all->spans;
    mine->objects = (int64_t *)(mine + 1);
    mine->requested = mine->objects + types * all->classes;
    mine->large_objects = mine->requested + types;
    mine->large_bytes = mine->large_objects + types;
    mine->counted = (unsigned char *)(mine->large_bytes + types);
    return mine;
}

void mi_census_claims_close(mi_claims *mine) {
    if (!mine) return;
    mi_census_walk_close(mine);
    mi_window_close(&mine->window);
    if (mine->copies) mi_page_copies_close(mine->copies);
    mi_os_free(mine->copy, MI_LARGE_COPY);
    mi_os_free(mine->opaque, MI_OPAQUE_MOST * sizeof *mine->opaque);
    mi_os_free(mine->lookalikes, MI_LOOKALIKES_MOST * sizeof *mine->lookalikes);
    mi_os_free(mine, claims_size(mine->all));
}

static void row_add(mi_census_row *to, const mi_census_row *from) {
    for (int class = 0; class < MI_MAX_SIZE_CLASSES; class ++) to->blocks[class] += from->blocks[class];
    to->large_blocks += from->large_blocks;
    to->large_bytes += from->large_bytes;
    to->requested_bytes += from->requested_bytes;
    to->unasked += from->unasked;
}

static uint64_t class_size(const mi_census *census, size_t class) {
    return census->size_count ? census->sizes[class] : (class + 1) * MI_UNIT;
}

mi_census_sum mi_census_sum_of(const mi_census *census, const mi_census_row *row) {
    mi_census_sum sum = {.large_blocks = row->large_blocks,
                         .large_bytes = row->large_bytes,
                         .requested_bytes = row->requested_bytes,
                         .unasked = row->unasked};
    for (size_t class = 0; class < MI_MAX_SIZE_CLASSES; class ++) {
        if (!row->blocks[class]) continue;
        sum.small_blocks += row->blocks[class];
        sum.small_bytes += row->blocks[class] * class_size(census, class);
    }
    return sum;
}

/* Counts of one thread may be negative, where what another counted is taken back: their sums are not. */
static void gather_type(mi_census *census, const mi_claims *mine, size_t type) {
    const mi_type *known = &mine->all->types->items[type];
    size_t classes = mine->all->classes;
    mi_census_sum *sum = &census->objects[type];
    mi_census_row *all = &census->typed;
    int64_t objects = mine->large_objects[type], asked = mine->requested[type];
    sum->large_blocks += (uint64_t)mine->large_objects[type];
    sum->large_bytes += (uint64_t)mine->large_bytes[type];
    all->large_blocks += (uint64_t)mine->large_objects[type];
    all->large_bytes += (uint64_t)mine->large_bytes[type];
    for (size_t class = 0; class < classes; class ++) {
        int64_t count = mine->objects[type * classes + class];
        if (!count) continue;
        all->blocks[class] += (uint64_t)count;
        sum->small_blocks += (uint64_t)count;
        sum->small_bytes += (uint64_t)count * class_size(census, class);
        objects += count;
    }
    if (known->sizing == MI_SIZING_FIXED) asked += objects * (int64_t)(known->preheader + known->whole);
    sum->requested_bytes += (uint64_t)asked;
    all->requested_bytes += (uint64_t)asked;
}

void mi_census_gather(mi_census *census, const mi_claims *mine) {
    for (size_t type = 0; type < census->types; type++)
        if (mine->counted[type]) gather_type(census, mine, type);
    for (int owner = 0; owner < MI_OWNERS; owner++) row_add(&census->buffers[owner], &mine->buffers[owner]);
    row_add(&census->live, &mine->live);
    census->claims_outside += mine->outside;
    census->claims_misplaced += mine->misplaced;
    census->claims_free += mine->free;
    census->claims_small += mine->small;
    census->claims_again += mine->again;
    census->looked_like_objects += mine->looked_like_objects;
}

/* What neither is an object nor was claimed. */
void mi_census_rest(mi_census *census) {
    mi_census_row *unknown = &census->unknown;
    *unknown = census->live;
    for (size_t row = 0; row <= MI_OWNERS; row++) {
        const mi_census_row *known = row < MI_OWNERS ? &census->buffers[row] : &census->typed;
        for (int class = 0; class < MI_MAX_SIZE_CLASSES; class ++) unknown->blocks[class] -= known->blocks[class];
        unknown->large_blocks -= known->large_blocks;
        unknown->large_bytes -= known->large_bytes;
    }
    unknown->requested_bytes = 0;
    unknown->unasked = 0;
}
