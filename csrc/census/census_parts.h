/* census_parts.h - what the parts of a census share: where blocks begin, what is claimed, what was counted.
 *
 * census.c has the rounds and threads, census_walk.c walks the pools, census_blocks.c leads from addresses to blocks,
 * census_claims.c takes what objects own, census_roots.c what belongs to the interpreter, census_false.c tells what only
 * looked like an object, census_tables.c opens and adds up the tables, census_each.c goes through all blocks behind the
 * walk, census_frames.c looks into the frames that run, census_large_walk.c does for malloc's chunks what census_walk.c and
 * census_claims.c do for blocks, census_guess.c says what points to the unknown ones. */
#ifndef MI_CENSUS_PARTS_H
#define MI_CENSUS_PARTS_H

#include <stdatomic.h>
#include <string.h>

#include "census.h"
#include "object_proof.h"
#include "object_size.h"

enum {
    MI_UNIT = 16,
    MI_CLAIM_RING = 16,
    MI_CLAIMS_EARLY = 1024,
    MI_LOOKALIKES_MOST = 1 << 16,
    MI_OPAQUE_MOST = 1 << 16
};
enum { MI_LAST_SPANS = 64 };
enum { MI_POOL_WORDS = 16 }; /* of a bit for each MI_UNIT of a pool of 16 KiB, the largest that obmalloc.h walks */

/* Where an arena's pools are; found from an address by hash. */
typedef struct mi_arena_span {
    uintptr_t start, pools, pools_end;
    size_t first; /* place of its first pool in mi_heap.pools */
} mi_arena_span;

/* What a claim asks of a pool, so that its header, a page that nothing else of it needs, is not fetched again. */
typedef struct mi_pool_key {
    uint32_t bits;    /* where its blocks' bits begin, in words */
    uint16_t touched; /* blocks that were handed out */
    uint16_t class;   /* MI_POOL_FREE: nothing is claimed in it */
} mi_pool_key;

/* A block that was claimed and looks like an object. */
typedef struct mi_lookalike {
    uintptr_t block, claimer; /* claimer: the block of the object that claimed it, 0: it is no block of the heap */
    uint32_t type;
    uint32_t verdict; /* see census_false.c, judge */
} mi_lookalike;

/* An object whose structure is read word by word when all else is claimed. */
typedef struct mi_opaque {
    uintptr_t block, object;
    uint32_t type;
} mi_opaque;

typedef struct mi_census_shared {
    const mi_target *target;
    const mi_layout *layout;
    const mi_heap *heap;
    const mi_types *types;
    mi_arena_span *spans;
    uint32_t *slots; /* open addressing over address / arena_size; span + 1 */
    unsigned slot_bits, arena_shift, pool_shift;
    mi_pool_key *pools;        /* as mi_heap.pools */
    _Atomic uint64_t *claimed; /* one bit for each block of the pools in use */
    size_t claimed_words;
    mi_near near; /* pools */
    uint32_t padding, pool_mask;
    uint32_t reciprocal[MI_MAX_SIZE_CLASSES];
    mi_proof proofs[MI_MAX_SIZE_CLASSES];                /* by size class of the small path */
    uint64_t starts[MI_MAX_SIZE_CLASSES][MI_POOL_WORDS]; /* where the blocks of a pool begin, a bit for each MI_UNIT */
    int alone;                                           /* one thread walks */
    atomic_size_t next_pool;                             /* pools are handed out to the threads in runs */
    atomic_size_t pools_left;                            /* that were not walked when the time was up */
    const uintptr_t *excluded; /* ascending: blocks that look like an object and are known to be none */
    size_t excluded_count;
    mi_large *large;              /* malloc's chunks and mimalloc's blocks, or NULL: asked for by mi_census_large() */
    _Atomic uint32_t large_known; /* 0: they are being looked for, while pools are walked already */
    const mi_pages *pages;        /* what a window on malloc's chunks reads */
    mi_steady steady;             /* of these, what it need not copy */
    size_t classes;               /* sizes of the small path */
    atomic_size_t next_word;      /* of its map: handed out in runs */
    atomic_size_t words_left;
    /* the interpreters' own structures, and static data behind them: their words are claimed last, in pieces */
    const mi_census_roots *roots;
    size_t root_count;
    mi_census_roots data;
    atomic_size_t next_piece;
    _Atomic uint32_t walking, roots_open; /* helpers that walk; whether they may go on to the roots */
    mi_apart *apart;                      /* or NULL */
    uint8_t *owners;                      /* of each block, owner + 1, or NULL: see census_contents.c */
    size_t *first_blocks;                 /* of each pool of the heap: the place of its first block in `owners` */
    size_t *first_pools;                  /* of each arena: the place of its first pool */
} mi_census_shared;

