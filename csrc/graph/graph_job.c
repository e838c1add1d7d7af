/* graph_job.c - the work of graph_job.h. */
#include "graph_job.h"

#include <string.h>

/* Puts the types of other interpreters behind those that are known, each with its shape. */
static mi_error add_others(const mi_graph_job *order, const mi_runtime *runtime, const mi_heap_walk *walk,
                           mi_types *types, mi_shapes *shapes) {
    mi_graph_others *others = order->others;
    mi_types all = {0}; /* freed also where it was never read */
    mi_shapes shapes_of_all;
    mi_heap_types search = {
        .tuple_type = order->tuple, .padding = order->padding, .known = types, .room = MI_HEAP_TYPES};
    mi_error error = mi_others_types(&search, runtime, &walk->heap, &all, &others->cut);
    if (!error) error = mi_shapes_read(&shapes_of_all, runtime->target, order->layout, &all);
    if (error) {
        mi_types_free(&all);
        return error;
    }
    others->count = all.count - types->count;
    for (size_t i = 0; i < others->count; i++) {
        others->types[i] = all.items[types->count + i];
        mi_heap_type_name(runtime->target, order->layout, &others->types[i], &others->names[i]);
    }
    mi_types_free(types);
    mi_shapes_free(shapes);
    *types = all;
    *shapes = shapes_of_all;
    return MI_OK;
}

static mi_error build(const mi_graph_job *order, const mi_runtime *runtime, mi_types *types, mi_shapes *shapes,
                      const mi_maps *files, mi_graph *graph) {
    mi_heap_walk walk;
    unsigned what = MI_WALK_POOLS | MI_WALK_BLOCKS | (order->room ? MI_WALK_FROZEN : MI_WALK_HELD);
    mi_error error = mi_heap_walk_all(runtime, order->self, order->hidden, what, &walk);
    if (!error && walk.heap.arenas_left) error = MI_E_LATE;
    if (!error && order->others) {
        order->others->omitted_count = walk.omitted_count;
        for (size_t i = 0; i < walk.omitted_count && i < MI_CENSUS_OMITTED; i++)
            order->others->omitted[i] = walk.omitted[i];
        error = add_others(order, runtime, &walk, types, shapes);
    }
    if (!error) {
        mi_graph_source source = {.runtime = runtime,
                                  .heap = &walk.heap,
                                  .types = types,
                                  .shapes = shapes,
                                  .interpreter = order->self,
                                  .padding = order->padding,
                                  .foreign = order->foreign,
                                  .still = order->room ? MI_STILL_ALL : MI_STILL_SHARED,
                                  .files = files};
        error = mi_graph_build(graph, &source);
    }
    mi_heap_walk_free(&walk);
    return error;
}

/* ---- builds without a GIL --------------------------------------------------------------------------------------------- */

/* The world stands still, or this is a copy of it. */
static mi_error build_stopped(const mi_graph_job *order, const mi_target *target, mi_mimalloc_walk *walk,
                              mi_graph *graph) {
    mi_target now; /* with the map as it is: threads ran while the one before was read */
    mi_runtime runtime;
    walk->deadline_ns = target->until_ns ? target->until_ns : UINT64_MAX;
    mi_error error = mi_mimalloc_walk_stopped(walk);
    if (error) return walk->timed_out ? MI_E_LATE : error;
    error = mi_target_open(&now, MI_TARGET_SELF, 0);
    if (error) return error;
    now.until_ns = target->until_ns;
    error = mi_runtime_open(&runtime, &now, order->layout);
    if (!error) {
        mi_graph_source source = {.runtime = &runtime,
                                  .mimalloc = walk,
                                  .types = order->types,
                                  .shapes = order->shapes,
                                  .interpreter = order->self,
                                  .types_held = order->types_held,
                                  .padding = order->padding};
        error = mi_graph_build(graph, &source);
    }
    mi_target_close(&now);
    return error;
}

