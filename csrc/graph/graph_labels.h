/* graph_labels.h - what a reference is by (an attribute, a key, a local variable), as text, while the objects are there.
 *
 * A graph keeps numbers alone. By which word of its holder a reference is, is found by reading the holder once more, with its
 * names copied from the structures of str and int. Where something ran since the graph was made, an object is read only when
 * references that are there now lead to it from a root, each from an object that is alive. No Python object is made: it may
 * run with the world stopped, and in a frozen copy. */
#ifndef MI_GRAPH_LABELS_H
#define MI_GRAPH_LABELS_H

#include "graph.h"

enum { MI_LABEL_CHARACTERS = 128, MI_LABEL_TEXT = 4 * MI_LABEL_CHARACTERS + 8 };

typedef enum mi_label_kind { MI_LABEL_NOTHING, MI_LABEL_TEXT_OF, MI_LABEL_NUMBER } mi_label_kind;

typedef struct mi_label {
    uint8_t role;      /* a mi_role; MI_ROLES: the reference is not there, or cannot be read */
    uint8_t kind;      /* of its name: mi_label_kind */
    uint8_t has_frame; /* it is a frame's, of the function called so */
    int64_t number;    /* a key, or an index */
    char text[MI_LABEL_TEXT], frame[MI_LABEL_TEXT]; /* UTF-8, ended by a 0 */
} mi_label;

typedef struct mi_labels {
    const mi_graph *graph;
    const mi_runtime *runtime;
    const mi_types *types;
    const mi_shapes *shapes;
    uintptr_t interpreter;
    mi_still still;
    uintptr_t str, integer, tuple; /* types: objects of their subclasses are not read */
    mi_reader *reader; /* of the same types and shapes, with the map as it is now; its visitor is set here */
} mi_labels;

/* The labels of a way of `length` nodes: labels[i] is of the reference from the node before to path[i]; that of the first is
 * empty. With `trusted` nothing ran since the graph was made. Else it begins at a root, and ends where it leads on no more. */
void mi_labels_of_path(const mi_labels *labels, const uint32_t *path, size_t length, int trusted, mi_label *found);

/* Goes from a root of the interpreter's own (MI_ROOT_MODULES, MI_ROOT_FRAMES) by the addresses of objects, each of which the
 * one before refers to now, and not by guess. The last of them, 0 where it leads there no more. Without a graph. */
uintptr_t mi_labels_reach(const mi_labels *labels, mi_root root, const uintptr_t *addresses, size_t count);

#endif
