/* address_index.h - a set of addresses, each with a dense number in order of address.
 *
 * One bit for every 8 bytes, in regions of 2 MiB that exist where an address was put; beside every 64 bits the number of
 * addresses before them, so that an address gives its number by one popcount, without a hash of addresses: about 2.5 bytes
 * an object on a common heap. First addresses are put in and taken out, then mi_address_index_seal() numbers them. */
#ifndef MI_ADDRESS_INDEX_H
#define MI_ADDRESS_INDEX_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"

enum { MI_REGION_SHIFT = 21, MI_REGION_WORDS = 1 << (MI_REGION_SHIFT - 9) };

typedef struct mi_index_word { /* of 512 bytes of address space */
    uint64_t bits;
    uint32_t before; /* addresses in lower words of all regions */
    uint32_t unused;
} mi_index_word;

typedef struct mi_index_region {
    uintptr_t key; /* address >> MI_REGION_SHIFT */
    mi_index_word *words;
} mi_index_region;

typedef struct mi_address_index {
    mi_index_region *regions; /* once sealed in order of address */
    size_t region_count, region_room;
    uint32_t *slots; /* open addressing over keys; region + 1 */
    unsigned slot_bits;
    uint32_t count; /* once sealed */
} mi_address_index;

void mi_address_index_init(mi_address_index *index);
void mi_address_index_free(mi_address_index *index);
uint64_t mi_address_index_bytes(const mi_address_index *index);

/* Addresses are multiples of 8. `added`, when not NULL, says whether it was new. */
mi_error mi_address_index_put(mi_address_index *index, uintptr_t address, int *added);
void mi_address_index_remove(mi_address_index *index, uintptr_t address);
/* Numbers them; MI_E_LIMIT when 32 bits do not count them. Nothing is put in or taken out from then on. */
mi_error mi_address_index_seal(mi_address_index *index);
/* The address of a number. */
uintptr_t mi_address_index_address(const mi_address_index *index, uint32_t number);

static inline mi_index_word *mi_address_index_word(const mi_address_index *index, uintptr_t address) {
    if (!index->slots) return NULL;
    uintptr_t key = address >> MI_REGION_SHIFT;
    size_t mask = ((size_t)1 << index->slot_bits) - 1;
    size_t at = (size_t)((key * 0x9E3779B97F4A7C15u) >> (64 - index->slot_bits));
    for (uint32_t slot; (slot = index->slots[at]); at = (at + 1) & mask)
        if (index->regions[slot - 1].key == key)
            return &index->regions[slot - 1].words[address >> 9 & (MI_REGION_WORDS - 1)];
    return NULL;
}

static inline int mi_address_index_has(const mi_address_index *index, uintptr_t address) {
    const mi_index_word *word = address % 8 ? NULL : mi_address_index_word(index, address);
    return word && word->bits >> (address >> 3 & 63) & 1;
}

/* The number of an address in a sealed index, by the word that it lies in (NULL: none), or -1. */
static inline int64_t mi_index_word_number(const mi_index_word *word, uintptr_t address) {
    unsigned bit = address >> 3 & 63;
    if (!word || !(word->bits >> bit & 1)) return -1;
    return (int64_t)word->before + __builtin_popcountll(word->bits & ((1ull << bit) - 1));
}
/* The number of an address in a sealed index, or -1. */
static inline int64_t mi_address_index_find(const mi_address_index *index, uintptr_t address) {
    return mi_index_word_number(address % 8 ? NULL : mi_address_index_word(index, address), address);
}

/* Goes through all of a sealed index in order: starts at zeros; false at the end. */
typedef struct mi_index_walk {
    size_t region, word;
    uint64_t left;
    uintptr_t address;
} mi_index_walk;
static inline int mi_address_index_next(const mi_address_index *index, mi_index_walk *walk) {
    while (!walk->left) {
        if (walk->word == MI_REGION_WORDS) {
            walk->word = 0;
            walk->region++;
        }
        if (walk->region >= index->region_count) return 0;
        walk->left = index->regions[walk->region].words[walk->word++].bits;
    }
    uintptr_t base = index->regions[walk->region].key << MI_REGION_SHIFT;
    walk->address = base + ((uintptr_t)(walk->word - 1) << 9) + ((uintptr_t)__builtin_ctzll(walk->left) << 3);
    walk->left &= walk->left - 1;
    return 1;
}

#endif
