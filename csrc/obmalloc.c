/* obmalloc.c - walks pymalloc's arenas: the table, the pool headers, and on request every free list.
 *
 * In this process the headers are read where they lie, once the arena is proven mapped; of another process, or beside
 * running threads, they are copied. One loop serves both. */
#include "obmalloc.h"

#include <string.h>

enum { GRANULE = 16, MAX_GRANULES = 16384 / 16, MAX_MASK = MAX_GRANULES / 64, MAX_HEADER = 64, MAX_POOLS = 128, AHEAD = 12 };

typedef struct walk {
    const mi_target *target;
    const mi_layout *layout;
    unsigned what;
    mi_heap *heap;
    uint32_t header_size, pool_size, classes;
    uint32_t size[MI_MAX_SIZE_CLASSES], capacity[MI_MAX_SIZE_CLASSES];
    uint32_t inverse[MI_MAX_SIZE_CLASSES]; /* granules * inverse >> 16 is granules / (size / GRANULE), for a pool's */
    /* For each size class of a pool: where its blocks begin, a bit per granule. */
    uint64_t starts[MI_MAX_SIZE_CLASSES][MAX_MASK];
} walk;

typedef struct header {
    uint32_t count, arena_index, size_class, next_offset;
    uintptr_t free_block;
} header;

static uint32_t u32_at(const unsigned char *bytes, int32_t offset) {
    uint32_t number;
    memcpy(&number, bytes + offset, sizeof number);
    return number;
}

static uintptr_t word_at(const unsigned char *bytes, int32_t offset) {
    uintptr_t word;
    memcpy(&word, bytes + offset, sizeof word);
    return word;
}

static inline header header_of(const mi_layout *layout, const unsigned char *bytes) {
    return (header){.count = u32_at(bytes, layout->pool_count),
                    .arena_index = u32_at(bytes, layout->pool_arenaindex),
                    .size_class = u32_at(bytes, layout->pool_szidx),
                    .next_offset = u32_at(bytes, layout->pool_nextoffset),
                    .free_block = word_at(bytes, layout->pool_freeblock)};
}

static uint32_t class_size(const mi_layout *layout, uint32_t size_class) {
    return (size_class + 1) * (uint32_t)layout->alignment;
}

static uint32_t class_capacity(const mi_layout *layout, uint32_t size_class) {
    return (uint32_t)(layout->pool_size - layout->pool_header_size) / class_size(layout, size_class);
}

static int layout_is_usable(const mi_layout *layout) {
    return layout->arena_object_size > 0 && layout->pool_size > 0 && layout->pool_size <= MAX_GRANULES * GRANULE &&
           layout->size_classes > 0 && layout->size_classes <= MI_MAX_SIZE_CLASSES &&
           layout->alignment % GRANULE == 0 && layout->pool_header_size <= MAX_HEADER &&
           layout->arena_size % layout->pool_size == 0 && layout->arena_size / layout->pool_size <= MAX_POOLS;
}

/* ---- the table ---------------------------------------------------------------------------------------------------- */

mi_error mi_obmalloc_table(const mi_target *target, const mi_layout *layout, uintptr_t state, mi_arena_table *table) {
    if (!state || layout->pymalloc_arenas == MI_ABSENT) return MI_E_ABSENT;
    *table = (mi_arena_table){0};
    mi_error error = mi_target_word(target, state + (uintptr_t)layout->pymalloc_arenas, &table->address);
    if (!error)
        error = mi_target_read(target, state + (uintptr_t)layout->pymalloc_maxarenas, &table->count,
                               sizeof table->count);
    return error;
}

/* One arena object; 0 in `address` when it is not allocated. False when it contradicts itself. */
typedef struct arena_entry {
    uintptr_t address, pool_address, first_pool;
    uint32_t free_pools, total_pools;
} arena_entry;

