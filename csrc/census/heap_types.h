/* heap_types.h - the types of a process as its heap has them, where no `object` can be asked for its subclasses: those of
 * another process, and of other interpreters of this one.
 *
 * They are found by their method resolution orders: tuples in the heap whose first item is a type that names this very
 * tuple as its own. One that is longer than a block of pymalloc lies in malloc's heaps: such a type is found by its bases,
 * which name their subclasses. */
#ifndef MI_HEAP_TYPES_H
#define MI_HEAP_TYPES_H

#include "obmalloc.h"
#include "types.h"

enum { MI_HEAP_TYPES = 1 << 16, MI_HEAP_TYPE_NAME = 256 };

/* UTF-8, empty where the type's could not be read. */
typedef struct mi_type_name {
    uint64_t address;
    char module[MI_HEAP_TYPE_NAME], qualname[MI_HEAP_TYPE_NAME];
} mi_type_name;

typedef struct mi_heap_types {
    uintptr_t tuple_type;
    uint32_t padding;      /* what a debug allocator puts before a block */
    const mi_types *known; /* those that are left out, or NULL */
    uintptr_t *items;      /* filled: addresses, in the order in which they were found */
    size_t room, count;
    size_t cut; /* how many there was no room for */
} mi_heap_types;

/* `target` is of kind MI_TARGET_SELF, with its map; the pools of the heap (MI_WALK_POOLS) and what they refer to stand
 * still. */
void mi_heap_types_find(mi_heap_types *found, const mi_target *target, const mi_layout *layout, const mi_heap *heap);
/* As type.__module__ and type.__qualname__ have it. The same of the target. */
void mi_heap_type_name(const mi_target *target, const mi_layout *layout, const mi_type *type, mi_type_name *name);

#endif
