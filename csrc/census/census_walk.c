/* census_walk.c - every pool once: what its blocks hold, and what that owns. Where a census spends its time. */
#include "census_parts.h"
#include "owners_parts.h"

static int is_walked(const mi_pool *pool) { return pool->size_class != MI_POOL_FREE && !pool->torn; }

/* Of pools that are left out, too: what others own in them is claimed, the rest is unknown. */
static void count_live(mi_claims *mine, const mi_pool *pool) {
    if (is_walked(pool)) mine->live.blocks[pool->size_class] += pool->used;
}

/* ---- types that were met --------------------------------------------------------------------------------------------- */

/* What is done for an object beside counting it: nothing, its size, that of a str or of one with inline values, ... */
enum { WORK_NONE, WORK_SIZE, WORK_STR, WORK_INLINE, WORK_LIST, WORK_DICT, WORK_OTHER };

/* As mi_object_size() has it, for the types whose sizes need no rounding: 0 for the others. */
static int grows_by_number(const mi_layout *layout, mi_met_type *met) {
    const mi_type *type = met->type;
    met->number = layout->object_var_size;
    met->unit = type->itemsize;
    met->base = type->whole;
    if (type->sizing == MI_SIZING_STR) { /* a compact ASCII string: one byte a character, and one behind them */
        met->number = layout->str_length;
        met->unit = 1;
        met->base = (uint32_t)layout->str_ascii_size + 1;
        return 1;
    }
    if (type->sizing == MI_SIZING_INT && !type->generic) {
        if (layout->long_tag != MI_ABSENT) {
            met->number = layout->long_tag;
            met->shift = (uint8_t)layout->long_tag_shift;
        }
        met->base = (uint32_t)layout->long_digits;
        met->fewest = 1;
        return 1;
    }
    if (type->sizing != MI_SIZING_VAR) return 0;
    if (type->kind == MI_KIND_BYTES && !type->generic) {
        met->unit = 1;
        return 1;
    }
    met->base += type->generic * type->itemsize;
    return met->base % 8 == 0 && met->unit % 8 == 0;
}

static void plan_work(const mi_layout *layout, mi_met_type *met) {
    const mi_type *type = met->type;
    int grows = grows_by_number(layout, met), fixed = type->sizing == MI_SIZING_FIXED;
    met->number -= layout->object_type; /* from where the type is */
    met->base += type->preheader;
    met->work = WORK_OTHER;
    if (type->owns == MI_OWNS_NOTHING && (fixed || grows)) met->work = fixed ? WORK_NONE : WORK_SIZE;
    if (type->owns == MI_OWNS_NOTHING && type->sizing == MI_SIZING_INLINE) met->work = WORK_INLINE;
    if (type->owns != MI_OWNS_NAMED) return;
    if (type->kind == MI_KIND_STR && grows) met->work = WORK_STR;
    if (type->kind == MI_KIND_LIST && fixed) met->work = WORK_LIST;
    if (type->kind == MI_KIND_DICT && fixed) met->work = WORK_DICT;
}

/* Types lie at multiples of MI_UNIT: the bits above that, which cost less than a hash. */
static inline size_t place_of(uintptr_t word) { return (size_t)(word / MI_UNIT % MI_MET_TYPES); }

mi_error mi_census_walk_open(mi_claims *mine) {
    mine->met = mi_os_alloc(MI_MET_TYPES * sizeof *mine->met);
    if (!mine->met) return MI_E_MEMORY;
    /* an empty entry is no word's: it has one that belongs into another place, its neighbour's is looked at too */
    for (size_t i = 0; i < MI_MET_TYPES; i++) mine->met[i].word = (i ^ 2) * MI_UNIT;
    return MI_OK;
}

void mi_census_walk_close(mi_claims *mine) { mi_os_free(mine->met, MI_MET_TYPES * sizeof *mine->met); }

/* Where an object begins and how large it is at least, in one number: fit - (place << 16) is its least size at its own
 * place, and more than any block has at another one. */
static inline uint32_t fit_of(size_t place, uint32_t size) {
    enum { MOST = (1 << 16) - 1 };
    size += (uint32_t)place;
    return (uint32_t)place << 16 | (size < MOST ? size : MOST);
}

static void keep_sum(mi_claims *mine, mi_met_type *met) {
    if (met->asked) mine->requested[met->type - mine->all->types->items] += met->asked;
    met->asked = 0;
}

/* A word that is not in its place, and may be a type: one of two places, so that two types do not drive each other out. */
static __attribute__((noinline)) mi_met_type *meet(mi_claims *mine, uintptr_t word) {
    mi_met_type *first = &mine->met[place_of(word)], *second = &mine->met[place_of(word) ^ 1];
    if (second->word == word) return second;
    const mi_type_key *known = mi_types_key(mine->all->types, word);
    if (!known) return NULL;
    mi_met_type *met = !first->type || second->type ? first : second;
    keep_sum(mine, met);
    mine->counted[known->item] = 1;
    *met = (mi_met_type){.word = word,
                         .type = &mine->all->types->items[known->item],
                         .counts = &mine->objects[known->item * mine->all->classes],
                         .before = known->preheader,
                         .least = known->basicsize + known->preheader,
                         .fit = fit_of(known->preheader, known->basicsize)};
    plan_work(mine->all->layout, met);
    return met;
}

