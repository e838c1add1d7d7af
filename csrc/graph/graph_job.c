/* graph_job.c - the work of graph_job.h. */
#include "graph_job.h"

#include <string.h>

static mi_error build(const mi_graph_job *order, const mi_runtime *runtime, const mi_types *types,
                      const mi_shapes *shapes, const mi_maps *files, mi_graph *graph) {
    mi_heap_walk walk;
    unsigned what = MI_WALK_POOLS | MI_WALK_BLOCKS | (order->room ? MI_WALK_FROZEN : MI_WALK_HELD);
    mi_error error = mi_heap_walk_all(runtime, order->self, order->hidden, what, &walk);
    if (!error && walk.heap.arenas_left) error = MI_E_LATE;
    if (!error) {
        mi_graph_source source = {.runtime = runtime,
                                  .heap = &walk.heap,
                                  .types = types,
                                  .shapes = shapes,
                                  .interpreter = order->self,
                                  .padding = order->padding,
                                  .foreign = order->foreign,
                                  .files = files};
        error = mi_graph_build(graph, &source);
    }
    mi_heap_walk_free(&walk);
    return error;
}

mi_error mi_graph_job_run(const mi_target *target, void *job) {
    const mi_graph_job *order = job;
    mi_runtime runtime;
    mi_graph own = {0}, *graph = order->room ? &own : order->graph;
    mi_error error = mi_runtime_open(&runtime, target, order->layout);
    if (!error) error = build(order, &runtime, order->types, order->shapes, NULL, graph);
    if (!error && order->room) error = mi_graph_export(graph, order->room, order->room_size);
    return error; /* a copy ends: nothing is given back */
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
    if (!error) error = mi_graph_export(&graph, order->graph.room, order->graph.room_size);
    if (error) return error;
    mi_outside_names(&order->outside, &target, &types);
    memcpy(order->types, types.items, types.count * sizeof *order->types);
    *order->type_count = types.count;
    return MI_OK;
}
