/* graph_parts.h - what the files that make a graph (graph.h) share: a graph on its way.
 *
 * graph_objects.c finds which objects there are, graph_buffers.c whose each block is, graph_sizes.c how large they are and
 * how often they are counted, graph_edges.c what refers to what, graph_settle.c which references of these are none, graph.c
 * does one after the other. */
#ifndef MI_GRAPH_PARTS_H
#define MI_GRAPH_PARTS_H

#include <string.h>

#include "ask.h"
#include "blocks.h"
#include "elf_objects.h"
#include "graph.h"
#include "object_proof.h"
#include "owners.h"

/* A reference on its way into the arrays, or the beginning of a node's row. What has to be looked up for it is asked for
 * when it comes in, and read when others came in behind it: where objects lie shuffled, all time is waiting for memory. */
enum { MI_EDGES_WAITING = 64 };
typedef struct mi_edge_waiting {
    uintptr_t to; /* the node, when it begins */
    const mi_index_word *word;
    int64_t node;
    unsigned role;
} mi_edge_waiting;

typedef struct mi_builder {
    mi_graph *graph;
    const mi_graph_source *source;
    const mi_layout *layout;
    const mi_target *target;
    mi_blocks blocks;
    mi_reader reader;
    mi_owner_context owners;
    uintptr_t *todo; /* objects outside the arenas whose references are still to be looked at */
    size_t todo_count, todo_room;
    uint64_t *cannot_go; /* a bit for each object: immortal or static */
    uint32_t *counted, *found;
    uint32_t node;              /* that is being looked at */
    long own_arena;             /* where it lies, -1: in none that is told of */
    uint64_t size, small_known; /* bytes of the object; of all blocks that have an object */
    size_t edge_count;
    mi_edge_waiting waiting[MI_EDGES_WAITING];
    size_t came, numbered, written; /* of them, counted from the first on */
    mi_objects loaded;              /* for where each .bss ends; of this process alone */
    const mi_mapping *mapping;      /* the last that was asked for being a file's */
    uintptr_t end_of_file;          /* up to where it is */
    mi_error error;
} mi_builder;

/* Of memory that was proven. */
static inline uintptr_t mi_builder_word(uintptr_t address, int32_t offset) {
    uintptr_t word;
    memcpy(&word, (const void *)(address + (uintptr_t)(intptr_t)offset), sizeof word);
    return word;
}

static inline int mi_builder_type(const mi_builder *build, uintptr_t object) {
    return mi_types_find(build->source->types, mi_builder_word(object, build->layout->object_type));
}

/* The type of the object in a block, or -1. */
static inline int mi_builder_object_in(const mi_builder *build, uintptr_t block, uint64_t size, uintptr_t *object) {
    uint32_t before, room = size > UINT32_MAX ? UINT32_MAX : (uint32_t)size;
    int type = mi_object_in_block(build->layout, build->source->types, (const unsigned char *)block, room,
                                  build->source->padding, &before);
    if (type >= 0) *object = block + before;
    return type;
}

/* Room for one item more than `count`; the items as they are, and an error, where there is none. */
void *mi_builder_grow(mi_builder *build, void *items, size_t count, size_t *room, size_t size);
/* Whether it has to end, by an error or by the clock, which is looked at now and then: `at` counts what was done. */
int mi_builder_late(mi_builder *build, uint64_t at);

/* What the objects' owners are told to do with a buffer: mark its block as taken, or count it with the object. */
void mi_builder_claims(mi_builder *build, int counting);
/* Bytes of a chunk of glibc's that begins at `block` and holds at least so many; 0 when it is none. */
uint64_t mi_builder_chunk(mi_builder *build, uintptr_t block, size_t at_least);
int mi_builder_of_file(mi_builder *build, uintptr_t address);

void mi_builder_find_objects(mi_builder *build);
void mi_builder_measure(mi_builder *build);
void mi_builder_write_edges(mi_builder *build);
/* Of a reference that is guessed at, until it is known whether it can be one. */
#define MI_EDGE_GUESSED (UINT32_C(1) << 31)
/* With the references of all objects, of sys.modules and of frames: takes away those that hold nothing. */
void mi_builder_settle(mi_builder *build);

static inline int mi_builder_cannot_go(const mi_builder *build, uint32_t node) {
    return build->cannot_go[node / 64] >> node % 64 & 1;
}

#endif
