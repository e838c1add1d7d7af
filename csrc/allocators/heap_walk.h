/* heap_walk.h - the pymalloc heaps of every interpreter of a process.
 *
 * Interpreters may share a state or have one each; each state is walked once. Those under the caller's own GIL are held
 * still by it and read where they lie. One under a GIL of its own is copied, and counts only when its GIL was free before
 * and after, nobody took it in between, and two readings agree: otherwise it is omitted, with the reason. */
#ifndef MI_HEAP_WALK_H
#define MI_HEAP_WALK_H

#include "obmalloc.h"
#include "runtime.h"

typedef enum mi_omission {
    MI_OMIT_ERROR,    /* it could not be read: see `error` */
    MI_OMIT_GIL_HELD, /* it has a GIL of its own, which is held: it runs */
    MI_OMIT_MOVED,    /* it ran while it was read, in every try */
    MI_OMIT_LATE,     /* it needs more time than there was */
    MI_OMIT_APART     /* it has a GIL of its own: MI_WALK_HELD */
} mi_omission;

typedef struct mi_omitted {
    int64_t interpreter;
    mi_omission why;
    mi_error error;
} mi_omitted;

typedef struct mi_heap_walk {
    mi_heap heap;
    mi_class_total own_classes[MI_MAX_SIZE_CLASSES]; /* of the state of the interpreter that asks */
    size_t own_arenas;                               /* its arenas are the first ones of heap.arenas */
    int own_walked;                                  /* to its end */
    size_t interpreters, states;                     /* how many there are; how many states were walked */
    mi_omitted *omitted;
    size_t omitted_count;
    int steady; /* another process: two readings of each state agreed */
    int cut;    /* there are more interpreters than MI_MAX_INTERPRETERS */
    uint64_t pause_ns;
} mi_heap_walk;

/* Walks all states. `self` is the interpreter whose GIL the caller holds (0: another process, then nothing is held).
 * `hidden` is the one table where no layout leads to it (3.11), else NULL. `what`: see mi_obmalloc_walk.
 * With MI_WALK_FROZEN (a copy of this process, where nothing moves) all states are read where they lie.
 * With MI_WALK_HELD those alone that stay held still when the walk is over: their blocks may be read.
 * When the runtime's target is late, arenas of states that are held still are left out (heap.arenas_left). */
mi_error mi_heap_walk_all(const mi_runtime *runtime, uintptr_t self, const mi_arena_table *hidden, unsigned what,
                          mi_heap_walk *walk);
void mi_heap_walk_free(mi_heap_walk *walk);

#endif