static int entry_of(const mi_layout *layout, const unsigned char *bytes, arena_entry *entry) {
    uintptr_t pool_mask = (uintptr_t)layout->pool_size - 1, arena_size = (uintptr_t)layout->arena_size;
    entry->address = word_at(bytes, layout->arena_address);
    if (!entry->address) return 1;
    entry->pool_address = word_at(bytes, layout->arena_pool_address);
    entry->free_pools = u32_at(bytes, layout->arena_nfreepools);
    entry->total_pools = u32_at(bytes, layout->arena_ntotalpools);
    entry->first_pool = (entry->address + pool_mask) & ~pool_mask;
    /* new_arena(): all pools of the arena, less one when it is not aligned to them */
    uint32_t pools = (uint32_t)(arena_size / (uintptr_t)layout->pool_size) - (entry->first_pool != entry->address);
    return entry->address % GRANULE == 0 && entry->address + arena_size > entry->address &&
           entry->total_pools == pools && entry->free_pools <= pools && entry->pool_address % (pool_mask + 1) == 0 &&
           entry->pool_address >= entry->first_pool &&
           entry->pool_address <= entry->first_pool + pools * (uintptr_t)layout->pool_size;
}

/* ---- one pool ----------------------------------------------------------------------------------------------------- */

/* Divisions are made here once: there are 64 pools in every MiB. */
static void make_classes(walk *walk) {
    walk->header_size = (uint32_t)walk->layout->pool_header_size;
    walk->pool_size = (uint32_t)walk->layout->pool_size;
    walk->classes = (uint32_t)walk->layout->size_classes;
    for (uint32_t i = 0; i < (uint32_t)walk->layout->size_classes; i++) {
        walk->size[i] = class_size(walk->layout, i);
        walk->capacity[i] = class_capacity(walk->layout, i);
        walk->inverse[i] = (65536 + walk->size[i] / GRANULE - 1) / (walk->size[i] / GRANULE);
    }
}

static void make_starts(walk *walk) {
    const mi_layout *layout = walk->layout;
    for (uint32_t size_class = 0; size_class < (uint32_t)layout->size_classes; size_class++) {
        uint32_t at = (uint32_t)layout->pool_header_size, size = class_size(layout, size_class);
        for (uint32_t i = 0; i < class_capacity(layout, size_class); i++, at += size)
            walk->starts[size_class][at / GRANULE / 64] |= 1ull << (at / GRANULE % 64);
    }
}

/* The blocks in use of one pool as bits: those touched, less the ones on the free list, which is followed once. Each
 * free block must be a set bit, so a list that leaves the pool, hits the middle of a block or closes on itself ends. */
static int live_blocks(const walk *walk, const unsigned char *bytes, uintptr_t pool, const header *header,
                       uint64_t *mask) {
    size_t words = (size_t)walk->layout->pool_size / GRANULE / 64;
    uint32_t end = header->next_offset / GRANULE;
    memcpy(mask, walk->starts[header->size_class], words * sizeof *mask);
    if (end < words * 64) {
        mask[end / 64] &= (1ull << (end % 64)) - 1;
        for (size_t word = end / 64 + 1; word < words; word++) mask[word] = 0;
    }
    for (uintptr_t block = header->free_block; block;) {
        uintptr_t offset = block - pool;
        if (offset >= (uintptr_t)walk->layout->pool_size || offset % GRANULE) return 0;
        uint64_t bit = 1ull << (offset / GRANULE % 64), *word = &mask[offset / GRANULE / 64];
        if (!(*word & bit)) return 0;
        *word &= ~bit;
        memcpy(&block, bytes + offset, sizeof block);
    }
    uint32_t live = 0;
    for (size_t word = 0; word < words; word++) live += (uint32_t)__builtin_popcountll(mask[word]);
    return live == header->count;
}

/* The lines of a pool that its free list may pass through: fetched while the one before is worked on. */
static void prefetch_list(const walk *walk, const unsigned char *bytes, const header *header) {
    if (!header->count || !header->free_block || header->next_offset > walk->pool_size) return;
    for (uint32_t at = 64; at < header->next_offset; at += 64) __builtin_prefetch(bytes + at);
}

