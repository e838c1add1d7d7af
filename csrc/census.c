/* census.c - the walk of census.h. */
#include "census.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { MASK_WORDS = 64, RING = 32, UNIT = 16 }; /* a pool of 64 KiB at most, in units of the alignment */

/* Where an arena's pools are; found from an address by hash. */
typedef struct arena_span {
    uintptr_t start, pools, pools_end;
} arena_span;

typedef struct shared {
    const mi_layout *layout;
    const mi_heap *heap;
    const mi_types *types;
    arena_span *spans;
    uint32_t *slots; /* open addressing over address / arena_size; span + 1 */
    unsigned slot_bits, arena_shift;
    _Atomic uint64_t *claimed; /* one bit per 16 bytes of each arena */
    size_t claimed_words_per_arena;
    uint32_t padding, pool_mask;
    uint32_t reciprocal[MI_MAX_SIZE_CLASSES];
    atomic_size_t next_pool; /* pools are handed out to the threads in runs */
} shared;

typedef struct mi_claims { /* of one thread */
    shared *all;
    mi_owner_context context;
    uint32_t *objects; /* type * size classes */
    uint32_t *objects_back;
    mi_census_row buffers[MI_OWNERS], unknown, live;
    uint64_t outside, misplaced, free, small, again, looked_like_objects, typed_unknown;
    uintptr_t last_word[3];
    int last_type[3];
    struct {
        uintptr_t address;
        size_t size;
        mi_owner owner;
    } ring[RING];
    unsigned ring_next;
    size_t last_span;
} claims;

/* ---- addresses ------------------------------------------------------------------------------------------------------ */

static size_t slot_of(const shared *all, uintptr_t key) {
    return (size_t)((key * 0x9E3779B97F4A7C15u) >> (64 - all->slot_bits));
}

static void span_add(shared *all, uintptr_t key, uint32_t span) {
    size_t mask = ((size_t)1 << all->slot_bits) - 1, at = slot_of(all, key);
    while (all->slots[at]) at = (at + 1) & mask;
    all->slots[at] = span + 1;
}

