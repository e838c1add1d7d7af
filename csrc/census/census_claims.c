/* census_claims.c - what an object of census.h owns is marked as claimed, and not counted as an object where it looks like
 * one. */
#include "census_parts.h"

#include <string.h>

int mi_census_is_excluded(const mi_census_shared *all, uintptr_t block) {
    size_t low = 0, high = all->excluded_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (all->excluded[middle] < block)
            low = middle + 1;
        else
            high = middle;
    }
    return low < all->excluded_count && all->excluded[low] == block;
}

void mi_census_count_object(mi_claims *mine, int type, uintptr_t block, uint32_t before, uint32_t size, uint32_t class,
                            int sign) {
    const mi_type *known = &mine->all->types->items[type];
    mine->counted[type] = 1;
    mine->objects[(size_t)type * mine->all->classes + class] += sign;
    if (known->sizing == MI_SIZING_FIXED) return;
    uint32_t room = size - before - mine->all->padding / 2;
    mine->requested[type] +=
        sign * (int64_t)mi_census_asked(mine, known, (const unsigned char *)(block + before), room);
}

int mi_census_is_claimed(const mi_census_shared *all, size_t bit) {
    return (int)(atomic_load_explicit(&all->claimed[bit / 64], memory_order_relaxed) >> (bit % 64) & 1);
}

/* Sets a block's bit; whether it was set before. */
static inline int set_claimed(const mi_census_shared *all, size_t bit) {
    _Atomic uint64_t *word = &all->claimed[bit / 64];
    uint64_t mask = 1ull << (bit % 64);
    if (!all->alone) return (atomic_fetch_or_explicit(word, mask, memory_order_relaxed) & mask) != 0;
    uint64_t before = atomic_load_explicit(word, memory_order_relaxed); /* without the lock on the memory */
    atomic_store_explicit(word, before | mask, memory_order_relaxed);
    return (before & mask) != 0;
}

void mi_census_note_lookalike(mi_claims *mine, uintptr_t block, int type) {
    if (mine->lookalike_count < MI_LOOKALIKES_MOST)
        mine->lookalikes[mine->lookalike_count++] = (mi_lookalike){block, mine->claimer, (uint32_t)type, 0};
}

/* What the owner asked for, where the block itself tells it. */
static inline size_t asked_for(const mi_claims *mine, uintptr_t address, mi_owner owner, size_t size) {
    if (owner == MI_OWNER_DICT_KEYS || owner == MI_OWNER_SHARED_KEYS)
        return mi_dict_keys_size(mine->all->layout, (const unsigned char *)address);
    return size;
}

/* A block that is claimed by two. */
static __attribute__((noinline)) int claim_again(mi_claims *mine, uintptr_t start, uint32_t size) {
    uint32_t before;
    mine->again++;
    int type = mi_census_classify(mine, (const unsigned char *)start, size, &before);
    if (type >= 0) mi_census_note_lookalike(mine, start, type);
    return 1;
}

/* A block that was claimed may look like an object, and was or will be counted as one then. */
static __attribute__((noinline)) void take_back(mi_claims *mine, uintptr_t start, uint32_t class) {
    uint32_t before;
    const mi_type_key *known = mi_proof_ask(&mine->all->proofs[class], (const unsigned char *)start, &before);
    if (!known) return;
    mine->looked_like_objects++;
    if (mi_census_is_excluded(mine->all, start)) return;
    mi_census_count_object(mine, (int)known->item, start, before, (class + 1) * MI_UNIT, class, -1);
    mi_census_note_lookalike(mine, start, (int)known->item);
}

/* Whether a word of the block in one of the places may be a type: of most blocks that are claimed none is. */
static inline int may_look_like_object(const mi_census_shared *all, uintptr_t start, uint32_t class) {
    const mi_proof *proof = &all->proofs[class];
    const unsigned char *type = (const unsigned char *)start + proof->padding + proof->type;
    for (uint32_t at = 0; at < proof->end; at += MI_PLACE_BYTES) {
        uintptr_t word;
        memcpy(&word, type + at, sizeof word);
        if (mi_types_pass(all->types, word)) return 1;
    }
    return 0;
}

/* What lies in no arena: a chunk of malloc, or static. While malloc's chunks are looked for, what nobody waits for is kept. */
static __attribute__((noinline)) int claim_outside(mi_claims *mine, uintptr_t address, mi_owner owner, size_t size) {
    const mi_census_shared *all = mine->all;
    if (!atomic_load_explicit(&all->large_known, memory_order_acquire) && mi_owner_is_exact(owner) &&
        mine->early_count < MI_CLAIMS_EARLY) {
        mine->early[mine->early_count++] =
            (mi_claim_order){.address = address, .claimer = mine->claimer, .size = size, .owner = owner};
        return 0;
    }
    if (mi_census_large(all)) return mi_census_claim_large(mine, address, owner, size);
    mine->outside++;
    return 0;
}

