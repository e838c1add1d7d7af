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

/* Claims the block that the item at `item` lies in: at its start, or behind a GC head and pre-header. Its place in the
 * block, or -1. */
static int claim_item(mi_claims *mine, uintptr_t item, mi_owner owner, mi_census_block *block) {
    if (!mi_census_may_be_block(mine->all, item)) return -1;
    for (int before = 0; before <= 2 * MI_UNIT; before += MI_UNIT) {
        uintptr_t start = item - (uintptr_t)before - mine->all->padding;
        if (!mi_census_find(mine, start, block)) continue;
        if (mi_census_claim_word(mine, item - (uintptr_t)before, owner)) return before;
    }
    return -1;
}

/* Objects/floatobject.c: 8; tupleobject.c: 24; context.c: ctx_weakreflist, 48; from 3.14 on pycore_freelist.h: 0. */
static const int32_t links[] = {0, 8, 24, 48};

static void follow(mi_claims *mine, uintptr_t item, const mi_census_block *first) {
    enum { MOST = 1 << 20 };
    for (int left = MOST; left; left--) {
        uintptr_t next = 0;
        mi_census_block block = {0};
        for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
            if ((uint32_t)links[i] + sizeof(void *) + mine->all->padding * 2 > first->size) break;
            uintptr_t word;
            if (!mi_census_word(mine, item + (uintptr_t)links[i], &word)) continue;
            if (claim_item(mine, word, MI_OWNER_FREE_OBJECTS, &block) < 0) continue;
            next = word;
            break;
        }
        /* malloc may have given a chunk of a size more */
        uint32_t more = block.size > first->size ? block.size - first->size : first->size - block.size;
        if (!next || block.size_class != first->size_class || more > MI_UNIT) return;
        item = next;
    }
}

static void claim_free_lists(mi_claims *mine, uintptr_t from, size_t size) {
    for (size_t at = 0; at + sizeof(uintptr_t) <= size; at += sizeof(uintptr_t)) {
        uintptr_t item = word_at(from + at);
        mi_census_block block;
        if (claim_item(mine, item, MI_OWNER_FREE_OBJECTS, &block) >= 0) follow(mine, item, &block);
    }
}

/* Objects/exceptions.c: each spare MemoryError names the next one in its dict's place. */
static void claim_memory_errors(mi_claims *mine, uintptr_t item) {
    enum { MOST = 64 };
    mi_census_block block;
    for (int left = MOST; left && claim_item(mine, item, MI_OWNER_FREE_OBJECTS, &block) >= 0; left--)
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
