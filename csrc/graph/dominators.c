/* dominators.c - Lengauer and Tarjan's algorithm over the arrays of dominators.h.
 *
 * All after the first walk happens in the space of numbers, where parents and children lie close together. Arrays serve
 * twice where their uses do not meet; each place says which. */
#include "dominators.h"

#include <string.h>

#include "ask.h"
#include "os.h"

typedef struct pair { /* a reference that is not of the walk's tree, by numbers */
    uint32_t to, from;
} pair;

typedef struct row { /* of a node on the way from a root: what of it was not read yet */
    uint32_t at, end, number;
} row;

typedef struct work {
    const mi_references *graph;
    mi_dominators *result;
    uint32_t numbers; /* given so far */
    uint32_t floor;   /* of the walk under way: references to numbers up to it do not matter */
    uint32_t *parent; /* of each number in the walk's tree; then the ancestor in the forest of what is linked */
    uint32_t *semi;   /* of what no root leads to: how far the row of each node was read; then the semidominator */
    uint32_t *label;  /* of what no root leads to: a stack; then the first of the bucket, and once linked the label */
    uint32_t *climb;  /* the stack of path compression: untouched, and so no memory, where paths are short */
    uint64_t
        *ends;  /* a bit for each node: it refers to nothing, and one reference leads to it; most objects are such */
    row *stack; /* of the first walk */
    size_t depth, stack_room;
    pair *pairs;
    size_t pair_count, pair_room;
    uint32_t *in_offsets, *in; /* the pairs as rows by `to` */
    size_t in_count;
    uint64_t bytes;
} work;

static void *take(work *work, size_t size) {
    void *block = mi_os_alloc(size ? size : 1);
    mi_os_prefer_huge_pages(block, size);
    if (block && (work->bytes += size) > work->result->peak_bytes) work->result->peak_bytes = work->bytes;
    return block;
}

static void give(work *work, void *block, size_t size) {
    if (!block) return;
    mi_os_free(block, size ? size : 1);
    work->bytes -= size;
}

static size_t ends_size(const work *work) { return ((size_t)work->graph->nodes / 64 + 1) * sizeof(uint64_t); }

static size_t words(const work *work) { return ((size_t)work->graph->nodes + 2) * sizeof(uint32_t); }

/* ---- the walk ------------------------------------------------------------------------------------------------------- */

static mi_error pair_add(work *work, uint32_t to, uint32_t from) {
    if (work->pair_count == work->pair_room) {
        size_t room = work->pair_room * 2 + 65536;
        pair *pairs = mi_os_realloc(work->pairs, work->pair_room * sizeof *pairs, room * sizeof *pairs);
        if (!pairs) return MI_E_MEMORY;
        work->pairs = pairs;
        work->pair_room = room;
    }
    work->pairs[work->pair_count++] = (pair){to, from};
    return MI_OK;
}

static inline int ends(const work *work, uint32_t node) { return (int)(work->ends[node / 64] >> node % 64 & 1); }

/* Such a node is numbered when its one reference is met: nothing of it needs to be looked up, nor remembered. */
static mi_error ends_find(work *work, const uint32_t *roots, uint32_t root_count) {
    enum { AHEAD = 32 };
    const mi_references *graph = work->graph;
    uint32_t nodes = graph->nodes, count = graph->offsets[nodes];
    unsigned char *met = take(work, nodes); /* how many references lead to each node: 2 are many */
    work->ends = take(work, ends_size(work));
    if (!met || !work->ends) {
        give(work, met, nodes);
        return MI_E_MEMORY;
    }
    for (uint32_t i = 0; i < root_count; i++) met[roots[i]] = 2;
    for (uint32_t i = 0; i < count; i++) {
        if (count - i > AHEAD) MI_ASK_TO_WRITE(&met[graph->edges[i + AHEAD]]);
        met[graph->edges[i]] += met[graph->edges[i]] < 2;
    }
    for (uint32_t node = 0; node < nodes; node++)
        if (met[node] == 1 && graph->offsets[node] == graph->offsets[node + 1])
            work->ends[node / 64] |= 1ull << node % 64;
    give(work, met, nodes);
    return MI_OK;
}

static void number_give(work *work, uint32_t node, uint32_t parent) {
    work->result->node[work->numbers] = node;
    work->parent[work->numbers] = parent;
    if (node != MI_NO_NODE) work->result->number[node] = work->numbers;
    work->numbers++;
}