/* The block of pymalloc that is claimed. Where there is none the claim is dealt with, and *claimed says how it ended. */
static inline int locate(mi_claims *mine, uintptr_t address, mi_owner owner, size_t size, mi_census_block *block,
                         int *claimed) {
    const mi_census_shared *all = mine->all;
    uintptr_t start = address - all->padding;
    *claimed = 0;
    if (!address) return 0;
    const mi_arena_span *span = mi_census_span_near(mine, start);
    if (!span) {
        *claimed = claim_outside(mine, address, owner, size);
        return 0;
    }
    if (!mi_census_block_in(mine, span, start, block)) return 0;
    if (size + all->padding * 3 / 2 <= block->size) return 1;
    mine->small++;
    return 0;
}

/* What is told of single blocks, where that was asked for. */
static __attribute__((noinline)) void note_block(mi_claims *mine, uintptr_t address, mi_owner owner) {
    mi_census_shared *all = mine->all;
    uintptr_t start = address - all->padding;
    if (all->owners) mi_census_note_owner(all, mi_census_span_near(mine, start), start, owner);
    if (all->apart) mi_census_apart_claimed(all->apart, address, owner);
}

/* The claim of a block that is in use. Made for every buffer of the heap. */
static inline __attribute__((always_inline)) int take(mi_claims *mine, uintptr_t address, mi_owner owner, size_t size,
                                                      size_t bit, uint32_t class) {
    const mi_census_shared *all = mine->all;
    uint32_t padding = all->padding, room = (class + 1) * MI_UNIT;
    uintptr_t start = address - padding;
    if (set_claimed(all, bit)) return claim_again(mine, start, room);
    if (all->owners || all->apart) note_block(mine, address, owner);
    size_t asked = asked_for(mine, address, owner, size);
    int told = asked && asked + padding * 3 / 2 <= room;
    mi_census_row *row = &mine->buffers[owner];
    row->blocks[class]++;
    row->requested_bytes += told ? asked : 0;
    row->unasked += !told;
    if (may_look_like_object(all, start, class)) take_back(mine, start, class);
    return 1;
}

int mi_census_claim(mi_claims *mine, uintptr_t address, mi_owner owner, size_t size) {
    const mi_census_shared *all = mine->all;
    mi_census_block block;
    int claimed;
    if (!locate(mine, address, owner, size, &block, &claimed)) return claimed;
    if (!mi_owner_is_exact(owner)) {
        uintptr_t start = address - all->padding;
        if (mi_census_is_claimed(all, block.bit)) return claim_again(mine, start, block.size);
        if (mi_census_is_free(all, start)) {
            mine->free++;
            return 0;
        }
    }
    return take(mine, address, owner, size, block.bit, block.size_class);
}

/* What waits longest. */
static inline void take_first(mi_claims *mine, mi_claim_order *order) {
    if (!order->address) return;
    mine->claimer = order->claimer;
    take(mine, order->address, order->owner, order->size, order->bit, order->class);
    order->address = 0;
}

void mi_census_claim_later(mi_claims *mine, uintptr_t claimer, uintptr_t address, mi_owner owner, size_t size) {
    mi_claim_order *order = &mine->ring[mine->ring_next++ % MI_CLAIM_RING];
    mi_census_block block;
    int claimed;
    take_first(mine, order);
    mine->claimer = claimer;
    if (!locate(mine, address, owner, size, &block, &claimed)) return;
    *order = (mi_claim_order){address, claimer, size, block.bit, block.size_class, owner};
    __builtin_prefetch((const void *)(address - mine->all->padding)); /* all that may_look_like_object() asks for */
    __builtin_prefetch((const void *)(address + MI_PLACES * MI_PLACE_BYTES - sizeof(uintptr_t)));
    __builtin_prefetch((const void *)&mine->all->claimed[block.bit / 64], 1);
}

void mi_census_claim_waiting(mi_claims *mine) {
    for (unsigned at = 0; at < MI_CLAIM_RING; at++) take_first(mine, &mine->ring[at]);
    mi_census_large(mine->all);
    for (size_t at = 0; at < mine->early_count; at++) {
        const mi_claim_order *order = &mine->early[at];
        mine->claimer = order->claimer;
        mi_census_claim(mine, order->address, order->owner, order->size);
    }
    mine->early_count = 0;
    mine->claimer = 0;
}

void mi_census_claim_opaque_later(mi_claims *mine, uintptr_t block, uintptr_t object, int type) {
    if (mine->opaque_count < MI_OPAQUE_MOST)
        mine->opaque[mine->opaque_count++] = (mi_opaque){block, object, (uint32_t)type};
    else
        mi_owner_claim_opaque(&mine->context, &mine->all->types->items[type], object);
}

