/* dominators.h - the dominator tree of a graph, and how much would go with each node.
 *
 * A node dominates another when every path from the roots to the other leads through it; what it dominates is what would
 * be unreachable without it, and the sum of their sizes is its retained size. Lengauer and Tarjan's algorithm with path
 * compression (ACM TOPLAS 1979, the simple version): others are faster on common heaps, and need minutes on two parallel
 * chains of half a million nodes. Pure arithmetic on arrays: no recursion, no Python, nothing of a heap is read. */
#ifndef MI_DOMINATORS_H
#define MI_DOMINATORS_H

#include <stdint.h>

#include "error.h"

#define MI_NO_NODE UINT32_MAX /* the node of the two numbers that stand for none */

/* References in rows: those of node v are edges[offsets[v]] up to edges[offsets[v + 1]]; each names a node. */
typedef struct mi_references {
    uint32_t nodes;
    const uint32_t *offsets; /* nodes + 1 of them */
    const uint32_t *edges;
} mi_references;

/* Nodes are numbered in the order in which a walk from the roots meets them, so a dominator's number is lower than that
 * of what it dominates. Number 0 is the root over all; `unreachable` is the number of a root for what no root leads to. */
typedef struct mi_dominators {
    uint32_t nodes, unreachable;
    uint32_t *number;    /* of each node */
    uint32_t *node;      /* of each of the nodes + 2 numbers */
    uint32_t *dominator; /* of each number, itself a number; 0 of 0 */
    uint64_t *retained;  /* of each number, in units of `sizes` */
    uint64_t peak_bytes; /* the most memory of ours at a time, all of the above included */
} mi_dominators;

/* `roots` hang under number 0. Of what they do not lead to, what nothing else there refers to hangs under `unreachable`,
 * and one node of each cycle that nothing else refers to; what the roots do lead to is theirs alone. MI_E_LIMIT: more nodes or edges than 32 bits count. */
mi_error mi_dominators_find(const mi_references *graph, const uint32_t *sizes, const uint32_t *roots,
                            uint32_t root_count, mi_dominators *result);
void mi_dominators_free(mi_dominators *result);

#endif
