/* census_large.c - finds malloc's chunks and enters them into the map of census_large.h. */
#include "census_large.h"

#include <string.h>

#include "resident_survey.h"
#include "runtime.h"
#include "sort.h"

enum { OWN_BLOCKS_MOST = 1024, MMAPPED_MOST = 1 << 17 };
#define EACH 0x1111111111111111u /* the lowest bit of each granule of a word */

/* ---- the map --------------------------------------------------------------------------------------------------------- */

static size_t words_of(const mi_large_span *span) {
    if (span->header) return 1;
    if (span->stride) return (size_t)((span->end - span->start) / span->stride) / MI_LARGE_PER_WORD + 1;
    uintptr_t first = span->start / MI_LARGE_GRANULE, last = (span->end - 1) / MI_LARGE_GRANULE;
    return (size_t)(last - first) / MI_LARGE_PER_WORD + 1;
}

mi_large_span *mi_large_add_span(mi_large *large, mi_large_span span) {
    if (large->span_count == large->span_room) {
        size_t room = large->span_room ? large->span_room * 2 : 4096;
        void *grown = mi_os_realloc(large->spans, large->span_room * sizeof *large->spans, room * sizeof *large->spans);
        if (!grown) {
            large->failed = 1;
            return NULL;
        }
        large->spans = grown;
        large->span_room = room;
    }
    span.word = large->map_words;
    size_t words = large->map_words + words_of(&span);
    if (words > large->map_room) {
        size_t room = words + words / 4 + 4096;
        void *grown = mi_os_realloc((void *)large->map, large->map_room * sizeof(uint64_t), room * sizeof(uint64_t));
        if (!grown) {
            large->failed = 1;
            return NULL;
        }
        large->map = grown;
        large->map_room = room;
    }
    large->map_words = words;
    large->spans[large->span_count] = span;
    return &large->spans[large->span_count++];
}

static mi_large_span *add_span(mi_large *large, uintptr_t start, uintptr_t end, uintptr_t header) {
    return mi_large_add_span(large,
                             (mi_large_span){.start = start, .end = end, .header = header, .class = MI_LARGE_NO_CLASS});
}

static size_t granule_of(const mi_large_span *span, uintptr_t chunk) {
    if (span->stride) return (size_t)((chunk - span->start) / span->stride);
    return span->header ? 0 : (size_t)(chunk / MI_LARGE_GRANULE - span->start / MI_LARGE_GRANULE);
}

static void enter(mi_large *large, const mi_large_span *span, uintptr_t chunk, int live) {
    size_t granule = granule_of(span, chunk);
    uint64_t bits = (live ? MI_LARGE_LIVE : MI_LARGE_TYPED) | (chunk % MI_LARGE_GRANULE ? MI_LARGE_ODD : 0u);
    _Atomic uint64_t *word = &large->map[span->word + granule / MI_LARGE_PER_WORD];
    unsigned shift = (unsigned)(granule % MI_LARGE_PER_WORD) * 4;
    uint64_t now = atomic_load_explicit(word, memory_order_relaxed);
    if (now >> shift & 15) return; /* an end mark of 16 bytes behind another */
    atomic_store_explicit(word, now | bits << shift, memory_order_relaxed);
}

void mi_large_reset(mi_large *large) {
    for (size_t at = 0; at < large->map_words; at++) {
        uint64_t word = atomic_load_explicit(&large->map[at], memory_order_relaxed), live = word & EACH;
        word &= EACH * (MI_LARGE_LIVE | MI_LARGE_ODD) | (live ^ EACH) * MI_LARGE_TYPED;
        atomic_store_explicit(&large->map[at], word, memory_order_relaxed);
    }
}

