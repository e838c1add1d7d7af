/* blocks.c - from an address to its block. */
#include "blocks.h"

#include <string.h>

enum { UNIT = 16 };

/* ---- pymalloc -------------------------------------------------------------------------------------------------------- */

static size_t slot_of(const mi_blocks *blocks, uintptr_t key) {
    return (size_t)((key * 0x9E3779B97F4A7C15u) >> (64 - blocks->slot_bits));
}

static void slot_add(mi_blocks *blocks, uintptr_t key, size_t arena) {
    size_t mask = ((size_t)1 << blocks->slot_bits) - 1, at = slot_of(blocks, key);
    while (blocks->slots[at]) at = (at + 1) & mask;
    blocks->slots[at] = (uint32_t)arena + 1;
}

mi_error mi_blocks_open(mi_blocks *blocks, const mi_heap *heap, const mi_layout *layout) {
    memset(blocks, 0, sizeof *blocks);
    blocks->heap = heap;
    blocks->layout = layout;
    blocks->alive = heap->blocks;
    if (layout->alignment != UNIT) return MI_E_ABSENT;
    while ((1u << blocks->arena_shift) < (uint32_t)layout->arena_size) blocks->arena_shift++;
    for (blocks->slot_bits = 8; (size_t)1 << blocks->slot_bits < heap->arena_count * 8;) blocks->slot_bits++;
    blocks->words = (size_t)layout->arena_size / UNIT / 64;
    blocks->bitmap_words = heap->arena_count * blocks->words;
    blocks->slots = mi_os_alloc(sizeof *blocks->slots << blocks->slot_bits);
    blocks->taken = mi_os_alloc(blocks->bitmap_words * 8);
    if (!blocks->slots || !blocks->taken) return MI_E_MEMORY;
    for (size_t i = 0; i < heap->arena_count; i++) {
        uintptr_t start = (uintptr_t)heap->arenas[i].address;
        slot_add(blocks, start >> blocks->arena_shift, i);
        if (start & ((uintptr_t)layout->arena_size - 1)) slot_add(blocks, (start >> blocks->arena_shift) + 1, i);
    }
    return MI_OK;
}

static long arena_of(const mi_blocks *blocks, uintptr_t address) {
    size_t mask = ((size_t)1 << blocks->slot_bits) - 1;
    for (size_t at = slot_of(blocks, address >> blocks->arena_shift); blocks->slots[at]; at = (at + 1) & mask) {
        uintptr_t start = (uintptr_t)blocks->heap->arenas[blocks->slots[at] - 1].address;
        if (address >= start && address - start < (uintptr_t)blocks->layout->arena_size)
            return (long)blocks->slots[at] - 1;
    }
    return -1;
}

static int pool_run(const mi_blocks *blocks, size_t number, mi_block_run *run) {
    const mi_layout *layout = blocks->layout;
    const mi_pool *pool = &blocks->heap->pools[number];
    if (pool->size_class == MI_POOL_FREE || pool->torn) return 0;
    uintptr_t arena = (uintptr_t)blocks->heap->arenas[pool->arena].address;
    run->size = (pool->size_class + 1u) * UNIT;
    run->first = (uintptr_t)pool->address + (uintptr_t)layout->pool_header_size;
    run->count = (size_t)((uint64_t)(layout->pool_size - layout->pool_header_size) / run->size);
    run->arena = pool->arena;
    run->bit = (size_t)pool->arena * blocks->words * 64 + (run->first - arena) / UNIT;
    run->step = (size_t)run->size / UNIT;
    return 1;
}

/* ---- mimalloc -------------------------------------------------------------------------------------------------------- */

static int is_used(const mi_mimalloc_page *page) { return page->block_size && page->used && !page->waits; }

/* The place of a block's bit, whether alive or not, or -1. */
static int64_t page_bit(const mi_blocks *blocks, uintptr_t address, const mi_mimalloc_page **page) {
    const mi_mimalloc_page *found = mi_mimalloc_page_of(blocks->mimalloc, address);
    if (!found || !is_used(found) || address < found->first || (address - found->first) % found->block_size) return -1;
    uint64_t index = (address - found->first) / found->block_size;
    *page = found;
    return index < found->capacity ? (int64_t)(blocks->first_bit[found - blocks->mimalloc->pages] + index) : -1;
}

static void bury(void *context, uintptr_t address) {
    mi_blocks *blocks = context;
    const mi_mimalloc_page *page;
    int64_t bit = page_bit(blocks, address, &page);
    if (bit >= 0) blocks->own_alive[bit / 64] &= ~(1ull << bit % 64);
}

