/* census.c - the walk of census.h. */
#include "census_parts.h"

#include <pthread.h>
#include <string.h>

#include "sort.h"

/* ---- addresses ------------------------------------------------------------------------------------------------------ */

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

static uint32_t number_at(uintptr_t pool, int32_t offset) {
    uint32_t number;
    memcpy(&number, (const void *)(pool + (uintptr_t)offset), sizeof number);
    return number;
}

/* ---- what a block is ------------------------------------------------------------------------------------------------ */

/* The type of an object that begins `slot` units into the block, or -1: its type is known, just that much lies before
 * its objects, its count is one a living object can have, and it fits. */
static int type_at(mi_claims *mine, const unsigned char *block, uint32_t room, unsigned slot) {
    const mi_census_shared *all = mine->all;
    uint32_t before = slot * MI_UNIT, header = (uint32_t)all->layout->object_size;
    if (room < before + header) return -1;
    const unsigned char *object = block + before;
    uintptr_t word;
    memcpy(&word, object + all->layout->object_type, sizeof word);
    int type = mine->last_type[slot];
    if (word != mine->last_word[slot]) {
        type = mi_types_find(all->types, word);
        if (type < 0) return -1;
        mine->last_word[slot] = word;
        mine->last_type[slot] = type;
    }
    const mi_type *known = &all->types->items[type];
    if (known->preheader != before || known->basicsize > room - before) return -1;
    int64_t count;
    memcpy(&count, object + all->layout->object_refcount, sizeof count);
    if (all->layout->object_refcount_size == 4) { /* overflow and flags lie behind it; of a word that links a free list,
                                                     a piece of an address */
        uint16_t overflow;
        memcpy(&overflow, object + all->layout->object_overflow, sizeof overflow);
        count = overflow ? 0 : (int64_t)(uint32_t)count;
    }
    return count > 0 && count <= 0xffffffffll ? type : -1;
}

int mi_census_classify(mi_claims *mine, const unsigned char *at, uint32_t size, uint32_t *before) {
    uint32_t padding = mine->all->padding;
    if (padding) {
        if (size < padding * 3 / 2 + (uint32_t)mine->all->layout->object_size) return -1;
        at += padding;
        size -= padding * 3 / 2; /* _PyMem_DebugRawAlloc: two words before, one behind */
    }
    for (unsigned slot = 0; slot < 3; slot++) {
        int type = type_at(mine, at, size, slot);
        if (type < 0) continue;
        *before = padding + slot * MI_UNIT;
        return type;
    }
    return -1;
}

static int is_excluded(const mi_census_shared *all, uintptr_t block) {
    size_t low = 0, high = all->excluded_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (all->excluded[middle] < block)
            low = middle + 1;
        else
            high = middle;
    }
    return low < all->excluded_count && all->excluded[low] == block;
}

static void count_object(mi_claims *mine, int type, uintptr_t block, uint32_t before, uint32_t size, uint32_t class,
                         int sign) {
    const mi_type *known = &mine->all->types->items[type];
    mine->objects[(size_t)type * (size_t)mine->all->layout->size_classes + class] += sign;
    if (known->sizing == MI_SIZING_FIXED) return;
    uint32_t room = size - before - mine->all->padding / 2;
    mine->requested[type] +=
        sign * (int64_t)mi_object_size(mine->all->layout, known, (const unsigned char *)(block + before), room);
}

/* ---- claims --------------------------------------------------------------------------------------------------------- */