/* A block in use, as its pool's header has it. */
typedef struct mi_census_block {
    size_t bit;                /* its place in `claimed` */
    uint32_t size, size_class; /* MI_CENSUS_LARGE: a chunk of malloc; its size is cut to 32 bits */
} mi_census_block;
enum { MI_CENSUS_LARGE = MI_MAX_SIZE_CLASSES };

/* A claim that waits: while its memory is fetched, where the block is known, or until malloc's chunks are. Address 0: none. */
typedef struct mi_claim_order {
    uintptr_t address, claimer;
    size_t size, bit;
    uint32_t class;
    mi_owner owner;
} mi_claim_order;

/* A type that a walk met, and what it counts of its objects. A line of the cache each. */
typedef struct mi_met_type {
    _Alignas(64) uintptr_t word; /* its address */
    int64_t *counts;             /* its row of mi_claims.objects */
    int64_t asked;               /* belongs to its number in mi_claims.requested, where it is added in the end */
    uint32_t fit;                /* see census_walk.c, fit_of */
    uint8_t work, shift;
    uint16_t before; /* its preheader */
    uint32_t least;  /* its basicsize and preheader */
    /* of sizes that grow with a number: base + unit * (number >> shift), of `fewest` at least */
    uint32_t base, unit, fewest; /* base: the preheader too */
    int32_t number;              /* from where the type of an object is */
    const mi_type *type;
} mi_met_type;
enum { MI_MET_BITS = 9, MI_MET_TYPES = 1 << MI_MET_BITS };

/* Malloc's chunks, or NULL; waits until they are known. */
void mi_census_await_large(const mi_census_shared *all);
static inline mi_large *mi_census_large(const mi_census_shared *all) {
    if (!atomic_load_explicit(&all->large_known, memory_order_acquire)) mi_census_await_large(all);
    return all->large;
}

typedef struct mi_claims { /* of one thread */
    mi_census_shared *all;
    mi_met_type *met; /* MI_MET_TYPES of them */
    mi_owner_context context;
    int64_t *objects;   /* type * size classes of the layout */
    int64_t *requested; /* by type; those of one size are counted at the end */
    int64_t *large_objects, *large_bytes;
    unsigned char *counted; /* by type: whether any of these may be other than 0 */
    mi_census_row buffers[MI_OWNERS], live;
    uint64_t outside, misplaced, free, small, again, looked_like_objects;
    uintptr_t claimer;
    mi_claim_order ring[MI_CLAIM_RING];
    unsigned ring_next;
    /* what waits until malloc's chunks are known */
    mi_claim_order early[MI_CLAIMS_EARLY];
    size_t early_count;
    const mi_arena_span *last_spans[MI_LAST_SPANS];
    mi_opaque *opaque;
    size_t opaque_count;
    mi_lookalike *lookalikes;
    size_t lookalike_count;
    mi_window window;       /* copies of the chunks that are walked */
    unsigned char *copy;    /* MI_LARGE_COPY bytes of the chunk that is looked into */
    mi_page_copies *copies; /* of chunks that are led to in no order */
} mi_claims;

/* The type of the object in a block of `size` bytes whose first bytes are at `at`, or -1; `before`: its place in the block. */
static inline int mi_census_classify(mi_claims *mine, const unsigned char *at, uint32_t size, uint32_t *before) {
    const mi_census_shared *all = mine->all;
    return mi_object_in_block(all->layout, all->types, at, size, all->padding, before);
}

/* ---- census_blocks.c ------------------------------------------------------------------------------------------------ */

