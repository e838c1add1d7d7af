/* census.h - what is in every live block of pymalloc and of malloc: an object of a type, a buffer with its owner, or
 * unknown.
 *
 * One walk: in each used pool the free list is followed once into a mask, then every block that is not free is held
 * against the types (types.h), and what an object owns is claimed (owners.h). A buffer can look like an object, so a
 * claim is final: it sets the block's bit in a bitmap, and where the block was counted as an object too, that count is
 * taken back. So the order in which blocks are visited does not matter, and arenas may be shared out among threads.
 * What such a false object claimed itself does not hold: then the walk is done again without it.
 * The caller holds the GIL (or walks in a frozen copy of the process); nothing here makes a Python object. */
#ifndef MI_CENSUS_H
#define MI_CENSUS_H

#include "census_ahead.h"
#include "census_frames.h"
#include "census_large.h"
#include "owners.h"
#include "thread_blocks.h"

enum { MI_CENSUS_MAX_THREADS = 16, MI_CENSUS_GUESSES = 8 };

/* Of one owner of buffers, or of all objects. */
typedef struct mi_census_row {
    uint64_t blocks[MI_MAX_SIZE_CLASSES]; /* by size class */
    uint64_t large_blocks, large_bytes;
    uint64_t requested_bytes;
    uint64_t unasked; /* blocks whose requested size is not known */
} mi_census_row;

/* A row without its size classes: of one type. */
typedef struct mi_census_sum {
    uint64_t small_blocks, small_bytes, large_blocks, large_bytes, requested_bytes, unasked;
} mi_census_sum;

/* What points to unknown blocks of one size class most often: a guess. */
typedef struct mi_census_guess {
    int32_t type;    /* index, or -1: an owner's buffer */
    int32_t owner;   /* or -1 */
    uint32_t offset; /* of the word, from the object or the block */
    uint32_t count;
} mi_census_guess;

/* What points to unknown chunks of malloc, the better witness the higher the number: a guess. */
enum {
    MI_POINTS_NONE,    /* no word that was looked at; in the last row also what has no row of its own */
    MI_POINTS_UNKNOWN, /* another unknown block or chunk */
    MI_POINTS_BUFFER,
    MI_POINTS_DATA, /* static data of the loaded file `object` */
    MI_POINTS_TYPE, /* a type's own structure */
    MI_POINTS_OBJECT,
    MI_CENSUS_LARGE_GUESSES = 256
};
typedef struct mi_census_large_guess {
    int32_t kind, type;
    uint32_t offset; /* of the first word that was found, from the object, the file's first mapping or the block */
    uint32_t chunks;
    uint64_t through; /* 1: by way of other unknown chunks */
    uint64_t bytes;
    char object[48];
} mi_census_large_guess;

/* What a live block was taken for. Handed out as bytes: part of the raw format. */
enum { MI_SEEN_CLAIMED = -1, MI_SEEN_UNKNOWN = -2, MI_SEEN_TYPE = -3 /* of a guess alone */ };
typedef struct mi_census_seen {
    uint64_t address;
    int32_t type;          /* index, or one of the above */
    uint16_t size, before; /* before: bytes from the block to the object */
    uint64_t start[2];     /* the block's first words */
    uint64_t head[2];      /* those before the object, 0 where there are none */
} mi_census_seen;

typedef struct mi_census {
    mi_census_sum *objects; /* one a type, in the order of mi_types */
    size_t types;
    mi_census_row typed; /* all of them */
    mi_census_row buffers[MI_OWNERS];
    mi_census_row unknown;
    mi_census_row live;
    /* by size class, the large path last */
    mi_census_guess guesses[MI_MAX_SIZE_CLASSES + 1][MI_CENSUS_GUESSES];
    /* claims that named no block in use: outside of the arenas (static or large), inside but no block's start, free, too
     * small for what it should hold, or claimed before (shared) */
    uint64_t claims_outside, claims_misplaced, claims_free, claims_small, claims_again;
    uint64_t looked_like_objects;       /* buffers that the types alone would have taken for an object */
    uint64_t bitmap_bytes, table_bytes; /* our own memory while it ran */
    uint64_t pools_left;                /* not walked: the target's time was up */
    uint64_t walk_ns;
    int threads, rounds;
    mi_census_seen *seen; /* every live block, when asked for; NULL when time was short */
    size_t seen_count, seen_bytes;
    mi_error large_error; /* MI_OK: malloc's heaps were walked; MI_E_ABSENT: another malloc than glibc's is in force */
    mi_large_totals large;
    uint64_t sizes[MI_LARGE_SIZES]; /* of mimalloc's blocks, in the place of pymalloc's size classes */
    size_t size_count;
    mi_census_large_guess large_guesses[MI_CENSUS_LARGE_GUESSES];
} mi_census;

