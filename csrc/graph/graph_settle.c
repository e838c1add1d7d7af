/* graph_settle.c - which of the references that were found are none, by the counts of what they lead to.
 *
 * A word that is guessed at holds nothing where the known references to its object are as many as that counts: it is a
 * number, or the address of what was there before. Which of several words it is, where they are more than what is left of
 * the count, is not known: all of them stay.
 *
 * The table of interned strings (Objects/unicodeobject.c, intern_common(); PyUnicode_InternInPlace() before 3.13) is a
 * dict that holds nothing: a string does not count its two references, and leaves the table when it goes. No object refers
 * to the table, and no structure of every version tells where it is. It is told by what it is: held by C alone, each key is
 * its own value and an interned string, and the known references to some of them are more than they count. The table of an
 * interpreter has all of its interned strings, so the largest such dict is one; what another dict holds is counted once
 * the table's own are taken off. */
#include "graph_parts.h"

#define NOTHING UINT32_MAX /* an edge that is none */

static int is_interned(const mi_builder *build, uint32_t node) {
    const mi_layout *layout = build->layout;
    uint32_t state;
    if (build->source->types->items[build->graph->types[node]].kind != MI_KIND_STR) return 0;
    uintptr_t object = mi_address_index_address(&build->graph->index, node);
    memcpy(&state, (const void *)(object + (uintptr_t)layout->str_state), sizeof state);
    return (state & ((1u << layout->str_kind_shift) - 1)) != 0;
}

static int is_table(const mi_builder *build, uint32_t node) {
    const uint32_t *edges = build->graph->edges, end = build->graph->offsets[node + 1];
    int more_than_counted = 0;
    for (uint32_t i = build->graph->offsets[node]; i < end; i += 2) {
        uint32_t to = edges[i];
        if (to == NOTHING || to & MI_EDGE_GUESSED || i + 1 == end || edges[i + 1] != to) return 0;
        if (build->found[to] > build->counted[to]) more_than_counted = 1;
        if (!is_interned(build, to)) return 0;
    }
    return more_than_counted;
}

/* The largest, or -1. */
static int64_t find_table(const mi_builder *build) {
    const uint32_t *offsets = build->graph->offsets;
    int64_t best = -1;
    uint32_t most = 0;
    for (uint32_t node = 0; node < build->graph->objects; node++) {
        if (build->found[node] || offsets[node + 1] - offsets[node] <= most) continue;
        if (build->source->types->items[build->graph->types[node]].kind != MI_KIND_DICT || !is_table(build, node))
            continue;
        best = node;
        most = offsets[node + 1] - offsets[node];
    }
    return best;
}

static void forget_interned(mi_builder *build) {
    mi_graph *graph = build->graph;
    for (int64_t table; (table = find_table(build)) >= 0;)
        for (uint32_t i = graph->offsets[table]; i < graph->offsets[table + 1]; i++) {
            build->found[graph->edges[i]]--;
            graph->edges[i] = NOTHING;
            graph->references--;
        }
}

static uint64_t count_overcounted(const mi_builder *build) {
    uint64_t count = 0;
    for (uint32_t node = 0; node < build->graph->objects; node++)
        count += build->found[node] > build->counted[node] && !mi_builder_cannot_go(build, node);
    return count;
}

static int holds(const mi_builder *build, uint32_t edge) {
    uint32_t node = edge & ~MI_EDGE_GUESSED;
    return edge != NOTHING && (edge == node || build->found[node] < build->counted[node]);
}

void mi_builder_settle(mi_builder *build) {
    mi_graph *graph = build->graph;
    uint32_t *edges = graph->edges, rows = graph->objects + MI_ROOT_FRAMES + 1, kept = 0, i = 0;
    forget_interned(build);
    graph->overcounted = count_overcounted(build);
    for (uint32_t row = 0; row < rows; row++) {
        uint32_t end = row + 1 < rows ? graph->offsets[row + 1] : (uint32_t)build->edge_count;
        graph->offsets[row] = kept;
        for (; i < end; i++)
            if (holds(build, edges[i])) edges[kept++] = edges[i];
    }
    build->edge_count = kept;
    for (i = 0; i < kept; i++) {
        if (!(edges[i] & MI_EDGE_GUESSED)) continue;
        edges[i] &= ~MI_EDGE_GUESSED;
        build->found[edges[i]]++;
        graph->references++;
        graph->guesses++;
    }
}