/* A pool's header as a record; false when it contradicts itself. */
static inline int take_pool(const walk *walk, const header *header, uint32_t index, mi_pool *record) {
    record->size_class = MI_POOL_FREE;
    if (header->arena_index != index) return 0;
    if (!header->count) return 1;
    uint32_t size_class = header->size_class, handed_out = header->next_offset - walk->header_size;
    if (size_class >= walk->classes || handed_out > walk->pool_size || handed_out % GRANULE) return 0;
    uint32_t capacity = walk->capacity[size_class];
    uint32_t touched = handed_out / GRANULE * walk->inverse[size_class] >> 16;
    if (touched * walk->size[size_class] != handed_out || touched > capacity || header->count > touched) return 0;
    record->size_class = (uint16_t)size_class;
    record->used = (uint16_t)header->count;
    record->free = (uint16_t)(capacity - header->count);
    record->untouched = (uint16_t)(capacity - touched);
    return 1;
}

/* ---- one arena ---------------------------------------------------------------------------------------------------- */

/* The figures of an arena and of the size classes, from the records of its pools. */
static void add_pool(const walk *walk, const mi_pool *record, mi_arena *arena, mi_class_total *classes) {
    if (record->size_class == MI_POOL_FREE) {
        arena->pools_free += !record->torn;
        return;
    }
    uint32_t size = walk->size[record->size_class];
    mi_class_total *total = &classes[record->size_class];
    total->pools++;
    total->used += record->used;
    total->free += record->free;
    total->untouched += record->untouched;
    arena->used_blocks += record->used;
    arena->used_bytes += (uint64_t)record->used * size;
    arena->free_bytes += (uint64_t)record->free * size;
}

/* The headers of an arena's pools, gathered in one short loop: they lie pages apart, so each is a miss of the cache and of
 * the TLB, and only a loop without anything else in it keeps many of them on their way at once. */
static mi_error gather(const walk *walk, const mi_view *view, uintptr_t first_pool, uint32_t carved, header *headers) {
    const mi_layout layout = *walk->layout; /* a copy that no store of the loop can be taken to change */
    size_t pool_size = (size_t)layout.pool_size;
    if (view->bytes) {
        const unsigned char *first = mi_view_at(view, first_pool);
        for (uint32_t i = 0; i < carved; i++) {
            __builtin_prefetch(first + (i + AHEAD) * pool_size); /* of the next arena at the end: it never faults */
            headers[i] = header_of(&layout, first + i * pool_size);
        }
        return MI_OK;
    }
    for (uint32_t i = 0; i < carved; i++) {
        unsigned char copy[MAX_HEADER];
        mi_error error = mi_target_read(walk->target, first_pool + i * pool_size, copy, walk->header_size);
        if (error) return error;
        headers[i] = header_of(&layout, copy);
    }
    return MI_OK;
}

static void walk_lists(const walk *walk, const mi_view *view, const header *headers, uint32_t carved,
                       uintptr_t first_pool, uint64_t *bits, mi_pool *records) {
    for (uint32_t i = 0; i < carved; i++) {
        uintptr_t address = first_pool + i * (uintptr_t)walk->pool_size;
        const unsigned char *bytes = mi_view_at(view, address);
        if (i + 1 < carved) prefetch_list(walk, bytes + walk->pool_size, &headers[i + 1]);
        if (!headers[i].count || records[i].torn) continue;
        records[i].torn =
            !live_blocks(walk, bytes, address, &headers[i], bits + (address - view->address) / GRANULE / 64);
    }
}

