/* object_proof.h - the one rule that says whether memory holds a living object, and of which type.
 *
 * Its second word is the address of a known type (types.h), just as much lies before it as its type puts before its
 * objects, it fits into its block, and its reference count is one that a living object can have. The first place of a
 * block with a type in its second word decides alone, since what lies before an object (links of the collector, a dict,
 * weak references) is never a type: a dead int whose digit is the id of a class is no object of that class behind a GC head.
 * A buffer may pass all of it: what an owner claims is a buffer, whatever it looks like. */
#ifndef MI_OBJECT_PROOF_H
#define MI_OBJECT_PROOF_H

#include "types.h"

/* Where in a block an object may begin: at its start, behind a GC head, behind a GC head and a pre-header. */
enum { MI_PLACES = 3, MI_PLACE_BYTES = 16 };

/* The type that was found last at each place: the next block is often of the same. */
typedef struct mi_proof_cache {
    uintptr_t word[MI_PLACES];
    int type[MI_PLACES];
} mi_proof_cache;

/* The count of a living object whose header is readable at `object`, 0 where it has none that such an object can have. */
int64_t mi_object_count(const mi_layout *layout, const unsigned char *object);
/* The index of the type of the object in a block of `size` bytes, all readable at `block`, or -1.
 * padding -- what a debug allocator puts before a block's content; half as much lies behind it
 * before  -- out: bytes from the block's start to the object, where there is one */
int mi_object_in_block(const mi_layout *layout, const mi_types *types, mi_proof_cache *cache,
                       const unsigned char *block, uint32_t size, uint32_t padding, uint32_t *before);
/* The same of memory that is no block: an object that begins at `object`, with its header readable. What its type puts
 * before it and its size are still to be proven. */
int mi_object_type(const mi_layout *layout, const mi_types *types, const unsigned char *object);

#endif
