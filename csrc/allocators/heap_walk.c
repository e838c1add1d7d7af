/* heap_walk.c - decides for each interpreter's pymalloc state how it may be read, and reads it. */
#include "heap_walk.h"

#include <string.h>

enum { TRIES = 4 };

typedef struct state {
    uintptr_t address; /* 0: the hidden table of 3.11 */
    uintptr_t gil;
    int64_t interpreter;
} state;

static mi_error table_of(const mi_runtime *runtime, const mi_target *target, const state *state,
                         const mi_arena_table *hidden, mi_arena_table *table) {
    if (hidden) {
        *table = *hidden;
        return MI_OK;
    }
    return mi_obmalloc_table(target, runtime->layout, state->address, table);
}

static void omit(mi_heap_walk *walk, const state *state, mi_omission why, mi_error error) {
    walk->omitted[walk->omitted_count++] = (mi_omitted){state->interpreter, why, error};
}

/* ---- a state that is not held still -------------------------------------------------------------------------------- */

typedef struct gil_moment {
    int locked;
    uint64_t switches;
} gil_moment;

static mi_error look_at_gil(const mi_runtime *runtime, uintptr_t gil, gil_moment *moment) {
    const mi_layout *layout = runtime->layout;
    *moment = (gil_moment){0};
    if (!gil) return MI_E_ABSENT;
    mi_error error =
        mi_target_read(runtime->target, gil + (uintptr_t)layout->gil_locked, &moment->locked, sizeof moment->locked);
    if (!error)
        error = mi_target_read(runtime->target, gil + (uintptr_t)layout->gil_switch_number, &moment->switches,
                               sizeof moment->switches);
    return error;
}

/* Two readings: the first only for its totals. True in `same` when they agree. */
static mi_error read_twice(const mi_runtime *runtime, const mi_target *target, const state *state,
                           const mi_arena_table *hidden, unsigned what, mi_heap *heap, int *same) {
    mi_heap first = {0}, before = *heap;
    mi_arena_table table;
    mi_class_total classes[MI_MAX_SIZE_CLASSES];
    memcpy(classes, heap->classes, sizeof classes);
    mi_error error = table_of(runtime, target, state, hidden, &table);
    if (!error) error = mi_obmalloc_walk(target, runtime->layout, &table, state->interpreter, 0, &first);
    if (!error) error = table_of(runtime, target, state, hidden, &table);
    if (!error) error = mi_obmalloc_walk(target, runtime->layout, &table, state->interpreter, what, heap);
    if (!error) {
        *same = first.arena_count == heap->arena_count - before.arena_count && !first.torn_pools &&
                heap->torn_pools == before.torn_pools && heap->torn_arenas == before.torn_arenas;
        for (int i = 0; i < MI_MAX_SIZE_CLASSES; i++) {
            classes[i].pools += first.classes[i].pools;
            classes[i].used += first.classes[i].used;
            classes[i].free += first.classes[i].free;
            classes[i].untouched += first.classes[i].untouched;
        }
        *same = *same && !memcmp(classes, heap->classes, sizeof classes);
    }
    if (!error && (first.arenas_left || heap->arenas_left != before.arenas_left)) error = MI_E_LATE;
    mi_heap_free(&first);
    return error;
}

/* Of this process, under another GIL than the caller's. */
static void walk_apart(const mi_runtime *runtime, const state *state, unsigned what, mi_heap_walk *walk) {
    mi_target copies = *runtime->target;
    copies.kind = MI_TARGET_COPY;
    for (int try = 1;; try++) {
        gil_moment before, after;
        int same = 0;
        mi_heap saved = walk->heap;
        mi_error error = look_at_gil(runtime, state->gil, &before);
        if (error || before.locked) {
            if (try < TRIES && !error) continue;
            omit(walk, state, error ? MI_OMIT_ERROR : MI_OMIT_GIL_HELD, error);
            return;
        }
        error = read_twice(runtime, &copies, state, NULL, what, &walk->heap, &same);
        if (!error) error = look_at_gil(runtime, state->gil, &after);
        if (!error && same && !after.locked && after.switches == before.switches) {
            walk->states++;
            return;
        }
        mi_heap_cut(&walk->heap, &saved);
        if (error == MI_E_LATE) {
            omit(walk, state, MI_OMIT_LATE, error);
            return;
        }
        if (try < TRIES) continue;
        omit(walk, state, error && error != MI_E_TORN ? MI_OMIT_ERROR : MI_OMIT_MOVED, error);
        return;
    }
}