int mi_census_block_at(mi_claims *mine, uintptr_t address, mi_census_block *block) {
    mi_census_shared *all = mine->all;
    const mi_arena_span *near = &all->spans[mine->last_span];
    long found =
        address >= near->pools && address < near->pools_end ? (long)mine->last_span : mi_census_span(all, address);
    if (found < 0) {
        mine->outside++;
        return 0;
    }
    mine->last_span = block->span = (size_t)found;
    uintptr_t pool = address & ~(uintptr_t)all->pool_mask;
    const mi_layout *layout = all->layout;
    if (!number_at(pool, layout->pool_count)) {
        mine->free++;
        return 0;
    }
    uint32_t class = number_at(pool, layout->pool_szidx), offset = (uint32_t)(address - pool);
    if (class >= (uint32_t)layout->size_classes || offset < (uint32_t)layout->pool_header_size) {
        mine->misplaced++;
        return 0;
    }
    uint32_t size = (class + 1) * (uint32_t)layout->alignment, inside = offset - (uint32_t)layout->pool_header_size;
    uint32_t index = (uint32_t)((uint64_t)inside * all->reciprocal[class] >> 32);
    if (index * size != inside || offset >= number_at(pool, layout->pool_nextoffset)) {
        mine->misplaced++;
        return 0;
    }
    block->size_class = class;
    block->size = size;
    return 1;
}

int mi_census_is_free(const mi_census_shared *all, uintptr_t block) {
    uintptr_t pool = block & ~(uintptr_t)all->pool_mask, next;
    uint32_t end = number_at(pool, all->layout->pool_nextoffset), left = (all->pool_mask + 1) / MI_UNIT;
    memcpy(&next, (const void *)(pool + (uintptr_t)all->layout->pool_freeblock), sizeof next);
    while (next && left--) {
        if (next == block) return 1;
        if (next - pool >= end || next % MI_UNIT) return 0;
        memcpy(&next, (const void *)next, sizeof next);
    }
    return 0;
}

static _Atomic uint64_t *claim_word_of(const mi_census_shared *all, size_t span, uintptr_t block, uint64_t *mask) {
    size_t bit = (block - all->spans[span].start) / MI_UNIT;
    *mask = 1ull << (bit % 64);
    return &all->claimed[span * all->claimed_words_per_arena + bit / 64];
}

int mi_census_is_claimed(const mi_census_shared *all, size_t span, uintptr_t block) {
    uint64_t mask;
    _Atomic uint64_t *word = claim_word_of(all, span, block, &mask);
    return (atomic_load_explicit(word, memory_order_relaxed) & mask) != 0;
}

static void note_lookalike(mi_claims *mine, uintptr_t block, int type) {
    if (mine->lookalike_count < MI_LOOKALIKES_MOST)
        mine->lookalikes[mine->lookalike_count++] = (mi_lookalike){block, mine->claimer, (uint32_t)type, 0};
}

/* What the owner asked for, where the block itself tells it. */
static size_t asked_for(const mi_claims *mine, uintptr_t address, mi_owner owner, size_t size) {
    if (owner == MI_OWNER_DICT_KEYS || owner == MI_OWNER_SHARED_KEYS)
        return mi_dict_keys_size(mine->all->layout, (const unsigned char *)address);
    return size;
}

int mi_census_claim(mi_claims *mine, uintptr_t address, mi_owner owner, size_t size) {
    mi_census_shared *all = mine->all;
    mi_census_block block;
    if (!address) return 0;
    uintptr_t start = address - all->padding;
    if (!mi_census_block_at(mine, start, &block)) return 0;
    if (size + all->padding * 3 / 2 > block.size) {
        mine->small++;
        return 0;
    }
    uint64_t mask;
    uint32_t before;
    _Atomic uint64_t *word = claim_word_of(all, block.span, start, &mask);
    if (atomic_load_explicit(word, memory_order_relaxed) & mask) {
        mine->again++;
        int type = mi_census_classify(mine, (const unsigned char *)start, block.size, &before);
        if (type >= 0) note_lookalike(mine, start, type);
        return 1;
    }
    if (!mi_owner_is_exact(owner) && mi_census_is_free(all, start)) {
        mine->free++;
        return 0;
    }
    if (atomic_fetch_or_explicit(word, mask, memory_order_relaxed) & mask) {
        mine->again++;
        return 1;
    }
    mi_census_row *row = &mine->buffers[owner];
    size_t asked = asked_for(mine, address, owner, size);
    row->blocks[block.size_class]++;
    if (asked && asked + all->padding * 3 / 2 <= block.size)
        row->requested_bytes += asked;
    else
        row->unasked++;
    int type = mi_census_classify(mine, (const unsigned char *)start, block.size, &before);
    if (type >= 0 && !is_excluded(all, start)) {
        count_object(mine, type, start, before, block.size, block.size_class, -1);
        note_lookalike(mine, start, type);
    }
    mine->looked_like_objects += type >= 0;
    return 1;
}