/* Where the next chunk behind the one in granule `granule` begins, or the span ends. */
static uintptr_t next_of(const mi_large *large, const mi_large_span *span, size_t granule) {
    size_t words = words_of(span), at = (granule + 1) / MI_LARGE_PER_WORD;
    unsigned shift = (unsigned)((granule + 1) % MI_LARGE_PER_WORD) * 4;
    uint64_t mask = ~0ull << shift;
    for (; at < words; at++, mask = ~0ull) {
        uint64_t word = atomic_load_explicit(&large->map[span->word + at], memory_order_relaxed) & mask;
        if (!word) continue;
        unsigned low = (unsigned)__builtin_ctzll(word) / 4;
        uintptr_t granules = span->start / MI_LARGE_GRANULE + at * MI_LARGE_PER_WORD + low;
        return granules * MI_LARGE_GRANULE + (word >> low * 4 & MI_LARGE_ODD ? 16u : 0u);
    }
    return span->end;
}

const mi_large_span *mi_large_span_of(const mi_large *large, uintptr_t address) {
    size_t low = 0, high = large->sorted;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (large->spans[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low < large->sorted && large->spans[low].start <= address ? &large->spans[low] : NULL;
}

static void describe(const mi_large *large, const mi_large_span *span, size_t granule, uintptr_t header,
                     mi_large_chunk *chunk) {
    chunk->word = &large->map[span->word + granule / MI_LARGE_PER_WORD];
    chunk->shift = (unsigned)(granule % MI_LARGE_PER_WORD) * 4;
    chunk->class = span->class;
    chunk->untyped = span->untyped;
    if (span->stride) {
        chunk->user = span->start + granule * span->stride;
        chunk->size = chunk->room = span->stride;
        return;
    }
    chunk->user = header + MI_LARGE_HEAD;
    if (span->header) {
        chunk->size = span->end - span->start;
        chunk->room = span->end - chunk->user;
        return;
    }
    chunk->size = next_of(large, span, granule) - header;
    chunk->room = chunk->size > 8 ? chunk->size - 8 : 0; /* the first word of the chunk behind it is the user's too */
}

int mi_large_at(const mi_large *large, uintptr_t address, mi_large_chunk *chunk) {
    const mi_large_span *span = large->size_count || large->alone_blocks ? mi_large_span_of(large, address) : NULL;
    uintptr_t header = address;
    if (!span || !span->stride) {
        header = address - MI_LARGE_HEAD;
        span = address % MI_LARGE_HEAD ? NULL : mi_large_span_of(large, header);
        if (!span || span->stride || (span->header && span->header != header)) return 0;
    } else if ((address - span->start) % span->stride) {
        return 0;
    }
    size_t granule = granule_of(span, header);
    uint64_t word = atomic_load_explicit(&large->map[span->word + granule / MI_LARGE_PER_WORD], memory_order_relaxed);
    unsigned state = (unsigned)(word >> granule % MI_LARGE_PER_WORD * 4) & 15u;
    if (!state || (!span->stride && !(state & MI_LARGE_ODD) != !(header % MI_LARGE_GRANULE))) return 0;
    describe(large, span, granule, header, chunk);
    return 1;
}

void mi_large_bury(const mi_large_chunk *chunk) {
    atomic_fetch_and(chunk->word, ~((uint64_t)15 << chunk->shift));
    atomic_fetch_or(chunk->word, (uint64_t)MI_LARGE_TYPED << chunk->shift);
}

const mi_large_span *mi_large_span_at(const mi_large *large, size_t at) {
    size_t low = 0, high = large->sorted;
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        if (large->spans[middle].before <= at)
            low = middle;
        else
            high = middle;
    }
    return &large->spans[low];
}

int mi_large_in_word(const mi_large *large, const mi_large_span *span, size_t at, mi_large_chunk *chunks) {
    size_t word = span->word + (at - span->before);
    uint64_t bits = atomic_load_explicit(&large->map[word], memory_order_relaxed), live = bits & EACH;
    int count = 0;
    for (; live; live &= live - 1) {
        unsigned shift = (unsigned)__builtin_ctzll(live);
        size_t granule = (word - span->word) * MI_LARGE_PER_WORD + shift / 4;
        uintptr_t header = (span->start / MI_LARGE_GRANULE + granule) * MI_LARGE_GRANULE;
        header += bits >> shift & MI_LARGE_ODD ? 16u : 0u;
        describe(large, span, granule, span->header ? span->header : header, &chunks[count++]);
    }
    return count;
}

int mi_large_copy(mi_window *window, uintptr_t address, void *to, size_t size) {
    size_t page = mi_os_page_size();
    unsigned char *at = to;
    while (size) {
        size_t part = page - address % page < size ? page - address % page : size;
        const void *from = mi_window_at(window, address, part);
        if (!from) return 0;
        memcpy(at, from, part);
        at += part;
        address += part;
        size -= part;
    }
    return 1;
}

/* ---- chunks of heaps ------------------------------------------------------------------------------------------------- */

static int visit(void *context, mi_chunk_kind kind, uintptr_t start, uintptr_t end) {
    mi_large *large = context;
    mi_large_totals *totals = &large->totals;
    uint64_t size = end - start;
    if (large->late || (++large->chunks % 4096 == 0 && mi_target_is_late(large->target))) {
        large->late = 1; /* what is not entered can be neither claimed nor typed */
        enter(large, &large->spans[large->visited], start, 0);
        totals->left_bytes += large->spans[large->visited].end - start;
        return 1;
    }
    enter(large, &large->spans[large->visited], start, kind == MI_CHUNK_LIVE);
    switch (kind) {
    case MI_CHUNK_LIVE:
        totals->live_chunks++;
        totals->live_bytes += size;
        break;
    case MI_CHUNK_FREE:
    case MI_CHUNK_FAST:
        totals->free_chunks++;
        totals->free_bytes += size;
        break;
    case MI_CHUNK_TCACHE:
        totals->tcache_chunks++;
        totals->tcache_bytes += size;
        break;
    case MI_CHUNK_TOP: totals->top_bytes += size; break;
    case MI_CHUNK_FENCE: totals->fence_bytes += size; break;
    case MI_CHUNK_TORN: totals->torn_bytes += size; break;
    }
    return 0;
}

static void walk_heap(mi_large *large, size_t arena, uintptr_t start, uintptr_t end) {
    if (end <= start || !add_span(large, start, end, 0)) return;
    large->visited = large->span_count - 1;
    mi_glibc_walk(&large->window, &large->glibc, start, end, large->glibc.arenas[arena].top, visit, large);
}

/* [heap], as far as it has no gap; it may be mapped in pieces. */
static void find_heap(const mi_target *target, int flags, uintptr_t *start, uintptr_t *end) {
    const mi_maps *maps = &target->maps;
    *start = *end = 0;
    for (size_t at = 0; at < maps->count; at++) {
        const mi_mapping *mapping = &maps->items[at];
        if (strcmp(mapping->name, "[heap]") || (mapping->flags & flags) != (unsigned)flags) continue;
        if (!*start) *start = mapping->start;
        if (mapping->start == *end || !*end) *end = mapping->end;
    }
}

mi_steady mi_large_steady(const mi_target *target) {
    uintptr_t start, end;
    find_heap(target, MI_MAP_READ, &start, &end);
    return (mi_steady){start, end - start};
}

/* [heap], from the first chunk on. */
static void walk_main(mi_large *large) {
    uintptr_t start, end;
    find_heap(large->target, 0, &start, &end);
    uintptr_t first = large->glibc.sbrk_base;
    if (!start) return;
    if (first > start && first < end) start = first;
    walk_heap(large, 0, start, end);
}

/* ---- mmapped chunks -------------------------------------------------------------------------------------------------- */

typedef struct hole {
    uintptr_t start, end;
} hole;

static int all_found(const mi_large *large) {
    return large->glibc.has_parameters && large->totals.mmapped_chunks >= large->glibc.mmapped_count;
}

static uintptr_t main_walked(const mi_large *large) {
    return large->span_count ? large->spans[0].end - large->spans[0].start : 0;
}

static void enter_mmapped(mi_large *large, uintptr_t at, size_t length) {
    uintptr_t header = at, head[2];
    size_t page = mi_os_page_size();
    /* with an alignment the header is not at the beginning: prev_size is the distance (as mi_glibc_mmapped looks for it) */
    for (uintptr_t offset = 0; offset < length && offset < (uintptr_t)4 << 20;
         offset += offset + 16 < page ? 16 : page - (offset + 16) % page) {
        if (!mi_large_copy(&large->window, at + offset, head, sizeof head)) continue;
        if ((head[1] & 7) == 2 && (head[0] & ~(uintptr_t)1) == offset) {
            header = at + offset;
            break;
        }
    }
    mi_large_span *span = add_span(large, at, at + length, header);
    if (!span) return;
    enter(large, span, header, 1);
    large->totals.mmapped_chunks++;
    large->totals.mmapped_bytes += length;
    large->totals.live_chunks++;
    large->totals.live_bytes += length;
}

/* What begins at `at`, a page: a mmapped chunk or a piece of the main arena; where it ends, 0 when neither does. */
static uintptr_t try_page(mi_large *large, uintptr_t at, uintptr_t end, int fresh) {
    const mi_mapping *mapping = mi_os_maps_find(&large->target->maps, at);
    int first = mapping && mapping->start == at;
    size_t length = mi_glibc_mmapped(&large->window, at, end, fresh || first);
    if (length) {
        enter_mmapped(large, at, length);
        return at + length;
    }
    if (!first || main_walked(large) >= large->glibc.arenas[0].system_size ||
        !mi_glibc_is_segment(&large->window, at, mapping->end, large->glibc.arenas[0].top))
        return 0;
    walk_heap(large, 0, at, mapping->end); /* brk was blocked, malloc went on with mmap */
    return mapping->end;
}

/* Which pages are resident, read from the page map in runs. */
typedef struct residence {
    int pagemap;
    uintptr_t start; /* of the page of the first entry */
    size_t count;
    uint64_t entries[512];
} residence;

/* The first resident page of [at, end) (`end`: none, or unknown), so that a search touches no other. */
static uintptr_t next_page(residence *read, uintptr_t at, uintptr_t end) {
    enum { MOST = sizeof read->entries / sizeof *read->entries };
    size_t page = mi_os_page_size();
    for (; at < end; at += page) {
        size_t place = (at - read->start) / page;
        if (place >= read->count) {
            size_t count = (end - at + page - 1) / page;
            read->start = at;
            read->count = count < MOST ? count : MOST;
            place = 0;
            if (mi_os_pagemap_read(read->pagemap, at, read->entries, read->count)) {
                read->count = 0;
                return end;
            }
        }
        if (read->entries[place] & MI_PAGE_PRESENT) return at;
    }
    return end;
}

/* Chunks that follow one another from the beginning of a gap; with a pagemap also those behind something else. */
static void look_in_gap(mi_large *large, uintptr_t start, uintptr_t end, int pagemap) {
    size_t page = mi_os_page_size();
    residence residence = {.pagemap = pagemap};
    int fresh = 1;
    for (uintptr_t at = (start + page - 1) / page * page; at < end && !all_found(large) && !large->failed;) {
        if (mi_target_is_late(large->target)) large->late = 1;
        if (large->late || large->totals.mmapped_chunks >= MMAPPED_MOST) return;
        const mi_large_span *known = pagemap >= 0 ? mi_large_span_of(large, at) : NULL;
        uintptr_t next = known ? known->end : try_page(large, at, end, fresh);
        fresh = next != 0;
        if (next) {
            at = (next + page - 1) / page * page;
            continue;
        }
        if (pagemap < 0) return;
        at = next_page(&residence, at + page, end);
    }
}

static void look_in_region(mi_large *large, uintptr_t start, uintptr_t end, const hole *holes, size_t count,
                           int pagemap) {
    uintptr_t at = start;
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (holes[middle].end <= start)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < count && holes[low].start < end; low++) {
        if (holes[low].start > at) look_in_gap(large, at, holes[low].start, pagemap);
        if (holes[low].end > at) at = holes[low].end;
    }
    if (at < end) look_in_gap(large, at, end, pagemap);
}

