/* graph_query.h - what is asked of a graph: who holds an object, by which way from a root, what would go with it, and which
 * arenas would be empty then. Only arrays are read, so nothing has to be held still. */
#ifndef MI_GRAPH_QUERY_H
#define MI_GRAPH_QUERY_H

#include "graph.h"

/* The nodes that refer to `node`, each once, in ascending order; *count may exceed `room`. Roots are among them. */
void mi_graph_holders(const mi_graph *graph, uint32_t node, uint32_t *holders, size_t room, size_t *count);

/* Of every node the one before it on a short way from a root; by way of modules where that is not much longer. */
typedef struct mi_ways {
    uint32_t *from; /* node + 1: itself of a root, 0 where no root leads */
    size_t size;
} mi_ways;
mi_error mi_graph_ways(const mi_graph *graph, mi_ways *ways);
void mi_ways_free(mi_ways *ways);

/* The way to `node`, the root first, `node` last. The length is 0 when no root leads there; beyond `room` nodes it is cut
 * in front: the last ones are given. */
size_t mi_ways_to(const mi_ways *ways, uint32_t node, uint32_t *path, size_t room);

/* What no root leads to once the objects of `nodes` are taken out, they included; what no root leads to anyway is not
 * counted. */
typedef struct mi_loss {
    uint64_t objects, bytes;
    uint64_t *gone; /* a bit for each node */
    size_t gone_size;
} mi_loss;
mi_error mi_graph_without(const mi_graph *graph, const uint32_t *nodes, size_t count, mi_loss *loss);
void mi_loss_free(mi_loss *loss);

/* How many references an object has, each by each, and how many of them from frames. */
void mi_graph_references_to(const mi_graph *graph, uint32_t node, uint64_t *count, uint64_t *of_frames);

/* Of each arena: bit 0 when any of what is gone has a block in it, bit 1 when nothing else has; bit 2 alone when nothing
 * lives in it. What is gone with `own`, which is not counted as gone, is as if it were not there. */
void mi_graph_arenas_touched(const mi_graph *graph, const mi_loss *loss, const mi_loss *own, unsigned char *arenas);

#endif
