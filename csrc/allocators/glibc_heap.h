/* glibc_heap.h - glibc's malloc, read from outside: its arenas, their heaps, and every chunk in them.
 *
 * Names and rules are those of malloc/malloc.c and malloc/arena.c (2.34 to 2.43). A chunk is a 16-byte header (size of
 * the chunk before, own size with three flag bits) and the user's bytes; chunks lie one behind the other from a heap's
 * first to `top`. The main arena's heap is what brk gave ([heap]); other arenas have heaps of their own, which begin
 * with a heap_info. Chunks above the mmap threshold are mappings of their own and in no list. main_arena and mp_ have no
 * symbols: they are found in libc's writable data by what must be true of them (empty bins point to themselves).
 * Nothing here is dereferenced: the memory comes through a window, as it may change or vanish meanwhile. */
#ifndef MI_GLIBC_HEAP_H
#define MI_GLIBC_HEAP_H

#include "elf_objects.h"
#include "pages.h"

enum { MI_GLIBC_ARENAS_MOST = 1024, MI_GLIBC_HEAPS_MOST = 16384, MI_GLIBC_KEYS_MOST = 512 };

typedef struct mi_glibc_arena {
    uintptr_t bins;     /* &malloc_state.bins[0] */
    uintptr_t top;      /* the top chunk */
    size_t system_size; /* malloc_state.system_mem: what the arena has from the system */
} mi_glibc_arena;

typedef struct mi_glibc_heap {
    uintptr_t start; /* of its heap_info */
    uintptr_t end;
    uintptr_t chunks; /* where the first chunk is */
    size_t arena;     /* index of its arena */
} mi_glibc_heap;

typedef struct mi_glibc {
    mi_glibc_arena *arenas; /* the main arena first */
    size_t arena_count;
    mi_glibc_heap *heaps; /* of the other arenas */
    size_t heap_count;
    int complete; /* 0: the list of arenas or of heaps could not be followed to its end */

    uintptr_t keys[MI_GLIBC_KEYS_MOST]; /* words of libc's data that may be tcache_key, ascending */
    size_t key_count;
    uintptr_t *fast; /* chunks in fast bins, ascending */
    size_t fast_count, fast_capacity;

    int has_parameters;    /* mp_ was found, and so the rest below is known */
    size_t mmap_threshold; /* now: it is dynamic */
    size_t mmapped_count, mmapped_bytes;
    uintptr_t sbrk_base; /* the first chunk of the main arena */
} mi_glibc;

/* Finds the arenas. MI_E_ABSENT when libc has no main arena in use (another malloc is in force, or not glibc). */
mi_error mi_glibc_find(mi_window *window, const mi_maps *maps, const mi_object *libc, mi_glibc *glibc);
void mi_glibc_free(mi_glibc *glibc);

typedef enum mi_chunk_kind {
    MI_CHUNK_LIVE,
    MI_CHUNK_FREE,
    MI_CHUNK_FAST,   /* free, in a fast bin */
    MI_CHUNK_TCACHE, /* free, kept for a thread; malloc itself counts it as in use */
    MI_CHUNK_TOP,
    MI_CHUNK_FENCE, /* the end mark of a heap */
    MI_CHUNK_TORN   /* not chunks: the memory changed while it was read, or something else lies here */
} mi_chunk_kind;

/* Anything but 0 ends the walk. */
typedef int (*mi_chunk_visit)(void *context, mi_chunk_kind kind, uintptr_t start, uintptr_t end);

/* Visits every chunk of [start, end) in ascending order, without gaps. `top` is the arena's top chunk. */
void mi_glibc_walk(mi_window *window, const mi_glibc *glibc, uintptr_t start, uintptr_t end, uintptr_t top,
                   mi_chunk_visit visit, void *context);
/* True when at least three chunks in a row begin at `start` and the chain ends at `end` or at a fence before it: a piece
 * of a main arena that is not contiguous. */
int mi_glibc_is_segment(mi_window *window, uintptr_t start, uintptr_t end, uintptr_t top);
/* The length of the mmapped chunk that begins at a page, 0 when none does. `aligned` looks for one with an alignment
 * too, whose header is not at the beginning. */
size_t mi_glibc_mmapped(mi_window *window, uintptr_t start, uintptr_t end, int aligned);

#endif