static mi_error walk_arena(walk *walk, const arena_entry *entry, uint32_t index, int64_t interpreter) {
    mi_heap *heap = walk->heap;
    size_t place = heap->arena_count, words = (size_t)walk->layout->arena_size / GRANULE / 64;
    uint32_t carved = (uint32_t)((entry->pool_address - entry->first_pool) / walk->pool_size);
    header headers[MAX_POOLS];
    mi_pool records[MAX_POOLS];
    mi_view view = {0};
    mi_error error = MI_OK;
    /* of memory that has to be copied 64 headers are cheaper than one arena */
    if (walk->what & MI_WALK_BLOCKS || walk->target->kind == MI_TARGET_SELF)
        error = mi_target_view(walk->target, entry->address, (size_t)walk->layout->arena_size, &view);
    if (!error) error = gather(walk, &view, entry->first_pool, carved, headers);
    if (error) {
        mi_view_free(&view);
        return error;
    }
    mi_arena arena = {.address = entry->address, .interpreter = interpreter, .index = index};
    arena.pools_total = entry->total_pools;
    arena.pools_never_used = entry->total_pools - carved;
    arena.alignment_bytes = (uint32_t)walk->layout->arena_size - entry->total_pools * walk->pool_size;
    for (uint32_t i = 0; i < carved; i++) {
        records[i] = (mi_pool){.address = entry->first_pool + i * (uint64_t)walk->pool_size, .arena = (uint32_t)place};
        records[i].torn = !take_pool(walk, &headers[i], index, &records[i]);
        add_pool(walk, &records[i], &arena, heap->classes);
    }
    if (walk->what & MI_WALK_BLOCKS)
        walk_lists(walk, &view, headers, carved, entry->first_pool, heap->blocks + place * words, records);
    mi_view_free(&view);
    for (uint32_t i = 0; i < carved; i++) heap->torn_pools += records[i].torn;
    if (walk->what & MI_WALK_POOLS) {
        memcpy(heap->pools + heap->pool_count, records, carved * sizeof *records);
        heap->pool_count += carved;
    }
    heap->torn_arenas += arena.pools_free + arena.pools_never_used != entry->free_pools;
    heap->arenas[heap->arena_count++] = arena;
    return MI_OK;
}

/* ---- all of a table ----------------------------------------------------------------------------------------------- */

static mi_error grow(void **block, size_t *room, size_t wanted, size_t item) {
    if (wanted <= *room && *block) return MI_OK;
    void *grown = mi_os_realloc(*block, *room * item, wanted * item);
    if (!grown) return MI_E_MEMORY;
    *block = grown;
    *room = wanted;
    return MI_OK;
}

static mi_error make_room(const walk *walk, size_t arenas, size_t pools) {
    mi_heap *heap = walk->heap;
    size_t words = (size_t)walk->layout->arena_size / GRANULE / 64;
    void *block = heap->arenas;
    mi_error error = grow(&block, &heap->arena_room, heap->arena_count + arenas, sizeof *heap->arenas);
    heap->arenas = block;
    if (!error && walk->what & MI_WALK_POOLS) {
        block = heap->pools;
        error = grow(&block, &heap->pool_room, heap->pool_count + pools, sizeof *heap->pools);
        heap->pools = block;
    }
    if (!error && walk->what & MI_WALK_BLOCKS) {
        block = heap->blocks;
        error = grow(&block, &heap->blocks_room, (heap->arena_count + arenas) * words, sizeof *heap->blocks);
        heap->blocks = block;
        if (!error) memset(heap->blocks + heap->arena_count * words, 0, arenas * words * sizeof *heap->blocks);
    }
    return error;
}

static mi_error walk_entries(walk *walk, const mi_arena_table *table, const unsigned char *entries,
                             int64_t interpreter) {
    const mi_layout *layout = walk->layout;
    size_t arenas = 0, pools = 0;
    arena_entry entry;
    for (uint32_t i = 0; i < table->count; i++) {
        if (!entry_of(layout, entries + i * (size_t)layout->arena_object_size, &entry)) return MI_E_TORN;
        if (!entry.address) continue;
        arenas++;
        pools += (entry.pool_address - entry.first_pool) / (size_t)layout->pool_size;
    }
    mi_error error = arenas ? make_room(walk, arenas, pools) : MI_OK;
    for (uint32_t i = 0; i < table->count && !error; i++) {
        entry_of(layout, entries + i * (size_t)layout->arena_object_size, &entry);
        if (!entry.address) continue;
        if (mi_target_is_late(walk->target)) {
            walk->heap->arenas_left += arenas;
            break;
        }
        arenas--;
        error = walk_arena(walk, &entry, i, interpreter);
    }
    return error;
}

