/* graph_query.c - walks over the arrays of a graph, breadth first. */
#include "graph_query.h"

#include <string.h>

#include "ask.h"

static int bit(const uint64_t *bits, uint32_t at) { return (int)(bits[at / 64] >> at % 64 & 1); }
static void bit_set(uint64_t *bits, uint32_t at) { bits[at / 64] |= 1ull << at % 64; }

void mi_graph_holders(const mi_graph *graph, uint32_t node, uint32_t *holders, size_t room, size_t *count) {
    *count = 0;
    for (uint32_t from = 0; from < mi_graph_nodes(graph); from++)
        for (uint32_t i = graph->offsets[from]; i < graph->offsets[from + 1]; i++) {
            if (graph->edges[i] != node) continue;
            if (*count < room) holders[*count] = from;
            ++*count;
            break;
        }
}

enum { FAR = 12 };

/* Asks for what the next nodes of a queue need: their rows' places, the rows, and what is known of the first in each. */
MI_ASKS look_ahead(const mi_graph *graph, const uint32_t *queue, uint32_t head, uint32_t tail,
                   const uint32_t *of_node) {
    enum { NEAR = 8, NEXT = 4 };
    const uint32_t *offsets = graph->offsets;
    if (tail - head > FAR) MI_ASK(&offsets[queue[head + FAR]]);
    if (tail - head > NEAR) MI_ASK(&graph->edges[offsets[queue[head + NEAR]]]);
    if (of_node && tail - head > NEXT) {
        uint32_t next = queue[head + NEXT];
        if (offsets[next] != offsets[next + 1]) MI_ASK_TO_WRITE(&of_node[graph->edges[offsets[next]]]);
    }
}

mi_error mi_graph_ways(const mi_graph *graph, mi_ways *ways) {
    uint32_t nodes = mi_graph_nodes(graph), head = 0, tail = 0;
    ways->size = (size_t)nodes * sizeof(uint32_t);
    uint32_t *from = ways->from = mi_os_alloc(ways->size), *queue = mi_os_alloc(ways->size);
    if (!from || !queue) {
        mi_ways_free(ways);
        mi_os_free(queue, ways->size);
        return MI_E_MEMORY;
    }
    mi_os_prefer_huge_pages(from, ways->size);
    mi_os_prefer_huge_pages(queue, ways->size);
    /* Level by level. A root joins in so late: what a module's attribute holds is named by it, also where a frame that runs
     * the module or the interpreter's own table leads there in fewer steps. */
    static const uint32_t joins[MI_ROOTS] = {
        [MI_ROOT_FRAMES] = 4, [MI_ROOT_STATE] = 4, [MI_ROOT_STATIC] = 6, [MI_ROOT_C] = 8, [MI_ROOT_MEMORY] = 8};
    enum { LAST_JOINS = 8 };
    for (uint32_t level = 0; head < tail || level <= LAST_JOINS; level++) {
        for (uint32_t root = 0; root < MI_ROOTS; root++) {
            if (joins[root] != level) continue;
            from[graph->objects + root] = graph->objects + root + 1;
            queue[tail++] = graph->objects + root;
        }
        for (uint32_t end = tail; head < end; head++) {
            uint32_t at = queue[head];
            look_ahead(graph, queue, head, tail, from);
            for (uint32_t i = graph->offsets[at]; i < graph->offsets[at + 1]; i++) {
                uint32_t to = graph->edges[i];
                if (i + FAR < graph->offsets[at + 1]) MI_ASK_TO_WRITE(&from[graph->edges[i + FAR]]);
                if (from[to]) continue;
                from[to] = at + 1;
                queue[tail++] = to;
            }
        }
    }
    mi_os_free(queue, ways->size);
    return MI_OK;
}

void mi_ways_free(mi_ways *ways) {
    mi_os_free(ways->from, ways->size);
    ways->from = NULL;
}

size_t mi_ways_to(const mi_ways *ways, uint32_t node, uint32_t *path, size_t room) {
    const uint32_t *from = ways->from;
    if (!from[node]) return 0;
    size_t whole = 1;
    for (uint32_t at = node; from[at] != at + 1; at = from[at] - 1) whole++;
    size_t length = whole < room ? whole : room, place = length;
    for (uint32_t at = node; place; at = from[at] - 1) path[--place] = at;
    return length;
}

