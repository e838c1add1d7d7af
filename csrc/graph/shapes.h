/* shapes.h - where the objects of each type keep references to others.
 *
 * For every type of a mi_types a list of words is made: those that a table of built-in types names, those that the type's
 * own tp_members declare as objects (slots among them), and its __dict__. What is left of an object of a type that takes
 * part in collection is a guess: a word that may be a reference. What lies outside the object (items, keys, frames) is read
 * by a rule of the type's own (references.h). */
#ifndef MI_SHAPES_H
#define MI_SHAPES_H

#include "types.h"

typedef enum mi_rule {
    MI_RULE_NONE,
    MI_RULE_TUPLE,
    MI_RULE_LIST,
    MI_RULE_DICT,
    MI_RULE_ORDERED_DICT,
    MI_RULE_SET,
    MI_RULE_TYPE,
    MI_RULE_FRAME,
    MI_RULE_GENERATOR,
    MI_RULE_DEQUE,
    MI_RULE_LRU_CACHE,   /* functools' */
    MI_RULE_ZONED,       /* datetime, time: the zone is there only where a flag says so */
    MI_RULE_ARRAY,       /* numpy's */
    MI_RULE_ARRAY_SCALAR /* one element of a structured array */
} mi_rule;

typedef struct mi_shape_word {
    int32_t offset; /* below 0: that far from the end of a var-sized object */
    uint32_t guess;
    const char *name; /* as the language names it; an address of the target, to be read as one */
} mi_shape_word;

typedef struct mi_shape {
    uint32_t first, count; /* of mi_shapes.words */
    uint8_t rule;
    uint8_t heap_type;   /* instances hold a reference to their type */
    uint8_t guess_items; /* var-sized, of a layout that is not known */
    uint8_t foreign;     /* some words of it are guesses, and nothing of it lies outside the object by a rule */
} mi_shape;

typedef struct mi_shapes {
    mi_shape *items; /* one a type */
    size_t count;
    mi_shape_word *words;
    size_t word_count, word_room;
} mi_shapes;

mi_error mi_shapes_read(mi_shapes *shapes, const mi_target *target, const mi_layout *layout, const mi_types *types);
void mi_shapes_free(mi_shapes *shapes);

#endif
