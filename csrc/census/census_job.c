/* census_job.c - the work of census_job.h. */
#include "census_job.h"

#include <string.h>

static void keep_walk(mi_census_found *found, const mi_heap_walk *walk) {
    found->torn_pools = walk->heap.torn_pools;
    found->torn_arenas = walk->heap.torn_arenas;
    found->arenas_left = walk->heap.arenas_left;
    found->omitted_count = walk->omitted_count;
    for (size_t i = 0; i < walk->omitted_count && i < MI_CENSUS_OMITTED; i++) found->omitted[i] = walk->omitted[i];
}

mi_error mi_census_job_run(const mi_target *target, void *job) {
    const mi_census_job *order = job;
    mi_census_request request = order->request;
    mi_runtime runtime;
    mi_heap_walk walk;
    mi_census census;
    unsigned what = MI_WALK_POOLS | (order->frozen ? MI_WALK_FROZEN : 0);
    memset(order->found, 0, sizeof *order->found);
    mi_error error = MI_OK;
    if (order->runtime)
        runtime = (mi_runtime){target, request.layout, order->runtime};
    else
        error = mi_runtime_open(&runtime, target, request.layout);
    if (error) return error;
    error = mi_heap_walk_all(&runtime, order->self, order->hidden, what, &walk);
    request.target = target;
    request.heap = &walk.heap;
    if (order->frozen) request.threads = 1; /* a thread's stack would come from malloc, whose locks may be held */
    if (!error) error = mi_census_take(&request, &census);
    if (!error) {
        memcpy(order->rows, census.objects, census.types * sizeof *order->rows);
        order->found->census = census;
        order->found->census.objects = order->rows;
        census.seen = NULL; /* it is the caller's now */
        keep_walk(order->found, &walk);
        mi_census_free(&census);
    }
    mi_heap_walk_free(&walk);
    return error;
}
