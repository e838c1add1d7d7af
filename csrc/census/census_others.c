/* census_others.c - the work of census_others.h. */
#include "census_others.h"

#include <string.h>

static mi_interpreter *interpreters_of(const mi_runtime *runtime, uintptr_t self, size_t *count, uintptr_t *gil) {
    mi_interpreter *all = mi_os_alloc(MI_MAX_INTERPRETERS * sizeof *all);
    *count = 0;
    *gil = 0;
    if (!all) return NULL;
    mi_runtime_interpreters(runtime, all, MI_MAX_INTERPRETERS, count);
    if (*count > MI_MAX_INTERPRETERS) *count = MI_MAX_INTERPRETERS;
    for (size_t i = 0; i < *count; i++)
        if (all[i].address == self) *gil = all[i].gil;
    return all;
}

mi_error mi_others_count(const mi_runtime *runtime, uintptr_t self, size_t *others, size_t *apart) {
    size_t count;
    uintptr_t gil;
    mi_interpreter *all = interpreters_of(runtime, self, &count, &gil);
    *others = *apart = 0;
    if (!all) return MI_E_MEMORY;
    for (size_t i = 0; i < count; i++) {
        *others += all[i].address != self;
        *apart += all[i].gil != gil;
    }
    mi_os_free(all, MI_MAX_INTERPRETERS * sizeof *all);
    return MI_OK;
}

static mi_error make_roots(mi_others *others, const mi_runtime *runtime, const mi_census_job *job) {
    const mi_layout *layout = runtime->layout;
    size_t count;
    uintptr_t gil;
    mi_interpreter *all = interpreters_of(runtime, job->self, &count, &gil);
    others->root_bytes = (count + 1) * sizeof *others->roots;
    others->roots = all ? mi_os_alloc(others->root_bytes) : NULL;
    for (size_t i = 0; i < count && others->roots; i++) {
        uintptr_t address = all[i].address;
        if (!job->frozen && all[i].gil != gil) continue;
        others->roots[others->root_count++] =
            (mi_census_roots){address, (size_t)layout->interpreter_size, address + (uintptr_t)layout->free_lists,
                              address + (uintptr_t)layout->free_memory_errors};
    }
    mi_os_free(all, MI_MAX_INTERPRETERS * sizeof *all);
    return others->roots ? MI_OK : MI_E_MEMORY;
}

mi_error mi_others_types(const mi_heap_types *search, const mi_runtime *runtime, const mi_heap *heap, mi_types *types,
                         size_t *cut) {
    const mi_types *own = search->known;
    size_t room = own->count + search->room;
    uintptr_t *addresses = mi_os_alloc(room * sizeof *addresses);
    if (!addresses) return MI_E_MEMORY;
    mi_heap_types found = *search;
    found.items = addresses + own->count;
    for (size_t i = 0; i < own->count; i++) addresses[i] = own->items[i].address;
    mi_heap_types_find(&found, runtime->target, runtime->layout, heap);
    mi_error error = mi_types_read(types, runtime->target, runtime->layout, addresses, own->count + found.count);
    *cut = found.cut;
    mi_os_free(addresses, room * sizeof *addresses);
    return error;
}

mi_error mi_others_open(mi_others *others, const mi_runtime *runtime, const mi_census_job *job,
                        const mi_heap_walk *walk) {
    memset(others, 0, sizeof *others);
    mi_error error = make_roots(others, runtime, job);
    if (error || !job->others_room || walk->interpreters <= 1) return error;
    mi_heap_types search = {.tuple_type = job->tuple_type,
                            .padding = job->request.padding,
                            .known = job->request.types,
                            .room = job->others_room};
    error = mi_others_types(&search, runtime, &walk->heap, &others->types, &others->cut);
    others->has_types = !error;
    return error;
}

void mi_others_names(const mi_others *others, const mi_target *target, const mi_census_job *job,
                     const mi_census_sum *rows) {
    static const mi_census_sum none;
    size_t own = job->request.types->count;
    for (size_t i = own; others->has_types && i < others->types.count; i++)
        if (memcmp(&rows[i], &none, sizeof none))
            mi_heap_type_name(target, job->request.layout, &others->types.items[i], &job->other_names[i - own]);
}

void mi_others_close(mi_others *others) {
    mi_os_free(others->roots, others->root_bytes);
    if (others->has_types) mi_types_free(&others->types);
}
