/* census_guess.c - what points to the blocks that a census could not name: a guess, and said to be one.
 *
 * The unknown blocks are gathered by address; then every word of every live block is held against them. */
#include "census_parts.h"

#include <string.h>

enum { MOST_UNKNOWN = 1 << 16, INDEX_BITS = 18 };

typedef struct unknown_blocks {
    uintptr_t *addresses; /* what a pointer to the block would be */
    unsigned char *classes;
    uint32_t *index; /* open addressing; item + 1 */
    size_t count;
    uintptr_t low, high;
} unknown_blocks;

static size_t place_of(uintptr_t address) { return (size_t)(mi_types_hash(address) >> (64 - INDEX_BITS)); }

static void add(unknown_blocks *unknown, uintptr_t address, uint32_t class) {
    if (unknown->count >= MOST_UNKNOWN) return;
    size_t at = place_of(address);
    while (unknown->index[at]) at = (at + 1) & (((size_t)1 << INDEX_BITS) - 1);
    unknown->addresses[unknown->count] = address;
    unknown->classes[unknown->count] = (unsigned char)class;
    unknown->index[at] = (uint32_t)++unknown->count;
    if (address < unknown->low) unknown->low = address;
    if (address > unknown->high) unknown->high = address;
}

static long find(const unknown_blocks *unknown, uintptr_t address) {
    if (address < unknown->low || address > unknown->high) return -1;
    for (size_t at = place_of(address); unknown->index[at]; at = (at + 1) & (((size_t)1 << INDEX_BITS) - 1))
        if (unknown->addresses[unknown->index[at] - 1] == address) return (long)unknown->index[at] - 1;
    return -1;
}

static void gather_unknown(mi_claims *mine, void *context, uintptr_t block, uint32_t class, int type, uint32_t before) {
    (void)before;
    if (type == MI_SEEN_UNKNOWN) add(context, block + mine->all->padding, class);
}

typedef struct search {
    const unknown_blocks *unknown;
    mi_census *census;
} search;

static void note(const search *search, size_t found, int type, uint32_t offset) {
    mi_census_guess *guesses = search->census->guesses[search->unknown->classes[found]];
    for (int i = 0; i < MI_CENSUS_GUESSES; i++) {
        mi_census_guess *guess = &guesses[i];
        if (guess->count && (guess->type != type || guess->offset != offset)) continue;
        *guess = (mi_census_guess){type, -1, offset, guess->count + 1};
        return;
    }
}

static void search_words(const search *search, uintptr_t from, size_t size, int type) {
    for (size_t at = 0; at + sizeof(uintptr_t) <= size; at += sizeof(uintptr_t)) {
        uintptr_t word;
        memcpy(&word, (const void *)(from + at), sizeof word);
        long found = word % MI_UNIT ? -1 : find(search->unknown, word);
        if (found >= 0) note(search, (size_t)found, type, (uint32_t)at);
    }
}

static void search_block(mi_claims *mine, void *context, uintptr_t block, uint32_t class, int type, uint32_t before) {
    uint32_t size = (class + 1) * (uint32_t)mine->all->layout->alignment - mine->all->padding / 2;
    if (before < size) search_words(context, block + before, size - before, type);
}

mi_error mi_census_guess_take(mi_claims *mine, mi_census *census) {
    const mi_census_shared *all = mine->all;
    unknown_blocks unknown = {.low = UINTPTR_MAX};
    size_t addresses = MOST_UNKNOWN * sizeof *unknown.addresses, index = sizeof *unknown.index << INDEX_BITS;
    unknown.addresses = mi_os_alloc(addresses);
    unknown.classes = mi_os_alloc(MOST_UNKNOWN);
    unknown.index = mi_os_alloc(index);
    mi_error error = unknown.addresses && unknown.classes && unknown.index ? MI_OK : MI_E_MEMORY;
    if (!error) {
        mi_census_each_block(mine, gather_unknown, &unknown);
        search search = {&unknown, census};
        mi_census_each_block(mine, search_block, &search);
        for (size_t i = 0; i < all->types->count; i++) { /* types themselves lie outside the pools */
            uintptr_t type = all->types->items[i].address;
            if (mi_os_maps_covers(&all->target->maps, type, (size_t)all->layout->heap_type_size))
                search_words(&search, type, (size_t)all->layout->heap_type_size, MI_SEEN_TYPE);
        }
    }
    mi_os_free(unknown.addresses, addresses);
    mi_os_free(unknown.classes, MOST_UNKNOWN);
    mi_os_free(unknown.index, index);
    return error;
}