MI_ASKS node_ask(const work *work, uint32_t node) {
    MI_ASK(&work->ends[node / 64]);
    MI_ASK_TO_WRITE(&work->result->number[node]);
}

/* Asks for what the row of a node will need soon, and the rows of those in it: where objects lie shuffled, all time goes
 * into waiting for memory. */
MI_ASKS look_ahead(const work *work, uint32_t at, uint32_t end) {
    enum { FARTHEST = 32, FAR = 24, NEAR = 16, NEXT = 8, FIRST = 4 };
    const uint32_t *offsets = work->graph->offsets, *edges = work->graph->edges;
    uint32_t left = end - at, to;
    if (left <= NEXT) return;
    if (left > FARTHEST) node_ask(work, edges[at + FARTHEST]);
    if (left > FAR && !ends(work, to = edges[at + FAR])) MI_ASK(&offsets[to]);
    if (left > NEAR && !ends(work, to = edges[at + NEAR])) MI_ASK(&edges[offsets[to]]);
    if (ends(work, to = edges[at + NEXT])) return;
    for (uint32_t i = offsets[to]; i < offsets[to + 1] && i < offsets[to] + FIRST; i++) node_ask(work, edges[i]);
}

static mi_error row_open(work *work, uint32_t node) {
    const uint32_t *offsets = work->graph->offsets;
    if (work->depth == work->stack_room) {
        size_t room = work->stack_room * 2 + 4096, size = sizeof *work->stack;
        row *stack = mi_os_realloc(work->stack, work->stack_room * size, room * size);
        if (!stack) return MI_E_MEMORY;
        work->stack = stack;
        work->stack_room = room;
    }
    work->stack[work->depth++] = (row){offsets[node], offsets[node + 1], work->numbers - 1};
    return MI_OK;
}

/* Numbers `start` and what it leads to, in depth-first order, and notes the references that are not of the tree. */
static mi_error walk_from(work *work, uint32_t start, uint32_t under) {
    enum { SOON = 4 };
    const uint32_t *offsets = work->graph->offsets, *edges = work->graph->edges, *number = work->result->number;
    number_give(work, start, under);
    mi_error error = row_open(work, start);
    while (work->depth && !error) {
        row *row = &work->stack[work->depth - 1];
        uint32_t at = row->at, end = row->end, own = row->number, next = MI_NO_NODE;
        while (at < end) {
            uint32_t to = edges[at++];
            look_ahead(work, at, end);
            if (ends(work, to)) {
                number_give(work, to, own);
                continue;
            }
            if (!number[to]) {
                next = to;
                break;
            }
            /* what hangs under the root over all is dominated by nothing else: it needs no references to it */
            if (number[to] != own && number[to] > work->floor && work->parent[number[to]] &&
                pair_add(work, number[to], own))
                return MI_E_MEMORY;
        }
        row->at = at;
        if (next == MI_NO_NODE) {
            work->depth--;
            continue;
        }
        number_give(work, next, own);
        if (offsets[next] == offsets[next + 1]) continue;
        for (uint32_t i = offsets[next]; i < offsets[next + 1] && i < offsets[next] + SOON; i++)
            node_ask(work, edges[i]);
        error = row_open(work, next);
    }
    return error;
}

/* The nodes that have no number yet, in the order in which a depth-first walk among them ends with each: from the last
 * one backwards, a node without a number is one that no earlier ones lead to (Kosaraju's order). */
static uint32_t order_of_rest(work *work, uint32_t *order, unsigned char *seen) {
    const uint32_t *offsets = work->graph->offsets, *edges = work->graph->edges;
    const uint32_t *number = work->result->number;
    uint32_t *read = work->semi, *stack = work->label, ended = 0;
    memcpy(read, offsets, work->graph->nodes * sizeof *read);
    for (uint32_t start = 0; start < work->graph->nodes; start++) {
        if (number[start] || seen[start / 8] >> start % 8 & 1) continue;
        uint32_t depth = 0;
        stack[depth++] = start;
        seen[start / 8] |= (unsigned char)(1 << start % 8);
        while (depth) {
            uint32_t node = stack[depth - 1], next = MI_NO_NODE;
            while (read[node] < offsets[node + 1] && next == MI_NO_NODE) {
                uint32_t to = edges[read[node]++];
                if (!number[to] && !(seen[to / 8] >> to % 8 & 1)) next = to;
            }
            if (next == MI_NO_NODE) {
                order[ended++] = node;
                depth--;
            } else {
                seen[next / 8] |= (unsigned char)(1 << next % 8);
                stack[depth++] = next;
            }
        }
    }
    return ended;
}

