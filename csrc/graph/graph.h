/* graph.h - every object of this process, its size, and the references between all of them, as arrays.
 *
 * Objects are the live blocks of pymalloc, or mimalloc, that types.h explains and no owner claims (owners.h), the objects on the
 * collector's lists, and what these refer to: an address is taken for an object when it is mapped and its header names a
 * known type. Each has a number in order of address; behind them stand the roots, numbered as objects are. Sizes are of
 * whole blocks, buffers included. References to immortal and static objects are left out: nothing can make them go.
 * The caller holds the GIL, or the world stopped, while it is made; what is made refers to no memory but its own. */
#ifndef MI_GRAPH_H
#define MI_GRAPH_H

#include "address_index.h"
#include "dominators.h"
#include "heap_walk.h"
#include "mimalloc.h"
#include "references.h"

typedef enum mi_root {
    MI_ROOT_MODULES, /* sys.modules */
    MI_ROOT_FRAMES,  /* frames that run, of all threads */
    MI_ROOT_STATE,   /* interpreters and thread states: what their structures name and no object holds */
    MI_ROOT_STATIC,  /* immortal objects and those of the program file and libraries */
    MI_ROOT_C,       /* C code or an evaluation stack: counted, and by nothing found */
    MI_ROOT_MEMORY,  /* live blocks that no object is known for; it holds nothing */
    MI_ROOTS
} mi_root;

typedef struct mi_elsewhere { /* a buffer that lies in another arena than its object */
    uint32_t node, arena;
} mi_elsewhere;

typedef struct mi_graph {
    mi_address_index index;
    uint32_t objects; /* the number of the first root */
    uint32_t *types;  /* of each object: its place in mi_types */
    uint32_t *sizes;  /* of each node, in units */
    uint32_t unit;    /* bytes that sizes are counted in */
    uint32_t *offsets, *edges;
    size_t edge_room;
    uint32_t *unexplained; /* of each object: references counted by it and not found */
    mi_elsewhere *elsewhere;
    size_t elsewhere_count, elsewhere_room;
    /* of pymalloc alone: mimalloc gives pages back one by one, and what keeps its segments is not told */
    uint64_t *arenas;                  /* their addresses, in the order of the heap that was walked */
    uint64_t *arena_bytes;             /* live in each */
    uint32_t *arena_blocks;            /* how many those are */
    uint32_t *arena_unknown;           /* live blocks of each that no object is known for */
    uint32_t *arena_first, *arena_end; /* the objects that lie in each: from the first to before the end */
    size_t arena_count, arena_size;
    uint64_t called;                                 /* references that a tp_traverse told */
    uint64_t references, guesses, dropped, mistaken; /* found; of these by guess; to what cannot go; buffers that looked
                                                      * like objects */
    uint64_t overcounted; /* objects that count fewer references than are known: none, where all was read well */
    uint64_t small_bytes; /* live in pymalloc's blocks, or in mimalloc's */
    uint64_t torn_pages;  /* of mimalloc: their free lists contradicted themselves, and nothing in them is told */
    uint64_t build_ns;
    int lent; /* its arrays lie in memory that is somebody else's to give back: see mi_graph_export */
} mi_graph;

/* Which interpreters stand still: the one whose GIL is held, all that share it, or all in a frozen copy. Without a GIL it is
 * the one that was stopped. */
typedef enum mi_still { MI_STILL_SHARED, MI_STILL_ALL, MI_STILL_OWN } mi_still;

typedef struct mi_graph_source {
    const mi_runtime *runtime;        /* with the target */
    const mi_heap *heap;              /* walked with MI_WALK_POOLS and MI_WALK_BLOCKS; NULL: mimalloc's */
    const mi_mimalloc_walk *mimalloc; /* or this, with its threads held still */
    const mi_types *types;
    const mi_shapes *shapes;
    uintptr_t interpreter; /* whose GIL is held */
    int types_held;        /* the caller holds a reference to each of the types, which is not told of */
    uint32_t padding;      /* of a debug allocator, before a block */
    mi_foreign foreign;    /* see references.h */
    mi_still still;        /* whose threads stand still */
    const mi_maps *files;  /* says what lies in files where the target's map does not (replica.h); NULL: that does */
} mi_graph_source;

mi_error mi_graph_build(mi_graph *graph, const mi_graph_source *source);
void mi_graph_free(mi_graph *graph);
/* Copies a graph with all of its arrays to `room`, whose first bytes are the mi_graph then. MI_E_MEMORY when `size` bytes
 * do not hold it. */
mi_error mi_graph_export(const mi_graph *graph, void *room, size_t size);

static inline uint32_t mi_graph_nodes(const mi_graph *graph) { return graph->objects + MI_ROOTS; }
uint64_t mi_graph_bytes(const mi_graph *graph);

/* Tells the references of a root as they are now: the reader's visitor gets those of sys.modules, or of each frame. */
void mi_graph_tell_modules(mi_reader *reader, uintptr_t interpreter);
typedef void (*mi_frame_seen)(void *context, uintptr_t thread, uintptr_t frame);
/* Tells the frames that threads run, newest first; those of suspended and running generators belong to these. */
void mi_graph_frames(mi_reader *reader, const mi_runtime *runtime, uintptr_t interpreter, mi_still still,
                     mi_frame_seen seen, void *context);
/* Calls `each` with every interpreter (1) that stands still, and with every thread of these (0). */
void mi_graph_each_thread(const mi_runtime *runtime, uintptr_t interpreter, mi_still still,
                          void (*each)(void *, uintptr_t, int), void *context);

#endif
