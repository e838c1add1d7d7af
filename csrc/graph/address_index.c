/* address_index.c - the regions of address_index.h, their table, and their numbering. */
#include "address_index.h"

#include <string.h>

#include "os.h"

enum { FIRST_SLOT_BITS = 10 };

static size_t region_size(void) { return MI_REGION_WORDS * sizeof(mi_index_word); }

void mi_address_index_init(mi_address_index *index) { memset(index, 0, sizeof *index); }

void mi_address_index_free(mi_address_index *index) {
    for (size_t i = 0; i < index->region_count; i++) mi_os_free(index->regions[i].words, region_size());
    mi_os_free(index->regions, index->region_room * sizeof *index->regions);
    if (index->slots) mi_os_free(index->slots, sizeof *index->slots << index->slot_bits);
    memset(index, 0, sizeof *index);
}

uint64_t mi_address_index_bytes(const mi_address_index *index) {
    uint64_t slots = index->slots ? sizeof *index->slots << index->slot_bits : 0;
    return index->region_count * region_size() + index->region_room * sizeof *index->regions + slots;
}

static void slot_fill(mi_address_index *index, size_t region) {
    size_t mask = ((size_t)1 << index->slot_bits) - 1;
    size_t at = (size_t)((index->regions[region].key * 0x9E3779B97F4A7C15u) >> (64 - index->slot_bits));
    while (index->slots[at]) at = (at + 1) & mask;
    index->slots[at] = (uint32_t)region + 1;
}

static mi_error slots_make(mi_address_index *index, unsigned bits) {
    uint32_t *slots = mi_os_alloc(sizeof *slots << bits);
    if (!slots) return MI_E_MEMORY;
    if (index->slots) mi_os_free(index->slots, sizeof *slots << index->slot_bits);
    index->slots = slots;
    index->slot_bits = bits;
    for (size_t region = 0; region < index->region_count; region++) slot_fill(index, region);
    return MI_OK;
}

static mi_error region_add(mi_address_index *index, uintptr_t key) {
    if (index->region_count == index->region_room) {
        size_t room = index->region_room * 2 + 256, size = sizeof *index->regions;
        mi_index_region *regions = mi_os_realloc(index->regions, index->region_room * size, room * size);
        if (!regions) return MI_E_MEMORY;
        index->regions = regions;
        index->region_room = room;
    }
    if (!index->slots || (index->region_count + 1) * 4 > (size_t)1 << index->slot_bits) {
        mi_error error = slots_make(index, index->slots ? index->slot_bits + 1 : FIRST_SLOT_BITS);
        if (error) return error;
    }
    mi_index_word *words = mi_os_alloc(region_size());
    if (!words) return MI_E_MEMORY;
    index->regions[index->region_count] = (mi_index_region){key, words};
    slot_fill(index, index->region_count++);
    return MI_OK;
}

mi_error mi_address_index_put(mi_address_index *index, uintptr_t address, int *added) {
    mi_index_word *word = mi_address_index_word(index, address);
    if (!word) {
        mi_error error = region_add(index, address >> MI_REGION_SHIFT);
        if (error) return error;
        word = mi_address_index_word(index, address);
    }
    uint64_t bit = 1ull << (address >> 3 & 63);
    if (added) *added = !(word->bits & bit);
    word->bits |= bit;
    return MI_OK;
}

void mi_address_index_remove(mi_address_index *index, uintptr_t address) {
    mi_index_word *word = mi_address_index_word(index, address);
    if (word) word->bits &= ~(1ull << (address >> 3 & 63));
}

/* Heap sort by key: there are a few thousand regions at most. */
static void sift(mi_index_region *items, size_t at, size_t count) {
    for (size_t child; (child = at * 2 + 1) < count; at = child) {
        if (child + 1 < count && items[child + 1].key > items[child].key) child++;
        if (items[at].key >= items[child].key) return;
        mi_index_region moved = items[at];
        items[at] = items[child];
        items[child] = moved;
    }
}

static void regions_sort(mi_index_region *items, size_t count) {
    for (size_t i = count / 2; i--;) sift(items, i, count);
    for (size_t left = count; left > 1;) {
        mi_index_region last = items[--left];
        items[left] = items[0];
        items[0] = last;
        sift(items, 0, left);
    }
}

mi_error mi_address_index_seal(mi_address_index *index) {
    regions_sort(index->regions, index->region_count);
    if (index->slots) {
        memset(index->slots, 0, sizeof *index->slots << index->slot_bits);
        for (size_t region = 0; region < index->region_count; region++) slot_fill(index, region);
    }
    uint64_t count = 0;
    for (size_t region = 0; region < index->region_count; region++)
        for (size_t i = 0; i < MI_REGION_WORDS; i++) {
            mi_index_word *word = &index->regions[region].words[i];
            if (count > UINT32_MAX - 64) return MI_E_LIMIT;
            word->before = (uint32_t)count;
            count += (uint64_t)__builtin_popcountll(word->bits);
        }
    index->count = (uint32_t)count;
    return MI_OK;
}

uintptr_t mi_address_index_address(const mi_address_index *index, uint32_t number) {
    size_t low = 0, high = index->region_count * MI_REGION_WORDS;
    if (number >= index->count) return 0;
    while (high - low > 1) { /* the last word with no more than `number` addresses before it */
        size_t middle = low + (high - low) / 2;
        if (index->regions[middle / MI_REGION_WORDS].words[middle % MI_REGION_WORDS].before <= number)
            low = middle;
        else
            high = middle;
    }
    const mi_index_region *region = &index->regions[low / MI_REGION_WORDS];
    const mi_index_word *word = &region->words[low % MI_REGION_WORDS];
    uint64_t bits = word->bits;
    for (uint32_t skip = number - word->before; skip; skip--) bits &= bits - 1;
    return (region->key << MI_REGION_SHIFT) + ((uintptr_t)(low % MI_REGION_WORDS) << 9) +
           ((uintptr_t)__builtin_ctzll(bits) << 3);
}