/* Finds where the pools of each arena are, all proven mapped. */
mi_error mi_census_find_arenas(mi_census_shared *all);
/* The span whose pools hold `address`, or -1. */
long mi_census_span(const mi_census_shared *all, uintptr_t address);
/* The same, with the last answers tried first: lists' items and dicts' keys lie in arenas of their own. NULL: in none. */
static inline const mi_arena_span *mi_census_span_near(mi_claims *mine, uintptr_t address) {
    const mi_arena_span **near = &mine->last_spans[(address >> mine->all->arena_shift) % MI_LAST_SPANS];
    if (address - (*near)->pools < (*near)->pools_end - (*near)->pools) return *near;
    long found = mi_census_span(mine->all, address);
    if (found < 0) return NULL;
    return *near = &mine->all->spans[found];
}
/* Whether a block in use may begin at `address` in that span; whether it is on the pool's free list is not looked at. */
static inline int mi_census_block_in(mi_claims *mine, const mi_arena_span *span, uintptr_t address,
                                     mi_census_block *block) {
    const mi_census_shared *all = mine->all;
    const mi_pool_key *pool = &all->pools[span->first + ((address - span->pools) >> all->pool_shift)];
    uint32_t class = pool->class;
    if (class == MI_POOL_FREE) {
        mine->free++;
        return 0;
    }
    /* an address in the pool's header wraps around to an index beyond all blocks */
    uint32_t inside = ((uint32_t)address & all->pool_mask) - (uint32_t)all->layout->pool_header_size;
    uint32_t size = (class + 1) * MI_UNIT, index = (uint32_t)((uint64_t)inside * all->reciprocal[class] >> 32);
    if (index >= pool->touched || index * size != inside) {
        mine->misplaced++;
        return 0;
    }
    *block = (mi_census_block){(size_t)pool->bits * 64 + index, size, class};
    return 1;
}
/* The same of any address. */
int mi_census_block_at(mi_claims *mine, uintptr_t address, mi_census_block *block);
/* The same, or a chunk of malloc in use. */
int mi_census_find(mi_claims *mine, uintptr_t address, mi_census_block *block);
/* Whether a word may be the address of a block or chunk: most that are read one by one are not, and end here. */
static inline int mi_census_may_be_block(const mi_census_shared *all, uintptr_t word) {
    if (!word || word % MI_UNIT) return 0;
    return mi_near_has(&all->near, word) || (mi_census_large(all) && mi_near_has(&all->large->near, word));
}
/* Copies bytes of an arena or of malloc's heaps; false when the address is in neither. */
int mi_census_read(const mi_claims *mine, uintptr_t address, void *to, size_t size);
static inline int mi_census_word(const mi_claims *mine, uintptr_t address, uintptr_t *word) {
    return !(address % sizeof *word) && mi_census_read(mine, address, word, sizeof *word);
}
int mi_census_is_free(const mi_census_shared *all, uintptr_t block);
/* Sets the bits of `live` where blocks in use begin in the pool at `place` of mi_heap.pools: MI_POOL_WORDS, a bit for each
 * MI_UNIT. */
void mi_census_live_blocks(const mi_census_shared *all, size_t place, uint64_t *live);
/* Takes the lowest bit out of `bits`, of word `word`: where its block begins in the pool. */
static inline uint32_t mi_census_next(uint64_t *bits, uint32_t word) {
    uint32_t offset = (word * 64 + (uint32_t)__builtin_ctzll(*bits)) * MI_UNIT;
    *bits &= *bits - 1;
    return offset;
}

/* ---- census_claims.c ------------------------------------------------------------------------------------------------ */

/* Makes the functions that the rules of owners.h call. */
void mi_census_owners_open(mi_claims *mine);
int mi_census_is_claimed(const mi_census_shared *all, size_t bit);
/* The place in `claimed` of the block of a size class at `offset` in the pool at `place`. */
static inline size_t mi_census_bit(const mi_census_shared *all, size_t place, uint32_t offset) {
    const mi_pool_key *pool = &all->pools[place];
    uint32_t inside = offset - (uint32_t)all->layout->pool_header_size;
    return (size_t)pool->bits * 64 + (size_t)((uint64_t)inside * all->reciprocal[pool->class] >> 32);
}
/* Whether the block looks like an object and is known to be none. */
int mi_census_is_excluded(const mi_census_shared *all, uintptr_t block);
/* Adds an object to its type and size class; sign -1 takes it back. */
void mi_census_count_object(mi_claims *mine, int type, uintptr_t block, uint32_t before, uint32_t size, uint32_t class,
                            int sign);
/* Claims at once. `address` is what the owner's pointer says, `size` what it asked for (0: not known). */
int mi_census_claim(mi_claims *mine, uintptr_t address, mi_owner owner, size_t size);
/* A word whose meaning is not known: never takes what types as an object. True when it was claimed now. */
int mi_census_claim_word(mi_claims *mine, uintptr_t word, mi_owner owner);
/* Keeps in mind that the block was claimed and looks like an object. */
void mi_census_note_lookalike(mi_claims *mine, uintptr_t block, int type);
/* Claims by the words of an object's structure: behind the walk, or now where too many wait for that already. */
void mi_census_claim_opaque_later(mi_claims *mine, uintptr_t block, uintptr_t object, int type);
void mi_census_claim_opaque(mi_claims *mine);
void mi_census_claim_lent(mi_claims *mine, const mi_census_lent *lent, size_t count);
/* Claims by an exact rule (mi_owner_is_exact) for the object whose block `claimer` is, when the memory was fetched. */
void mi_census_claim_later(mi_claims *mine, uintptr_t claimer, uintptr_t address, mi_owner owner, size_t size);
/* Claims what waits for its memory to be fetched, or for malloc's chunks. */
void mi_census_claim_waiting(mi_claims *mine);
/* What types own; they are larger than a block can be, so it is claimed from their table, not from the walk. */
void mi_census_claim_types(mi_claims *mine);

/* ---- census_walk.c -------------------------------------------------------------------------------------------------- */

