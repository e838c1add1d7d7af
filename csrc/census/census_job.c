/* census_job.c - the work of census_job.h. */
#include "census_others.h"

#include <string.h>

static void keep_walk(mi_census_found *found, const mi_heap_walk *walk) {
    found->torn_pools = walk->heap.torn_pools;
    found->torn_arenas = walk->heap.torn_arenas;
    found->arenas_left = walk->heap.arenas_left;
    found->interpreters = walk->interpreters;
    found->omitted_count = walk->omitted_count;
    for (size_t i = 0; i < walk->omitted_count && i < MI_CENSUS_OMITTED; i++) found->omitted[i] = walk->omitted[i];
}

static mi_frames frames_of(const mi_census_job *order, const mi_runtime *runtime) {
    return (mi_frames){.runtime = runtime,
                       .interpreter = order->self,
                       .all = order->frozen,
                       .items = order->found->threads,
                       .room = MI_CENSUS_THREADS};
}

/* A frozen copy is alone; the process itself stands still where it has no other thread, which the GIL does not stop. Of
 * several threads that help here one may end, and malloc give memory back, while another reads. */
static mi_steady steady_of(const mi_target *target, const mi_census_job *order) {
    int alone = order->frozen || (order->request.threads <= 2 && mi_os_is_alone());
    return alone && !order->runtime ? mi_large_steady(target) : (mi_steady){0};
}

static mi_census_ahead ahead_of(const mi_target *target, const mi_census_job *order) {
    return (mi_census_ahead){.target = target,
                             .layout = order->request.layout,
                             .steady = steady_of(target, order),
                             .small_only = order->small_only,
                             .types = order->own_types,
                             .addresses = order->type_addresses,
                             .count = order->type_count};
}

/* ---- builds without a GIL --------------------------------------------------------------------------------------------- */

/* The interpreter's own structure and those of its threads, which keep the lists of free objects. */
static mi_census_roots *roots_of(const mi_layout *layout, const mi_mimalloc_walk *walk, size_t *size) {
    *size = (walk->owner_count + 1) * sizeof(mi_census_roots);
    mi_census_roots *roots = mi_os_alloc(*size);
    if (!roots) return NULL;
    roots[0] = (mi_census_roots){walk->interpreter, (size_t)layout->interpreter_size, 0,
                                 walk->interpreter + (uintptr_t)layout->free_memory_errors};
    for (size_t i = 0; i < walk->owner_count; i++) {
        uintptr_t thread = walk->owners[i].address;
        size_t known = (size_t)(layout->free_lists + layout->free_lists_size);
        roots[i + 1] = (mi_census_roots){thread, known, thread + (uintptr_t)layout->free_lists, 0};
    }
    return roots;
}

/* The world stands still (or this is a copy of it). */
static mi_error take_stopped(mi_mimalloc_walk *walk, const mi_target *target, const mi_census_job *order,
                             mi_census *census) {
    mi_census_request request = order->request;
    mi_heap none = {0};
    mi_target now; /* with the map as it is: threads ran while the one before was read */
    size_t size = 0;
    walk->deadline_ns = target->until_ns ? target->until_ns : UINT64_MAX;
    mi_error error = mi_mimalloc_walk_stopped(walk);
    order->found->mimalloc_late = walk->timed_out;
    if (error && !walk->timed_out) return error;
    if (!walk->timed_out) mi_mimalloc_find_others(walk);
    error = mi_target_open(&now, MI_TARGET_SELF, 0);
    if (error) return error;
    now.until_ns = target->until_ns;
    mi_census_roots *roots = roots_of(request.layout, walk, &size);
    mi_runtime runtime;
    mi_frames frames = frames_of(order, &runtime);
    if (!mi_runtime_open(&runtime, &now, request.layout)) request.frames = &frames;
    request.target = &now;
    request.heap = &none;
    request.mimalloc = walk;
    request.roots = roots;
    request.root_count = walk->owner_count + 1;
    if (order->frozen) request.threads = 1;
    mi_census_ahead ahead = ahead_of(&now, order);
    request.ahead = &ahead;
    error = roots ? mi_census_take(&request, census) : MI_E_MEMORY;
    mi_census_ahead_close(&ahead);
    order->found->thread_count = frames.count;
    mi_os_free(roots, size);
    mi_target_close(&now);
    return error;
}

static mi_error take_mimalloc(const mi_target *target, const mi_census_job *order, mi_census *census) {
    mi_error error = MI_E_LIMIT;
    mi_mimalloc_walk walk;
    for (int tries = 0; tries < 3 && error == MI_E_LIMIT; tries++) { /* it may grow beyond the tables before the stop */
        mi_pause pause = {0};
        error = mi_mimalloc_open(&walk, order->request.layout, order->self);
        if (error) return error;
        if (!order->frozen) error = mi_world_stop((void *)order->self, &pause);
        if (!error) {
            error = take_stopped(&walk, target, order, census);
            if (!order->frozen) mi_world_start((void *)order->self, &pause);
        }
        mi_mimalloc_close(&walk);
    }
    return error;
}

/* ---- the door ---------------------------------------------------------------------------------------------------------- */

static void keep_census(const mi_census_job *order, mi_census *census) {
    memcpy(order->rows, census->objects, census->types * sizeof *order->rows);
    order->found->census = *census;
    order->found->census.objects = order->rows;
    census->seen = NULL; /* it is the caller's now */
    mi_census_free(census);
}

mi_error mi_census_job_run(const mi_target *target, void *job) {
    const mi_census_job *order = job;
    mi_census_request request = order->request;
    mi_runtime runtime;
    mi_heap_walk walk;
    mi_census census;
    mi_others others = {0};
    unsigned what = MI_WALK_POOLS | (order->frozen ? MI_WALK_FROZEN : MI_WALK_HELD);
    memset(order->found, 0, sizeof *order->found);
    if (request.layout->thread_mimalloc != MI_ABSENT) {
        mi_error failed = take_mimalloc(target, order, &census);
        if (!failed) keep_census(order, &census);
        return failed;
    }
    mi_error error = MI_OK;
    if (order->runtime)
        runtime = (mi_runtime){target, request.layout, order->runtime};
    else
        error = mi_runtime_open(&runtime, target, request.layout);
    if (error) return error;
    if (order->frozen) request.threads = 1; /* a thread's stack would come from malloc, whose locks may be held */
    mi_census_ahead ahead = ahead_of(target, order);
    mi_census_ahead_begin(&ahead, request.threads);
    error = mi_heap_walk_all(&runtime, order->self, order->hidden, what, &walk);
    request.target = target;
    request.heap = &walk.heap;
    request.ahead = &ahead;
    mi_error types_error = mi_census_ahead_types(&ahead);
    if (!error) error = types_error;
    if (!error) error = mi_others_open(&others, &runtime, order, &walk);
    request.roots = others.roots;
    request.root_count = others.root_count;
    if (others.has_types) request.types = &others.types;
    mi_frames frames = frames_of(order, &runtime);
    /* up to 3.12 a C stack leads to the frames, and that of another process is not in its copy */
    if (!order->runtime || request.layout->thread_frame != MI_ABSENT) request.frames = &frames;
    if (!error) error = mi_census_take(&request, &census);
    if (!error) {
        keep_walk(order->found, &walk);
        order->found->thread_count = frames.count;
        order->found->own_types = order->request.types->count;
        order->found->others_cut = others.cut;
        mi_others_names(&others, target, order, census.objects);
        keep_census(order, &census);
    }
    mi_census_ahead_close(&ahead);
    mi_others_close(&others);
    mi_heap_walk_free(&walk);
    return error;
}