static void ring_claim(mi_claims *mine, unsigned at) {
    if (!mine->ring[at].address) return;
    uintptr_t claimer = mine->claimer;
    mine->claimer = mine->ring[at].claimer;
    mi_census_claim(mine, mine->ring[at].address, mine->ring[at].owner, mine->ring[at].size);
    mine->claimer = claimer;
    mine->ring[at].address = 0;
}

/* Claims wait in a ring while their lines are fetched. */
static void claim_later(mi_claims *mine, uintptr_t address, mi_owner owner, size_t size) {
    unsigned at = mine->ring_next++ % MI_CLAIM_RING;
    ring_claim(mine, at);
    mine->ring[at].address = address;
    mine->ring[at].claimer = mine->claimer;
    mine->ring[at].owner = owner;
    mine->ring[at].size = size;
    __builtin_prefetch((const void *)(address & ~(uintptr_t)mine->all->pool_mask));
    __builtin_prefetch((const void *)(address - mine->all->padding));
}

int mi_census_claim_word(mi_claims *mine, uintptr_t word, mi_owner owner) {
    mi_census_block block;
    uint32_t before;
    uintptr_t start = word - mine->all->padding;
    if (!word || word % MI_UNIT || mi_census_span(mine->all, start) < 0) return 0;
    if (!mi_census_block_at(mine, start, &block) || mi_census_is_claimed(mine->all, block.span, start)) return 0;
    if (mi_census_classify(mine, (const unsigned char *)start, block.size, &before) >= 0) return 0;
    return mi_census_claim(mine, word, owner, 0);
}

/* Types are larger than a block can be: what they own is claimed from the table, not from the walk. */
static void claim_types(mi_claims *mine) {
    const mi_census_shared *all = mine->all;
    for (size_t i = 0; i < all->types->count; i++) {
        static const mi_type as_type = {.kind = MI_KIND_TYPE};
        uintptr_t type = all->types->items[i].address;
        if (mi_os_maps_covers(&all->target->maps, type, (size_t)all->layout->heap_type_size))
            mi_owner_claim(&mine->context, &as_type, type);
    }
}

static int claim(struct mi_claims *mine, uintptr_t address, mi_owner owner, size_t size) {
    if (!address) return 0;
    if (owner > MI_OWNER_SET_TABLE) return mi_census_claim(mine, address, owner, size);
    claim_later(mine, address, owner, size); /* the frequent ones, whose answer nobody waits for */
    return 1;
}

static int claim_if_plain(struct mi_claims *mine, uintptr_t word, mi_owner owner) {
    return mi_census_claim_word(mine, word, owner);
}

static int heap_word(struct mi_claims *mine, uintptr_t address, uintptr_t *word) {
    if (address % sizeof *word || mi_census_span(mine->all, address) < 0) return 0;
    memcpy(word, (const void *)address, sizeof *word);
    return 1;
}

static size_t heap_room(struct mi_claims *mine, uintptr_t address) {
    mi_census_block block;
    uint32_t around = mine->all->padding * 3 / 2;
    if (mi_census_span(mine->all, address) < 0) return 0;
    if (!mi_census_block_at(mine, address - mine->all->padding, &block) || block.size < around) return 0;
    return block.size - around;
}

/* ---- the walk ------------------------------------------------------------------------------------------------------- */

