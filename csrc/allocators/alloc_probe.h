/* alloc_probe.h - which allocator is in force, and which path one allocation takes, found by allocating.
 *
 * A block is pymalloc's when its pool lies in an arena; it is glibc's when the words before it are a chunk header that
 * holds the request (malloc/malloc.c: struct malloc_chunk); debug hooks write the size asked for and a letter of the
 * domain before it (Objects/obmalloc.c: _PyMem_DebugRawAlloc). Needs the GIL; a probe is freed before the call returns. */
#ifndef MI_ALLOC_PROBE_H
#define MI_ALLOC_PROBE_H

#include "obmalloc.h"

typedef enum mi_function { MI_OBJECT_MALLOC, MI_MEM_MALLOC, MI_RAW_MALLOC } mi_function;

typedef enum mi_path {
    MI_PATH_PYMALLOC,
    MI_PATH_MIMALLOC, /* a page of a segment: free-threaded builds */
    MI_PATH_HEAP,     /* a chunk of a glibc heap */
    MI_PATH_MMAPPED,  /* a chunk that is a mapping of its own */
    MI_PATH_OTHER
} mi_path;

typedef struct mi_probe {
    mi_path path;
    uintptr_t address;    /* what the function returned */
    uintptr_t block;      /* of the block or chunk's memory that holds it, debug padding included */
    size_t usable;        /* bytes of that block, 0 when unknown */
    size_t chunk_size;    /* glibc's, header included */
    uint32_t debug;       /* the debug hooks wrote before it */
    mi_block_place place; /* in pymalloc, or in mimalloc's page and segment (which have no index nor size class) */
} mi_probe;

/* Bytes that the debug hooks put before a block and around it (PYMEM_DEBUG_EXTRA_BYTES). */
#define MI_DEBUG_BEFORE (2 * sizeof(size_t))
#define MI_DEBUG_AROUND (3 * sizeof(size_t))

/* MI_E_MEMORY when the function returned NULL. `table` may be empty. `throw_away` is for a process that ends soon: the
 * heap is trimmed first, for what its top has room for is never mmapped, and a chunk that is a mapping of its own is not
 * freed, for that would raise glibc's mmap threshold (malloc/malloc.c: sysmalloc, __libc_free). */
mi_error mi_probe_take(const mi_target *target, const mi_layout *layout, const mi_arena_table *table,
                       mi_function function, size_t size, int throw_away, mi_probe *probe);
/* The glibc chunk whose memory begins at `block`; false when the words before it are none. `at_least` bytes are known to
 * be in it. Reads only: a chunk in use of a heap is followed by one that says so. */
int mi_chunk_at(const mi_target *target, uintptr_t block, size_t at_least, size_t *usable, size_t *size, int *mmapped);

typedef struct mi_allocator {
    const char *name; /* of _PyMem_GetCurrentAllocatorName, NULL when a hook hides it */
    int pymalloc;     /* a small block lies in an arena */
    int debug;        /* debug hooks write around it */
    uintptr_t hook;   /* the function that serves PyObject_Malloc */
    int hook_is_own;  /* it is in the object file of the interpreter itself (tracemalloc is) */
} mi_allocator;

mi_error mi_allocator_look(const mi_target *target, const mi_layout *layout, const mi_arena_table *table,
                           mi_allocator *allocator);

#endif
