/* census_tables.c - the tables of a census: opened before it, added up behind it. */
#include "census_parts.h"

#include <string.h>

mi_error mi_census_shared_open(mi_census_shared *all, const mi_census_request *request, mi_census *census) {
    const mi_layout *layout = request->layout;
    const mi_heap *heap = request->heap;
    memset(all, 0, sizeof *all);
    all->target = request->target;
    all->layout = layout;
    all->heap = heap;
    all->types = request->types;
    all->padding = request->padding;
    all->pool_mask = (uint32_t)layout->pool_size - 1;
    while ((1u << all->arena_shift) < (uint32_t)layout->arena_size) all->arena_shift++;
    for (all->slot_bits = 8; (size_t)1 << all->slot_bits < heap->arena_count * 8; all->slot_bits++) {
    }
    for (uint32_t class = 0; class < (uint32_t)layout->size_classes; class ++)
        all->reciprocal[class] = (uint32_t)((1ull << 32) / ((class + 1) * (uint32_t)layout->alignment)) + 1;
    all->claimed_words_per_arena = (size_t)layout->arena_size / MI_UNIT / 64;
    size_t slots = sizeof *all->slots << all->slot_bits, spans = (heap->arena_count + 1) * sizeof *all->spans;
    census->bitmap_bytes = heap->arena_count * all->claimed_words_per_arena * 8;
    census->table_bytes = slots + spans;
    all->slots = mi_os_alloc(slots);
    all->spans = mi_os_alloc(spans);
    all->claimed = mi_os_alloc(census->bitmap_bytes + 8);
    if (!all->slots || !all->spans || !all->claimed) return MI_E_MEMORY;
    return mi_census_find_arenas(all);
}

static size_t claimed_size(const mi_census_shared *all) {
    return all->heap->arena_count * all->claimed_words_per_arena * sizeof(uint64_t);
}

void mi_census_shared_reset(mi_census_shared *all) {
    memset((void *)all->claimed, 0, claimed_size(all));
    atomic_store(&all->next_pool, 0);
    atomic_store(&all->pools_left, 0);
    atomic_store(&all->next_word, 0);
    atomic_store(&all->words_left, 0);
    if (all->large) mi_large_reset(all->large);
}

void mi_census_shared_close(mi_census_shared *all) {
    mi_os_free(all->slots, sizeof *all->slots << all->slot_bits);
    mi_os_free(all->spans, (all->heap->arena_count + 1) * sizeof *all->spans);
    mi_os_free((void *)all->claimed, claimed_size(all) + 8);
}

static size_t counts_size(const mi_census_shared *all) {
    return all->types->count * (all->classes + 3) * sizeof(int64_t);
}

size_t mi_census_claims_size(const mi_census_shared *all) { return sizeof(mi_claims) + counts_size(all); }

mi_claims *mi_census_claims_open(mi_census_shared *all) {
    mi_claims *mine = mi_os_alloc(mi_census_claims_size(all));
    if (!mine) return NULL;
    mine->all = all;
    mine->lookalikes = mi_os_alloc(MI_LOOKALIKES_MOST * sizeof *mine->lookalikes);
    mine->copy = all->large ? mi_os_alloc(MI_LARGE_COPY) : NULL;
    int open = !all->large || (mine->copy && !mi_window_open(&mine->window, &all->large->pages));
    mine->opaque = mi_os_alloc(MI_OPAQUE_MOST * sizeof *mine->opaque);
    if (!mine->lookalikes || !mine->opaque || !open) {
        mi_census_claims_close(mine);
        return NULL;
    }
    size_t types = all->types->count;
    for (int place = 0; place < MI_PLACES; place++)
        mine->last.word[place] = all->types->items[0].address; /* item 0, as last.type is */
    mi_census_owners_open(mine);
    mine->objects = (int64_t *)(mine + 1);
    mine->requested = mine->objects + types * all->classes;
    mine->large_objects = mine->requested + types;
    mine->large_bytes = mine->large_objects + types;
    return mine;
}

void mi_census_claims_close(mi_claims *mine) {
    if (!mine) return;
    mi_window_close(&mine->window);
    mi_os_free(mine->copy, MI_LARGE_COPY);
    mi_os_free(mine->opaque, MI_OPAQUE_MOST * sizeof *mine->opaque);
    mi_os_free(mine->lookalikes, MI_LOOKALIKES_MOST * sizeof *mine->lookalikes);
    mi_os_free(mine, mi_census_claims_size(mine->all));
}

static void row_add(mi_census_row *to, const mi_census_row *from) {
    for (int class = 0; class < MI_MAX_SIZE_CLASSES; class ++) to->blocks[class] += from->blocks[class];
    to->large_blocks += from->large_blocks;
    to->large_bytes += from->large_bytes;
    to->requested_bytes += from->requested_bytes;
    to->unasked += from->unasked;
}

static void gather_type(mi_census *census, const mi_claims *mine, size_t type) {
    const mi_type *known = &mine->all->types->items[type];
    size_t classes = mine->all->classes;
    mi_census_row *row = &census->objects[type];
    int64_t objects = mine->large_objects[type];
    if (mine->large_objects[type]) {
        row->large_blocks += (uint64_t)mine->large_objects[type];
        row->large_bytes += (uint64_t)mine->large_bytes[type];
    }
    for (size_t class = 0; class < classes; class ++) {
        int64_t count = mine->objects[type * classes + class];
        if (count) row->blocks[class] += (uint64_t)count;
        objects += count;
    }
    int64_t asked = mine->requested[type];
    if (known->sizing == MI_SIZING_FIXED) asked += objects * (int64_t)(known->preheader + known->whole);
    if (asked) row->requested_bytes += (uint64_t)asked;
}

void mi_census_gather(mi_census *census, const mi_claims *mine) {
    for (size_t type = 0; type < census->types; type++) gather_type(census, mine, type);
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
    for (size_t row = 0; row < census->types + MI_OWNERS; row++) {
        const mi_census_row *known = row < MI_OWNERS ? &census->buffers[row] : &census->objects[row - MI_OWNERS];
        for (int class = 0; class < MI_MAX_SIZE_CLASSES; class ++) unknown->blocks[class] -= known->blocks[class];
        unknown->large_blocks -= known->large_blocks;
        unknown->large_bytes -= known->large_bytes;
    }
    unknown->requested_bytes = 0;
    unknown->unasked = 0;
}