void mi_census_free_mask(const mi_census_shared *all, const mi_pool *pool, uint64_t *mask) {
    uintptr_t start = (uintptr_t)pool->address, block;
    uint32_t end = number_at(start, all->layout->pool_nextoffset), left = pool->free;
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

static void walk_pool(mi_claims *mine, const mi_pool *pool) {
    const mi_census_shared *all = mine->all;
    const mi_layout *layout = all->layout;
    uint32_t class = pool->size_class;
    if (class == MI_POOL_FREE || pool->torn) return;
    uint64_t mask[MI_POOL_MASK_WORDS];
    mi_census_free_mask(all, pool, mask);
    uintptr_t start = (uintptr_t)pool->address;
    uint32_t size = (class + 1) * (uint32_t)layout->alignment, end = number_at(start, layout->pool_nextoffset);
    mine->live.blocks[class] += pool->used;
    for (uint32_t offset = (uint32_t)layout->pool_header_size; offset < end && offset + size <= all->pool_mask + 1u;
         offset += size) {
        if (mask[offset / MI_UNIT / 64] >> (offset / MI_UNIT % 64) & 1) continue;
        uint32_t before;
        uintptr_t block = start + offset;
        int type = mi_census_classify(mine, (const unsigned char *)block, size, &before);
        if (type < 0 || (all->excluded_count && is_excluded(all, block))) continue;
        const mi_type *known = &all->types->items[type];
        count_object(mine, type, block, before, size, class, 1);
        if (known->kind == MI_KIND_PLAIN && layout->managed_values == MI_ABSENT) continue;
        mine->claimer = block;
        mi_owner_claim(&mine->context, known, block + before);
    }
}

static void *walk(void *argument) {
    enum { RUN = 256 };
    mi_claims *mine = argument;
    mi_census_shared *all = mine->all;
    size_t count = all->heap->pool_count;
    for (size_t from; (from = atomic_fetch_add(&all->next_pool, RUN)) < count;) {
        size_t to = from + RUN < count ? from + RUN : count;
        if (mi_target_is_late(all->target)) {
            atomic_fetch_add(&all->pools_left, to - from);
            continue;
        }
        for (size_t i = from; i < to; i++) walk_pool(mine, &all->heap->pools[i]);
    }
    for (unsigned at = 0; at < MI_CLAIM_RING; at++) ring_claim(mine, at);
    return NULL;
}

/* ---- false objects -------------------------------------------------------------------------------------------------- */

enum { UNDECIDED, FALSE_OBJECT, TRUE_OBJECT };

static const mi_lookalike *lookalike_at(const mi_lookalike *items, size_t count, uintptr_t block) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (items[middle].block < block)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && items[low].block == block ? &items[low] : NULL;
}

/* A block is a buffer when something that is no false object itself claims it; when all that claims it are false objects
 * it is an object after all. What claim one another in a circle are objects. */
static void judge(mi_lookalike *items, size_t count) {
    mi_sort(items, count, sizeof *items); /* by block */
    for (int changed = 1; changed;) {
        changed = 0;
        for (size_t from = 0, to; from < count; from = to) {
            int open = 0, held = 0;
            for (to = from; to < count && items[to].block == items[from].block; to++) {
                const mi_lookalike *claimer = lookalike_at(items, count, items[to].claimer);
                held |= !claimer || claimer->verdict == TRUE_OBJECT;
                open |= claimer && claimer->verdict == UNDECIDED;
            }
            if (items[from].verdict != UNDECIDED || (!held && open)) continue;
            for (size_t at = from; at < to; at++) items[at].verdict = held ? FALSE_OBJECT : TRUE_OBJECT;
            changed = 1;
        }
    }
}

/* The false objects that claim something themselves; how many there are. */
static size_t exclude(const mi_census_shared *all, mi_lookalike *items, size_t count, uintptr_t *excluded) {
    size_t kept = 0;
    int matters = 0;
    judge(items, count);
    for (size_t i = 0; i < count; i++) {
        if (items[i].verdict != FALSE_OBJECT || (i && items[i].block == items[i - 1].block)) continue;
        const mi_type *type = &all->types->items[items[i].type];
        matters |= type->kind != MI_KIND_PLAIN || all->layout->managed_values != MI_ABSENT;
        excluded[kept++] = items[i].block;
    }
    return matters ? kept : 0;
}