/* The span whose pools hold `address`, or -1. An arena touches two slots, so both its keys are in the table. */
static long span_find(const shared *all, uintptr_t address) {
    uintptr_t key = address >> all->arena_shift;
    size_t mask = ((size_t)1 << all->slot_bits) - 1;
    for (size_t at = slot_of(all, key); all->slots[at]; at = (at + 1) & mask) {
        const arena_span *span = &all->spans[all->slots[at] - 1];
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

/* The type of an object that begins `before` bytes into the block, or -1: its type is known, just that much lies before
 * its objects, its count is one a living object can have, and it fits. */
static int type_at(claims *mine, uintptr_t block, uint32_t room, unsigned slot) {
    const shared *all = mine->all;
    uint32_t before = slot * UNIT, header = (uint32_t)all->layout->object_size;
    if (room < before + header) return -1;
    uintptr_t object = block + before, word;
    memcpy(&word, (const void *)(object + (uintptr_t)all->layout->object_type), sizeof word);
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
    memcpy(&count, (const void *)(object + (uintptr_t)all->layout->object_refcount), sizeof count);
    if (all->layout->object_refcount_size == 4) count = (int64_t)(uint32_t)count; /* flags lie behind it */
    return count > 0 && count <= 0xffffffffll ? type : -1;
}

static int classify(claims *mine, uintptr_t block, uint32_t size) {
    uint32_t padding = mine->all->padding;
    if (padding) {
        if (size < padding * 3 / 2 + (uint32_t)mine->all->layout->object_size) return -1;
        block += padding;
        size -= padding * 3 / 2; /* _PyMem_DebugRawAlloc: two words before, one behind (and a serial number) */
    }
    for (unsigned slot = 0; slot < 3; slot++) {
        int type = type_at(mine, block, size, slot);
        if (type >= 0) return type;
    }
    return -1;
}

/* ---- claims --------------------------------------------------------------------------------------------------------- */

/* The block in use that begins at `address`, by its pool's header; its size, 0 when there is none. */
static uint32_t block_at(claims *mine, uintptr_t address, size_t *span, uint32_t *size_class) {
    shared *all = mine->all;
    const arena_span *near = &all->spans[mine->last_span];
    long found = address >= near->pools && address < near->pools_end ? (long)mine->last_span : span_find(all, address);
    if (found < 0) {
        mine->outside++;
        return 0;
    }
    mine->last_span = *span = (size_t)found;
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
    *size_class = class;
    return size;
}

/* True when the block is on its pool's free list. */
static int is_free(const shared *all, uintptr_t block) {
    uintptr_t pool = block & ~(uintptr_t)all->pool_mask, next;
    uint32_t end = number_at(pool, all->layout->pool_nextoffset), left = (all->pool_mask + 1) / UNIT;
    memcpy(&next, (const void *)(pool + (uintptr_t)all->layout->pool_freeblock), sizeof next);
    while (next && left--) {
        if (next == block) return 1;
        if (next - pool >= end || next % UNIT) return 0;
        memcpy(&next, (const void *)next, sizeof next);
    }
    return 0;
}

static int claim_now(claims *mine, uintptr_t address, mi_owner owner, size_t size) {
    shared *all = mine->all;
    size_t span;
    uint32_t class, block_size;
    if (!address) return 0;
    address -= all->padding;
    block_size = block_at(mine, address, &span, &class);
    if (!block_size) return 0;
    if (size + all->padding * 3 / 2 > block_size) {
        mine->small++;
        return 0;
    }
    if (owner > MI_OWNER_SET_TABLE && is_free(all, address)) { /* the frequent owners are exact */
        mine->free++;
        return 0;
    }
    size_t bit = (address - all->spans[span].start) / UNIT;
    _Atomic uint64_t *word = &all->claimed[span * all->claimed_words_per_arena + bit / 64];
    uint64_t mask = 1ull << (bit % 64);
    if (atomic_fetch_or_explicit(word, mask, memory_order_relaxed) & mask) {
        mine->again++;
        return 1;
    }
    mine->buffers[owner].blocks[class]++;
    int type = classify(mine, address, block_size);
    if (type >= 0) {
        mine->objects_back[(size_t)type * MI_MAX_SIZE_CLASSES + class]++;
        mine->looked_like_objects++;
    }
    return 1;
}

/* Claims wait in a ring while their lines are fetched. */
static void claim_later(claims *mine, uintptr_t address, mi_owner owner, size_t size) {
    unsigned at = mine->ring_next++ % RING;
    if (mine->ring[at].address) claim_now(mine, mine->ring[at].address, mine->ring[at].owner, mine->ring[at].size);
    mine->ring[at].address = address;
    mine->ring[at].owner = owner;
    mine->ring[at].size = size;
    __builtin_prefetch((const void *)(address & ~(uintptr_t)mine->all->pool_mask));
    __builtin_prefetch((const void *)(address - mine->all->padding));
}

static void claim_rest(claims *mine) {
    for (unsigned at = 0; at < RING; at++) {
        if (mine->ring[at].address) claim_now(mine, mine->ring[at].address, mine->ring[at].owner, mine->ring[at].size);
        mine->ring[at].address = 0;
    }
}

/* A word whose meaning is not known: never takes what types as an object. */
static void claim_word(claims *mine, uintptr_t word, mi_owner owner) {
    size_t span;
    uint32_t class, size;
    if (word % UNIT || span_find(mine->all, word) < 0) return;
    size = block_at(mine, word - mine->all->padding, &span, &class);
    if (size && classify(mine, word - mine->all->padding, size) < 0)
        claim_now(mine, word, owner, 0);
}

static void claim_roots(claims *mine, const mi_target *target, const mi_census_roots *roots) {
    if (!mi_os_maps_covers(&target->maps, roots->address, roots->size)) return;
    for (size_t at = 0; at + sizeof(uintptr_t) <= roots->size; at += sizeof(uintptr_t)) {
        uintptr_t word;
        memcpy(&word, (const void *)(roots->address + at), sizeof word);
        claim_word(mine, word, MI_OWNER_INTERPRETER);
    }
}

/* Types are larger than a block can be: what they own is claimed from the table, not from the walk. */
static void claim_types(claims *mine, const mi_target *target) {
    const shared *all = mine->all;
    for (size_t i = 0; i < all->types->count; i++) {
        static const mi_type as_type = {.kind = MI_KIND_TYPE};
        uintptr_t type = all->types->items[i].address;
        if (mi_os_maps_covers(&target->maps, type, (size_t)all->layout->heap_type_size))
            mi_owner_claim(&mine->context, &as_type, type);
    }
}

static int claim(struct mi_claims *mine, uintptr_t address, mi_owner owner, size_t size) {
    if (!address) return 0;
    if (owner > MI_OWNER_SET_TABLE) return claim_now(mine, address, owner, size);
    claim_later(mine, address, owner, size); /* the frequent ones, whose answer nobody waits for */
    return 1;
}

static int heap_word(struct mi_claims *mine, uintptr_t address, uintptr_t *word) {
    if (address % sizeof *word || span_find(mine->all, address) < 0) return 0;
    memcpy(word, (const void *)address, sizeof *word);
    return 1;
}

/* ---- the walk ------------------------------------------------------------------------------------------------------- */

/* Sets a bit for each block of the pool that is on its free list; the list is bounded by the pool. */
static void free_mask(const shared *all, const mi_pool *pool, uint64_t *mask) {
    uintptr_t start = (uintptr_t)pool->address, block;
    uint32_t end = number_at(start, all->layout->pool_nextoffset), left = pool->free;
    memset(mask, 0, MASK_WORDS * sizeof *mask);
    if (pool->free == pool->untouched) return; /* nothing was given back: a full or fresh pool */
    for (uint32_t line = 0; line < end; line += 64) __builtin_prefetch((const void *)(start + line));
    memcpy(&block, (const void *)(start + (uintptr_t)all->layout->pool_freeblock), sizeof block);
    while (block && left--) {
        uintptr_t offset = block - start;
        if (offset >= end || offset % UNIT) return;
        mask[offset / UNIT / 64] |= 1ull << (offset / UNIT % 64);
        memcpy(&block, (const void *)block, sizeof block);
    }
}

static void walk_pool(claims *mine, const mi_pool *pool) {
    const shared *all = mine->all;
    const mi_layout *layout = all->layout;
    uint32_t class = pool->size_class;
    if (class == MI_POOL_FREE || pool->torn) return;
    uint64_t mask[MASK_WORDS];
    free_mask(all, pool, mask);
    uintptr_t start = (uintptr_t)pool->address;
    uint32_t size = (class + 1) * (uint32_t)layout->alignment, end = number_at(start, layout->pool_nextoffset);
    mine->live.blocks[class] += pool->used;
    for (uint32_t offset = (uint32_t)layout->pool_header_size; offset < end && offset + size <= all->pool_mask + 1u;
         offset += size) {
        if (mask[offset / UNIT / 64] >> (offset / UNIT % 64) & 1) continue;
        int type = classify(mine, start + offset, size);
        if (type < 0) continue;
        const mi_type *known = &all->types->items[type];
        mine->objects[(size_t)type * MI_MAX_SIZE_CLASSES + class]++;
        if (known->kind != MI_KIND_PLAIN || layout->managed_values != MI_ABSENT)
            mi_owner_claim(&mine->context, known, start + offset + all->padding + known->preheader);
    }
}

static void *walk(void *argument) {
    enum { RUN = 256 };
    claims *mine = argument;
    shared *all = mine->all;
    for (size_t from; (from = atomic_fetch_add(&all->next_pool, RUN)) < all->heap->pool_count;)
        for (size_t i = from; i < from + RUN && i < all->heap->pool_count; i++) walk_pool(mine, &all->heap->pools[i]);
    claim_rest(mine);
    return NULL;
}

/* ---- tables ---------------------------------------------------------------------------------------------------------- */

static size_t counts_size(const mi_types *types) { return types->count * MI_MAX_SIZE_CLASSES * sizeof(uint32_t); }

static mi_error shared_open(shared *all, const mi_target *target, const mi_layout *layout, const mi_heap *heap,
                            const mi_types *types, uint32_t padding, mi_census *census) {
    memset(all, 0, sizeof *all);
    all->layout = layout;
    all->heap = heap;
    all->types = types;
    all->padding = padding;
    all->pool_mask = (uint32_t)layout->pool_size - 1;
    while ((1u << all->arena_shift) < (uint32_t)layout->arena_size) all->arena_shift++;
    for (all->slot_bits = 8; (size_t)1 << all->slot_bits < heap->arena_count * 8; all->slot_bits++) {
    }
    for (uint32_t class = 0; class < (uint32_t)layout->size_classes; class++)
        all->reciprocal[class] = (uint32_t)((1ull << 32) / ((class + 1) * (uint32_t)layout->alignment)) + 1;
    all->claimed_words_per_arena = (size_t)layout->arena_size / UNIT / 64;
    size_t slots = sizeof *all->slots << all->slot_bits, spans = heap->arena_count * sizeof *all->spans;
    census->bitmap_bytes = heap->arena_count * all->claimed_words_per_arena * 8;
    census->table_bytes = slots + spans;
    all->slots = mi_os_alloc(slots);
    all->spans = mi_os_alloc(spans);
    all->claimed = mi_os_alloc(census->bitmap_bytes);
    if (!all->slots || !all->spans || !all->claimed) return MI_E_MEMORY;
    for (size_t i = 0; i < heap->arena_count; i++) {
        const mi_arena *arena = &heap->arenas[i];
        uintptr_t start = (uintptr_t)arena->address, pool = (uintptr_t)layout->pool_size;
        if (!mi_os_maps_covers(&target->maps, start, (size_t)layout->arena_size)) return MI_E_UNMAPPED;
        uintptr_t pools = (start + pool - 1) / pool * pool;
        all->spans[i] = (arena_span){start, pools, pools + (arena->pools_total - arena->pools_never_used) * pool};
        span_add(all, start >> all->arena_shift, (uint32_t)i);
        if (start & ((uintptr_t)layout->arena_size - 1)) span_add(all, (start >> all->arena_shift) + 1, (uint32_t)i);
    }
    return MI_OK;
}

static void shared_close(shared *all, const mi_census *census) {
    mi_os_free(all->slots, sizeof *all->slots << all->slot_bits);
    mi_os_free(all->spans, all->heap->arena_count * sizeof *all->spans);
    mi_os_free((void *)all->claimed, census->bitmap_bytes);
}

static claims *claims_open(shared *all) {
    claims *mine = mi_os_alloc(sizeof *mine);
    if (!mine) return NULL;
    mine->all = all;
    mine->context = (mi_owner_context){all->layout, all->types, mine, claim, heap_word};
    mine->objects = mi_os_alloc(counts_size(all->types));
    mine->objects_back = mi_os_alloc(counts_size(all->types));
    return mine;
}

static void claims_close(claims *mine) {
    if (!mine) return;
    mi_os_free(mine->objects, counts_size(mine->all->types));
    mi_os_free(mine->objects_back, counts_size(mine->all->types));
    mi_os_free(mine, sizeof *mine);
}

static void row_add(mi_census_row *to, const mi_census_row *from) {
    for (int class = 0; class < MI_MAX_SIZE_CLASSES; class++) to->blocks[class] += from->blocks[class];
}

static void gather(mi_census *census, const claims *mine) {
    for (size_t type = 0; type < census->types; type++)
        for (size_t class = 0; class < MI_MAX_SIZE_CLASSES; class++) {
            size_t at = type * MI_MAX_SIZE_CLASSES + class;
            census->objects[type].blocks[class] += mine->objects[at];
            census->objects[type].blocks[class] -= mine->objects_back[at];
        }
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
    for (int class = 0; class < MI_MAX_SIZE_CLASSES; class++) {
        uint64_t known = 0;
        for (size_t type = 0; type < census->types; type++) known += census->objects[type].blocks[class];
        for (int owner = 0; owner < MI_OWNERS; owner++) known += census->buffers[owner].blocks[class];
        census->unknown.blocks[class] = census->live.blocks[class] - known;
    }
}

mi_error mi_census_take(const mi_target *target, const mi_layout *layout, const mi_heap *heap, const mi_types *types,
                        uint32_t padding, int threads, const mi_census_roots *roots, size_t root_count, mi_census *census) {
    shared all;
    claims *workers[MI_CENSUS_MAX_THREADS] = {NULL};
    pthread_t started[MI_CENSUS_MAX_THREADS];
    int running[MI_CENSUS_MAX_THREADS] = {0};
    memset(census, 0, sizeof *census);
    if (layout->object_refcount == MI_ABSENT || layout->alignment != UNIT) return MI_E_ABSENT;
    if (!threads) threads = heap->pool_count > 8192 ? 2 : 1;
    if (threads > MI_CENSUS_MAX_THREADS) threads = MI_CENSUS_MAX_THREADS;
    census->types = types->count;
    census->threads = threads;
    census->objects = mi_os_alloc(types->count * sizeof *census->objects);
    mi_error error = census->objects ? shared_open(&all, target, layout, heap, types, padding, census) : MI_E_MEMORY;
    if (!census->objects) return error;
    for (int i = 0; i < threads && !error; i++) {
        workers[i] = claims_open(&all);
        if (!workers[i] || !workers[i]->objects || !workers[i]->objects_back) error = MI_E_MEMORY;
        census->table_bytes += sizeof(claims) + 2 * counts_size(types);
    }
    if (!error) {
        uint64_t begun = mi_os_now_ns();
        for (size_t i = 0; i < root_count; i++) claim_roots(workers[0], target, &roots[i]);
        claim_types(workers[0], target);
        for (int i = 1; i < threads; i++) running[i] = !pthread_create(&started[i], NULL, walk, workers[i]);
        walk(workers[0]);
        for (int i = 1; i < threads; i++)
            if (running[i]) pthread_join(started[i], NULL);
        for (int i = 0; i < threads; i++) gather(census, workers[i]);
        rest(census);
        census->walk_ns = mi_os_now_ns() - begun;
    }
    for (int i = 0; i < threads; i++) claims_close(workers[i]);
    shared_close(&all, census);
    if (error) mi_census_free(census);
    return error;
}

void mi_census_free(mi_census *census) {
    mi_os_free(census->objects, census->types * sizeof *census->objects);
    memset(census, 0, sizeof *census);
}
