/* census_large_walk.c - what malloc's chunks hold: claims on them, and objects among the rest.
 *
 * As for blocks, a claim is final and the order does not matter: a chunk's state says whether it was claimed or typed
 * before, and who comes second puts the counts right. Chunks are looked at as copies. */
#include <string.h>

#include "census_parts.h"

enum { HEAD = 128 }; /* bytes of a chunk that tell its type */

int mi_census_chunk_of(const mi_claims *mine, uintptr_t address, mi_large_chunk *chunk) {
    uint32_t padding = mine->all->padding;
    if (mi_large_at(mine->all->large, address - padding, chunk)) return 1;
    /* pymalloc under debug hooks asks PyMem_RawMalloc, which has hooks too; C code's chunks have none */
    return padding && (mi_large_at(mine->all->large, address - 2 * padding, chunk) ||
                       mi_large_at(mine->all->large, address, chunk));
}

static uint32_t cut(uint64_t size) { return size > UINT32_MAX ? UINT32_MAX : (uint32_t)size; }

/* Copies a piece of a chunk: through the window of a walk, or (NULL) from the pages that were looked at last, for chunks in
 * no order. A read of its own for each would make the pause of a program with many chunks. */
static int copy(const mi_claims *mine, mi_window *window, uintptr_t address, void *to, size_t size) {
    if (window) return mi_large_copy(window, address, to, size);
    return mi_page_copies_read(mine->copies, address, to, size);
}

/* The type of what lies in the chunk, or -1; its first bytes are copied to `head`. */
static int type_of(mi_claims *mine, mi_window *window, const mi_large_chunk *chunk, unsigned char *head,
                   uint32_t *before) {
    size_t size = chunk->room < HEAD ? (size_t)chunk->room : HEAD;
    if (chunk->untyped) return -1;
    memset(head, 0, HEAD);
    if (!copy(mine, window, chunk->user, head, size)) return -1;
    uint32_t padding = mine->all->padding, room = cut(chunk->room);
    int type = mi_census_classify(mine, head, room, before);
    if (type < 0 && padding && room >= padding * 3) { /* hooks within hooks */
        type = mi_census_classify(mine, head + padding, room - padding * 3 / 2, before);
        *before += padding;
    }
    if (type >= 0 || mi_types_find(mine->all->types, chunk->user + padding) < 0) return type;
    *before = padding; /* a type that C code made without the header that the collector wants (numpy's dtypes) */
    return mi_object_type(mine->all->layout, mine->all->types, head + padding);
}

int mi_census_chunk_type(mi_claims *mine, mi_window *window, const mi_large_chunk *chunk, uint32_t *before) {
    unsigned char head[HEAD];
    return type_of(mine, window, chunk, head, before);
}

/* Copies as much of the object as its type's fields take; how many bytes. */
static size_t copy_object(mi_claims *mine, mi_window *window, const mi_large_chunk *chunk, const mi_type *type,
                          uint32_t before) {
    size_t wanted = before + (size_t)type->whole + 64; /* the head of inline values lies behind the fields */
    if (wanted > MI_LARGE_COPY) wanted = MI_LARGE_COPY;
    if (wanted > chunk->room) wanted = (size_t)chunk->room;
    return copy(mine, window, chunk->user, mine->copy, wanted) ? wanted : 0;
}

static void count_object(mi_claims *mine, int type, const mi_large_chunk *chunk, uint32_t before, size_t copied,
                         int sign) {
    const mi_type *known = &mine->all->types->items[type];
    mine->counted[type] = 1;
    if (chunk->class != MI_LARGE_NO_CLASS) {
        mine->objects[(size_t)type * mine->all->classes + chunk->class] += sign;
    } else {
        mine->large_objects[type] += sign;
        mine->large_bytes[type] += sign * (int64_t)chunk->size;
    }
    if (known->sizing == MI_SIZING_FIXED) return;
    size_t asked = known->preheader + known->whole;
    if (copied >= before + (size_t)known->basicsize + 16 || copied == chunk->room)
        asked = mi_census_asked(mine, known, mine->copy + before, (size_t)chunk->room - before - mine->all->padding);
    mine->requested[type] += sign * (int64_t)asked;
}

/* ---- claims ---------------------------------------------------------------------------------------------------------- */

static size_t asked_for(mi_claims *mine, uintptr_t address, mi_owner owner, size_t size) {
    unsigned char head[32];
    if (owner != MI_OWNER_DICT_KEYS && owner != MI_OWNER_SHARED_KEYS) return size;
    return copy(mine, NULL, address, head, sizeof head) ? mi_dict_keys_size(mine->all->layout, head) : 0;
}

/* A chunk that was taken for an object before it was claimed. */
static void take_back(mi_claims *mine, const mi_large_chunk *chunk) {
    unsigned char head[HEAD];
    uint32_t before;
    int type = type_of(mine, NULL, chunk, head, &before);
    if (type < 0) return;
    const mi_type *known = &mine->all->types->items[type];
    size_t copied = copy_object(mine, NULL, chunk, known, before);
    count_object(mine, type, chunk, before, copied, -1);
    mi_census_note_lookalike(mine, chunk->user, type);
    mine->looked_like_objects++;
}