/* What single blocks hold, as a code: an owner (mi_owner), or MI_OWNERS + the place of an object's type in mi_types.
 * Handed out as bytes: part of the raw format (probes/contents.py). */
#define MI_CONTENT_UNKNOWN 0xffff
typedef struct mi_content {
    uint16_t unit; /* where the block begins in its arena, in 16 bytes */
    uint16_t code;
} mi_content;

typedef struct mi_content_arena {
    uint64_t address;
    uint64_t first;         /* place of its first block in mi_contents.blocks */
    uint32_t blocks, pools; /* blocks: how many are told, all that live or 0 */
} mi_content_arena;

typedef struct mi_contents {
    size_t most_blocks; /* asked for: of how many blocks at most, those of arenas that few live blocks keep */
    uint16_t *pools;    /* what most blocks of each pool hold, MI_CONTENT_UNKNOWN of a free one; arena by arena */
    size_t pool_count;
    mi_content_arena *arenas;
    size_t arena_count;
    mi_content *blocks; /* of one arena in order of address */
    size_t block_count, block_room;
    unsigned char *seen; /* by code: whether it occurs */
    size_t codes;
} mi_contents;

/* Of the blocks that other threads were given (thread_blocks.h) and that are alive: what they hold. */
typedef struct mi_apart_row {
    uint64_t count, bytes;
    uint64_t small, small_bytes; /* of these: on the small path */
    uint64_t moved;              /* blocks beside them that another thread only resized */
} mi_apart_row;

typedef struct mi_apart {
    mi_thread_blocks blocks;
    mi_apart_row *rows; /* by owner, then by type, then unknown */
    size_t row_count;
} mi_apart;

/* An interpreter's or a thread's own structure. What a word of it points to is claimed only where it is a block in use
 * that no type explains; what is on its lists of free objects is claimed as that. */
typedef struct mi_census_roots {
    uintptr_t address;
    size_t size;
    uintptr_t free_lists;    /* 0: it has none */
    uintptr_t memory_errors; /* where the list of spare MemoryErrors begins; 0: none */
} mi_census_roots;

/* Memory that an object lent by the buffer protocol when it was asked (native/census_lent.pxi). */
typedef struct mi_census_lent {
    uintptr_t address;
    size_t size;
} mi_census_lent;

typedef struct mi_census_request {
    const mi_target *target;
    const mi_layout *layout;
    const mi_heap *heap; /* with its pools: MI_WALK_POOLS */
    const mi_types *types;
    mi_census_ahead *ahead;           /* with its types read */
    uint32_t padding;                 /* what a debug allocator puts before a block */
    int threads;                      /* 0: as many as help */
    int guesses;                      /* look for what points to unknown blocks: as long again as the walk */
    int list;                         /* what each block was taken for */
    const mi_mimalloc_walk *mimalloc; /* of free-threaded builds, while the world is stopped; else NULL */
    const mi_census_roots *roots;
    size_t root_count;
    const mi_census_lent *lent; /* what objects of unknown structure said themselves to be theirs; may be outdated */
    size_t lent_count;
    mi_contents *contents; /* or NULL: what single blocks hold is not asked for */
    mi_frames *frames;     /* or NULL: of no thread */
    mi_apart *apart;       /* or NULL: with the blocks of other threads; not for a copy */
} mi_census_request;

/* Walks the arenas of the heap, all of them held still and proven mapped by the target. */
mi_error mi_census_take(const mi_census_request *request, mi_census *census);
mi_census_sum mi_census_sum_of(const mi_census *census, const mi_census_row *row);
void mi_census_free(mi_census *census);
void mi_contents_free(mi_contents *contents);
void mi_apart_free(mi_apart *apart);

#endif