/* What is known to be something else: pymalloc's arenas, other heaps of malloc, our own tables. */
static hole *holes_of(const mi_large *large, const mi_heap *heap, size_t arena_size, const mi_mimalloc_walk *mimalloc,
                      size_t *count, size_t *size) {
    mi_os_block own[OWN_BLOCKS_MOST];
    size_t own_count = mi_os_blocks(own, OWN_BLOCKS_MOST), used = 0;
    size_t segments = mimalloc ? mimalloc->segment_count : 0;
    *size = (heap->arena_count + large->glibc.heap_count + own_count + segments + 1) * sizeof(hole);
    hole *holes = mi_os_alloc(*size);
    if (!holes) return NULL;
    for (size_t i = 0; i < heap->arena_count; i++)
        holes[used++] = (hole){(uintptr_t)heap->arenas[i].address, (uintptr_t)heap->arenas[i].address + arena_size};
    for (size_t i = 0; i < large->glibc.heap_count; i++)
        holes[used++] = (hole){large->glibc.heaps[i].start, large->glibc.heaps[i].end};
    for (size_t i = 0; i < own_count; i++) holes[used++] = (hole){own[i].start, own[i].start + own[i].size};
    for (size_t i = 0; i < segments; i++)
        holes[used++] =
            (hole){mimalloc->segments[i].address, mimalloc->segments[i].address + mimalloc->segments[i].size};
    mi_sort(holes, used, sizeof *holes);
    *count = used;
    return holes;
}

