/* object_proof.h - the one rule that says whether memory holds a living object, and of which type.
 *
 * Its second word is the address of a known type (types.h), just as much lies before it as its type puts before its
 * objects, it fits into its block, its reference count is one that a living object can have, and the collector's link to
 * the next object, where it has one, can be an address: text in a block that was an object's before ends the count with a
 * letter and may leave the type as it was. The first place of a block with a type in its second word decides alone, since
 * what lies before an object (links of the collector, a dict, weak references) is never a type: a dead int whose digit is
 * the id of a class is no object of that class behind a GC head.
 * A buffer may pass all of it: what an owner claims is a buffer, whatever it looks like.
 * It is asked of every block of the heap, several times of some, so it is inline. */
#ifndef MI_OBJECT_PROOF_H
#define MI_OBJECT_PROOF_H

#include <string.h>

#include "types.h"

/* Where in a block an object may begin: at its start, behind a GC head, behind a GC head and a pre-header. */
enum { MI_PLACES = 3, MI_PLACE_BYTES = 16 };

/* The count of a living object whose header is readable at `object`, 0 where it has none that such an object can have. */
int64_t mi_object_count(const mi_layout *layout, const unsigned char *object);
/* The same of memory that is no block: the index of the type of an object that begins at `object`, or -1, with its header
 * readable. What its type puts before it and its size are still to be proven. */
int mi_object_type(const mi_layout *layout, const mi_types *types, const unsigned char *object);

/* What the rule asks of every block of a size: worked out once, not for each of them. */
typedef struct mi_proof {
    const mi_layout *layout;
    const mi_types *types;
    size_t type,
        count; /* where in an object its type and its count are; count is not used where never and some are 0 */
    mi_count_bits bits;
    uint32_t padding, room; /* before the content of a block; of the content */
    uint32_t end;           /* an object begins below */
    uint32_t link;          /* so far before an object the collector's link to the next lies; 0: it has none */
} mi_proof;

/* size    -- of the block
 * padding -- what a debug allocator puts before a block's content; half as much lies behind it */
static inline mi_proof mi_proof_of(const mi_layout *layout, const mi_types *types, uint32_t size, uint32_t padding) {
    uint32_t around = padding * 3 / 2, header = (uint32_t)layout->object_size; /* _PyMem_DebugRawAlloc */
    uint32_t room = size < around + header ? 0 : size - around;
    uint32_t end = room ? room - header + 1 : 0, most = MI_PLACES * MI_PLACE_BYTES;
    size_t count = types->count_bits.some ? (size_t)layout->object_refcount : 0;
    return (mi_proof){.layout = layout,
                      .types = types,
                      .type = (size_t)layout->object_type,
                      .count = count,
                      .bits = types->count_bits,
                      .padding = padding,
                      .room = room,
                      .end = end < most ? end : most,
                      .link =
                          layout->gc_head_size == MI_ABSENT ? 0 : (uint32_t)(layout->gc_head_size - layout->gc_next)};
}

/* Whether mi_object_count() is not 0. */
static inline int mi_proof_lives(const mi_proof *proof, const unsigned char *object) {
    uint64_t count;
    if (!proof->bits.some) return mi_object_count(proof->layout, object) != 0;
    memcpy(&count, object + proof->count, sizeof count);
    return mi_count_lives(proof->bits, count);
}

/* Whether a word can be the collector's link to the next object, or none (PyGC_Head, pycore_gc.h). */
static inline int mi_link_may_be(uint64_t word) {
    enum { ADDRESS_BITS = 52 };
    return word >> ADDRESS_BITS == 0;
}

static inline int mi_proof_links(const mi_proof *proof, const unsigned char *object) {
    uint64_t next;
    if (!proof->link) return 1;
    memcpy(&next, object - proof->link, sizeof next);
    return mi_link_may_be(next);
}

/* The type of the object in a block that is readable at `block`, or NULL. before -- out: bytes from the block's start to
 * the object, where there is one */
static inline const mi_type_key *mi_proof_ask(const mi_proof *proof, const unsigned char *block, uint32_t *before) {
    const mi_types *types = proof->types;
    const unsigned char *type = block + proof->padding + proof->type;
    for (uint32_t at = 0, end = proof->end; at < end; at += MI_PLACE_BYTES) {
        uintptr_t word;
        memcpy(&word, type + at, sizeof word);
        const mi_type_key *known = mi_types_key(types, word);
        if (!known) continue;
        *before = proof->padding + at;
        int proven = known->preheader == at && known->basicsize <= proof->room - at &&
                     mi_proof_lives(proof, block + proof->padding + at) &&
                     (!at || mi_proof_links(proof, block + proof->padding + at));
        return proven ? known : NULL;
    }
    return NULL;
}

/* The same of one block: the index of the type, or -1. */
static inline int mi_object_in_block(const mi_layout *layout, const mi_types *types, const unsigned char *block,
                                     uint32_t size, uint32_t padding, uint32_t *before) {
    mi_proof proof = mi_proof_of(layout, types, size, padding);
    const mi_type_key *known = mi_proof_ask(&proof, block, before);
    return known ? (int)known->item : -1;
}

#endif