/* ---- tables ---------------------------------------------------------------------------------------------------------- */

static mi_error shared_open(mi_census_shared *all, const mi_census_request *request, mi_census *census) {
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
    for (size_t i = 0; i < heap->arena_count; i++) {
        const mi_arena *arena = &heap->arenas[i];
        uintptr_t start = (uintptr_t)arena->address, pool = (uintptr_t)layout->pool_size;
        if (!mi_os_maps_covers(&request->target->maps, start, (size_t)layout->arena_size)) return MI_E_UNMAPPED;
        uintptr_t pools = (start + pool - 1) / pool * pool;
        all->spans[i] = (mi_arena_span){start, pools, pools + (arena->pools_total - arena->pools_never_used) * pool};
        span_add(all, start >> all->arena_shift, (uint32_t)i);
        if (start & ((uintptr_t)layout->arena_size - 1)) span_add(all, (start >> all->arena_shift) + 1, (uint32_t)i);
    }
    return MI_OK;
}

static void shared_close(mi_census_shared *all, const mi_census *census) {
    mi_os_free(all->slots, sizeof *all->slots << all->slot_bits);
    mi_os_free(all->spans, (all->heap->arena_count + 1) * sizeof *all->spans);
    mi_os_free((void *)all->claimed, census->bitmap_bytes + 8);
}

static size_t counts_size(const mi_census_shared *all) {
    return all->types->count * ((size_t)all->layout->size_classes + 3) * sizeof(int64_t);
}

static size_t claims_size(const mi_census_shared *all) { return sizeof(mi_claims) + counts_size(all); }

static mi_claims *claims_open(mi_census_shared *all) {
    mi_claims *mine = mi_os_alloc(claims_size(all));
    if (!mine) return NULL;
    mine->lookalikes = mi_os_alloc(MI_LOOKALIKES_MOST * sizeof *mine->lookalikes);
    if (!mine->lookalikes) {
        mi_os_free(mine, claims_size(all));
        return NULL;
    }
    size_t types = all->types->count;
    for (int slot = 0; slot < 3; slot++)
        mine->last_word[slot] = all->types->items[0].address; /* item 0, as last_type is */
    mine->all = all;
    mine->context = (mi_owner_context){all->layout, all->types, mine, claim, claim_if_plain, heap_word, heap_room};
    mine->objects = (int64_t *)(mine + 1);
    mine->requested = mine->objects + types * (size_t)all->layout->size_classes;
    mine->large_objects = mine->requested + types;
    mine->large_bytes = mine->large_objects + types;
    return mine;
}

