/* obmalloc.c - walks pymalloc's arenas: the table, the pool headers, and on request every free list.
 *
 * In this process the headers are read where they lie, once the arena is proven mapped; of another process, or beside
 * running threads, they are copied. One loop serves both. The headers lie pages apart, each a miss of the cache and of the
 * TLB: so that loop is kept short, and nothing is stored for a pool whose record is not asked for. */
#include "obmalloc.h"

#include <string.h>

#include "sort.h"

enum { GRANULE = 16, MAX_GRANULES = 16384 / 16, MAX_MASK = MAX_GRANULES / 64, MAX_HEADER = 64, MAX_POOLS = 128 };
enum { CLOCK_EVERY = 32 }; /* arenas: some 100 us */
enum { AHEAD = 16 };       /* headers fetched in advance; fewer do not keep the memory busy, more gain nothing */

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
        error =
            mi_target_read(target, state + (uintptr_t)layout->pymalloc_maxarenas, &table->count, sizeof table->count);
    return error;
}

/* One arena object; 0 in `address` when it is not allocated. False when it contradicts itself. */
typedef struct arena_entry {
    uintptr_t address, pool_address, first_pool;
    uint32_t index, free_pools, total_pools;
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

/* What a header says of its pool. */
typedef enum pool_state { POOL_TORN, POOL_FREE, POOL_USED } pool_state;

static inline pool_state judge(const walk *walk, const header *header, uint32_t index, uint32_t *touched) {
    if (header->arena_index != index) return POOL_TORN;
    if (!header->count) return POOL_FREE;
    uint32_t size_class = header->size_class, handed_out = header->next_offset - walk->header_size;
    if (size_class >= walk->classes || handed_out > walk->pool_size || handed_out % GRANULE) return POOL_TORN;
    *touched = handed_out / GRANULE * walk->inverse[size_class] >> 16;
    if (*touched * walk->size[size_class] != handed_out || *touched > walk->capacity[size_class] ||
        header->count > *touched)
        return POOL_TORN;
    return POOL_USED;
}

/* ---- one arena ---------------------------------------------------------------------------------------------------- */

/* The headers of an arena's pools: where they lie, or copied behind each other. */
typedef struct headers {
    const unsigned char *first;
    size_t stride;
    uint32_t count;
    uintptr_t next; /* the first of the next arena, to be fetched in time; 0 when it is copied, or there is none */
} headers;

/* Sums of one size class in one arena; the free blocks follow from them. */
typedef struct class_sum {
    uint32_t pools, used, touched;
} class_sum;

static mi_error copy_headers(const walk *walk, uintptr_t first_pool, uint32_t count, unsigned char *copies) {
    mi_error error = MI_OK;
    for (uint32_t i = 0; i < count && !error; i++)
        error = mi_target_read(walk->target, first_pool + i * (uintptr_t)walk->pool_size,
                               copies + i * walk->header_size, walk->header_size);
    return error;
}

/* Goes through the headers once: sums by size class, and `records` unless NULL. Returns how many pools are torn. */
static uint32_t sum_headers(const walk *walk, const headers *headers, uint32_t index, class_sum *sums,
                            uint32_t *free_pools, mi_pool *records) {
    const mi_layout layout = *walk->layout; /* a copy that no store of the loop can be taken to change */
    uintptr_t first = (uintptr_t)headers->first, end = first + headers->count * headers->stride;
    uintptr_t ahead = headers->count > AHEAD ? first + AHEAD * headers->stride : headers->next;
    uint32_t torn = 0, free = 0;
    for (uint32_t i = 0; i < headers->count; i++) {
        const unsigned char *bytes = headers->first + i * headers->stride;
        __builtin_prefetch((const void *)ahead); /* never faults */
        ahead = ahead + headers->stride == end ? headers->next : ahead + headers->stride;
        header header = header_of(&layout, bytes);
        uint32_t touched = 0;
        pool_state state = judge(walk, &header, index, &touched);
        if (state == POOL_USED) {
            class_sum *sum = &sums[header.size_class];
            sum->pools++;
            sum->used += header.count;
            sum->touched += touched;
        }
        free += state == POOL_FREE;
        torn += state == POOL_TORN;
        if (!records) continue;
        mi_pool *record = &records[i];
        record->size_class = MI_POOL_FREE;
        record->torn = state == POOL_TORN;
        if (state != POOL_USED) continue;
        uint32_t capacity = walk->capacity[header.size_class];
        record->size_class = (uint16_t)header.size_class;
        record->used = (uint16_t)header.count;
        record->free = (uint16_t)(capacity - header.count);
        record->untouched = (uint16_t)(capacity - touched);
    }
    *free_pools = free;
    return torn;
}

/* Marks the live blocks of every pool. Returns how many pools are torn that were not by their headers. */
static uint32_t walk_lists(const walk *walk, const mi_view *view, const headers *headers, uint32_t index,
                           uintptr_t first_pool, uint64_t *bits, mi_pool *records) {
    uint32_t torn = 0;
    for (uint32_t i = 0; i < headers->count; i++) {
        uintptr_t address = first_pool + i * (uintptr_t)walk->pool_size;
        const unsigned char *bytes = mi_view_at(view, address);
        if (i + 1 < headers->count) {
            header next = header_of(walk->layout, bytes + walk->pool_size);
            prefetch_list(walk, bytes + walk->pool_size, &next);
        }
        header header = header_of(walk->layout, bytes);
        uint32_t touched;
        if (judge(walk, &header, index, &touched) != POOL_USED) continue;
        if (live_blocks(walk, bytes, address, &header, bits + (address - view->address) / GRANULE / 64)) continue;
        torn++;
        if (records) records[i].torn = 1;
    }
    return torn;
}

/* The sums of an arena into its record, its row of live blocks and the totals of the heap. */
static void add_sums(const walk *walk, const class_sum *sums, mi_arena *arena, uint32_t *row, mi_class_total *totals) {
    for (uint32_t i = 0; i < walk->classes; i++) {
        row[i] = sums[i].used;
        if (!sums[i].pools) continue;
        uint64_t blocks = (uint64_t)sums[i].pools * walk->capacity[i], free = blocks - sums[i].used;
        totals[i].pools += sums[i].pools;
        totals[i].used += sums[i].used;
        totals[i].free += free;
        totals[i].untouched += blocks - sums[i].touched;
        arena->used_blocks += sums[i].used;
        arena->used_bytes += (uint64_t)sums[i].used * walk->size[i];
        arena->free_bytes += free * walk->size[i];
    }
}

static mi_error walk_arena(walk *walk, const arena_entry *entry, const arena_entry *next, int64_t interpreter) {
    mi_heap *heap = walk->heap;
    uint32_t index = entry->index;
    size_t place = heap->arena_count, words = (size_t)walk->layout->arena_size / GRANULE / 64;
    uint32_t carved = (uint32_t)((entry->pool_address - entry->first_pool) / walk->pool_size);
    unsigned char copies[MAX_POOLS * MAX_HEADER];
    class_sum sums[MI_MAX_SIZE_CLASSES];
    headers headers = {.first = copies, .stride = walk->header_size, .count = carved};
    mi_pool *records = walk->what & MI_WALK_POOLS ? heap->pools + heap->pool_count : NULL;
    mi_view view = {0};
    mi_error error = MI_OK;
    /* of memory that has to be copied 64 headers are cheaper than one arena */
    if (walk->what & MI_WALK_BLOCKS || walk->target->kind == MI_TARGET_SELF)
        error = mi_target_view(walk->target, entry->address, (size_t)walk->layout->arena_size, &view);
    else
        error = copy_headers(walk, entry->first_pool, carved, copies);
    if (!error && view.bytes) {
        headers.first = mi_view_at(&view, entry->first_pool);
        headers.stride = walk->pool_size;
        if (walk->target->kind == MI_TARGET_SELF) headers.next = next->first_pool;
    }
    if (error) {
        mi_view_free(&view);
        return error;
    }
    mi_arena *arena = &heap->arenas[heap->arena_count++];
    *arena = (mi_arena){.address = entry->address, .interpreter = interpreter, .index = index};
    arena->pools_total = entry->total_pools;
    arena->pools_never_used = entry->total_pools - carved;
    arena->alignment_bytes = (uint32_t)walk->layout->arena_size - entry->total_pools * walk->pool_size;
    for (uint32_t i = 0; i < carved && records; i++)
        records[i] = (mi_pool){.address = entry->first_pool + i * (uint64_t)walk->pool_size, .arena = (uint32_t)place};
    memset(sums, 0, walk->classes * sizeof *sums);
    uint32_t torn = sum_headers(walk, &headers, index, sums, &arena->pools_free, records);
    add_sums(walk, sums, arena, heap->arena_used + place * walk->classes, heap->classes);
    if (walk->what & MI_WALK_BLOCKS)
        torn += walk_lists(walk, &view, &headers, index, entry->first_pool, heap->blocks + place * words, records);
    mi_view_free(&view);
    heap->torn_pools += torn;
    if (records) heap->pool_count += carved;
    heap->torn_arenas += arena->pools_free + arena->pools_never_used != entry->free_pools;
    return MI_OK;
}

/* ---- all of a table ----------------------------------------------------------------------------------------------- */

static mi_error grow(void **block, size_t *room, size_t wanted, size_t item) {
    if (wanted <= *room && *block) return MI_OK;
    void *grown = *block ? mi_os_realloc(*block, *room * item, wanted * item) : mi_os_alloc_whole(wanted * item);
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
    if (!error) {
        block = heap->arena_used;
        error = grow(&block, &heap->arena_used_room, (heap->arena_count + arenas) * walk->classes,
                     sizeof *heap->arena_used);
        heap->arena_used = block;
    }
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

/* The next allocated arena of the table from *at on; its address is 0 behind the last. */
static void next_entry(const mi_layout *layout, const mi_arena_table *table, const unsigned char *entries, uint32_t *at,
                       arena_entry *entry) {
    *entry = (arena_entry){0};
    while (*at < table->count && !entry->address) {
        entry_of(layout, entries + *at * (size_t)layout->arena_object_size, entry);
        entry->index = (*at)++;
    }
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
    uint32_t at = 0;
    size_t walked = 0;
    arena_entry next;
    for (next_entry(layout, table, entries, &at, &entry); entry.address && !error; entry = next, walked++) {
        /* the clock waits for all that is on its way: it is not looked at for each arena whose headers alone are read */
        if ((walk->what & MI_WALK_BLOCKS || walked % CLOCK_EVERY == 0) && mi_target_is_late(walk->target)) {
            walk->heap->arenas_left += arenas - walked;
            break;
        }
        next_entry(layout, table, entries, &at, &next);
        error = walk_arena(walk, &entry, &next, interpreter);
        if (error == MI_E_UNMAPPED && walk->target->kind != MI_TARGET_SELF) { /* given back since the table was read */
            walk->heap->torn_arenas++;
            error = MI_OK;
        }
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

mi_error mi_obmalloc_addresses(const mi_target *target, const mi_layout *layout, const mi_arena_table *table,
                               uintptr_t *to, size_t *count) {
    size_t entry_size = (size_t)layout->arena_object_size;
    mi_view view;
    *count = 0;
    if (!layout_is_usable(layout)) return MI_E_LAYOUT;
    mi_error error = mi_target_view(target, table->address, table->count * entry_size, &view);
    if (error) return error;
    for (uint32_t i = 0; i < table->count && !error; i++) {
        arena_entry entry;
        if (!entry_of(layout, view.bytes + i * entry_size, &entry))
            error = MI_E_TORN;
        else if (entry.address)
            to[(*count)++] = entry.address;
    }
    mi_view_free(&view);
    return error;
}

int mi_obmalloc_is_mapped(const mi_target *target, const mi_layout *layout, const mi_arena_table *table) {
    size_t entry_size = (size_t)layout->arena_object_size;
    mi_view view;
    if (!table->count || !layout_is_usable(layout)) return 1; /* there is nothing that could be missing */
    if (mi_target_view(target, table->address, table->count * entry_size, &view)) return 0;
    int mapped = 1;
    for (uint32_t i = 0; i < table->count && mapped; i++) {
        arena_entry entry;
        if (entry_of(layout, view.bytes + i * entry_size, &entry) && entry.address)
            mapped = mi_os_maps_covers(&target->maps, entry.address, (size_t)layout->arena_size);
    }
    mi_view_free(&view);
    return mapped;
}

/* ---- blocks of arenas that were walked ---------------------------------------------------------------------------- */

static uint64_t mark_of(const mi_arena *arena) { /* what few blocks keep comes first, what nothing keeps last */
    return arena->used_blocks ? arena->used_bytes : UINT64_MAX;
}

static int mark_arena(const walk *walk, size_t place) {
    const mi_heap *heap = walk->heap;
    const mi_arena *arena = &heap->arenas[place];
    size_t words = (size_t)walk->layout->arena_size / GRANULE / 64;
    uint64_t *bits = heap->blocks + place * words;
    uintptr_t pool_mask = (uintptr_t)walk->pool_size - 1, address = (uintptr_t)arena->address;
    headers headers = {.stride = walk->pool_size, .count = arena->pools_total - arena->pools_never_used};
    mi_view view;
    if (mi_target_view(walk->target, address, (size_t)walk->layout->arena_size, &view)) return 0;
    uint32_t torn = walk_lists(walk, &view, &headers, arena->index, (address + pool_mask) & ~pool_mask, bits, NULL);
    mi_view_free(&view);
    uint64_t live = 0;
    for (size_t word = 0; word < words; word++) live += (uint64_t)__builtin_popcountll(bits[word]);
    if (!torn && live == arena->used_blocks) return 1;
    memset(bits, 0, words * sizeof *bits);
    return 0;
}

mi_error mi_heap_mark(const mi_target *target, const mi_layout *layout, size_t held, mi_heap *heap) {
    struct item {
        uintptr_t key;
        size_t place;
    } *order = mi_os_alloc(heap->arena_count * sizeof *order);
    size_t words = heap->arena_count * ((size_t)layout->arena_size / GRANULE / 64);
    mi_target copies = *target;
    copies.kind = MI_TARGET_COPY;
    walk walk = {.target = target, .layout = layout, .what = MI_WALK_BLOCKS, .heap = heap};
    heap->blocks = mi_os_alloc(words * sizeof *heap->blocks);
    heap->blocks_room = words;
    heap->marked = mi_os_alloc(heap->arena_count);
    mi_error error = order && heap->blocks && heap->marked ? MI_OK : MI_E_MEMORY;
    if (!error) {
        make_classes(&walk);
        make_starts(&walk);
        for (size_t i = 0; i < heap->arena_count; i++) order[i] = (struct item){mark_of(&heap->arenas[i]), i};
        mi_sort(order, heap->arena_count, sizeof *order);
    }
    for (size_t i = 0; i < heap->arena_count && !error && !mi_target_is_late(target); i++) {
        size_t place = order[i].place;
        walk.target = place < held ? target : &copies;
        heap->marked[place] = (unsigned char)mark_arena(&walk, place);
    }
    mi_os_free(order, heap->arena_count * sizeof *order);
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
    mi_os_free(heap->arena_used, heap->arena_used_room * sizeof *heap->arena_used);
    mi_os_free(heap->pools, heap->pool_room * sizeof *heap->pools);
    mi_os_free(heap->blocks, heap->blocks_room * sizeof *heap->blocks);
    if (heap->marked) mi_os_free(heap->marked, heap->arena_count);
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
