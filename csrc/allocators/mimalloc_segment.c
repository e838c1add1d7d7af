/* mimalloc_segment.c - reads one segment of mimalloc, after Objects/mimalloc/segment.c and mimalloc/types.h. */
#include "mimalloc_segment.h"

#include <string.h>

enum { SEGMENT_HUGE = 1, TAG_SHIFT = 3, TAG_MASK = 15 };

static uint64_t number(const void *at, size_t size) {
    uint64_t value = 0; /* little-endian, as all that CPython's free-threaded build runs on here */
    memcpy(&value, at, size);
    return value;
}

static uint64_t field(const mi_view *view, uintptr_t structure, int32_t offset, size_t size) {
    return number(mi_view_at(view, structure + (uintptr_t)offset), size);
}

mi_error mi_segment_head_read(const mi_layout *layout, const mi_target *target, uintptr_t address, uintptr_t cookie,
                              mi_segment_head *head) {
    /* all fields lie before the slices; no version's header is near this size */
    unsigned char bytes[1024];
    size_t size = (size_t)layout->mimalloc_segment_slices;
    if (size > sizeof bytes) return MI_E_LAYOUT;
    mi_error error = mi_target_read(target, address, bytes, size);
    if (error) return error;
    memset(head, 0, sizeof *head);
    head->address = address;
    head->cookie = (uintptr_t)number(bytes + layout->mimalloc_segment_cookie, 8) ^ address;
    if (cookie && head->cookie != cookie) return MI_E_ABSENT;
    head->thread = (uintptr_t)number(bytes + layout->mimalloc_segment_thread, 8);
    head->next = (uintptr_t)number(bytes + layout->mimalloc_segment_next, 8);
    head->size = number(bytes + layout->mimalloc_segment_bytes, 8);
    head->used = number(bytes + layout->mimalloc_segment_used, 8);
    head->info_slices = number(bytes + layout->mimalloc_segment_info_slices, 8);
    head->entries = number(bytes + layout->mimalloc_segment_entries, 8);
    head->kind = (uint32_t)number(bytes + layout->mimalloc_segment_kind, 4);
    uint64_t block = number(bytes + layout->mimalloc_segment_block, 8);
    if (number(bytes + layout->mimalloc_segment_memory_kind, 4) == (uint64_t)layout->mimalloc_in_reserve &&
        block <= address / (uint64_t)layout->mimalloc_segment_align)
        head->reserve = address - (uintptr_t)block * (uintptr_t)layout->mimalloc_segment_align;
    uint64_t slice = (uint64_t)layout->mimalloc_slice_size, most = (uint64_t)layout->mimalloc_segment_align / slice;
    if (!head->size || head->size % slice || !head->info_slices || head->info_slices > most || head->entries > most ||
        head->info_slices > head->entries || head->kind > SEGMENT_HUGE || head->address + head->size < head->address)
        return MI_E_TORN;
    return MI_OK;
}

/* _mi_segment_page_start_from_slice(): blocks of small sizes begin some blocks into the page. */
static uint64_t start_offset(uint64_t block_size) {
    if (block_size >= sizeof(void *) && block_size <= 64) return 3 * block_size;
    return block_size >= sizeof(void *) && block_size <= 512 ? block_size : 0;
}

void mi_segment_page_fill(const mi_layout *layout, const mi_segment_head *head, const mi_view *view, uintptr_t header,
                          mi_mimalloc_page *page) {
    uint64_t slice = (uint64_t)layout->mimalloc_slice_size;
    uintptr_t slices = head->address + (uintptr_t)layout->mimalloc_segment_slices;
    uint64_t index = (header - slices) / (uint64_t)layout->mimalloc_page_size;
    memset(page, 0, sizeof *page);
    page->area = head->address + index * slice;
    page->area_size = field(view, header, layout->mimalloc_page_slices, 4) * slice;
    if (head->kind == SEGMENT_HUGE) page->area_size = head->size - index * slice; /* slice_count stops at a segment's */
    page->block_size = field(view, header, layout->mimalloc_page_block_size, 4);
    uint64_t offset = start_offset(page->block_size);
    if (page->block_size >> 31) page->block_size = page->area_size; /* MI_HUGE_BLOCK_SIZE: too large for its field */
    page->first = page->area + offset;
    page->capacity = (uint32_t)field(view, header, layout->mimalloc_page_capacity, 2);
    page->reserved = (uint32_t)field(view, header, layout->mimalloc_page_reserved, 2);
    page->used = (uint32_t)field(view, header, layout->mimalloc_page_used, 4);
    page->heap = (uintptr_t)field(view, header, layout->mimalloc_page_heap, 8);
    page->tag = (uint8_t)(field(view, header, layout->mimalloc_page_bits, 1) >> TAG_SHIFT & TAG_MASK);
    page->waits = !page->used && field(view, header, layout->mimalloc_page_goal, 8) != 0;
    page->large = page->block_size > (uint64_t)layout->mimalloc_medium_max;
    page->lists[0] = (uintptr_t)field(view, header, layout->mimalloc_page_free, 8);
    page->lists[1] = (uintptr_t)field(view, header, layout->mimalloc_page_local_free, 8);
    page->lists[2] = (uintptr_t)field(view, header, layout->mimalloc_page_thread_free, 8) & ~(uintptr_t)3;
    page->consistent = page->block_size && page->capacity <= page->reserved && page->tag < MI_MIMALLOC_TAGS &&
                       offset + (uint64_t)page->reserved * page->block_size <= page->area_size;
}

