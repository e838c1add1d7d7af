/* census_outside.c - counts in a copy of ourselves, by types found there, and reads their names. */
#include "census_outside.h"

#include <string.h>

typedef struct outside {
    const mi_outside_job *job;
    const mi_layout *layout;
    mi_target target; /* the copy, with the other process' memory in it */
    mi_heap_types found;
} outside;

/* ---- types ---------------------------------------------------------------------------------------------------------- */

static mi_error find_types(outside *outside, const mi_runtime *runtime) {
    mi_heap_walk walk;
    const mi_census_job *census = &outside->job->census;
    mi_error error = mi_heap_walk_all(runtime, census->self, census->hidden, MI_WALK_POOLS | MI_WALK_FROZEN, &walk);
    if (!error) mi_heap_types_find(&outside->found, &outside->target, outside->layout, &walk.heap);
    mi_heap_walk_free(&walk);
    return error;
}

static void read_names(const outside *outside, const mi_types *types) {
    static const mi_census_sum none;
    for (size_t i = 0; i < types->count; i++)
        if (memcmp(&outside->job->rows[i], &none, sizeof none))
            mi_heap_type_name(&outside->target, outside->layout, &types->items[i], &outside->job->names[i]);
}

/* ---- all of it ------------------------------------------------------------------------------------------------------ */

static mi_error open_outside(const mi_target *self, const mi_outside_job *order, outside *outside, mi_runtime *runtime,
                             mi_types *types) {
    const uintptr_t keep[] = {
        (uintptr_t)self->maps.items,
        (uintptr_t)order,
        (uintptr_t)order->from,
        (uintptr_t)order->from->maps.items,
        (uintptr_t)order->from->maps.text,
        (uintptr_t)order->pages,
        (uintptr_t)order->pages->runs,
        (uintptr_t)order->pages->sums,
        (uintptr_t)order->census.hidden,
    };
    mi_error error = mi_replica_make(order->from, order->pages, keep, sizeof keep / sizeof *keep, order->replica);
    if (!error) error = mi_target_open(&outside->target, MI_TARGET_SELF, 0);
    if (error) return error;
    *runtime = (mi_runtime){&outside->target, outside->layout, order->runtime};
    mi_heap_types *found = &outside->found;
    *found = (mi_heap_types){.tuple_type = order->tuple_type,
                             .padding = order->census.request.padding,
                             .items = mi_os_alloc(MI_HEAP_TYPES * sizeof *found->items),
                             .room = MI_HEAP_TYPES};
    error = found->items ? find_types(outside, runtime) : MI_E_MEMORY;
    if (!error) error = mi_types_read(types, &outside->target, outside->layout, found->items, found->count);
    *order->types_cut = found->cut;
    return error;
}

static outside outside_of(const mi_outside_job *order) {
    return (outside){.job = order, .layout = order->census.request.layout};
}

mi_error mi_census_outside_run(const mi_target *self, void *job) {
    const mi_outside_job *order = job;
    outside outside = outside_of(order);
    mi_runtime runtime;
    mi_types types;
    mi_census_job census = order->census;
    mi_error error = open_outside(self, order, &outside, &runtime, &types);
    if (error) return error;
    census.request.types = &types;
    census.rows = order->rows;
    census.runtime = runtime.address;
    census.frozen = 1;
    census.small_only = 1; /* what leads to malloc's heaps is our own C library's, which stays */
    error = mi_census_job_run(&outside.target, &census);
    if (!error) read_names(&outside, &types);
    return error; /* the copy ends: nothing is given back */
}

mi_error mi_outside_open(const mi_target *self, const mi_outside_job *job, mi_target *target, mi_runtime *runtime,
                         mi_types *types) {
    outside outside = outside_of(job);
    mi_error error = open_outside(self, job, &outside, runtime, types);
    *target = outside.target;
    runtime->target = target;
    return error;
}

void mi_outside_names(const mi_outside_job *job, const mi_target *target, const mi_types *types) {
    for (size_t i = 0; i < types->count; i++)
        mi_heap_type_name(target, job->census.request.layout, &types->items[i], &job->names[i]);
}
