/* graph_sizes.c - how large each object is with all it owns, how often it is counted, and whether it can go. */
#include "graph_parts.h"

/* ---- counts ---------------------------------------------------------------------------------------------------------- */

static int64_t count_of_one(const mi_builder *build, uintptr_t object, int *immortal) {
    enum { IMMORTAL_311 = 500000000 }; /* _PyObject_IMMORTAL_REFCNT less what a program may add to it */
    const mi_layout *layout = build->layout;
    int64_t count = mi_object_count(layout, (const unsigned char *)object);
    *immortal = layout->object_immortal_bit != MI_ABSENT ? (int)(count >> layout->object_immortal_bit & 1)
                                                         : count >= IMMORTAL_311;
    return count;
}

/* The number that an object has in the tables of counts that each thread keeps for itself (pycore_uniqueid.h), 0: none. */
static uint64_t unique_id(const mi_builder *build, const mi_type *type, uintptr_t object) {
    enum { HEAP_TYPE = 9, DICT_ID = 32 }; /* a flag of Include/object.h; DICT_UNIQUE_ID_SHIFT, pycore_dict.h */
    const mi_layout *layout = build->layout;
    if (layout->thread_counts == MI_ABSENT) return 0;
    if (type->kind == MI_KIND_TYPE)
        return mi_builder_word(object, layout->type_flags) >> HEAP_TYPE & 1
                   ? mi_builder_word(object, layout->heap_type_unique_id)
                   : 0;
    if (type->kind == MI_KIND_CODE) return mi_builder_word(object, layout->code_unique_id);
    if (type->kind == MI_KIND_DICT) return mi_builder_word(object, layout->dict_watcher_tag) >> DICT_ID;
    return 0;
}

static int64_t counted_by_threads(mi_builder *build, uint64_t id) {
    const mi_layout *layout = build->layout;
    const mi_mimalloc_walk *walk = build->source->mimalloc;
    int64_t count = 0;
    for (size_t i = 0; id && walk && i < walk->owner_count; i++) {
        uintptr_t thread = walk->owners[i].address, at;
        if (!mi_reader_covers(&build->reader, thread + (uintptr_t)layout->thread_counts, 2 * sizeof at)) continue;
        uint64_t size = mi_builder_word(thread, layout->thread_counts_size);
        at = mi_builder_word(thread, layout->thread_counts) + (id - 1) * sizeof at;
        if (id - 1 < size && at % sizeof at == 0 && mi_reader_covers(&build->reader, at, sizeof at))
            count += (int64_t)mi_builder_word(at, 0);
    }
    return count;
}

/* Without a GIL an object has a count of its owner, one of other threads, and types, code and some dicts one in each thread.
 * Of objects whose stack references are not counted, _Py_REF_DEFERRED is in the second (pycore_object.h, refcount.h). */
static int64_t count_of_both(mi_builder *build, const mi_type *type, uintptr_t object, int *immortal) {
    const int64_t deferred = INT64_MAX / 8;
    uint32_t local;
    memcpy(&local, (const void *)(object + (uintptr_t)build->layout->object_ref_local), sizeof local);
    int64_t shared = (int64_t)mi_builder_word(object, build->layout->object_ref_shared) >> 2;
    *immortal = local == UINT32_MAX;
    if (*immortal) return local;
    if (shared > deferred / 2) shared -= deferred;
    return (int64_t)local + shared + counted_by_threads(build, unique_id(build, type, object));
}

/* ---- sizes ----------------------------------------------------------------------------------------------------------- */

static void note_arena(mi_graph *graph, long arena, uint32_t node) {
    graph->arena_unknown[arena]--;
    if (graph->arena_end[arena] == 0) graph->arena_first[arena] = node;
    graph->arena_end[arena] = node + 1;
}

static void measure(mi_builder *build, uintptr_t object) {
    mi_graph *graph = build->graph;
    const int type = mi_builder_type(build, object);
    const mi_type *known = &build->source->types->items[type];
    uint32_t node = build->node;
    uintptr_t block = object - known->preheader - build->source->padding;
    long arena = mi_blocks_arena(&build->blocks, object);
    int fixed = 0;
    int64_t count = build->layout->object_refcount == MI_ABSENT ? count_of_both(build, known, object, &fixed)
                                                                : count_of_one(build, object, &fixed);
    if (build->source->types_held && known->kind == MI_KIND_TYPE) count--;
    graph->types[node] = (uint32_t)type;
    build->counted[node] = count > UINT32_MAX ? UINT32_MAX : count < 0 ? 0 : (uint32_t)count;
    build->own_arena = graph->arena_count ? arena : -1;
    build->size = 0;
    if (arena >= 0) {
        build->size = mi_blocks_size(&build->blocks, block);
        build->small_known += build->size;
        if (graph->arena_count) note_arena(graph, arena, node);
    } else if (mi_builder_of_file(build, object)) {
        fixed = 1;
    } else {
        build->size = mi_builder_chunk(build, block, known->preheader + known->basicsize);
    }
    mi_owner_claim(&build->owners, known, object);
    if (mi_owner_is_opaque(known)) mi_owner_claim_opaque(&build->owners, known, object);
    uint64_t units = build->size / graph->unit;
    graph->sizes[node] = units > UINT32_MAX ? UINT32_MAX : (uint32_t)units;
    if (fixed) build->cannot_go[node / 64] |= 1ull << node % 64;
}

void mi_builder_measure(mi_builder *build) {
    mi_graph *graph = build->graph;
    mi_index_walk walk = {0};
    mi_builder_claims(build, 1);
    for (build->node = 0; !mi_builder_late(build, build->node) && mi_address_index_next(&graph->index, &walk);
         build->node++)
        measure(build, walk.address);
    graph->sizes[graph->objects + MI_ROOT_MEMORY] = (uint32_t)((graph->small_bytes - build->small_known) / graph->unit);
}
