/* census_roots.c - what belongs to the interpreter and its threads: their own tables, and objects kept for later.
 *
 * A free list is followed by the words that may link its items, and only to items of the same size class that no type
 * explains: the types of Objects/ link by the first word from 3.14 on, before by ob_type (float), the first item
 * (tuple) or the list of weak references (Context), or keep arrays of pointers. */
#include "census_parts.h"

#include <string.h>

enum { WORDS = 64 }; /* that are looked at together */

static uintptr_t word_at(uintptr_t address) {
    uintptr_t word;
    memcpy(&word, (const void *)address, sizeof word);
    return word;
}

enum { ITEM_NONE, ITEM_WAS_CLAIMED, ITEM_CLAIMED };

static int is_claimed(const mi_claims *mine, uintptr_t start, const mi_census_block *block) {
    mi_large_chunk chunk;
    if (block->size_class != MI_CENSUS_LARGE) return mi_census_is_claimed(mine->all, block->bit);
    return mi_large_at(mine->all->large, start, &chunk) && mi_large_state(&chunk) & MI_LARGE_CLAIMED;
}

/* malloc may have given a chunk of a size more */
static int are_alike(const mi_census_block *left, const mi_census_block *right) {
    uint32_t more = left->size > right->size ? left->size - right->size : right->size - left->size;
    return left->size_class == right->size_class && more <= MI_UNIT;
}

/* Claims the block that the item at `item` lies in: at its start, or behind a GC head and pre-header. `like`: only where it
 * is as large as this one; NULL: whatever it is. `block` is out alone. */
static int claim_item(mi_claims *mine, uintptr_t item, const mi_census_block *like, mi_census_block *block) {
    if (!mi_census_may_be_block(mine->all, item)) return ITEM_NONE;
    for (uintptr_t before = 0; before <= 2 * MI_UNIT; before += MI_UNIT) {
        uintptr_t start = item - before - mine->all->padding;
        if (!mi_census_find(mine, start, block) || (like && !are_alike(block, like))) continue;
        if (mi_census_claim_word(mine, item - before, MI_OWNER_FREE_OBJECTS)) return ITEM_CLAIMED;
        if (is_claimed(mine, start, block)) return ITEM_WAS_CLAIMED;
    }
    return ITEM_NONE;
}

/* Objects/floatobject.c: 8; tupleobject.c: 24; context.c: ctx_weakreflist, 48; from 3.14 on pycore_freelist.h: 0. */
static const int32_t links[] = {0, 8, 24, 48};

/* The item that one links to, or 0. Another word may by chance lead to one that was claimed. */
static uintptr_t next_of(mi_claims *mine, uintptr_t item, const mi_census_block *first, int *how) {
    uintptr_t known = 0;
    mi_census_block block;
    for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
        uintptr_t word;
        if ((uint32_t)links[i] + sizeof word + mine->all->padding * 2 > first->size) break;
        if (!mi_census_word(mine, item + (uintptr_t)links[i], &word)) continue;
        *how = claim_item(mine, word, first, &block);
        if (*how == ITEM_CLAIMED) return word;
        if (*how == ITEM_WAS_CLAIMED && !known) known = word;
    }
    *how = ITEM_WAS_CLAIMED;
    return known;
}

/* An item may have been claimed before, by a word of another list's that led there once: what lies behind it was not. */
static void follow(mi_claims *mine, uintptr_t item, const mi_census_block *first) {
    enum { MOST = 1 << 20, MOST_KNOWN = 64 };
    int how = ITEM_CLAIMED;
    for (int left = MOST, known = 0; left && item && known < MOST_KNOWN; left--) {
        item = next_of(mine, item, first, &how);
        known = how == ITEM_CLAIMED ? 0 : known + 1;
    }
}

/* All that the structure names before what these lead to: they are the beginnings of lists, or all of them. */
static void claim_free_lists(mi_claims *mine, uintptr_t from, size_t size) {
    mi_census_block block;
    for (size_t at = 0; at + sizeof(uintptr_t) <= size; at += sizeof(uintptr_t))
        claim_item(mine, word_at(from + at), NULL, &block);
    for (size_t at = 0; at + sizeof(uintptr_t) <= size; at += sizeof(uintptr_t)) {
        uintptr_t item = word_at(from + at);
        if (claim_item(mine, item, NULL, &block) != ITEM_NONE) follow(mine, item, &block);
    }
}