static void claims_close(mi_claims *mine) {
    if (!mine) return;
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

static void gather_type(mi_census *census, const mi_claims *mine, size_t type) {
    const mi_type *known = &mine->all->types->items[type];
    size_t classes = (size_t)mine->all->layout->size_classes;
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

static void gather(mi_census *census, const mi_claims *mine) {
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
static void rest(mi_census *census) {
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

/* ---- all of it ------------------------------------------------------------------------------------------------------- */

typedef struct round_state {
    mi_census_shared all;
    mi_claims *workers[MI_CENSUS_MAX_THREADS];
    int threads;
} round_state;

static void walk_once(round_state *round, const mi_census_request *request) {
    pthread_t started[MI_CENSUS_MAX_THREADS];
    int running[MI_CENSUS_MAX_THREADS] = {0};
    mi_claims *first = round->workers[0];
    claim_types(first);
    mi_census_claim_roots(first, request->roots, request->root_count);
    for (int i = 1; i < round->threads; i++) running[i] = !pthread_create(&started[i], NULL, walk, round->workers[i]);
    walk(first);
    for (int i = 1; i < round->threads; i++)
        if (running[i]) pthread_join(started[i], NULL);
}

static size_t lookalikes_of(round_state *round, mi_lookalike *all) {
    size_t count = 0;
    for (int i = 0; i < round->threads; i++) {
        const mi_claims *mine = round->workers[i];
        for (size_t j = 0; j < mine->lookalike_count && count < MI_LOOKALIKES_MOST; j++)
            all[count++] = mine->lookalikes[j];
    }
    return count;
}

static mi_error round_open(round_state *round, mi_census *census) {
    for (int i = 0; i < round->threads; i++) {
        round->workers[i] = claims_open(&round->all);
        if (!round->workers[i]) return MI_E_MEMORY;
        census->table_bytes += claims_size(&round->all);
    }
    return MI_OK;
}

static void round_close(round_state *round) {
    for (int i = 0; i < round->threads; i++) {
        claims_close(round->workers[i]);
        round->workers[i] = NULL;
    }
}

static void round_reset(round_state *round, const mi_census *census) {
    mi_census_shared *all = &round->all;
    memset((void *)all->claimed, 0, census->bitmap_bytes);
    atomic_store(&all->next_pool, 0);
    atomic_store(&all->pools_left, 0);
}

/* Walks until no false object has claimed anything. */
static mi_error walk_all(round_state *round, const mi_census_request *request, mi_census *census) {
    enum { MOST_ROUNDS = 4 };
    size_t excluded_size = MI_LOOKALIKES_MOST * sizeof(uintptr_t), room = MI_LOOKALIKES_MOST * sizeof(mi_lookalike);
    mi_lookalike *looks = mi_os_alloc(room);
    uintptr_t *excluded = mi_os_alloc(excluded_size);
    mi_error error = looks && excluded ? MI_OK : MI_E_MEMORY;
    for (census->rounds = 1; !error; census->rounds++) {
        error = round_open(round, census);
        if (error) break;
        walk_once(round, request);
        size_t count = lookalikes_of(round, looks);
        if (!count || census->rounds >= MOST_ROUNDS || mi_target_is_late(request->target)) break;
        size_t found = exclude(&round->all, looks, count, excluded);
        if (!found || (found == round->all.excluded_count)) break;
        round->all.excluded = excluded;
        round->all.excluded_count = found;
        round_close(round);
        round_reset(round, census);
    }
    if (!error) {
        for (int i = 0; i < round->threads; i++) gather(census, round->workers[i]);
        census->pools_left = atomic_load(&round->all.pools_left);
        rest(census);
        if (request->guesses) error = mi_census_guess_take(round->workers[0], census);
    }
    round->all.excluded = NULL;
    mi_os_free(looks, room);
    mi_os_free(excluded, excluded_size);
    return error;
}

mi_error mi_census_take(const mi_census_request *request, mi_census *census) {
    round_state round = {.threads = request->threads};
    memset(census, 0, sizeof *census);
    if (request->layout->object_refcount == MI_ABSENT || request->layout->alignment != MI_UNIT) return MI_E_ABSENT;
    if (!round.threads) round.threads = request->heap->pool_count > 8192 ? 2 : 1;
    if (round.threads > MI_CENSUS_MAX_THREADS) round.threads = MI_CENSUS_MAX_THREADS;
    census->types = request->types->count;
    census->threads = round.threads;
    census->objects = mi_os_alloc(census->types * sizeof *census->objects);
    if (!census->objects) return MI_E_MEMORY;
    mi_error error = shared_open(&round.all, request, census);
    uint64_t begun = mi_os_now_ns();
    if (!error) error = walk_all(&round, request, census);
    census->walk_ns = mi_os_now_ns() - begun;
    round_close(&round);
    shared_close(&round.all, census);
    if (error) mi_census_free(census);
    return error;
}

void mi_census_free(mi_census *census) {
    mi_os_free(census->objects, census->types * sizeof *census->objects);
    memset(census, 0, sizeof *census);
}