static void look_everywhere(mi_large *large, const hole *holes, size_t count, int pagemap) {
    const mi_maps *maps = &large->target->maps;
    for (size_t item = 0; item < maps->count && !all_found(large);) {
        const mi_mapping *mapping = &maps->items[item];
        uintptr_t end = mapping->end;
        if (!mi_is_heap_memory(mapping) || mapping->flags & MI_MAP_EXEC || !strcmp(mapping->name, "[heap]")) {
            item++;
            continue;
        }
        item = mi_region_end(maps, item, &end);
        look_in_region(large, mapping->start, end, holes, count, pagemap);
    }
}

void mi_large_sort(mi_large *large) {
    mi_sort(large->spans, large->span_count, sizeof *large->spans);
    large->sorted = large->span_count;
    size_t before = 0;
    memset(&large->near, 0, sizeof large->near);
    for (size_t i = 0; i < large->span_count; i++) {
        mi_large_span *span = &large->spans[i];
        mi_near_add(&large->near, span->start, span->end);
        span->before = before;
        before += words_of(span);
    }
}

static mi_error find_mmapped(mi_large *large, const mi_heap *heap, size_t arena_size,
                             const mi_mimalloc_walk *mimalloc) {
    size_t count = 0, size = 0;
    mi_error error = MI_OK;
    hole *holes = holes_of(large, heap, arena_size, mimalloc, &count, &size);
    if (!holes) return MI_E_MEMORY;
    look_everywhere(large, holes, count, -1);
    mi_large_sort(large);
    if (!all_found(large) && !large->late) { /* some lie behind something unknown in the same mapping */
        int pagemap = mi_os_pagemap_open(0, &error);
        if (pagemap >= 0) {
            look_everywhere(large, holes, count, pagemap);
            mi_os_close(pagemap);
        }
    }
    mi_os_free(holes, size);
    return MI_OK;
}