mi_error mi_blocks_open_mimalloc(mi_blocks *blocks, const mi_mimalloc_walk *walk, const mi_target *target) {
    memset(blocks, 0, sizeof *blocks);
    blocks->layout = walk->layout;
    blocks->mimalloc = walk;
    blocks->first_bit = mi_os_alloc((walk->page_count + 1) * sizeof *blocks->first_bit);
    if (!blocks->first_bit) return MI_E_MEMORY;
    for (size_t i = 0; i < walk->page_count; i++) {
        blocks->first_bit[i] = blocks->bitmap_words * 64;
        if (is_used(&walk->pages[i])) blocks->bitmap_words += (walk->pages[i].capacity + 63) / 64;
    }
    blocks->alive = blocks->own_alive = mi_os_alloc((blocks->bitmap_words + 1) * 8);
    blocks->taken = mi_os_alloc((blocks->bitmap_words + 1) * 8);
    if (!blocks->own_alive || !blocks->taken) return MI_E_MEMORY;
    for (size_t i = 0; i < walk->page_count; i++) {
        const mi_mimalloc_page *page = &walk->pages[i];
        uint64_t *bits = blocks->own_alive + blocks->first_bit[i] / 64;
        if (!is_used(page)) continue;
        if (i % 256 == 0 && mi_target_is_late(target)) return MI_E_LATE;
        if (page->consistent && !mi_mimalloc_page_bitmap(walk, target, page, bits)) continue;
        memset(bits, 0, (page->capacity + 63) / 64 * 8);
        blocks->torn_pages++;
    }
    mi_mimalloc_each_delayed(walk, target, bury, blocks);
    return MI_OK;
}

static int page_run(const mi_blocks *blocks, size_t number, mi_block_run *run) {
    const mi_mimalloc_page *page = &blocks->mimalloc->pages[number];
    if (!is_used(page)) return 0;
    *run = (mi_block_run){page->first, page->block_size, page->capacity, page->segment, blocks->first_bit[number], 1};
    return 1;
}

/* ---- both ------------------------------------------------------------------------------------------------------------ */

void mi_blocks_close(mi_blocks *blocks) {
    size_t spare = blocks->mimalloc ? 1 : 0;
    if (blocks->slots) mi_os_free(blocks->slots, sizeof *blocks->slots << blocks->slot_bits);
    mi_os_free(blocks->taken, (blocks->bitmap_words + spare) * 8);
    mi_os_free(blocks->own_alive, (blocks->bitmap_words + spare) * 8);
    if (blocks->mimalloc) mi_os_free(blocks->first_bit, (blocks->mimalloc->page_count + 1) * sizeof(size_t));
    memset(blocks, 0, sizeof *blocks);
}

long mi_blocks_arena(const mi_blocks *blocks, uintptr_t address) {
    if (!blocks->mimalloc) return arena_of(blocks, address);
    const mi_mimalloc_page *page = mi_mimalloc_page_of(blocks->mimalloc, address);
    return page ? (long)page->segment : -1;
}

/* The place of a live block's bit, or -1. */
static int64_t bit_of(const mi_blocks *blocks, uintptr_t address) {
    const mi_mimalloc_page *page;
    int64_t bit;
    if (blocks->mimalloc) {
        bit = page_bit(blocks, address, &page);
    } else {
        long arena = address % UNIT ? -1 : arena_of(blocks, address);
        if (arena < 0) return -1;
        uintptr_t unit = (address - (uintptr_t)blocks->heap->arenas[arena].address) / UNIT;
        bit = (int64_t)((size_t)arena * blocks->words * 64 + unit);
    }
    return bit >= 0 && mi_block_is(blocks->alive, (size_t)bit) ? bit : -1;
}

uint64_t mi_blocks_size(const mi_blocks *blocks, uintptr_t address) {
    uint32_t size_class;
    if (blocks->mimalloc) {
        const mi_mimalloc_page *page;
        int64_t bit = page_bit(blocks, address, &page);
        return bit >= 0 && mi_block_is(blocks->alive, (size_t)bit) ? page->block_size : 0;
    }
    if (bit_of(blocks, address) < 0) return 0;
    uintptr_t pool = address & ~((uintptr_t)blocks->layout->pool_size - 1);
    memcpy(&size_class, (const void *)(pool + (uintptr_t)blocks->layout->pool_szidx), sizeof size_class);
    return size_class < (uint32_t)blocks->layout->size_classes ? (uint64_t)(size_class + 1) * UNIT : 0;
}

/* Gives the mark a value; what it was before. */
static int mark(mi_blocks *blocks, uintptr_t address, uint64_t value) {
    int64_t bit = bit_of(blocks, address);
    if (bit < 0) return 0;
    uint64_t mask = 1ull << bit % 64, before = blocks->taken[bit / 64];
    blocks->taken[bit / 64] = value ? before | mask : before & ~mask;
    return (before & mask) != 0;
}

int mi_blocks_take(mi_blocks *blocks, uintptr_t address) { return mark(blocks, address, 1); }
int mi_blocks_give(mi_blocks *blocks, uintptr_t address) { return mark(blocks, address, 0); }

size_t mi_blocks_runs(const mi_blocks *blocks) {
    return blocks->mimalloc ? blocks->mimalloc->page_count : blocks->heap->pool_count;
}

int mi_blocks_run(const mi_blocks *blocks, size_t number, mi_block_run *run) {
    return blocks->mimalloc ? page_run(blocks, number, run) : pool_run(blocks, number, run);
}