/* Marks what `queue` leads to by way of nodes that neither `seen` nor `avoid` has. */
static uint32_t spread(const mi_graph *graph, uint32_t *queue, uint32_t tail, uint64_t *seen, const uint64_t *avoid) {
    for (uint32_t head = 0; head < tail; head++) {
        uint32_t at = queue[head];
        look_ahead(graph, queue, head, tail, NULL);
        for (uint32_t i = graph->offsets[at]; i < graph->offsets[at + 1]; i++) {
            uint32_t to = graph->edges[i];
            if (i + 1 < graph->offsets[at + 1]) MI_ASK(&seen[graph->edges[i + 1] / 64]);
            if (bit(seen, to) || bit(avoid, to)) continue;
            bit_set(seen, to);
            queue[tail++] = to;
        }
    }
    return tail;
}

mi_error mi_graph_without(const mi_graph *graph, const uint32_t *nodes, size_t count, mi_loss *loss) {
    uint32_t all = mi_graph_nodes(graph), tail = 0;
    size_t size = (size_t)all * sizeof(uint32_t), bits = (all / 64 + 1) * 8;
    uint32_t *queue = mi_os_alloc(size);
    uint64_t *kept = mi_os_alloc(bits), *held = mi_os_alloc(bits);
    memset(loss, 0, sizeof *loss);
    loss->gone_size = bits;
    loss->gone = mi_os_alloc(bits);
    mi_error error = queue && kept && held && loss->gone ? MI_OK : MI_E_MEMORY;
    if (!error) {
        for (size_t i = 0; i < count; i++) bit_set(loss->gone, nodes[i]);
        /* `held`: which of them a root leads to at all, or what they hold: told apart by a walk that goes through them */
        for (uint32_t root = graph->objects; root < all; root++) {
            bit_set(kept, root);
            queue[tail++] = root;
        }
        spread(graph, queue, tail, kept, loss->gone);
        tail = 0;
        for (uint32_t root = graph->objects; root < all; root++) {
            bit_set(held, root);
            queue[tail++] = root;
        }
        memset(loss->gone, 0, bits);
        tail = spread(graph, queue, tail, held, loss->gone);
        for (uint32_t i = 0; i < tail; i++) {
            if (bit(kept, queue[i])) continue;
            bit_set(loss->gone, queue[i]);
            loss->objects++;
            loss->bytes += (uint64_t)graph->sizes[queue[i]] * graph->unit;
        }
    }
    mi_os_free(queue, size);
    mi_os_free(kept, bits);
    mi_os_free(held, bits);
    if (error) mi_loss_free(loss);
    return error;
}

void mi_loss_free(mi_loss *loss) {
    mi_os_free(loss->gone, loss->gone_size);
    loss->gone = NULL;
}

void mi_graph_references_to(const mi_graph *graph, uint32_t node, uint64_t *count, uint64_t *of_frames) {
    const uint32_t *frames = &graph->offsets[graph->objects + MI_ROOT_FRAMES];
    *count = *of_frames = 0;
    for (uint32_t i = 0; i < graph->offsets[mi_graph_nodes(graph)]; i++) {
        if (graph->edges[i] != node) continue;
        ++*count;
        *of_frames += i >= frames[0] && i < frames[1];
    }
}

enum { TOUCHED = 1, ALONE = 2, EMPTY = 4 };

static unsigned char mark_of(const mi_loss *loss, const mi_loss *own, uint32_t node, unsigned char mark) {
    if (bit(loss->gone, node)) return mark | TOUCHED;
    return bit(own->gone, node) ? mark : mark & (unsigned char)~ALONE;
}

void mi_graph_arenas_touched(const mi_graph *graph, const mi_loss *loss, const mi_loss *own, unsigned char *arenas) {
    memset(arenas, ALONE, graph->arena_count);
    for (size_t arena = 0; arena < graph->arena_count; arena++) {
        if (graph->arena_unknown[arena]) arenas[arena] = 0;
        for (uint32_t node = graph->arena_first[arena]; node < graph->arena_end[arena]; node++)
            arenas[arena] = mark_of(loss, own, node, arenas[arena]);
    }
    for (size_t i = 0; i < graph->elsewhere_count; i++) {
        const mi_elsewhere *item = &graph->elsewhere[i];
        arenas[item->arena] = mark_of(loss, own, item->node, arenas[item->arena]);
    }
    for (size_t arena = 0; arena < graph->arena_count; arena++)
        if (arenas[arena] == ALONE) arenas[arena] = EMPTY;
}