static mi_error build_mimalloc(const mi_graph_job *order, const mi_target *target, mi_graph *graph) {
    mi_error error = MI_E_LIMIT;
    mi_mimalloc_walk walk;
    for (int tries = 0; tries < 3 && error == MI_E_LIMIT; tries++) { /* it may grow beyond the tables before the stop */
        mi_pause pause = {0};
        error = mi_mimalloc_open(&walk, order->layout, order->self);
        if (error) return error;
        if (!order->room) error = mi_world_stop((void *)order->self, &pause);
        if (!error) {
            error = build_stopped(order, target, &walk, graph);
            if (!order->room) mi_world_start((void *)order->self, &pause);
        }
        mi_mimalloc_close(&walk);
    }
    return error;
}

/* ---- what is asked of a copy behind it ------------------------------------------------------------------------------- */

typedef struct answering {
    const mi_labels *labels;
    mi_label_desk *desk;
} answering;

static void answer(void *context) {
    const answering *to = context;
    size_t length = to->desk->length <= MI_LONGEST_PATH + 1 ? to->desk->length : 0;
    mi_labels_of_path(to->labels, to->desk->path, length, 1, to->desk->labels);
}

/* Puts the arrays into the shared memory; its own are given back, and a desk is served from those. */
static mi_error hand_over(const mi_graph_job *order, const mi_runtime *runtime, const mi_types *types,
                          const mi_shapes *shapes, mi_graph *graph) {
    mi_error error = mi_graph_export(graph, order->room, order->room_size);
    mi_graph_free(graph);
    if (error || !order->desk) return error;
    mi_reader reader = {.target = runtime->target, .layout = order->layout, .types = types, .shapes = shapes};
    mi_labels labels = {.graph = order->room,
                        .runtime = runtime,
                        .types = types,
                        .shapes = shapes,
                        .interpreter = order->self,
                        .still = MI_STILL_ALL,
                        .str = order->str,
                        .integer = order->integer,
                        .tuple = order->tuple,
                        .reader = &reader};
    answering to = {&labels, order->desk};
    mi_clone_serve(&order->desk->desk, answer, &to);
    return MI_OK;
}

/* ---- the doors -------------------------------------------------------------------------------------------------------- */

mi_error mi_graph_job_run(const mi_target *target, void *job) {
    const mi_graph_job *order = job;
    mi_runtime runtime;
    mi_graph own = {0}, *graph = order->room ? &own : order->graph;
    mi_error error = mi_runtime_open(&runtime, target, order->layout);
    if (error) return error;
    if (order->layout->thread_mimalloc != MI_ABSENT)
        error = build_mimalloc(order, target, graph);
    else
        error = build(order, &runtime, order->types, order->shapes, NULL, graph);
    if (!error && order->room) error = hand_over(order, &runtime, order->types, order->shapes, graph);
    return error;
}

mi_error mi_moment_run(const mi_target *target, void *job) {
    const mi_moment_job *order = job;
    mi_error error = mi_census_job_run(target, order->census);
    *order->graph_error = error ? error : mi_graph_job_run(target, order->graph);
    return error;
}

mi_error mi_graph_outside_run(const mi_target *self, void *job) {
    const mi_graph_outside_job *order = job;
    mi_target target;
    mi_runtime runtime;
    mi_types types;
    mi_shapes shapes;
    mi_graph graph = {0};
    mi_error error = mi_outside_open(self, &order->outside, &target, &runtime, &types);
    if (!error) error = mi_shapes_read(&shapes, &target, order->graph.layout, &types);
    if (!error) error = build(&order->graph, &runtime, &types, &shapes, &order->outside.from->maps, &graph);
    if (error) return error;
    mi_outside_names(&order->outside, &target, &types);
    memcpy(order->types, types.items, types.count * sizeof *order->types);
    *order->type_count = types.count;
    return hand_over(&order->graph, &runtime, &types, &shapes, &graph);
}
