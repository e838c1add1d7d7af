/* graph.c - makes the arrays of graph.h, one after the other.
 *
 * Every object is visited three times in order of address: to find what it refers to outside the arenas, to size it, and to
 * write its references down once all numbers are known. */
#include "graph_parts.h"

enum { LOOK = 4096 /* objects between two looks at the clock */ };

void *mi_builder_grow(mi_builder *build, void *items, size_t count, size_t *room, size_t size) {
    if (count < *room) return items;
    size_t more = *room * 2 + 65536;
    void *grown = mi_os_realloc(items, *room * size, more * size);
    if (!grown) {
        build->error = MI_E_MEMORY;
        return items;
    }
    *room = more;
    mi_os_prefer_huge_pages(grown, more * size);
    return grown;
}

int mi_builder_late(mi_builder *build, uint64_t at) {
    if (at % LOOK == 0 && mi_target_is_late(build->target)) build->error = MI_E_LATE;
    return build->error != MI_OK;
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

static mi_error tables_make(mi_builder *build) {
    mi_graph *graph = build->graph;
    size_t words = ((size_t)mi_graph_nodes(graph) + 1) * sizeof(uint32_t), bits = (graph->objects / 64 + 1) * 8;
    if (graph->objects > INT32_MAX - MI_ROOTS - 4) return MI_E_LIMIT; /* an edge has a bit more: graph_parts.h */
    graph->types = mi_os_alloc(words);
    graph->sizes = mi_os_alloc(words);
    graph->offsets = mi_os_alloc(words);
    graph->unexplained = build->found = mi_os_alloc(words);
    build->counted = mi_os_alloc(words);
    build->cannot_go = mi_os_alloc(bits);
    void *const large[] = {graph->types, graph->sizes, graph->offsets, build->found, build->counted};
    for (size_t i = 0; i < sizeof large / sizeof *large; i++) mi_os_prefer_huge_pages(large[i], words);
    return graph->types && graph->sizes && graph->offsets && build->found && build->counted && build->cannot_go
               ? MI_OK
               : MI_E_MEMORY;
}

static mi_error arenas_note(mi_builder *build) {
    mi_graph *graph = build->graph;
    const mi_heap *heap = build->source->heap;
    graph->arena_count = heap->arena_count;
    graph->arena_size = (size_t)build->layout->arena_size;
    graph->arenas = mi_os_alloc(heap->arena_count * sizeof *graph->arenas);
    graph->arena_bytes = mi_os_alloc(heap->arena_count * sizeof *graph->arena_bytes);
    graph->arena_blocks = mi_os_alloc(heap->arena_count * sizeof *graph->arena_blocks);
    graph->arena_unknown = mi_os_alloc(heap->arena_count * sizeof *graph->arena_unknown);
    graph->arena_first = mi_os_alloc(heap->arena_count * sizeof *graph->arena_first);
    graph->arena_end = mi_os_alloc(heap->arena_count * sizeof *graph->arena_end);
    if (!graph->arenas || !graph->arena_bytes || !graph->arena_blocks || !graph->arena_unknown || !graph->arena_first ||
        !graph->arena_end)
        return MI_E_MEMORY;
    for (size_t i = 0; i < heap->arena_count; i++) {
        graph->arenas[i] = heap->arenas[i].address;
        graph->arena_bytes[i] = heap->arenas[i].used_bytes;
        graph->arena_blocks[i] = heap->arenas[i].used_blocks;
        if (!mi_os_maps_covers(&build->target->maps, (uintptr_t)graph->arenas[i], graph->arena_size))
            return MI_E_UNMAPPED;
    }
    return MI_OK;
}

static mi_error build_all(mi_builder *build) {
    mi_graph *graph = build->graph;
    mi_builder_find_objects(build);
    if (!build->error) build->error = mi_address_index_seal(&graph->index);
    graph->objects = graph->index.count;
    if (!build->error) build->error = tables_make(build);
    if (!build->error) mi_builder_measure(build);
    if (!build->error) mi_builder_write_edges(build);
    return build->error;
}

mi_error mi_graph_build(mi_graph *graph, const mi_graph_source *source) {
    enum { UNIT = 16, UNIT_OF_MIMALLOC = 8 };
    uint64_t begun = mi_os_now_ns();
    memset(graph, 0, sizeof *graph);
    graph->unit = source->mimalloc ? UNIT_OF_MIMALLOC : UNIT;
    mi_builder build = {.graph = graph,
                        .source = source,
                        .layout = source->runtime->layout,
                        .target = source->runtime->target,
                        .node = 0};
    build.reader =
        (mi_reader){build.target, build.layout, source->types, source->shapes, NULL, NULL, &build, source->foreign};
    mi_address_index_init(&graph->index);
    mi_error error = source->mimalloc ? mi_blocks_open_mimalloc(&build.blocks, source->mimalloc, build.target)
                                      : mi_blocks_open(&build.blocks, source->heap, build.layout);
    if (!error && source->heap) error = arenas_note(&build);
    if (!error && !source->files) mi_objects_list(0, &build.target->maps, &build.loaded); /* empty where it fails */
    if (!error) error = build_all(&build);
    size_t words = ((size_t)mi_graph_nodes(graph) + 1) * sizeof(uint32_t);
    graph->torn_pages = build.blocks.torn_pages;
    mi_os_free(build.counted, build.counted ? words : 0);
    mi_os_free(build.cannot_go, (graph->objects / 64 + 1) * 8);
    mi_os_free(build.todo, build.todo_room * sizeof *build.todo);
    mi_blocks_close(&build.blocks);
    mi_objects_free(&build.loaded);
    if (error) mi_graph_free(graph);
    graph->build_ns = mi_os_now_ns() - begun;
    return error;
}

void mi_graph_free(mi_graph *graph) {
    size_t words = ((size_t)mi_graph_nodes(graph) + 1) * sizeof(uint32_t);
    if (graph->lent) {
        memset(graph, 0, sizeof *graph);
        return;
    }
    mi_address_index_free(&graph->index);
    mi_os_free(graph->types, words);
    mi_os_free(graph->sizes, words);
    mi_os_free(graph->offsets, words);
    mi_os_free(graph->unexplained, words);
    mi_os_free(graph->edges, graph->edge_room * sizeof *graph->edges);
    mi_os_free(graph->elsewhere, graph->elsewhere_room * sizeof *graph->elsewhere);
    mi_os_free(graph->arenas, graph->arena_count * sizeof *graph->arenas);
    mi_os_free(graph->arena_bytes, graph->arena_count * sizeof *graph->arena_bytes);
    mi_os_free(graph->arena_blocks, graph->arena_count * sizeof *graph->arena_blocks);
    mi_os_free(graph->arena_unknown, graph->arena_count * sizeof *graph->arena_unknown);
    mi_os_free(graph->arena_first, graph->arena_count * sizeof *graph->arena_first);
    mi_os_free(graph->arena_end, graph->arena_count * sizeof *graph->arena_end);
    memset(graph, 0, sizeof *graph);
}

uint64_t mi_graph_bytes(const mi_graph *graph) {
    uint64_t words = ((uint64_t)mi_graph_nodes(graph) + 1) * sizeof(uint32_t);
    return mi_address_index_bytes(&graph->index) + 4 * words +
           graph->offsets[mi_graph_nodes(graph)] * sizeof(uint32_t) + graph->elsewhere_count * sizeof *graph->elsewhere;
}