/* Of another process: what a last reading gives is kept, steady or not, unless it could not be read at all. */
static void walk_outside(const mi_runtime *runtime, const state *state, const mi_arena_table *hidden, unsigned what,
                         mi_heap_walk *walk) {
    for (int try = 1;; try++) {
        int same = 0;
        mi_heap saved = walk->heap;
        mi_error error = read_twice(runtime, runtime->target, state, hidden, what, &walk->heap, &same);
        if (!error && (same || try == TRIES)) {
            walk->steady &= same;
            walk->states++;
            return;
        }
        mi_heap_cut(&walk->heap, &saved);
        if (try < TRIES) continue;
        omit(walk, state, error == MI_E_TORN ? MI_OMIT_MOVED : MI_OMIT_ERROR, error);
        return;
    }
}

/* ---- all states ---------------------------------------------------------------------------------------------------- */

/* Of an interpreter whose GIL the caller holds: nothing moves, so it is read where it lies. */
static mi_error walk_held(const mi_runtime *runtime, const state *state, const mi_arena_table *hidden, unsigned what,
                          mi_heap_walk *walk) {
    mi_arena_table table;
    mi_error error = table_of(runtime, runtime->target, state, hidden, &table);
    if (!error)
        error = mi_obmalloc_walk(runtime->target, runtime->layout, &table, state->interpreter, what, &walk->heap);
    if (error)
        omit(walk, state, MI_OMIT_ERROR, error);
    else
        walk->states++;
    return error;
}

/* The states of the interpreters, each once, named by the oldest interpreter that uses it. */
static size_t states_of(const mi_interpreter *interpreters, size_t count, state *states) {
    size_t found = 0;
    for (size_t i = count; i-- > 0;) {
        size_t j = 0;
        while (j < found && states[j].address != interpreters[i].obmalloc) j++;
        if (j == found) states[found++] = (state){interpreters[i].obmalloc, interpreters[i].gil, interpreters[i].id};
    }
    return found;
}

static void walk_states(const mi_runtime *runtime, const mi_interpreter *own, const state *states, size_t count,
                        const mi_arena_table *hidden, unsigned what, mi_heap_walk *walk) {
    for (size_t i = 0; i < count && own; i++) {
        if (states[i].address != own->obmalloc) continue;
        walk->own_walked = walk_held(runtime, &states[i], hidden, what, walk) == MI_OK && !walk->heap.arenas_left;
        walk->own_arenas = walk->heap.arena_count;
        memcpy(walk->own_classes, walk->heap.classes, sizeof walk->own_classes);
    }
    for (size_t i = 0; i < count; i++) {
        if (own && states[i].address == own->obmalloc) continue;
        if (!states[i].address && !hidden)
            omit(walk, &states[i], MI_OMIT_ERROR, MI_E_ABSENT);
        else if (!own)
            walk_outside(runtime, &states[i], hidden, what, walk);
        else if (states[i].gil == own->gil || what & MI_WALK_FROZEN)
            walk_held(runtime, &states[i], hidden, what, walk);
        else if (what & MI_WALK_HELD)
            omit(walk, &states[i], MI_OMIT_APART, MI_OK);
        else
            walk_apart(runtime, &states[i], what, walk);
    }
}

mi_error mi_heap_walk_all(const mi_runtime *runtime, uintptr_t self, const mi_arena_table *hidden, unsigned what,
                          mi_heap_walk *walk) {
    size_t bytes = MI_MAX_INTERPRETERS * (sizeof(mi_interpreter) + sizeof(state)), count = 0;
    memset(walk, 0, sizeof *walk);
    walk->steady = 1;
    mi_interpreter *interpreters = mi_os_alloc(bytes), *own = NULL;
    walk->omitted = mi_os_alloc(MI_MAX_INTERPRETERS * sizeof *walk->omitted);
    mi_error error = interpreters && walk->omitted ? MI_OK : MI_E_MEMORY;
    uint64_t start = mi_os_now_ns();
    if (!error) error = mi_runtime_interpreters(runtime, interpreters, MI_MAX_INTERPRETERS, &count);
    walk->cut = error == MI_E_LIMIT;
    if (!error || error == MI_E_LIMIT) {
        state *states = (state *)(interpreters + MI_MAX_INTERPRETERS);
        for (size_t i = 0; i < count; i++)
            if (interpreters[i].address == self) own = &interpreters[i];
        error = self && !own ? MI_E_LAYOUT : MI_OK;
        walk->interpreters = count;
        if (!error) walk_states(runtime, own, states, states_of(interpreters, count, states), hidden, what, walk);
    }
    walk->pause_ns = mi_os_now_ns() - start;
    mi_os_free(interpreters, bytes);
    return error;
}

void mi_heap_walk_free(mi_heap_walk *walk) {
    mi_heap_free(&walk->heap);
    mi_os_free(walk->omitted, MI_MAX_INTERPRETERS * sizeof *walk->omitted);
    memset(walk, 0, sizeof *walk);
}
