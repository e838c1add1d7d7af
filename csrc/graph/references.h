/* references.h - the references that one object holds, read from its structure; none of its code is called
 * but the tp_traverse of types that are not known, and that only on request (mi_foreign).
 *
 * Each is told to a visitor with the role it plays, which is what a path is made of ("key 'x'", "attribute y"). A reader
 * follows a pointer only after its target was proven mapped, within bounds that the holder states, and what it tells is an
 * address, not yet proven to be an object: the visitor holds it against an index of known objects. */
#ifndef MI_REFERENCES_H
#define MI_REFERENCES_H

#include "shapes.h"

typedef enum mi_role {
    MI_ROLE_ITEM,      /* detail: index */
    MI_ROLE_KEY,       /* of a dict, a set, or keys that instances share; detail: index of the entry */
    MI_ROLE_VALUE,     /* detail: address of the key, which is an object of the same dict */
    MI_ROLE_ATTRIBUTE, /* a value of an instance; detail: address of the name */
    MI_ROLE_FIELD,     /* detail: address of a C string, its name */
    MI_ROLE_LOCAL,     /* of a frame; detail: index */
    MI_ROLE_STACK,     /* on a frame's evaluation stack; detail: index */
    MI_ROLE_TYPE,
    MI_ROLE_CALLED, /* the type's tp_traverse told it; detail: index */
    MI_ROLE_GUESS,  /* a word of a structure that is not known; detail: its offset */
    MI_ROLES,
    MI_ROLE_BORROWED = 0x80 /* not counted by the object that is referred to (pycore_stackref.h) */
} mi_role;

typedef void (*mi_visit)(void *context, uintptr_t to, unsigned role, uint64_t detail);

/* Where types of this process have the functions that are called of those whose structures are not known; 0: none is. */
typedef struct mi_foreign {
    int32_t traverse, is_gc; /* offsets of tp_traverse and tp_is_gc in a type */
} mi_foreign;

typedef struct mi_reader {
    const mi_target *target;
    const mi_layout *layout;
    const mi_types *types;
    const mi_shapes *shapes;
    const mi_mapping *last; /* that held what was read */
    mi_visit visit;
    void *context;
    mi_foreign foreign; /* code of the program's extensions runs: only where the caller of the API said so */
} mi_reader;

int mi_reader_covers(mi_reader *reader, uintptr_t address, size_t size);
/* The entries of a dict that shares its keys with no other: each ends with a value, behind its key; 0: it cannot be read. */
int mi_reader_dict_entries(mi_reader *reader, uintptr_t dict, uintptr_t *entries, uint64_t *count, unsigned *size);
/* Tells the references of the object at `address`, which is one of the type with this index. */
void mi_references_of(mi_reader *reader, uintptr_t address, int type);
/* references_numpy.c: of an ndarray, and of a numpy.void. */
void mi_references_of_array(mi_reader *reader, uintptr_t object);
void mi_references_of_array_scalar(mi_reader *reader, uintptr_t object);
/* Tells those of a running or suspended frame (_PyInterpreterFrame). */
void mi_references_of_frame(mi_reader *reader, uintptr_t frame);

#endif