/* ---- the door -------------------------------------------------------------------------------------------------------- */

/* All that is mapped and readable, as runs for a window. */
static mi_error map_runs(mi_large *large) {
    const mi_maps *maps = &large->target->maps;
    mi_pages *pages = &large->pages;
    pages->capacity = maps->count + 1;
    pages->runs = mi_os_alloc(pages->capacity * sizeof *pages->runs);
    if (!pages->runs) return MI_E_MEMORY;
    for (size_t item = 0; item < maps->count; item++)
        if (maps->items[item].flags & MI_MAP_READ && maps->items[item].name[0] != '[')
            pages->runs[pages->count++] = (mi_page_run){maps->items[item].start, maps->items[item].end, 0};
        else if (!strcmp(maps->items[item].name, "[heap]") || !strncmp(maps->items[item].name, "[anon", 5))
            pages->runs[pages->count++] = (mi_page_run){maps->items[item].start, maps->items[item].end, 0};
    return MI_OK;
}

/* .data and .bss of the executable or of libpython. */
static void find_data(mi_large *large, const mi_objects *objects) {
    const mi_maps *maps = &large->target->maps;
    const mi_mapping *own = mi_os_maps_find(maps, mi_runtime_own_address());
    if (!own) return;
    large->data_start = own->start;
    large->data_end = own->end;
    for (size_t i = 0; i < objects->count; i++) {
        const mi_object *object = &objects->items[i];
        if (own->inode ? object->inode != own->inode || object->device != own->device
                       : own->start < object->bss_start || own->start >= object->bss_end)
            continue;
        for (size_t at = 0; at < maps->count; at++)
            if (maps->items[at].inode == object->inode && maps->items[at].device == object->device &&
                maps->items[at].flags & MI_MAP_WRITE && maps->items[at].start < large->data_start)
                large->data_start = maps->items[at].start;
        if (object->bss_end > large->data_end) large->data_end = object->bss_end;
    }
}