int mi_census_claim_large(mi_claims *mine, uintptr_t address, mi_owner owner, size_t size) {
    mi_large_chunk chunk;
    if (!mi_census_chunk_of(mine, address, &chunk)) {
        if (mi_large_span_of(mine->all->large, address))
            mine->misplaced++;
        else
            mine->outside++;
        return 0;
    }
    if (!(mi_large_state(&chunk) & MI_LARGE_LIVE)) {
        mine->free++;
        return 0;
    }
    size_t around = (address - chunk.user) * 3 / 2; /* of debug hooks */
    if (size + around > chunk.room) {
        mine->small++;
        return 0;
    }
    unsigned was = mi_large_set(&chunk, MI_LARGE_CLAIMED);
    if (was & MI_LARGE_CLAIMED) {
        unsigned char head[HEAD];
        uint32_t before;
        mine->again++;
        if (was & MI_LARGE_TYPED) {
            int type = type_of(mine, NULL, &chunk, head, &before);
            if (type >= 0) mi_census_note_lookalike(mine, chunk.user, type);
        }
        return 1;
    }
    if (mine->all->apart) mi_census_apart_claimed(mine->all->apart, address, owner);
    mi_census_row *row = &mine->buffers[owner];
    size_t asked = asked_for(mine, address, owner, size);
    if (chunk.class != MI_LARGE_NO_CLASS) {
        row->blocks[chunk.class]++;
    } else {
        row->large_blocks++;
        row->large_bytes += chunk.size;
    }
    if (asked && asked + around <= chunk.room)
        row->requested_bytes += asked;
    else
        row->unasked++;
    if (was & MI_LARGE_TYPED) take_back(mine, &chunk);
    return 1;
}

int mi_census_claim_large_word(mi_claims *mine, uintptr_t word, mi_owner owner) {
    mi_large_chunk chunk;
    unsigned char head[HEAD];
    uint32_t before;
    if (!mi_census_chunk_of(mine, word, &chunk)) return 0;
    if ((mi_large_state(&chunk) & ~(unsigned)MI_LARGE_ODD) != MI_LARGE_LIVE) return 0; /* claimed, typed or free */
    if (type_of(mine, NULL, &chunk, head, &before) >= 0) return 0;
    return mi_census_claim_large(mine, word, owner, 0);
}

/* ---- the walk -------------------------------------------------------------------------------------------------------- */

static void look_at(mi_claims *mine, const mi_large_chunk *chunk) {
    const mi_census_shared *all = mine->all;
    unsigned char head[HEAD];
    uint32_t before;
    int type = type_of(mine, &mine->window, chunk, head, &before);
    if (type < 0 || (all->excluded_count && mi_census_is_excluded(all, chunk->user))) return;
    if (mi_large_set(chunk, MI_LARGE_TYPED) & MI_LARGE_CLAIMED) {
        mine->looked_like_objects++;
        return;
    }
    const mi_type *known = &all->types->items[type];
    size_t copied = copy_object(mine, &mine->window, chunk, known, before);
    count_object(mine, type, chunk, before, copied, 1);
    if (known->kind == MI_KIND_PLAIN && all->layout->managed_values == MI_ABSENT) return;
    /* what types own was claimed from their table; an object larger than the copy is none that owns anything */
    if (known->kind == MI_KIND_TYPE || copied < before + (size_t)known->basicsize) return;
    mine->claimer = chunk->user;
    mine->context.moved = chunk->user - (uintptr_t)mine->copy;
    mi_owner_claim(&mine->context, known, (uintptr_t)mine->copy + before);
    if (mi_owner_is_opaque(known)) mi_owner_claim_opaque(&mine->context, known, (uintptr_t)mine->copy + before);
    mine->context.moved = 0;
}

void mi_census_walk_large(mi_claims *mine) {
    enum { RUN = 1024 };
    mi_census_shared *all = mine->all;
    mi_large_chunk chunks[MI_LARGE_PER_WORD];
    for (size_t from; (from = atomic_fetch_add(&all->next_word, RUN)) < all->large->map_words;) {
        size_t to = from + RUN < all->large->map_words ? from + RUN : all->large->map_words;
        if (mi_target_is_late(all->target)) {
            atomic_fetch_add(&all->words_left, to - from);
            continue;
        }
        const mi_large_span *span = mi_large_span_at(all->large, from), *end = all->large->spans + all->large->sorted;
        for (size_t at = from; at < to; at++) {
            while (span + 1 < end && span[1].before <= at) span++;
            int count = mi_large_in_word(all->large, span, at, chunks);
            for (int i = 0; i < count; i++) look_at(mine, &chunks[i]);
        }
    }
}