mi_error mi_segment_page_view(const mi_target *target, const mi_mimalloc_page *page, void *scratch, mi_view *view) {
    uint64_t size = page->capacity ? (page->capacity - 1) * page->block_size + sizeof(uintptr_t) : 0;
    if (target->kind == MI_TARGET_SELF || size > MI_MIMALLOC_SCRATCH)
        return mi_target_view(target, page->first, (size_t)size, view);
    memset(view, 0, sizeof *view);
    view->address = page->first;
    view->size = (size_t)size;
    view->bytes = scratch;
    return mi_target_read(target, page->first, scratch, (size_t)size);
}

/* The length of a free list; what leads out of the page, or in a circle, makes the page inconsistent. */
static uint32_t list_length(mi_mimalloc_page *page, const mi_view *view, uintptr_t block) {
    uint32_t length = 0;
    for (; block; block = mi_load_word(view, block)) {
        if (length == page->capacity || !mi_view_has(view, block, sizeof block)) {
            page->consistent = 0;
            break;
        }
        length++;
    }
    return length;
}

static void lists_measure(const mi_target *target, mi_mimalloc_page *page, void *scratch) {
    mi_view view;
    if (!page->consistent) return;
    if (page->lists[0] || page->lists[1] || page->lists[2]) {
        if (mi_segment_page_view(target, page, scratch, &view)) {
            page->consistent = 0;
            return;
        }
        page->free = list_length(page, &view, page->lists[0]);
        page->local_free = list_length(page, &view, page->lists[1]);
        page->thread_free = list_length(page, &view, page->lists[2]);
        mi_view_free(&view);
    }
    if (page->used + page->free + page->local_free != page->capacity || page->thread_free > page->used)
        page->consistent = 0;
}

static uint64_t purge_bytes(const mi_layout *layout, const mi_segment_head *head, const mi_view *view) {
    uint64_t bits = 0, words = (uint64_t)layout->mimalloc_segment_mask_words;
    for (uint64_t i = 0; i < words; i++)
        bits += (uint64_t)__builtin_popcountll(
            field(view, head->address, layout->mimalloc_segment_purge_mask + (int32_t)(8 * i), 8));
    return bits * (head->size / (words * 64)); /* in huge segments a bit stands for more */
}

mi_error mi_segment_pages_read(mi_mimalloc_walk *walk, const mi_target *target, mi_mimalloc_segment *segment,
                               const mi_segment_head *head) {
    const mi_layout *layout = walk->layout;
    mi_view view;
    uint64_t slice = (uint64_t)layout->mimalloc_slice_size, stride = (uint64_t)layout->mimalloc_page_size;
    mi_error error = mi_target_view(target, head->address, (size_t)(head->info_slices * slice), &view);
    if (error) return error;
    uintptr_t slices = head->address + (uintptr_t)layout->mimalloc_segment_slices;
    segment->header_bytes = head->info_slices * slice;
    segment->purge_bytes = purge_bytes(layout, head, &view);
    segment->first_page = (uint32_t)walk->page_count;
    segment->reserve = head->reserve;
    uint64_t index = head->info_slices;
    while (index < head->entries) {
        uintptr_t header = slices + index * stride;
        if (mi_os_now_ns() > walk->deadline_ns) {
            walk->timed_out = 1;
            error = MI_E_LIMIT;
            break;
        }
        if (!mi_view_has(&view, header, (size_t)stride)) {
            error = MI_E_TORN;
            break;
        }
        mi_mimalloc_page page;
        mi_segment_page_fill(layout, head, &view, header, &page);
        uint64_t span = page.area_size / slice;
        if (!span || page.area - head->address + page.area_size > head->size) {
            error = MI_E_TORN;
            break;
        }
        page.segment = (uint32_t)(segment - walk->segments);
        page.owner = segment->owner;
        if (page.block_size) {
            segment->used_pages++;
            lists_measure(target, &page, walk->scratch);
        }
        if (walk->page_count == walk->page_capacity) {
            error = MI_E_LIMIT;
            break;
        }
        walk->pages[walk->page_count++] = page;
        segment->page_count++;
        index += span;
    }
    mi_view_free(&view);
    return error;
}