/* ---- one block ------------------------------------------------------------------------------------------------------- */

/* What does not change from block to block of a pool; a copy, so that no count that is stored can be taken to change it. */
typedef struct pool_walk {
    mi_claims *mine;
    const mi_layout *layout;
    const mi_types *types;
    mi_met_type *met;
    size_t type;    /* from a block's start: where the type of an object in its first place is */
    intptr_t count; /* from there: where its count is */
    size_t link;    /* so far before it: where the collector's link of one in another place is */
    mi_count_bits bits;
    size_t class;
    uint32_t room, end; /* room: bytes of the content; end: an object begins below, in whole places */
} pool_walk;

static inline uintptr_t word_at(const unsigned char *place) {
    uintptr_t word;
    memcpy(&word, place, sizeof word);
    return word;
}

/* The type that a word of a block is, or NULL. */
static inline __attribute__((always_inline)) mi_met_type *met_at(const pool_walk *walk, const unsigned char *place) {
    uintptr_t word = word_at(place);
    mi_met_type *met = &walk->met[place_of(word)];
    if (__builtin_expect(met->word == word, 1)) return met;
    return mi_types_pass(walk->types, word) ? meet(walk->mine, word) : NULL;
}

/* An object whose size grows with a number, which may have a sign. `type`: where its type is. */
static inline __attribute__((always_inline)) void add_size(mi_met_type *met, const unsigned char *type, uint32_t room,
                                                           int signs) {
    int64_t number = mi_size_number(type, met->number);
    uint64_t count = (uint64_t)(signs && number < 0 ? -number : number) >> met->shift;
    if (count < met->fewest) count = met->fewest;
    uint64_t size = met->base + count * met->unit;
    met->asked += (int64_t)(size > room ? met->least : size);
}

/* One that has the values of its attributes in itself. */
static inline __attribute__((always_inline)) void add_inline(const pool_walk *walk, mi_met_type *met,
                                                             const unsigned char *object) {
    size_t room = walk->room - met->before;
    size_t size = met->type->whole + mi_inline_size(walk->layout, met->type, object, room);
    met->asked += (int64_t)mi_size_in_room(met->type, size, room);
}

static void claim_of(mi_claims *mine, const mi_type *type, uintptr_t block, uintptr_t object) {
    mine->claimer = block;
    mi_owner_claim(&mine->context, type, object);
    if (mi_owner_is_opaque(type))
        mi_census_claim_opaque_later(mine, block, object, (int)(type - mine->all->types->items));
}

/* What is not counted at once: what objects own, and sizes that follow from more than a number. The frequent claims first,
 * which only fetch what is claimed later. */
static __attribute__((noinline)) void work_on(const pool_walk *walk, mi_met_type *met, uintptr_t block,
                                              const unsigned char *object) {
    mi_claims *mine = walk->mine;
    const mi_layout *layout = walk->layout;
    if (met->work == WORK_LIST) {
        size_t size;
        uintptr_t items = mi_owner_list_items(layout, (uintptr_t)object, &size);
        if (items) mi_census_claim_later(mine, block, items, MI_OWNER_LIST_ITEMS, size);
    } else if (met->work == WORK_DICT && !mi_owner_dict_is_split(layout, (uintptr_t)object)) {
        uintptr_t keys = mi_owner_word((uintptr_t)object, layout->dict_keys);
        if (keys) mi_census_claim_later(mine, block, keys, MI_OWNER_DICT_KEYS, 0);
    } else {
        if (met->type->sizing != MI_SIZING_FIXED)
            met->asked += (int64_t)mi_census_asked(mine, met->type, object, walk->room - met->before);
        if (met->type->owns) claim_of(mine, met->type, block, (uintptr_t)object);
    }
}

/* The rule of object_proof.h (mi_proof_ask; builds that count references in two places have no pools), and what is to be
 * done. `type`: where the type of an object in the block's first place is. */
