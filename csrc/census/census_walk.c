/* census_walk.c - every pool once: what its blocks hold, and what that owns. Where a census spends its time. */
#include "census_parts.h"
#include "owners_parts.h"

static int is_walked(const mi_pool *pool) { return pool->size_class != MI_POOL_FREE && !pool->torn; }

/* Of pools that are left out, too: what others own in them is claimed, the rest is unknown. */
static void count_live(mi_claims *mine, const mi_pool *pool) {
    if (is_walked(pool)) mine->live.blocks[pool->size_class] += pool->used;
}

/* ---- types that were met --------------------------------------------------------------------------------------------- */

/* What is done for an object beside counting it: nothing, its size, that of a str, ... */
enum { WORK_NONE, WORK_SIZE, WORK_STR, WORK_LIST, WORK_DICT, WORK_OTHER };

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
    met->work = WORK_OTHER;
    if (type->owns == MI_OWNS_NOTHING && (fixed || grows)) met->work = fixed ? WORK_NONE : WORK_SIZE;
    if (type->owns != MI_OWNS_NAMED) return;
    if (type->kind == MI_KIND_STR && grows) met->work = WORK_STR;
    if (type->kind == MI_KIND_LIST && fixed) met->work = WORK_LIST;
    if (type->kind == MI_KIND_DICT && fixed) met->work = WORK_DICT;
}

static size_t place_of(uintptr_t word) { return (size_t)(mi_types_hash(word) >> (64 - MI_MET_BITS)); }

mi_error mi_census_walk_open(mi_claims *mine) {
    mine->met = mi_os_alloc(MI_MET_TYPES * sizeof *mine->met);
    if (!mine->met) return MI_E_MEMORY;
    /* an empty entry is no word's: it has one that belongs into another place */
    for (size_t i = 0; i < MI_MET_TYPES; i++) mine->met[i].word = (i | 1) != (place_of(1) | 1);
    return MI_OK;
}

void mi_census_walk_close(mi_claims *mine) { mi_os_free(mine->met, MI_MET_TYPES * sizeof *mine->met); }

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
    *met = (mi_met_type){.word = word,
                         .type = &mine->all->types->items[known->item],
                         .counts = &mine->objects[known->item * mine->all->classes],
                         .before = known->preheader,
                         .least = known->basicsize};
    plan_work(mine->all->layout, met);
    return met;
}

/* ---- one block ------------------------------------------------------------------------------------------------------- */

/* What does not change from block to block of a pool; a copy, so that no count that is stored can be taken to change it. */
typedef struct pool_walk {
    mi_claims *mine;
    const mi_layout *layout;
    const uint64_t *filter;
    mi_met_type *met;
    size_t padding, type, count; /* where a block's content begins; where in an object its type and its count are */
    mi_count_bits bits;
    size_t class, room; /* room: bytes of the content */
    uint32_t places;    /* where an object may begin in it */
    int excludes;
} pool_walk;

/* The type that a word of a block is, or NULL. */
static inline mi_met_type *met_at(const pool_walk *walk, const unsigned char *place) {
    uintptr_t word;
    memcpy(&word, place, sizeof word);
    uint64_t hash = mi_types_hash(word), bit = hash >> 48;
    mi_met_type *met = &walk->met[hash >> (64 - MI_MET_BITS)];
    if (met->word == word) return met;
    if (!(walk->filter[bit >> 6] >> (bit & 63) & 1)) return NULL;
    return meet(walk->mine, word);
}

static inline void add_size(mi_met_type *met, const unsigned char *object, size_t room) {
    int64_t number = mi_size_number(object, met->number);
    uint64_t count = (uint64_t)(number < 0 ? -number : number) >> met->shift;
    if (count < met->fewest) count = met->fewest;
    uint64_t size = met->base + count * met->unit;
    met->asked += (int64_t)(met->before + (size > room ? met->least : size));
}

static void claim_of(mi_claims *mine, const mi_type *type, uintptr_t block, uintptr_t object) {
    mine->claimer = block;
    mi_owner_claim(&mine->context, type, object);
    if (mi_owner_is_opaque(type))
        mi_census_claim_opaque_later(mine, block, object, (int)(type - mine->all->types->items));
}

/* What is not counted at once: objects of other sizes than their type's, and what they own. */
static __attribute__((noinline)) void work_on(const pool_walk *walk, mi_met_type *met, uintptr_t block,
                                              const unsigned char *object) {
    if (met->type->sizing != MI_SIZING_FIXED)
        met->asked += (int64_t)mi_census_asked(walk->mine, met->type, object, walk->room - met->before);
    if (met->type->owns) claim_of(walk->mine, met->type, block, (uintptr_t)object);
}

/* The rule of object_proof.h (mi_proof_ask; builds that count references in two places have no pools), and what is to be
 * done. */