static mi_error walk_rest(work *work) {
    uint32_t left = work->graph->nodes + 1 - work->numbers;
    work->result->unreachable = work->floor = work->numbers;
    number_give(work, MI_NO_NODE, 0);
    if (!left) return MI_OK;
    size_t order_size = left * sizeof(uint32_t), seen_size = work->graph->nodes / 8 + 1;
    uint32_t *order = take(work, order_size);
    unsigned char *seen = take(work, seen_size);
    mi_error error = order && seen ? MI_OK : MI_E_MEMORY;
    if (!error) {
        uint32_t ended = order_of_rest(work, order, seen);
        while (!error && ended--)
            if (!work->result->number[order[ended]]) error = walk_from(work, order[ended], work->result->unreachable);
    }
    give(work, order, order_size);
    give(work, seen, seen_size);
    return error;
}

static mi_error walk(work *work, const uint32_t *roots, uint32_t root_count) {
    number_give(work, MI_NO_NODE, 0);
    /* A root that another one leads to is met on the way: its place in the tree is there, its semidominator is the root
     * over all. A pair from number 0 says so. */
    for (uint32_t i = 0; i < root_count; i++) {
        uint32_t number = work->result->number[roots[i]];
        mi_error error = !number                ? walk_from(work, roots[i], 0)
                         : work->parent[number] ? pair_add(work, number, 0)
                                                : MI_OK;
        if (error) return error;
    }
    return walk_rest(work);
}

/* Turns the pairs into rows by their targets. */
static mi_error turn_around(work *work) {
    uint64_t paired = work->pair_room * sizeof *work->pairs;
    if (work->pair_count > UINT32_MAX) return MI_E_LIMIT;
    work->bytes += paired;
    work->in_count = work->pair_count;
    work->in = take(work, work->in_count * sizeof *work->in);
    if (!work->in) return MI_E_MEMORY;
    uint32_t *offsets = work->in_offsets, sum = 0;
    for (size_t i = 0; i < work->pair_count; i++) offsets[work->pairs[i].to]++;
    for (uint32_t i = 0; i <= work->numbers; i++) {
        uint32_t count = offsets[i];
        offsets[i] = sum;
        sum += count;
    }
    for (size_t i = 0; i < work->pair_count; i++) {
        enum { AHEAD = 16 };
        if (work->pair_count - i > AHEAD) MI_ASK_TO_WRITE(&offsets[work->pairs[i + AHEAD].to]);
        work->in[offsets[work->pairs[i].to]++] = work->pairs[i].from;
    }
    for (uint32_t i = work->numbers; i; i--) offsets[i] = offsets[i - 1]; /* each had moved to the end of its row */
    offsets[0] = 0;
    mi_os_free(work->pairs, paired);
    work->bytes -= paired;
    work->pairs = NULL;
    work->pair_room = 0;
    return MI_OK;
}

/* ---- dominators ----------------------------------------------------------------------------------------------------- */

/* The number with the lowest semidominator on the path from `number` up to, without, the first that is not linked: those
 * below `linked`. What the path's nodes know of it is passed down, and each then points past all of them. */
static inline uint32_t lowest(const work *work, uint32_t number, uint32_t linked) {
    uint32_t *ancestor = work->parent, *label = work->label, *climb = work->climb, top = number, depth = 0;
    const uint32_t *semi = work->semi;
    while (ancestor[top] >= linked) {
        climb[depth++] = top;
        top = ancestor[top];
    }
    for (uint32_t above = top; depth; above = climb[depth]) {
        uint32_t below = climb[--depth];
        ancestor[below] = ancestor[above];
        if (semi[label[above]] < semi[label[below]]) label[below] = label[above];
    }
    return label[number];
}