static inline __attribute__((always_inline)) void look_at(const pool_walk *walk, const unsigned char *type,
                                                          int excludes, int signs) {
    const unsigned char *first = type;
    uint32_t place = 0;
    mi_met_type *met = met_at(walk, type);
    if (!met) {
        if (walk->end <= MI_PLACE_BYTES) return;
        met = met_at(walk, type += MI_PLACE_BYTES);
        place = MI_PLACE_BYTES << 16;
        if (!met) {
            if (walk->end <= 2 * MI_PLACE_BYTES) return;
            met = met_at(walk, type += MI_PLACE_BYTES);
            place = 2 * MI_PLACE_BYTES << 16;
            if (!met) return;
        }
        if (!mi_link_may_be(word_at(type - walk->link))) return;
    }
    if (met->fit - place > walk->room) return;
    uint64_t count;
    memcpy(&count, type + walk->count, sizeof count);
    if (!mi_count_lives(walk->bits, count)) return;
    if (excludes && mi_census_is_excluded(walk->mine->all, (uintptr_t)first - walk->type)) return;
    met->counts[walk->class]++;
    if (met->work == WORK_NONE) return;
    if (met->work == WORK_SIZE ||
        (met->work == WORK_STR && mi_str_is_whole(walk->layout, type - walk->layout->object_type)))
        add_size(met, type, walk->room, signs);
    else if (met->work == WORK_INLINE)
        add_inline(walk, met, type - walk->layout->object_type);
    else
        work_on(walk, met, (uintptr_t)first - walk->type, type - walk->layout->object_type);
}

/* ---- one pool -------------------------------------------------------------------------------------------------------- */

/* Fetches the lines of a pool that a word of bits stands for. */
static inline void fetch(uintptr_t pool, uint32_t word) {
    enum { LINE = 64, BYTES = 64 * MI_UNIT };
    for (uintptr_t at = pool + word * (uintptr_t)BYTES, end = at + BYTES; at < end; at += LINE)
        __builtin_prefetch((const void *)at);
}

/* `next`: the pool to be walked behind it, which is fetched meanwhile. */
static inline __attribute__((always_inline)) void walk_pool(mi_claims *mine, size_t place, uintptr_t next, int excludes,
                                                            int signs) {
    const mi_census_shared *all = mine->all;
    const mi_pool *pool = &all->heap->pools[place];
    uint32_t class = pool->size_class, size = (class + 1) * MI_UNIT;
    uintptr_t start = (uintptr_t)pool->address, first = start + (uintptr_t)all->layout->pool_header_size;
    const mi_proof *proof = &all->proofs[class];
    const pool_walk walk = {.mine = mine,
                            .layout = all->layout,
                            .types = all->types,
                            .met = mine->met,
                            .type = proof->padding + proof->type,
                            .count = (intptr_t)proof->count - (intptr_t)proof->type,
                            .link = proof->type + proof->link,
                            .bits = proof->bits,
                            .class = class,
                            .room = proof->room,
                            .end = proof->end};
    if (!walk.end) return;
    const unsigned char *types = (const unsigned char *)walk.type;
    if (pool->free == pool->untouched) { /* nothing was given back: a full or fresh pool */
        uintptr_t end = first + (uintptr_t)all->pools[place].touched * size;
        for (uintptr_t block = first; block < end; block += size) {
            __builtin_prefetch((const void *)(block + (next - start)));
            look_at(&walk, types + block, excludes, signs);
        }
        return;
    }
    uint64_t live[MI_POOL_WORDS];
    mi_census_live_blocks(all, place, live);
    for (uint32_t word = 0; word < MI_POOL_WORDS; word++) {
        fetch(next, word);
        for (uint64_t bits = live[word]; bits;)
            look_at(&walk, types + start + mi_census_next(&bits, word), excludes, signs);
    }
}

/* The usual case; where ints have their sign in the number of their digits (up to 3.11); and the one that looks for each
 * block among those that are none. Apart from each other. */
static __attribute__((noinline)) void walk_plain(mi_claims *mine, size_t place, uintptr_t next) {
    walk_pool(mine, place, next, 0, 0);
}
static __attribute__((noinline)) void walk_signed(mi_claims *mine, size_t place, uintptr_t next) {
    walk_pool(mine, place, next, 0, 1);
}
static __attribute__((noinline)) void walk_excluding(mi_claims *mine, size_t place, uintptr_t next) {
    walk_pool(mine, place, next, 1, 1);
}

void mi_census_walk(mi_claims *mine) {
    enum { RUN = 64 };
    mi_census_shared *all = mine->all;
    const mi_pool *pools = all->heap->pools;
    size_t count = all->heap->pool_count;
    void (*walk)(mi_claims *, size_t, uintptr_t) = walk_plain;
    if (all->layout->long_tag == MI_ABSENT) walk = walk_signed;
    if (all->excluded_count) walk = walk_excluding;
    for (size_t done; (done = atomic_fetch_add(&all->next_pool, RUN)) < count;) {
        /* from the end: what the program started with, and asks most for malloc's chunks, comes last */
        size_t to = count - done, from = to > RUN ? to - RUN : 0;
        int late = mi_target_is_late(all->target);
        if (late) atomic_fetch_add(&all->pools_left, to - from);
        for (size_t i = from; i < to; i++) count_live(mine, &pools[i]);
        for (size_t i = from; i < to && !late; i++)
            if (is_walked(&pools[i])) walk(mine, i, (uintptr_t)pools[i + 1 < to ? i + 1 : i].address);
    }
    for (size_t i = 0; i < MI_MET_TYPES; i++) keep_sum(mine, &mine->met[i]);
    if (mi_census_large(all)) mi_census_walk_large(mine);
    mi_census_claim_waiting(mine);
}
