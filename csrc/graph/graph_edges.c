/* graph_edges.c - the references between the objects, and what holds those that no object holds. */
#include "graph_parts.h"

enum { WORD = sizeof(uintptr_t), ASKED = 12, BEGINS = 0x100 };

/* ---- references ----------------------------------------------------------------------------------------------------- */

static void edge_add(mi_builder *build, uint32_t to) {
    mi_graph *graph = build->graph;
    if (build->edge_count > UINT32_MAX - 1) build->error = MI_E_LIMIT;
    graph->edges = mi_builder_grow(build, graph->edges, build->edge_count, &graph->edge_room, sizeof *graph->edges);
    if (!build->error) graph->edges[build->edge_count++] = to;
}

static void waiting_number(mi_builder *build) {
    mi_edge_waiting *item = &build->waiting[build->numbered++ % MI_EDGES_WAITING];
    if (item->role == BEGINS) return;
    item->node = mi_index_word_number(item->word, item->to);
    if (item->node >= 0) MI_ASK_TO_WRITE(&build->found[item->node]);
}

static void waiting_write(mi_builder *build) {
    const mi_edge_waiting *item = &build->waiting[build->written++ % MI_EDGES_WAITING];
    if (item->role == BEGINS) {
        build->graph->offsets[item->to] = (uint32_t)build->edge_count;
        return;
    }
    if (item->node < 0) return;
    if (mi_builder_cannot_go(build, (uint32_t)item->node)) {
        build->graph->dropped++;
        return;
    }
    if (item->role == MI_ROLE_GUESS) {
        edge_add(build, (uint32_t)item->node | MI_EDGE_GUESSED);
        return;
    }
    build->graph->references++;
    if (item->role == MI_ROLE_CALLED) build->graph->called++;
    if (!(item->role & MI_ROLE_BORROWED)) build->found[item->node]++;
    edge_add(build, (uint32_t)item->node);
}

static void waiting_add(mi_builder *build, uintptr_t to, unsigned role, const mi_index_word *word) {
    build->waiting[build->came++ % MI_EDGES_WAITING] = (mi_edge_waiting){to, word, -1, role};
    if (word) MI_ASK(word);
    if (build->came - build->numbered > ASKED) waiting_number(build);
    if (build->numbered - build->written > ASKED) waiting_write(build);
}

static void row_begins(mi_builder *build, uint32_t node) { waiting_add(build, node, BEGINS, NULL); }

static void waiting_end(mi_builder *build) {
    while (build->numbered < build->came) waiting_number(build);
    while (build->written < build->came) waiting_write(build);
}

static void visit_known(void *context, uintptr_t to, unsigned role, uint64_t detail) {
    mi_builder *build = context;
    (void)detail;
    waiting_add(build, to, role, to % 8 ? NULL : mi_address_index_word(&build->graph->index, to));
}

static void write_objects(mi_builder *build) {
    mi_graph *graph = build->graph;
    mi_index_walk walk = {0};
    build->reader.visit = visit_known;
    for (build->node = 0; !mi_builder_late(build, build->node) && mi_address_index_next(&graph->index, &walk);
         build->node++) {
        row_begins(build, build->node);
        mi_references_of(&build->reader, walk.address, (int)graph->types[build->node]);
    }
}

/* ---- roots ---------------------------------------------------------------------------------------------------------- */

static void frame_tell(void *context, uintptr_t thread, uintptr_t frame) {
    (void)thread;
    mi_references_of_frame(context, frame);
}

/* Marks the objects that a structure's words name and whose counts say that somebody holds them. */
typedef struct state {
    mi_builder *build;
    uint64_t *named;
} state;

static void state_of(void *context, uintptr_t address, int interpreter) {
    state *state = context;
    mi_builder *build = state->build;
    size_t size = (size_t)(interpreter ? build->layout->interpreter_size : build->layout->thread_size);
    if (!mi_reader_covers(&build->reader, address, size)) return;
    for (size_t at = 0; at + WORD <= size; at += WORD) {
        int64_t node = mi_address_index_find(&build->graph->index, mi_builder_word(address + at, 0));
        if (node >= 0) state->named[node / 64] |= 1ull << node % 64;
    }
}

static void write_roots(mi_builder *build) {
    mi_graph *graph = build->graph;
    const mi_graph_source *source = build->source;
    uint32_t objects = graph->objects, *offsets = graph->offsets + objects;
    size_t bits = (objects / 64 + 1) * 8;
    state state = {build, mi_os_alloc(bits)};
    if (!state.named) build->error = MI_E_MEMORY;
    if (build->error) return;
    mi_graph_each_thread(source->runtime, source->interpreter, source->still, state_of, &state);
    row_begins(build, objects + MI_ROOT_MODULES);
    mi_graph_tell_modules(&build->reader, source->interpreter);
    row_begins(build, objects + MI_ROOT_FRAMES);
    mi_graph_frames(&build->reader, source->runtime, source->interpreter, source->still, frame_tell, &build->reader);
    waiting_end(build);
    if (!build->error) mi_builder_settle(build);
    for (uint32_t node = 0; node < objects; node++)
        graph->unexplained[node] = mi_builder_cannot_go(build, node) || build->counted[node] <= build->found[node]
                                       ? 0
                                       : build->counted[node] - build->found[node];
    offsets[MI_ROOT_STATE] = (uint32_t)build->edge_count;
    for (uint32_t node = 0; node < objects; node++)
        if (graph->unexplained[node] && state.named[node / 64] >> node % 64 & 1) edge_add(build, node);
    offsets[MI_ROOT_STATIC] = (uint32_t)build->edge_count;
    for (uint32_t node = 0; node < objects; node++)
        if (mi_builder_cannot_go(build, node)) edge_add(build, node);
    offsets[MI_ROOT_C] = (uint32_t)build->edge_count;
    for (uint32_t node = 0; node < objects; node++)
        if (graph->unexplained[node] && !(state.named[node / 64] >> node % 64 & 1)) edge_add(build, node);
    offsets[MI_ROOT_MEMORY] = offsets[MI_ROOTS] = (uint32_t)build->edge_count;
    mi_os_free(state.named, bits);
}

void mi_builder_write_edges(mi_builder *build) {
    write_objects(build);
    if (!build->error) write_roots(build);
}
