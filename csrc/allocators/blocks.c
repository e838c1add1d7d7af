/* blocks.c - from an address to its block. */
#include "blocks.h"

#include <string.h>

enum { UNIT = 16 };

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
    if (layout->alignment != UNIT) return MI_E_ABSENT;
    while ((1u << blocks->arena_shift) < (uint32_t)layout->arena_size) blocks->arena_shift++;
    for (blocks->slot_bits = 8; (size_t)1 << blocks->slot_bits < heap->arena_count * 8;) blocks->slot_bits++;
    blocks->words = (size_t)layout->arena_size / UNIT / 64;
    blocks->slots = mi_os_alloc(sizeof *blocks->slots << blocks->slot_bits);
    blocks->taken = mi_os_alloc(heap->arena_count * blocks->words * 8);
    if (!blocks->slots || !blocks->taken) return MI_E_MEMORY;
    for (size_t i = 0; i < heap->arena_count; i++) {
        uintptr_t start = (uintptr_t)heap->arenas[i].address;
        slot_add(blocks, start >> blocks->arena_shift, i);
        if (start & ((uintptr_t)layout->arena_size - 1)) slot_add(blocks, (start >> blocks->arena_shift) + 1, i);
    }
    return MI_OK;
}

void mi_blocks_close(mi_blocks *blocks) {
    if (blocks->slots) mi_os_free(blocks->slots, sizeof *blocks->slots << blocks->slot_bits);
    if (blocks->taken) mi_os_free(blocks->taken, blocks->heap->arena_count * blocks->words * 8);
    blocks->slots = NULL;
    blocks->taken = NULL;
}

long mi_blocks_arena(const mi_blocks *blocks, uintptr_t address) {
    size_t mask = ((size_t)1 << blocks->slot_bits) - 1;
    for (size_t at = slot_of(blocks, address >> blocks->arena_shift); blocks->slots[at]; at = (at + 1) & mask) {
        uintptr_t start = (uintptr_t)blocks->heap->arenas[blocks->slots[at] - 1].address;
        if (address >= start && address - start < (uintptr_t)blocks->layout->arena_size)
            return (long)blocks->slots[at] - 1;
    }
    return -1;
}

/* The place of a live block's bit, or -1. */
static int64_t bit_of(const mi_blocks *blocks, uintptr_t address) {
    long arena = address % UNIT ? -1 : mi_blocks_arena(blocks, address);
    if (arena < 0) return -1;
    uintptr_t unit = (address - (uintptr_t)blocks->heap->arenas[arena].address) / UNIT;
    int64_t bit = (int64_t)((size_t)arena * blocks->words * 64 + unit);
    return blocks->heap->blocks[bit / 64] >> (bit % 64) & 1 ? bit : -1;
}

uint32_t mi_blocks_size(const mi_blocks *blocks, uintptr_t address) {
    uint32_t size_class;
    if (bit_of(blocks, address) < 0) return 0;
    uintptr_t pool = address & ~((uintptr_t)blocks->layout->pool_size - 1);
    memcpy(&size_class, (const void *)(pool + (uintptr_t)blocks->layout->pool_szidx), sizeof size_class);
    return size_class < (uint32_t)blocks->layout->size_classes ? (size_class + 1) * UNIT : 0;
}

int mi_blocks_take(mi_blocks *blocks, uintptr_t address) {
    int64_t bit = bit_of(blocks, address);
    if (bit < 0) return 0;
    uint64_t mask = 1ull << (bit % 64), before = blocks->taken[bit / 64];
    blocks->taken[bit / 64] = before | mask;
    return (before & mask) != 0;
}

int mi_blocks_give(mi_blocks *blocks, uintptr_t address) {
    int64_t bit = bit_of(blocks, address);
    if (bit < 0) return 0;
    uint64_t mask = 1ull << (bit % 64), before = blocks->taken[bit / 64];
    blocks->taken[bit / 64] = before & ~mask;
    return (before & mask) != 0;
}