static inline __attribute__((always_inline)) void look_at(const pool_walk *walk, uintptr_t block) {
    const unsigned char *object = (const unsigned char *)block + walk->padding, *type = object + walk->type;
    size_t at = 0, room = walk->room;
    mi_met_type *met = met_at(walk, type);
    if (!met && walk->places > 1) met = met_at(walk, type + (at = MI_PLACE_BYTES));
    if (!met && walk->places > 2) met = met_at(walk, type + (at = 2 * MI_PLACE_BYTES));
    if (!met || met->before != at || met->least > room - at) return;
    object += at;
    uint64_t count;
    memcpy(&count, object + walk->count, sizeof count);
    if (count & walk->bits.never || !(count & walk->bits.some)) return;
    if (walk->excludes && mi_census_is_excluded(walk->mine->all, block)) return;
    met->counts[walk->class]++;
    if (met->work == WORK_NONE) return;
    if (met->work == WORK_SIZE || (met->work == WORK_STR && mi_str_is_whole(walk->layout, object))) {
        add_size(met, object, room - at);
    } else if (met->work == WORK_LIST) {
        size_t size;
        uintptr_t items = mi_owner_list_items(walk->layout, (uintptr_t)object, &size);
        if (items) mi_census_claim_later(walk->mine, block, items, MI_OWNER_LIST_ITEMS, size);
    } else if (met->work == WORK_DICT && !mi_owner_dict_is_split(walk->layout, (uintptr_t)object)) {
        uintptr_t keys = mi_owner_word((uintptr_t)object, walk->layout->dict_keys);
        if (keys) mi_census_claim_later(walk->mine, block, keys, MI_OWNER_DICT_KEYS, 0);
    } else {
        work_on(walk, met, block, object);
    }
}

/* ---- one pool -------------------------------------------------------------------------------------------------------- */

/* Fetches the lines of a pool that a word of bits stands for. */
static inline void fetch(uintptr_t pool, uint32_t word) {
    enum { LINE = 64, BYTES = 64 * MI_UNIT };
    for (uintptr_t at = pool + word * (uintptr_t)BYTES, end = at + BYTES; at < end; at += LINE)
        __builtin_prefetch((const void *)at);
}

/* `next`: the pool to be walked behind it, which is fetched meanwhile. */
static void walk_pool(mi_claims *mine, size_t place, uintptr_t next) {
    const mi_census_shared *all = mine->all;
    const mi_pool *pool = &all->heap->pools[place];
    uint32_t class = pool->size_class, size = (class + 1) * MI_UNIT;
    uintptr_t start = (uintptr_t)pool->address, first = start + (uintptr_t)all->layout->pool_header_size;
    const pool_walk walk = {.mine = mine,
                            .layout = all->layout,
                            .filter = all->types->filter,
                            .met = mine->met,
                            .padding = all->padding,
                            .type = all->proofs[class].type,
                            .count = all->proofs[class].count,
                            .bits = all->proofs[class].bits,
                            .class = class,
                            .room = all->proofs[class].room,
                            .places = (all->proofs[class].end + MI_PLACE_BYTES - 1) / MI_PLACE_BYTES,
                            .excludes = all->excluded_count != 0};
    if (!walk.places) return;
    if (pool->free == pool->untouched) { /* nothing was given back: a full or fresh pool */
        uintptr_t end = first + (uintptr_t)all->pools[place].touched * size;
        for (uintptr_t block = first; block < end; block += size) {
            __builtin_prefetch((const void *)(block + (next - start)));
            look_at(&walk, block);
        }
        return;
    }
    uint64_t live[MI_POOL_WORDS];
    mi_census_live_blocks(all, place, live);
    for (uint32_t word = 0; word < MI_POOL_WORDS; word++) {
        fetch(next, word);
        for (uint64_t bits = live[word]; bits;) look_at(&walk, start + mi_census_next(&bits, word));
    }
}

void *mi_census_walk(void *argument) {
    enum { RUN = 64 };
    mi_claims *mine = argument;
    mi_census_shared *all = mine->all;
    const mi_pool *pools = all->heap->pools;
    size_t count = all->heap->pool_count;
    for (size_t from; (from = atomic_fetch_add(&all->next_pool, RUN)) < count;) {
        size_t to = from + RUN < count ? from + RUN : count;
        int late = mi_target_is_late(all->target);
        if (late) atomic_fetch_add(&all->pools_left, to - from);
        for (size_t i = from; i < to; i++) count_live(mine, &pools[i]);
        for (size_t i = from; i < to && !late; i++)
            if (is_walked(&pools[i])) walk_pool(mine, i, (uintptr_t)pools[i + 1 < to ? i + 1 : i].address);
    }
    for (size_t i = 0; i < MI_MET_TYPES; i++) keep_sum(mine, &mine->met[i]);
    if (all->large) mi_census_walk_large(mine);
    mi_census_claim_waiting(mine);
    return NULL;
}
