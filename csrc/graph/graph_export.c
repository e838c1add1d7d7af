/* graph_export.c - a graph with all that it points to, copied into one piece of memory. */
#include <string.h>

#include "graph.h"

typedef struct room {
    char *at;
    size_t left;
} room;

/* A copy of `size` bytes in the room, NULL when they do not fit; of nothing at all as well. */
static void *put(room *room, const void *from, size_t size, int *fits) {
    size_t whole = (size + 63) & ~(size_t)63;
    if (!from || !size || !*fits) return NULL;
    if (whole > room->left) {
        *fits = 0;
        return NULL;
    }
    void *to = memcpy(room->at, from, size);
    room->at += whole;
    room->left -= whole;
    return to;
}

mi_error mi_graph_export(const mi_graph *graph, void *memory, size_t size) {
    room room = {memory, size};
    int fits = 1;
    size_t nodes = mi_graph_nodes(graph), words = (nodes + 1) * sizeof(uint32_t), arenas = graph->arena_count;
    const mi_address_index *index = &graph->index;
    mi_graph *to = put(&room, graph, sizeof *graph, &fits);
    if (!to) return MI_E_MEMORY;
    to->lent = 1;
    to->types = put(&room, graph->types, words, &fits);
    to->sizes = put(&room, graph->sizes, words, &fits);
    to->offsets = put(&room, graph->offsets, words, &fits);
    to->unexplained = put(&room, graph->unexplained, words, &fits);
    to->edges = put(&room, graph->edges, graph->offsets[nodes] * sizeof *graph->edges, &fits);
    to->elsewhere = put(&room, graph->elsewhere, graph->elsewhere_count * sizeof *graph->elsewhere, &fits);
    to->arenas = put(&room, graph->arenas, arenas * sizeof *graph->arenas, &fits);
    to->arena_bytes = put(&room, graph->arena_bytes, arenas * sizeof *graph->arena_bytes, &fits);
    to->arena_blocks = put(&room, graph->arena_blocks, arenas * sizeof *graph->arena_blocks, &fits);
    to->arena_unknown = put(&room, graph->arena_unknown, arenas * sizeof *graph->arena_unknown, &fits);
    to->arena_first = put(&room, graph->arena_first, arenas * sizeof *graph->arena_first, &fits);
    to->arena_end = put(&room, graph->arena_end, arenas * sizeof *graph->arena_end, &fits);
    to->index.regions = put(&room, index->regions, index->region_count * sizeof *index->regions, &fits);
    to->index.region_room = index->region_count;
    if (index->slots) to->index.slots = put(&room, index->slots, sizeof *index->slots << index->slot_bits, &fits);
    for (size_t i = 0; i < index->region_count && fits; i++)
        to->index.regions[i].words =
            put(&room, index->regions[i].words, MI_REGION_WORDS * sizeof(mi_index_word), &fits);
    return fits ? MI_OK : MI_E_MEMORY;
}
