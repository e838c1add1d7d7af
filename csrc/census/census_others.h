/* census_others.h - other interpreters of this process, for a census and a graph (graph_job.h): which of them stand still, where their own
 * structures lie, and the types that only their own `object` leads to.
 *
 * With the caller's GIL held those stand still that share it. One with a GIL of its own can be held by nobody: its blocks
 * are counted in a frozen copy alone. The types of all that stand still are searched in their heaps (heap_types.h) and
 * counted by name: static types are shared by all interpreters, so that an object's type does not tell whose it is. */
#ifndef MI_CENSUS_OTHERS_H
#define MI_CENSUS_OTHERS_H

#include "census_job.h"

typedef struct mi_others {
    mi_census_roots *roots; /* of all that stand still */
    size_t root_count, root_bytes;
    mi_types types; /* the caller's, those that were found behind them */
    int has_types;
    size_t cut;
} mi_others;

/* How many others there are, and how many of them do not stand still while `self`'s GIL is held. */
mi_error mi_others_count(const mi_runtime *runtime, uintptr_t self, size_t *others, size_t *apart);

/* The caller's types, which `search` has as those that are known, and behind them what is found in the heap; `search` is
 * without items. cut -- out: types that there was no room for */
mi_error mi_others_types(const mi_heap_types *search, const mi_runtime *runtime, const mi_heap *heap, mi_types *types,
                         size_t *cut);

mi_error mi_others_open(mi_others *others, const mi_runtime *runtime, const mi_census_job *job,
                        const mi_heap_walk *walk);
/* The names of those that have objects, of which `rows` has one a type. */
void mi_others_names(const mi_others *others, const mi_target *target, const mi_census_job *job,
                     const mi_census_sum *rows);
void mi_others_close(mi_others *others);

#endif