mi_error mi_census_walk_open(mi_claims *mine);
void mi_census_walk_close(mi_claims *mine);
/* Walks pools, and chunks of malloc, until none is left. */
void mi_census_walk(mi_claims *mine);

/* ---- census_false.c ------------------------------------------------------------------------------------------------- */

/* Sorts the lookalikes, and writes the blocks of those that are no objects, ascending. How many there are; 0 when none of
 * them can have claimed anything itself. */
size_t mi_census_exclude(const mi_census_shared *all, mi_lookalike *items, size_t count, uintptr_t *excluded);

/* ---- census_tables.c ------------------------------------------------------------------------------------------------ */

mi_error mi_census_shared_open(mi_census_shared *all, const mi_census_request *request, mi_census *census);
void mi_census_shared_close(mi_census_shared *all);
/* Forgets all claims. */
void mi_census_shared_reset(mi_census_shared *all);
mi_claims *mi_census_claims_open(mi_census_shared *all);
void mi_census_claims_close(mi_claims *mine);
/* Bytes of one thread's tables. */
size_t mi_census_claims_size(const mi_census_shared *all);
/* Adds what one thread counted. */
void mi_census_gather(mi_census *census, const mi_claims *mine);
/* Makes `unknown` what is live and neither an object nor claimed. */
void mi_census_rest(mi_census *census);

/* ---- census_contents.c ---------------------------------------------------------------------------------------------- */

mi_error mi_census_contents_open(mi_census_shared *all);
void mi_census_contents_close(mi_census_shared *all);
/* Notes whose buffer a claimed block is. */
void mi_census_note_owner(mi_census_shared *all, const mi_arena_span *span, uintptr_t block, mi_owner owner);
/* After the walk: what each block holds. */
mi_error mi_census_contents_take(mi_claims *mine, mi_contents *contents);

/* ---- the other parts ------------------------------------------------------------------------------------------------ */

/* census_large_walk.c: claims whose address is in no arena, as above. */
int mi_census_claim_large(mi_claims *mine, uintptr_t address, mi_owner owner, size_t size);
int mi_census_claim_large_word(mi_claims *mine, uintptr_t word, mi_owner owner);
/* The chunk that a pointer of an owner names: behind the padding of a debug allocator, or without. */
int mi_census_chunk_of(const mi_claims *mine, uintptr_t address, mi_large_chunk *chunk);
/* The index of the type of the object in the chunk, which is read through the window, or -1. */
int mi_census_chunk_type(mi_claims *mine, mi_window *window, const mi_large_chunk *chunk, uint32_t *before);
/* Types the chunks that are left, in runs shared among the threads, and claims what they own. */
void mi_census_walk_large(mi_claims *mine);

/* census_roots.c: what is on lists of free objects, before any word of the roots; then their words, in pieces shared among
 * the threads. */
void mi_census_claim_kept(mi_claims *mine);
void mi_census_claim_root_words(mi_claims *mine);

/* census_each.c: every live block, in the order of the pools; `type` as in mi_census_seen. */
typedef void (*mi_census_visit)(mi_claims *mine, void *context, uintptr_t block, uint32_t class, int type,
                                uint32_t before);
void mi_census_each_block(mi_claims *mine, mi_census_visit visit, void *context);
/* Writes them all to census->seen. */
mi_error mi_census_list(mi_claims *mine, mi_census *census);

/* census_apart.c: whose claim it is, where the block is one of another thread's; all of them behind the walk. */
void mi_census_apart_claimed(mi_apart *apart, uintptr_t address, mi_owner owner);
void mi_census_apart_reset(mi_apart *apart);
mi_error mi_census_apart_take(mi_claims *mine, mi_apart *apart);

/* census_frames.c: what the frames of running threads hold. */
mi_error mi_census_frames_take(mi_claims *mine, mi_frames *frames);
/* What was asked for the generator or frame object at `object` (its bytes, or a copy of them), with what lies before it. */
size_t mi_census_frame_size(const mi_claims *mine, const mi_type *type, const unsigned char *object);
/* What was asked for an object, of which `room` bytes are readable. */
static inline size_t mi_census_asked(const mi_claims *mine, const mi_type *type, const unsigned char *object,
                                     size_t room) {
    if (type->sizing != MI_SIZING_FRAME) return mi_object_size(mine->all->layout, type, object, room);
    size_t size = mi_census_frame_size(mine, type, object);
    return size > type->preheader + room ? type->preheader + (size_t)type->basicsize : size;
}

/* census_guess.c: what points to the unknown blocks, by size class. */
mi_error mi_census_guess_take(mi_claims *mine, mi_census *census);
/* census_guess_large.c: what points to the unknown chunks. */
mi_error mi_census_guess_large(mi_claims *mine, mi_census *census);

#endif