/* Objects/exceptions.c: each spare MemoryError names the next one in its dict's place. */
static void claim_memory_errors(mi_claims *mine, uintptr_t item) {
    enum { MOST = 64 };
    mi_census_block block;
    for (int left = MOST; left && claim_item(mine, item, NULL, &block) == ITEM_CLAIMED; left--)
        if (!mi_census_word(mine, item + (uintptr_t)mine->all->layout->exception_dict, &item)) return;
}

static void claim_word(mi_claims *mine, uintptr_t word, int depth);

/* Most words point nowhere, and what the others point to is fetched for all of them at once. */
static void claim_words(mi_claims *mine, const uintptr_t *words, size_t count, int depth) {
    const uintptr_t *found[WORDS];
    size_t some = 0;
    for (size_t i = 0; i < count; i++) {
        if (!mi_census_may_be_block(mine->all, words[i])) continue;
        __builtin_prefetch((const void *)(words[i] - mine->all->padding));
        found[some++] = &words[i];
    }
    for (size_t i = 0; i < some; i++) claim_word(mine, *found[i], depth);
}

/* What a word points to, and what the words of that block point to. */
static void claim_word(mi_claims *mine, uintptr_t word, int depth) {
    enum { MOST = 1 << 20 };
    mi_census_block block;
    uintptr_t parts[WORDS];
    uint32_t around = mine->all->padding * 3 / 2;
    if (!mi_census_claim_word(mine, word, MI_OWNER_INTERPRETER) || !depth) return;
    if (!mi_census_find(mine, word - mine->all->padding, &block) || block.size < around) return;
    size_t size = block.size - around < MOST ? block.size - around : MOST;
    for (size_t at = 0; at < size; at += sizeof parts) {
        size_t count = (size - at < sizeof parts ? size - at : sizeof parts) / sizeof *parts;
        if (!mi_census_read(mine, word + at, parts, count * sizeof *parts)) return;
        claim_words(mine, parts, count, depth - 1);
    }
}

/* What points into the structure itself is left out: static objects do so by the thousand. */
static void claim_piece(mi_claims *mine, const mi_census_roots *root, size_t from, size_t to) {
    enum { DEPTH = 16 }; /* dtoa's lists of numbers are linked */
    const uintptr_t *words = (const uintptr_t *)root->address;
    uintptr_t parts[WORDS];
    size_t count = 0;
    for (size_t at = from; at < to; at++) {
        if (words[at] && words[at] - root->address >= root->size) parts[count++] = words[at];
        if (count == WORDS) {
            claim_words(mine, parts, count, DEPTH);
            count = 0;
        }
    }
    claim_words(mine, parts, count, DEPTH);
}

static int is_mapped(const mi_census_shared *all, const mi_census_roots *root) {
    return mi_os_maps_covers(&all->target->maps, root->address, root->size);
}

void mi_census_claim_kept(mi_claims *mine) {
    const mi_census_shared *all = mine->all;
    for (size_t i = 0; i < all->root_count; i++) {
        const mi_census_roots *root = &all->roots[i];
        if (!is_mapped(all, root)) continue;
        if (root->free_lists) claim_free_lists(mine, root->free_lists, (size_t)all->layout->free_lists_size);
        if (root->memory_errors) claim_memory_errors(mine, word_at(root->memory_errors));
    }
}

void mi_census_claim_root_words(mi_claims *mine) {
    enum { PIECE = 256 }; /* words */
    mi_census_shared *all = mine->all;
    size_t wanted = atomic_fetch_add(&all->next_piece, 1), piece = 0;
    for (size_t i = 0; i <= all->root_count; i++) {
        const mi_census_roots *root = i < all->root_count ? &all->roots[i] : &all->data;
        size_t words = is_mapped(all, root) ? root->size / sizeof(uintptr_t) : 0;
        for (size_t from = 0; from < words; from += PIECE, piece++) {
            if (piece != wanted) continue;
            claim_piece(mine, root, from, words - from < PIECE ? words : from + PIECE);
            wanted = atomic_fetch_add(&all->next_piece, 1);
        }
    }
}
