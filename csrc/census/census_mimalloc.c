/* census_mimalloc.c - enters mimalloc's blocks into the map of census_large.h, the world being stopped. */
#include <string.h>

#include "census_large.h"

enum { CAPACITY_MOST = 1 << 16 };

/* The place of a block's size among the sizes of the small path. */
static uint16_t class_of(mi_large *large, const mi_mimalloc_page *page) {
    if (page->large) return MI_LARGE_NO_CLASS;
    for (size_t i = 0; i < large->size_count; i++)
        if (large->sizes[i] == page->block_size) return (uint16_t)i;
    if (large->size_count == MI_LARGE_SIZES) return MI_LARGE_NO_CLASS;
    large->sizes[large->size_count] = page->block_size;
    return (uint16_t)large->size_count++;
}

static void count_live(mi_large *large, const mi_large_span *span, int64_t blocks) {
    if (span->class != MI_LARGE_NO_CLASS) {
        large->live_of_size[span->class] += (uint64_t)blocks;
        return;
    }
    large->alone_blocks += (uint64_t)blocks;
    large->alone_bytes += (uint64_t)blocks * span->stride;
}

static void enter_page(mi_large *large, const mi_mimalloc_walk *walk, const mi_mimalloc_page *page) {
    uint64_t bits[CAPACITY_MOST / 64];
    if (!page->block_size || !page->used || page->waits) return;
    if (!page->consistent || mi_mimalloc_page_bitmap(walk, large->target, page, bits)) {
        large->totals.torn_bytes += page->area_size;
        return;
    }
    mi_large_span span = {.start = page->first,
                          .end = page->first + page->capacity * page->block_size,
                          .stride = page->block_size,
                          .class = class_of(large, page),
                          .untyped = page->tag == 0};
    const mi_large_span *added = mi_large_add_span(large, span);
    if (!added) return;
    int64_t live = 0;
    for (uint32_t block = 0; block < page->capacity; block++) {
        uint64_t alive = bits[block / 64] >> (block % 64) & 1;
        _Atomic uint64_t *word = &large->map[added->word + block / MI_LARGE_PER_WORD];
        uint64_t state = alive ? MI_LARGE_LIVE : MI_LARGE_TYPED;
        atomic_store_explicit(word,
                              atomic_load_explicit(word, memory_order_relaxed) | state << block % MI_LARGE_PER_WORD * 4,
                              memory_order_relaxed);
        live += (int64_t)alive;
    }
    count_live(large, added, live);
}

/* Freed by another thread, and in no list of its page. */
static void bury(void *context, uintptr_t address) {
    mi_large *large = context;
    mi_large_chunk chunk;
    if (!mi_large_at(large, address, &chunk) || !(mi_large_state(&chunk) & MI_LARGE_LIVE)) return;
    mi_large_bury(&chunk);
    count_live(large, mi_large_span_of(large, address), -1);
}

mi_error mi_large_add_mimalloc(mi_large *large, const mi_mimalloc_walk *walk) {
    for (size_t i = 0; i < walk->page_count && !large->failed; i++) {
        if (i % 256 == 0 && mi_target_is_late(large->target)) {
            large->late = 1;
            large->totals.left_bytes += (walk->page_count - i) * (uint64_t)walk->layout->mimalloc_slice_size;
            break;
        }
        enter_page(large, walk, &walk->pages[i]);
    }
    mi_large_sort(large);
    mi_mimalloc_each_delayed(walk, large->target, bury, large);
    return large->failed ? MI_E_MEMORY : MI_OK;
}