static mi_error find_chunks(mi_large *large) {
    const mi_maps *maps = &large->target->maps;
    mi_objects objects;
    const mi_object *by = NULL;
    mi_error error = mi_objects_list(0, maps, &objects);
    if (error) return error;
    large->malloc = mi_malloc_in_force(0, &objects, &by);
    error = mi_glibc_find(&large->window, maps, mi_objects_libc(&objects), &large->glibc);
    find_data(large, &objects);
    mi_objects_free(&objects);
    /* a static executable exports nothing; that glibc's arenas are in use tells then */
    if (!error && large->malloc && large->malloc != MI_MALLOC_GLIBC) error = MI_E_ABSENT;
    if (error) return error;
    large->totals.arenas = large->glibc.arena_count;
    walk_main(large);
    for (size_t at = 0; at < large->glibc.heap_count; at++)
        walk_heap(large, large->glibc.heaps[at].arena, large->glibc.heaps[at].chunks, large->glibc.heaps[at].end);
    return large->failed ? MI_E_MEMORY : MI_OK;
}

mi_error mi_large_begin(mi_large *large, const mi_target *target, mi_steady steady) {
    memset(large, 0, sizeof *large);
    large->target = target;
    mi_error error = map_runs(large);
    if (!error) error = mi_window_open(&large->window, &large->pages, steady);
    return error ? error : find_chunks(large);
}

mi_error mi_large_finish(mi_large *large, mi_error begun, const mi_heap *heap, size_t arena_size,
                         const mi_mimalloc_walk *mimalloc) {
    mi_error error = begun;
    if (!error) error = find_mmapped(large, heap, arena_size, mimalloc);
    if (!begun) mi_large_sort(large);
    if (!begun && large->glibc.has_parameters && large->glibc.mmapped_count > large->totals.mmapped_chunks)
        large->totals.missing_chunks = large->glibc.mmapped_count - large->totals.mmapped_chunks;
    if (!error && large->failed) error = MI_E_MEMORY;
    if (!mimalloc || error == MI_E_MEMORY) return error;
    large->malloc_error = error;
    return mi_large_add_mimalloc(large, mimalloc);
}

void mi_large_close(mi_large *large) {
    mi_window_close(&large->window);
    mi_glibc_free(&large->glibc);
    mi_os_free(large->pages.runs, large->pages.capacity * sizeof *large->pages.runs);
    mi_os_free(large->spans, large->span_room * sizeof *large->spans);
    mi_os_free((void *)large->map, large->map_room * sizeof *large->map);
    memset(large, 0, sizeof *large);
}