static void find(work *work) {
    uint32_t *semi = work->semi, *label = work->label, *dominator = work->result->dominator;
    const uint32_t *parent = work->parent;
    memset(label, 0, words(work)); /* all buckets are empty: number 0 is in none */
    for (uint32_t number = work->numbers - 1; number; number--) {
        uint32_t above = parent[number], least = above;
        if (work->in_offsets[number] == work->in_offsets[number + 1] && !label[above]) {
            semi[number] = dominator[number] = above;
            label[number] = number;
            continue;
        }
        for (uint32_t i = work->in_offsets[number]; i < work->in_offsets[number + 1] && least; i++) {
            uint32_t from = work->in[i];
            if (from > number) from = semi[lowest(work, from, number + 1)];
            if (from < least) least = from;
        }
        semi[number] = least;
        /* Into the bucket of its semidominator, whose first is in `label` as long as that is not linked, and whose next
         * ones are where their dominators will be. Its own bucket is empty: it was emptied with the last child. */
        dominator[number] = label[least];
        label[least] = number;
        label[number] = number;
        for (uint32_t item = label[above], next; item; item = next) {
            next = dominator[item];
            uint32_t low = lowest(work, item, number);
            dominator[item] = semi[low] < semi[item] ? low : above;
        }
        label[above] = 0;
    }
    dominator[0] = 0;
    for (uint32_t number = 1; number < work->numbers; number++)
        if (dominator[number] != semi[number]) dominator[number] = dominator[dominator[number]];
}

static mi_error sum_up(work *work, const uint32_t *sizes) {
    mi_dominators *result = work->result;
    uint64_t *retained = result->retained = take(work, words(work) * 2);
    if (!retained) return MI_E_MEMORY;
    for (uint32_t number = 0; number < work->numbers; number++) {
        enum { AHEAD = 16 };
        if (work->numbers - number > AHEAD) MI_ASK(&sizes[result->node[number + AHEAD]]);
        retained[number] = result->node[number] == MI_NO_NODE ? 0 : sizes[result->node[number]];
    }
    for (uint32_t number = work->numbers - 1; number; number--) retained[result->dominator[number]] += retained[number];
    return MI_OK;
}

mi_error mi_dominators_find(const mi_references *graph, const uint32_t *sizes, const uint32_t *roots,
                            uint32_t root_count, mi_dominators *result) {
    memset(result, 0, sizeof *result);
    result->nodes = graph->nodes;
    if (graph->nodes > UINT32_MAX - 4) return MI_E_LIMIT;
    work work = {.graph = graph, .result = result};
    size_t size = words(&work);
    result->number = take(&work, size);
    result->node = take(&work, size);
    work.parent = take(&work, size);
    work.semi = take(&work, size);
    work.label = take(&work, size);
    int enough = result->number && result->node && work.parent && work.semi && work.label;
    mi_error error = enough ? ends_find(&work, roots, root_count) : MI_E_MEMORY;
    if (!error) error = walk(&work, roots, root_count);
    give(&work, work.ends, ends_size(&work));
    uint64_t stacked = work.stack_room * sizeof *work.stack;
    if (work.bytes + stacked > result->peak_bytes) result->peak_bytes = work.bytes + stacked;
    mi_os_free(work.stack, stacked);
    if (!error) {
        work.in_offsets = take(&work, size + sizeof(uint32_t));
        error = work.in_offsets ? turn_around(&work) : MI_E_MEMORY;
    }
    if (!error) {
        result->dominator = take(&work, size);
        work.climb = mi_os_alloc(size); /* not counted: touched as deep as a path goes, and no more */
        if (result->dominator && work.climb)
            find(&work);
        else
            error = MI_E_MEMORY;
    }
    mi_os_free(work.climb, work.climb ? size : 0);
    mi_os_free(work.pairs, work.pair_room * sizeof *work.pairs);
    give(&work, work.in, work.in_count * sizeof *work.in);
    give(&work, work.in_offsets, size + sizeof(uint32_t));
    give(&work, work.parent, size);
    give(&work, work.semi, size);
    give(&work, work.label, size);
    if (!error) error = sum_up(&work, sizes);
    if (error) mi_dominators_free(result);
    return error;
}

void mi_dominators_free(mi_dominators *result) {
    size_t size = ((size_t)result->nodes + 2) * sizeof(uint32_t);
    mi_os_free(result->number, result->number ? size : 0);
    mi_os_free(result->node, result->node ? size : 0);
    mi_os_free(result->dominator, result->dominator ? size : 0);
    mi_os_free(result->retained, result->retained ? size * 2 : 0);
    result->number = result->node = result->dominator = NULL;
    result->retained = NULL;
}
