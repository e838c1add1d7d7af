/* pinning.h - what would have to go for an arena to be empty.
 *
 * pymalloc gives an arena back when no block of it is in use. Every block of an arena belongs to an object, and each object
 * goes when an object goes that dominates it; so per arena the lowest objects are looked for that together dominate all that
 * lies there: its keys. What a program does not let go of by dropping a reference is fixed, and no key: modules, functions,
 * code, types, their dicts, immortal and static objects, and what C code or the interpreter's structures hold. An arena with
 * something fixed in it has no keys, nor has one with a block of no known object. */
#ifndef MI_PINNING_H
#define MI_PINNING_H

#include "graph_query.h"

typedef enum mi_pin {
    MI_PIN_NOTHING, /* no block of it is in use */
    MI_PIN_KEYS,    /* it is empty when all of its keys are gone */
    MI_PIN_MANY,    /* the same, and there are more than were asked for: they are not told */
    MI_PIN_GARBAGE, /* something lies in it that waits for the collector */
    MI_PIN_FIXED,   /* something fixed lies in it */
    MI_PIN_UNKNOWN  /* blocks lie in it that no object is known for */
} mi_pin;

enum { MI_PIN_NO_KEY = MI_NO_NODE - 8 };

typedef struct mi_pinning {
    size_t arenas;
    uint8_t *pins;   /* of each arena: mi_pin */
    uint32_t *first; /* arenas + 1 of them: where the keys of each begin */
    uint32_t *keys;  /* numbers of the tree */
    size_t key_count, key_room;
    uint32_t *
        highest; /* of each number of the tree: the highest that dominates it and is not fixed; else above MI_PIN_NO_KEY */
    size_t numbers;
} mi_pinning;

/* What hangs under the objects of each type (by its place in mi_types): the sum of the retained sizes of those that hang
 * under no other of the same type, in units; and how many objects there are. Both have room for a row a type, at zeros. */
mi_error mi_retained_by_type(const mi_graph *graph, const mi_dominators *tree, size_t types, uint64_t *retained,
                             uint64_t *objects);

/* Up to `most` keys an arena. What is gone with `own` keeps none. */
mi_error mi_pinning_find(const mi_graph *graph, const mi_dominators *tree, const mi_types *types, const mi_loss *own,
                         uint32_t most, mi_pinning *result);
void mi_pinning_free(mi_pinning *result);

#endif
