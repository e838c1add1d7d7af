/* owners.h - which buffers an object owns: the memory that is no object itself but belongs to one.
 *
 * For most kinds it is a word at a known place that points to a block; the rest (dicts, sets, strings, code, types) have
 * a rule of their own. What is found is passed to `claim`, which decides whether it is a block in use at all. */
#ifndef MI_OWNERS_H
#define MI_OWNERS_H

#include "types.h"

typedef enum mi_owner {
    MI_OWNER_LIST_ITEMS,
    MI_OWNER_DICT_KEYS,
    MI_OWNER_SHARED_KEYS,
    MI_OWNER_DICT_VALUES,
    MI_OWNER_SET_TABLE,
    MI_OWNER_BYTEARRAY,
    MI_OWNER_ARRAY,
    MI_OWNER_STR_UTF8,
    MI_OWNER_STR_DATA,
    MI_OWNER_CODE,
    MI_OWNER_TYPE,
    MI_OWNER_MODULE_STATE,
    MI_OWNER_ODICT_NODES,
    MI_OWNER_STRUCT,
    MI_OWNER_IO_BUFFER,
    MI_OWNER_CAPSULE,
    MI_OWNER_DECIMAL,
    MI_OWNER_CTYPES,
    MI_OWNER_ITERTOOLS,
    MI_OWNER_METHODCALLER,
    MI_OWNER_NUMPY,
    MI_OWNER_NUMPY_DATA,
    MI_OWNER_EXPAT,
    MI_OWNER_XML,
    MI_OWNER_PICKLE,
    MI_OWNER_ZONE,
    MI_OWNER_SRE,
    MI_OWNER_QUEUE,
    MI_OWNER_DEQUE,
    MI_OWNER_FILE,
    MI_OWNER_CSV,
    MI_OWNER_LENT,
    MI_OWNER_INTERPRETER,
    MI_OWNER_FREE_OBJECTS, /* from here on: allocated, and kept for objects to come */
    MI_OWNER_WAITING,      /* freed in a free-threaded build, where another thread might be reading it (QSBR) */
    MI_OWNERS
} mi_owner;

/* "list: items", ... */
const char *mi_owner_name(mi_owner owner);
/* What is claimed by it is in use by the rules of the owner's own code; otherwise a word led there. */
static inline int mi_owner_is_exact(mi_owner owner) { return owner <= MI_OWNER_SET_TABLE; }

struct mi_claims;
/* A block said to be at `address`, of at least `size` bytes (0: not known); true when it is a live block of the heap. */
typedef int (*mi_owner_take)(struct mi_claims *claims, uintptr_t address, mi_owner owner, size_t size);

/* Claims what the object at `object` owns; what lies before it and its basicsize bytes are readable there. */
typedef struct mi_owner_context {
    const mi_layout *layout;
    const mi_types *types;
    struct mi_claims *claims;
    mi_owner_take claim;
    /* the same of a word that may be something else: never takes what types as an object */
    int (*claim_plain)(struct mi_claims *claims, uintptr_t word, mi_owner owner);
    /* copies a word from a block of the heap; false when the address is in none */
    int (*heap_word)(struct mi_claims *claims, uintptr_t address, uintptr_t *word);
    /* the bytes of the block in use that begins there, 0 when none does */
    size_t (*heap_room)(struct mi_claims *claims, uintptr_t address);
    /* what is added to `object` to have its address: it may be a copy */
    uintptr_t moved;
} mi_owner_context;

void mi_owner_claim(const mi_owner_context *context, const mi_type *type, uintptr_t object);
/* Whether more of what the type's objects own is found by the words of their structures (owners_words.c), and that. A word
 * may lead to another owner's buffer: it is to be called when the exact rules have claimed theirs. */
static inline int mi_owner_is_opaque(const mi_type *type) { return type->owns == MI_OWNS_WORDS; }
void mi_owner_claim_opaque(const mi_owner_context *context, const mi_type *type, uintptr_t object);

#endif
