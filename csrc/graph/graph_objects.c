/* graph_objects.c - which objects there are: in the blocks of the heap, on the collector's lists, and what these refer to. */
#include "graph_parts.h"

enum { WORD = sizeof(uintptr_t) };

/* ---- in blocks and beyond -------------------------------------------------------------------------------------------- */

/* An address outside the arenas: the type when there is an object, -1 otherwise. */
static int object_outside(mi_builder *build, uintptr_t address) {
    const mi_layout *layout = build->layout;
    if (address % WORD || !mi_reader_covers(&build->reader, address, (size_t)layout->object_size)) return -1;
    int type = mi_object_type(layout, build->source->types, (const unsigned char *)address);
    if (type < 0 || mi_blocks_arena(&build->blocks, address) >= 0) return -1;
    const mi_type *known = &build->source->types->items[type];
    return mi_reader_covers(&build->reader, address - known->preheader, known->preheader + known->basicsize) ? type
                                                                                                             : -1;
}

static void find_in_run(mi_builder *build, const mi_block_run *run) {
    mi_graph *graph = build->graph;
    if (!mi_reader_covers(&build->reader, run->first, (size_t)(run->count * run->size))) {
        build->error = MI_E_UNMAPPED;
        return;
    }
    for (size_t i = 0; i < run->count && !build->error; i++) {
        uintptr_t block = run->first + i * run->size, object;
        if (!mi_block_is(build->blocks.alive, run->bit + i * run->step)) continue;
        graph->small_bytes += run->size;
        if (graph->arena_count) graph->arena_unknown[run->arena]++;
        int type = mi_builder_object_in(build, block, run->size, &object);
        if (type < 0) continue;
        if (!build->error) build->error = mi_address_index_put(&graph->index, object, NULL);
        const mi_type *known = &build->source->types->items[type];
        mi_owner_claim(&build->owners, known, object);
        if (mi_owner_is_opaque(known)) mi_owner_claim_opaque(&build->owners, known, object);
    }
}

/* What an owner claims is a buffer, whatever it looks like. */
static void forget_claimed(mi_builder *build) {
    mi_block_run run;
    for (size_t number = 0; number < mi_blocks_runs(&build->blocks); number++) {
        if (!mi_blocks_run(&build->blocks, number, &run)) continue;
        for (size_t i = 0; i < run.count; i++) {
            uintptr_t object;
            if (!mi_block_is(build->blocks.taken, run.bit + i * run.step) ||
                mi_builder_object_in(build, run.first + i * run.size, run.size, &object) < 0)
                continue;
            mi_address_index_remove(&build->graph->index, object);
            build->graph->mistaken++;
        }
    }
}

static void admit(mi_builder *build, uintptr_t address) {
    int added = 0;
    if (build->error || object_outside(build, address) < 0) return;
    build->error = mi_address_index_put(&build->graph->index, address, &added);
    if (!added || build->error) return;
    build->todo = mi_builder_grow(build, build->todo, build->todo_count, &build->todo_room, sizeof *build->todo);
    if (!build->error) build->todo[build->todo_count++] = address;
}

static void visit_new(void *context, uintptr_t to, unsigned role, uint64_t detail) {
    mi_builder *build = context;
    (void)detail;
    if ((role & ~(unsigned)MI_ROLE_BORROWED) == MI_ROLE_GUESS) return; /* a guess proves nothing new */
    if (mi_blocks_arena(&build->blocks, to) >= 0) return;              /* what lies there is known from its pool */
    if (!mi_address_index_has(&build->graph->index, to)) admit(build, to);
}

/* A list that was read while it changed may lead in a circle that misses its head: no list is longer than there are heads
 * in what is mapped. */
static void find_on_list(mi_builder *build, uintptr_t head, uint64_t most) {
    const mi_layout *layout = build->layout;
    uintptr_t at = head;
    for (uint64_t steps = 1; steps <= most && !mi_builder_late(build, steps); steps++) {
        if (at % WORD || !mi_reader_covers(&build->reader, at, (size_t)layout->gc_head_size)) return;
        at = mi_builder_word(at, layout->gc_next) & ~(uintptr_t)3;
        if (at == head || !at) return;
        if (mi_blocks_arena(&build->blocks, at) < 0) admit(build, at + (uintptr_t)layout->gc_head_size);
    }
}

typedef struct tracked {
    mi_builder *build;
    uint64_t most; /* objects that there can be */
} tracked;

static void tracked_of(void *context, uintptr_t address, int interpreter) {
    const tracked *tracked = context;
    const mi_layout *layout = tracked->build->layout;
    uintptr_t gc = address + (uintptr_t)layout->interpreter_gc;
    if (!interpreter || !mi_reader_covers(&tracked->build->reader, address, (size_t)layout->interpreter_size)) return;
    for (int i = 0; i < 3; i++)
        find_on_list(tracked->build,
                     gc + (uintptr_t)layout->gc_generations + (uintptr_t)(i * layout->gc_generation_size),
                     tracked->most);
    find_on_list(tracked->build, gc + (uintptr_t)layout->gc_permanent, tracked->most);
}

/* The collector of free-threaded builds has no lists: it looks into all pages, as is done here. */
static void find_tracked(mi_builder *build) {
    const mi_layout *layout = build->layout;
    const mi_graph_source *source = build->source;
    tracked tracked = {build, 0};
    if (layout->gc_head_size == MI_ABSENT) return;
    for (size_t i = 0; i < build->target->maps.count; i++) {
        const mi_mapping *mapping = &build->target->maps.items[i];
        if (mapping->flags & MI_MAP_READ)
            tracked.most += (mapping->end - mapping->start) / (uintptr_t)(layout->gc_head_size + layout->object_size);
    }
    mi_graph_each_thread(source->runtime, source->interpreter, source->still, tracked_of, &tracked);
}

static void find_referred(mi_builder *build) {
    mi_index_walk walk = {0};
    build->reader.visit = visit_new;
    for (uint64_t seen = 0; !mi_builder_late(build, seen) && mi_address_index_next(&build->graph->index, &walk); seen++)
        mi_references_of(&build->reader, walk.address, mi_builder_type(build, walk.address));
    for (size_t i = 0; i < build->source->types->count; i++) admit(build, build->source->types->items[i].address);
    mi_graph_tell_modules(&build->reader, build->source->interpreter);
    for (uint64_t seen = 0; build->todo_count && !mi_builder_late(build, seen); seen++) {
        uintptr_t object = build->todo[--build->todo_count];
        mi_references_of(&build->reader, object, mi_builder_type(build, object));
    }
}

void mi_builder_find_objects(mi_builder *build) {
    mi_block_run run;
    mi_builder_claims(build, 0);
    for (size_t i = 0; i < mi_blocks_runs(&build->blocks) && !mi_builder_late(build, i * 256); i++)
        if (mi_blocks_run(&build->blocks, i, &run)) find_in_run(build, &run);
    if (!build->error) forget_claimed(build);
    find_tracked(build);
    find_referred(build);
}