void mi_census_claim_opaque(mi_claims *mine) {
    for (size_t i = 0; i < mine->opaque_count; i++) {
        const mi_opaque *item = &mine->opaque[i];
        mi_census_block block;
        if (mi_census_span(mine->all, item->block) < 0 || !mi_census_block_at(mine, item->block, &block)) continue;
        if (mi_census_is_claimed(mine->all, block.bit)) continue; /* a buffer after all */
        mine->claimer = item->block;
        mi_owner_claim_opaque(&mine->context, &mine->all->types->items[item->type], item->object);
    }
}

int mi_census_claim_word(mi_claims *mine, uintptr_t word, mi_owner owner) {
    mi_census_block block;
    uint32_t before;
    uintptr_t start = word - mine->all->padding;
    if (!mi_census_may_be_block(mine->all, word)) return 0;
    const mi_arena_span *span = mi_census_span_near(mine, start);
    if (!span) return mi_census_large(mine->all) ? mi_census_claim_large_word(mine, word, owner) : 0;
    if (!mi_census_block_in(mine, span, start, &block) || mi_census_is_claimed(mine->all, block.bit)) return 0;
    if (mi_proof_ask(&mine->all->proofs[block.size_class], (const unsigned char *)start, &before)) return 0;
    return mi_census_claim(mine, word, owner, 0);
}

/* What the words of a structure lead to is fetched for all of them at once. */
static void fetch_words(const mi_census_shared *all, uintptr_t from, size_t size) {
    for (uintptr_t at = from; at + sizeof at <= from + size; at += sizeof at) {
        uintptr_t word = *(const uintptr_t *)at;
        if (mi_census_may_be_block(all, word)) __builtin_prefetch((const void *)(word - all->padding));
    }
}

void mi_census_claim_types(mi_claims *mine) {
    const mi_census_shared *all = mine->all;
    size_t size = (size_t)all->layout->heap_type_size;
    for (size_t i = 0; i < all->types->count; i++) {
        static const mi_type as_type = {.kind = MI_KIND_TYPE};
        uintptr_t type = all->types->items[i].address;
        if (!mi_os_maps_covers(&all->target->maps, type, size)) continue;
        fetch_words(all, type, size);
        mi_owner_claim(&mine->context, &as_type, type);
    }
}

static int claim(struct mi_claims *mine, uintptr_t address, mi_owner owner, size_t size) {
    if (!address) return 0;
    if (owner > MI_OWNER_SET_TABLE) return mi_census_claim(mine, address, owner, size);
    uintptr_t claimer = mine->claimer;
    mi_census_claim_later(mine, claimer, address, owner, size); /* the frequent ones, whose answer nobody waits for */
    mine->claimer = claimer;                                    /* of the rest that it owns */
    return 1;
}

static int claim_if_plain(struct mi_claims *mine, uintptr_t word, mi_owner owner) {
    return mi_census_claim_word(mine, word, owner);
}

static int heap_word(struct mi_claims *mine, uintptr_t address, uintptr_t *word) {
    return mi_census_word(mine, address, word);
}

static size_t heap_room(struct mi_claims *mine, uintptr_t address) {
    const mi_census_shared *all = mine->all;
    size_t size, around = all->padding * 3 / 2;
    if (mi_census_span(all, address) >= 0) {
        mi_census_block block;
        size = mi_census_block_at(mine, address - all->padding, &block) ? block.size : 0;
    } else {
        mi_large_chunk chunk;
        if (!mi_census_large(all) || !mi_census_chunk_of(mine, address, &chunk) ||
            !(mi_large_state(&chunk) & MI_LARGE_LIVE))
            return 0;
        size = (size_t)chunk.room;
        around = (address - chunk.user) * 3 / 2; /* of debug hooks, which may have been asked twice */
    }
    return size > around ? size - around : 0;
}

/* What an exporter lends need not begin where its block does: some keep a few words before it, or align it. */
void mi_census_claim_lent(mi_claims *mine, const mi_census_lent *lent, size_t count) {
    enum { MOST_BEFORE = 64 };
    mine->claimer = 0;
    for (size_t i = 0; i < count; i++) {
        uintptr_t first = lent[i].address & ~(uintptr_t)(MI_UNIT - 1), start = first;
        if (!lent[i].size || first < MOST_BEFORE) continue;
        while (first - start < MOST_BEFORE && !heap_room(mine, start)) start -= MI_UNIT;
        if (heap_room(mine, start) >= lent[i].address - start + lent[i].size)
            mi_census_claim_word(mine, start, MI_OWNER_LENT);
    }
}

void mi_census_owners_open(mi_claims *mine) {
    const mi_census_shared *all = mine->all;
    mine->context = (mi_owner_context){all->layout, all->types, mine, claim, claim_if_plain, heap_word, heap_room, 0};
}
