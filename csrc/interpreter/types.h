/* types.h - the types of a process, as a table that a word of memory can be looked up in.
 *
 * A census asks of every block whether one of its words is the address of a type. Only addresses that were enumerated
 * from `object` through its subclasses are in the table, so no word of a block is ever followed to find out. For each
 * type it holds what recognising an object needs: sizes, what lies before the object, and its kind, which decides which
 * buffers it owns (owners.h). */
#ifndef MI_TYPES_H
#define MI_TYPES_H

#include "layout.h"
#include "near.h"
#include "target.h"

/* How an object keeps memory outside itself; subclasses are of the kind of their base. */
typedef enum mi_kind {
    MI_KIND_PLAIN, /* owns nothing that is not an object */
    MI_KIND_LIST,
    MI_KIND_DICT,
    MI_KIND_ODICT,
    MI_KIND_CTYPES_DICT,
    MI_KIND_SET,
    MI_KIND_STR,
    MI_KIND_INT,
    MI_KIND_BYTES,
    MI_KIND_TYPE,
    MI_KIND_CODE,
    MI_KIND_FUNCTION,
    MI_KIND_MODULE,
    MI_KIND_BYTEARRAY,
    MI_KIND_ARRAY,
    MI_KIND_STRUCT,
    MI_KIND_STRINGIO,
    MI_KIND_BUFFERED,
    MI_KIND_CAPSULE,
    MI_KIND_DECIMAL,
    MI_KIND_CDATA,
    MI_KIND_COMBINATIONS,
    MI_KIND_PERMUTATIONS,
    MI_KIND_METHODCALLER,
    MI_KIND_ARRAY_METHOD,
    MI_KIND_UFUNC,
    MI_KIND_NDARRAY,
    MI_KIND_NUMPY_VOID,
    MI_KIND_DEQUE,
    MI_KIND_ELEMENT,
    MI_KIND_ZONED,     /* datetime, time */
    MI_KIND_GENERATOR, /* coroutines too: a frame is embedded in them */
    MI_KIND_FRAME,
    MI_KIND_EXPAT, /* from here on: read word by word (owners_words.c) */
    MI_KIND_XML_PARTS,
    MI_KIND_NUMPY_PARTS,
    MI_KIND_PICKLE,
    MI_KIND_ZONE,
    MI_KIND_SRE,
    MI_KIND_QUEUE,
    MI_KIND_FILE,
    MI_KIND_CSV,
    MI_KINDS
} mi_kind;

/* How the size of an object follows from it (object_size.h). */
typedef enum mi_sizing {
    MI_SIZING_FIXED,
    MI_SIZING_STR,
    MI_SIZING_INT,
    MI_SIZING_VAR,
    MI_SIZING_INLINE,
    MI_SIZING_ZONED, /* the last word, a time zone, may be missing */
    MI_SIZING_FRAME  /* as long as the code of its frame wants: census_frames.h */
} mi_sizing;

/* Whether objects own what is no object: nothing; what their structure names; and what is found by its words alone. */
typedef enum mi_owning { MI_OWNS_NOTHING, MI_OWNS_NAMED, MI_OWNS_WORDS } mi_owning;

typedef struct mi_type {
    uintptr_t address;
    uint64_t flags;
    uint32_t basicsize; /* the smallest an object of it can be */
    uint32_t whole;     /* tp_basicsize itself */
    uint32_t itemsize;
    uint16_t preheader; /* bytes before the object: GC head, managed dict and weak references */
    uint16_t kind;
    uint8_t sizing;
    uint8_t generic; /* 1: objects come from tp_alloc, which makes room for one item more */
    uint8_t owns;    /* a mi_owning: whether an object of it may own buffers (owners.h) */
} mi_type;

/* Of the 8 bytes at an object's count: which bits tell whether it lives, and the lowest of them, of which a living one has one
 * at least, and none of the others; all zero where its count is not in one place (free-threaded builds). */
typedef struct mi_count_bits {
    uint64_t told, some;
} mi_count_bits;
static inline int mi_count_lives(mi_count_bits bits, uint64_t count) { return (count & bits.told) - 1 < bits.some; }

/* What is asked first of a type that a word names. */
typedef struct mi_type_key {
    uintptr_t address; /* 0: no type */
    uint32_t item;
    uint32_t basicsize; /* this and the rest as in mi_type */
    uint16_t preheader;
    uint8_t sizing, owns;
} mi_type_key;

typedef struct mi_types {
    mi_type *items;
    size_t count, room;
    mi_type_key *keys; /* open addressing */
    unsigned index_bits;
    mi_count_bits count_bits;
    mi_near near;          /* most words are no type, and end here */
    uint64_t filter[1024]; /* the others here: two bits for each type, by its hash */
} mi_types;

/* Reads the types at `addresses`, which the caller keeps alive. */
mi_error mi_types_read(mi_types *types, const mi_target *target, const mi_layout *layout, const uintptr_t *addresses,
                       size_t count);
/* Puts items behind the others as they are. No word is found to be one of them: they may be there no more. */
mi_error mi_types_add(mi_types *types, const mi_type *items, size_t count);
void mi_types_free(mi_types *types);

static inline uint64_t mi_types_hash(uintptr_t address) { return (uint64_t)address * 0x9E3779B97F4A7C15u; }

/* Whether a word may be a type. The second bit is asked for only where the first is set: without it a word that occurs in
 * every other block, and has the first bit by chance, is looked for each time. */
static inline int mi_types_pass(const mi_types *types, uintptr_t word) {
    if (!mi_near_has(&types->near, word)) return 0;
    const uint64_t *filter = types->filter, hash = mi_types_hash(word), first = hash >> 48,
                   second = hash >> 32 & 0xffff;
    return filter[first >> 6] >> (first & 63) & 1 && filter[second >> 6] >> (second & 63) & 1;
}

/* The type at `word`, or NULL. */
static inline const mi_type_key *mi_types_key(const mi_types *types, uintptr_t word) {
    if (!mi_types_pass(types, word)) return NULL;
    uint64_t hash = mi_types_hash(word);
    size_t mask = ((size_t)1 << types->index_bits) - 1, at = (size_t)(hash >> (64 - types->index_bits));
    for (const mi_type_key *key; (key = &types->keys[at])->address; at = (at + 1) & mask)
        if (key->address == word) return key;
    return NULL;
}

/* Its index, or -1. */
static inline int mi_types_find(const mi_types *types, uintptr_t word) {
    const mi_type_key *key = mi_types_key(types, word);
    return key ? (int)key->item : -1;
}

#endif
