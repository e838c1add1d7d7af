/* resident_mimalloc.c - claims of mimalloc's segments and of what it keeps of those given back. */
#include "resident_mimalloc.h"

#include <string.h>

#include "runtime.h"

static uint32_t leaf(mi_painter *painter, const char *name) {
    const char *path[MI_LEAF_DEPTH] = {"mimalloc", name, NULL};
    return mi_painter_leaf(painter, path);
}

/* ---- one page ------------------------------------------------------------------------------------------------------ */

static void paint_runs(mi_painter *painter, mi_mimalloc_memory *memory, const mi_mimalloc_page *page) {
    for (uint32_t index = 0; index < page->capacity;) {
        uint32_t first = index;
        int live = (int)(memory->bits[first / 64] >> first % 64 & 1);
        while (index < page->capacity && (int)(memory->bits[index / 64] >> index % 64 & 1) == live) index++;
        mi_paint(painter, page->first + first * page->block_size, page->first + index * page->block_size,
                 live ? memory->live : memory->free, index - first);
    }
}

static void paint_blocks(mi_painter *painter, mi_mimalloc_memory *memory, const mi_mimalloc_page *page) {
    uintptr_t made = page->first + page->capacity * page->block_size;
    uint32_t live = page->used - page->thread_free;
    if (!page->consistent) {
        mi_paint(painter, page->first, made, memory->live, 0); /* it changes: how much is live cannot be told */
        return;
    }
    /* where all is resident it does not matter which block lies where: sums are painted */
    if (!live || live == page->capacity ||
        mi_pages_bytes(painter->pages, &memory->hint, page->first, made) == made - page->first) {
        uintptr_t middle = page->first + live * page->block_size;
        mi_paint(painter, page->first, middle, memory->live, live);
        mi_paint(painter, middle, made, memory->free, page->capacity - live);
    } else if (mi_mimalloc_page_bitmap(&memory->walk, &memory->target, page, memory->bits)) {
        mi_paint(painter, page->first, made, memory->live, 0);
    } else {
        paint_runs(painter, memory, page);
    }
    mi_paint(painter, made, page->first + page->reserved * page->block_size, memory->untouched,
             page->reserved - page->capacity);
}

/* claim->number: index of the segment. What is left out (its header, ends of pages) goes to the rest. */
static void paint_segment(mi_painter *painter, const mi_claim *claim) {
    mi_mimalloc_memory *memory = claim->data;
    const mi_mimalloc_segment *segment = &memory->walk.segments[claim->number];
    for (uint32_t i = 0; i < segment->page_count; i++) {
        const mi_mimalloc_page *page = &memory->walk.pages[segment->first_page + i];
        if (page->block_size)
            paint_blocks(painter, memory, page);
        else
            mi_paint(painter, page->area, page->area + page->area_size, memory->pages, 1);
    }
}

/* ---- segments ------------------------------------------------------------------------------------------------------ */

static int is_resident(void *context, uintptr_t address) {
    mi_painter *painter = context;
    size_t hint = painter->hint;
    return mi_pages_bytes(painter->pages, &hint, address, address + mi_os_page_size()) != 0;
}

/* The parts of a reserve in which no segment lies: each segment was noted in order of address. */
static mi_error claim_given_back(mi_painter *painter, mi_mimalloc_memory *memory, const mi_mapping *mapping) {
    const mi_mimalloc_walk *walk = &memory->walk;
    uintptr_t position = mapping->end;
    mi_error error = MI_OK;
    for (size_t i = 0; i < walk->reserve_count; i++)
        if (walk->reserves[i] >= mapping->start && walk->reserves[i] < position) position = walk->reserves[i];
    for (size_t i = 0; i < walk->segment_count; i++) /* a reserve may be more than one mapping */
        if (walk->segments[i].reserve && walk->segments[i].reserve < mapping->start &&
            walk->segments[i].address >= mapping->start && walk->segments[i].address < mapping->end)
            position = mapping->start;
    for (size_t i = 0; i < walk->segment_count && !error; i++) {
        const mi_mimalloc_segment *segment = &walk->segments[i];
        uintptr_t end = segment->address + segment->size;
        if (segment->address < position || segment->address >= mapping->end) continue;
        error = mi_painter_claim(painter,
                                 (mi_claim){.start = position, .end = segment->address, .leaf = memory->given_back});
        position = end;
    }
    if (!error)
        error =
            mi_painter_claim(painter, (mi_claim){.start = position, .end = mapping->end, .leaf = memory->given_back});
    return error;
}

static mi_error claim_segments(mi_painter *painter, mi_mimalloc_memory *memory) {
    const mi_mimalloc_walk *walk = &memory->walk;
    mi_error error = MI_OK;
    memory->live = leaf(painter, "live blocks");
    memory->free = leaf(painter, "free blocks");
    memory->pages = leaf(painter, "free pages");
    memory->untouched = leaf(painter, "untouched");
    memory->rest = leaf(painter, "headers and ends of pages");
    memory->given_back = leaf(painter, "segments given back, waiting for the purge");
    for (size_t i = 0; i < walk->segment_count && !error; i++) {
        const mi_mimalloc_segment *segment = &walk->segments[i];
        error = mi_painter_claim(painter, (mi_claim){.start = segment->address,
                                                     .end = segment->address + segment->size,
                                                     .paint = paint_segment,
                                                     .leaf = memory->rest,
                                                     .number = (uint32_t)i,
                                                     .data = memory});
    }
    for (size_t i = 0; i < memory->target.maps.count && !error; i++)
        error = claim_given_back(painter, memory, &memory->target.maps.items[i]);
    return error;
}

static mi_error cookie_of(mi_mimalloc_memory *memory, uintptr_t *cookie) {
    mi_runtime runtime;
    size_t count = 0, size = MI_MAX_INTERPRETERS * sizeof(mi_interpreter);
    mi_interpreter *interpreters = mi_os_alloc(size);
    if (!interpreters) return MI_E_MEMORY;
    mi_error error = mi_runtime_open(&runtime, &memory->target, memory->layout);
    if (!error && memory->pid) error = mi_runtime_verify(&runtime);
    if (!error) error = mi_runtime_interpreters(&runtime, interpreters, MI_MAX_INTERPRETERS, &count);
    mi_error found = error == MI_E_LIMIT || !error ? MI_E_LAYOUT : error;
    for (size_t i = 0; i < count && i < MI_MAX_INTERPRETERS && found; i++)
        found = mi_mimalloc_cookie_find(memory->layout, &memory->target, interpreters[i].first_thread, cookie);
    mi_os_free(interpreters, size);
    return found;
}

mi_error mi_mimalloc_memory_claim(mi_painter *painter, void *context) {
    mi_mimalloc_memory *memory = context;
    uintptr_t cookie = 0;
    if (memory->layout->thread_mimalloc == MI_ABSENT) return MI_E_ABSENT;
    mi_error error = mi_target_open(&memory->target, memory->pid ? MI_TARGET_PROCESS : MI_TARGET_COPY, memory->pid);
    if (!error) error = cookie_of(memory, &cookie);
    if (!error) error = mi_mimalloc_scan(&memory->walk, memory->layout, &memory->target, cookie, is_resident, painter);
    return error ? error : claim_segments(painter, memory);
}

void mi_mimalloc_memory_free(mi_mimalloc_memory *memory) {
    mi_mimalloc_close(&memory->walk);
    mi_target_close(&memory->target);
}