mi_error mi_obmalloc_walk(const mi_target *target, const mi_layout *layout, const mi_arena_table *table,
                          int64_t interpreter, unsigned what, mi_heap *heap) {
    walk walk = {.target = target, .layout = layout, .what = what, .heap = heap};
    mi_heap before = *heap;
    mi_view view;
    if (!layout_is_usable(layout)) return MI_E_LAYOUT;
    if (!table->address || !table->count) return MI_OK; /* nothing was allocated yet */
    make_classes(&walk);
    if (what & MI_WALK_BLOCKS) make_starts(&walk);
    mi_error error = mi_target_view(target, table->address, table->count * (size_t)layout->arena_object_size, &view);
    if (error) return error;
    /* The table may be written while it is gone through (COPY, PROCESS): the view is a copy then. */
    error = walk_entries(&walk, table, view.bytes, interpreter);
    mi_view_free(&view);
    if (error) mi_heap_cut(heap, &before);
    return error;
}

void mi_heap_cut(mi_heap *heap, const mi_heap *before) {
    heap->arena_count = before->arena_count;
    heap->pool_count = before->pool_count;
    heap->torn_pools = before->torn_pools;
    heap->torn_arenas = before->torn_arenas;
    heap->arenas_left = before->arenas_left;
    memcpy(heap->classes, before->classes, sizeof heap->classes);
}

void mi_heap_free(mi_heap *heap) {
    mi_os_free(heap->arenas, heap->arena_room * sizeof *heap->arenas);
    mi_os_free(heap->pools, heap->pool_room * sizeof *heap->pools);
    mi_os_free(heap->blocks, heap->blocks_room * sizeof *heap->blocks);
    memset(heap, 0, sizeof *heap);
}

/* ---- one address -------------------------------------------------------------------------------------------------- */

mi_error mi_obmalloc_place(const mi_target *target, const mi_layout *layout, const mi_arena_table *table,
                           uintptr_t address, mi_block_place *place) {
    unsigned char bytes[256];
    arena_entry entry;
    memset(place, 0, sizeof *place);
    if (!layout_is_usable(layout) || layout->arena_object_size > (int32_t)sizeof bytes) return MI_E_LAYOUT;
    uintptr_t pool = address & ~((uintptr_t)layout->pool_size - 1);
    if (!table->address || mi_target_read(target, pool, bytes, (size_t)layout->pool_header_size)) return MI_E_ABSENT;
    /* As address_in_range() does without the radix tree: what may not be a pool names an arena, and the arena decides. */
    header header = header_of(layout, bytes);
    if (header.arena_index >= table->count) return MI_E_ABSENT;
    uintptr_t at = table->address + header.arena_index * (uintptr_t)layout->arena_object_size;
    if (mi_target_read(target, at, bytes, (size_t)layout->arena_object_size)) return MI_E_ABSENT;
    if (!entry_of(layout, bytes, &entry) || !entry.address || pool < entry.first_pool || pool >= entry.pool_address)
        return MI_E_ABSENT;
    uintptr_t offset = address - pool;
    if (header.size_class >= (uint32_t)layout->size_classes || offset < (uintptr_t)layout->pool_header_size)
        return MI_E_ABSENT;
    uint32_t capacity = class_capacity(layout, header.size_class);
    *place = (mi_block_place){.pool = pool, .arena = entry.address, .arena_index = header.arena_index};
    place->size_class = header.size_class;
    place->size = class_size(layout, header.size_class);
    place->index_in_pool = (uint32_t)((offset - (uintptr_t)layout->pool_header_size) / place->size);
    place->block = pool + (uintptr_t)layout->pool_header_size + place->index_in_pool * place->size;
    place->used = header.count;
    place->free = header.count <= capacity ? capacity - header.count : 0;
    return place->index_in_pool < capacity ? MI_OK : MI_E_ABSENT;
}
