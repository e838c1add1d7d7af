/* gc.c - reads the collector's counters and walks its lists, every hop proven.
 *
 * A generation is a ring of PyGC_Heads around the head in the interpreter's struct (Python/gc.c, gc_list_*). For each
 * head that follows another, its prev must name the one we came from: so a walk cannot enter a loop that avoids the
 * ring's own head, and a list that changes while copies of it are read is noticed. */
#include "gc.h"

#include <string.h>

/* The low bits of both words are flags (pycore_gc.h, _PyGC_PREV_SHIFT); of next they are used by the incremental
 * collector and inside a collection only. */
#define HEAD_MASK (~(uintptr_t)3)

/* All that the flags leave: a packed struct before it (3.13's tracemalloc state, #pragma pack(4)) can put the interpreter
 * in _PyRuntime, and with it the lists' heads, where no pointer would lie by itself. */
enum { HEAD_ALIGNMENT = 4 };

enum { CACHED_PAGES = 2048, READ_MOST = 32, TRIES = 3, HEADS_A_LOOK = 1024 /* at the clock */ };
/* No list is longer: 2^40 heads would fill 16 TiB. */
#define LONGEST ((uint64_t)1 << 40)

/* ---- reading heads ------------------------------------------------------------------------------------------------ */

/* Reads words scattered over the heap: in place where the mapping is proven, else from copies of whole pages. */
typedef struct reader {
    const mi_target *target;
    const mi_mapping *mapping; /* the last that held a word */
    unsigned char *pages;
    uintptr_t *tags; /* which page lies in each slot, 0 for none */
    size_t page_size;
    unsigned char across[READ_MOST]; /* what lies on two pages */
} reader;

static mi_error reader_open(reader *reader, const mi_target *target) {
    memset(reader, 0, sizeof *reader);
    reader->target = target;
    if (target->kind == MI_TARGET_SELF) return MI_OK;
    reader->page_size = mi_os_page_size();
    reader->pages = mi_os_alloc(CACHED_PAGES * reader->page_size);
    reader->tags = mi_os_alloc(CACHED_PAGES * sizeof *reader->tags);
    return reader->pages && reader->tags ? MI_OK : MI_E_MEMORY;
}

static void reader_forget(reader *reader) {
    if (reader->tags) memset(reader->tags, 0, CACHED_PAGES * sizeof *reader->tags);
}

static void reader_close(reader *reader) {
    mi_os_free(reader->pages, CACHED_PAGES * reader->page_size);
    mi_os_free(reader->tags, CACHED_PAGES * sizeof *reader->tags);
}

/* `size` is no more than READ_MOST. The bytes stand until the next call. */
static mi_error reader_at(reader *reader, uintptr_t address, size_t size, const unsigned char **bytes) {
    if (reader->target->kind == MI_TARGET_SELF) {
        const mi_mapping *mapping = reader->mapping;
        if (!mapping || address < mapping->start || address >= mapping->end || size > mapping->end - address) {
            mapping = mi_os_maps_find(&reader->target->maps, address);
            if (!mapping || !(mapping->flags & MI_MAP_READ) || size > mapping->end - address) return MI_E_UNMAPPED;
            reader->mapping = mapping;
        }
        *bytes = (const unsigned char *)address;
        return MI_OK;
    }
    uintptr_t page = address - address % reader->page_size;
    if (address - page + size > reader->page_size) { /* a list's head that no pointer's alignment keeps in one page */
        if (size > READ_MOST) return MI_E_LIMIT;
        *bytes = reader->across;
        return mi_target_read(reader->target, address, reader->across, size);
    }
    size_t slot = page / reader->page_size % CACHED_PAGES;
    unsigned char *copy = reader->pages + slot * reader->page_size;
    if (reader->tags[slot] != page || !page) {
        reader->tags[slot] = 0;
        mi_error error = mi_target_read(reader->target, page, copy, reader->page_size);
        if (error) return error;
        reader->tags[slot] = page;
    }
    *bytes = copy + (address - page);
    return MI_OK;
}

static mi_error head_at(reader *reader, const mi_layout *layout, uintptr_t head, uintptr_t *next, uintptr_t *prev) {
    const unsigned char *bytes;
    if (head % HEAD_ALIGNMENT) return MI_E_TORN;
    mi_error error = reader_at(reader, head, (size_t)layout->gc_head_size, &bytes);
    if (error) return error;
    memcpy(next, bytes + layout->gc_next, sizeof *next);
    memcpy(prev, bytes + layout->gc_prev, sizeof *prev);
    *next &= HEAD_MASK;
    *prev &= HEAD_MASK;
    return MI_OK;
}

/* ---- lists -------------------------------------------------------------------------------------------------------- */

static mi_error list_count(reader *reader, const mi_layout *layout, uintptr_t list, int64_t *objects) {
    uintptr_t at, last, next, prev;
    if (mi_target_is_late(reader->target)) return MI_E_LATE;
    mi_error error = head_at(reader, layout, list, &at, &last);
    if (error) return error;
    if (!at) { /* the permanent generation before its first use, in builds that do not initialise it */
        *objects = 0;
        return last ? MI_E_TORN : MI_OK;
    }
    uint64_t count = 0;
    uintptr_t from = list;
    for (; at != list; from = at, at = next) {
        error = head_at(reader, layout, at, &next, &prev);
        if (error) return error;
        if (prev != from || !next) return MI_E_TORN;
        if (++count > LONGEST) return MI_E_LIMIT;
        if (count % HEADS_A_LOOK == 0 && mi_target_is_late(reader->target)) return MI_E_LATE;
    }
    if (last != from) return MI_E_TORN;
    *objects = (int64_t)count;
    return MI_OK;
}

static uintptr_t list_of(const mi_layout *layout, uintptr_t gc, int generation) {
    if (generation == MI_GC_PERMANENT) return gc + (uintptr_t)layout->gc_permanent;
    return gc + (uintptr_t)layout->gc_generations + (uintptr_t)generation * (uintptr_t)layout->gc_generation_size;
}

static mi_error lists_count(const mi_target *target, const mi_layout *layout, uintptr_t gc, mi_gc_state *state) {
    if (layout->gc_head_size == MI_ABSENT) return MI_E_ABSENT;
    int64_t objects[MI_GC_PERMANENT + 1] = {-1, -1, -1, -1};
    reader reader;
    mi_error error = reader_open(&reader, target);
    int tries = target->kind == MI_TARGET_SELF ? 1 : TRIES;
    for (int try = 0; !error && try < tries; try++) {
        reader_forget(&reader);
        for (int generation = 0; !error && generation <= MI_GC_PERMANENT; generation++)
            error = list_count(&reader, layout, list_of(layout, gc, generation), &objects[generation]);
        if (!error) break;
        if (try + 1 < tries && (error == MI_E_TORN || error == MI_E_UNMAPPED)) error = MI_OK;
    }
    reader_close(&reader);
    if (error && error != MI_E_LATE) return error == MI_E_UNMAPPED ? MI_E_TORN : error;
    for (int generation = 0; generation < MI_GC_GENERATIONS; generation++)
        state->generations[generation].objects = objects[generation];
    state->frozen = objects[MI_GC_PERMANENT];
    return error;
}

mi_error mi_gc_generation_find(const mi_target *target, const mi_layout *layout, uintptr_t interpreter, uintptr_t head,
                               uint32_t steps, int *generation) {
    if (layout->gc_head_size == MI_ABSENT) return MI_E_ABSENT;
    uintptr_t gc = interpreter + (uintptr_t)layout->interpreter_gc, forth = head, back = head;
    reader reader;
    mi_error error = reader_open(&reader, target);
    for (uint32_t step = 0; !error; step++) {
        uintptr_t next, prev, check, unused;
        if (step == steps) {
            error = MI_E_LIMIT;
            break;
        }
        /* one hop forth and one back: new objects are near the end of their list, old ones may be near its beginning */
        error = head_at(&reader, layout, forth, &next, &unused);
        if (!error) error = next ? head_at(&reader, layout, next, &unused, &check) : MI_E_ABSENT;
        if (!error && check != forth) error = MI_E_TORN;
        if (!error) error = head_at(&reader, layout, back, &unused, &prev);
        if (!error) error = prev ? head_at(&reader, layout, prev, &check, &unused) : MI_E_ABSENT;
        if (!error && check != back) error = MI_E_TORN;
        if (error) break;
        for (int i = 0; i <= MI_GC_PERMANENT; i++)
            if (next == list_of(layout, gc, i) || prev == list_of(layout, gc, i)) {
                *generation = i;
                reader_close(&reader);
                return MI_OK;
            }
        forth = next;
        back = prev;
        if (forth == head) error = MI_E_ABSENT; /* once around: a list of a collection under way, or another's */
    }
    reader_close(&reader);
    return error;
}

/* ---- counters ----------------------------------------------------------------------------------------------------- */

static mi_error read_int(const mi_target *target, uintptr_t address, int32_t *value) {
    return mi_target_read(target, address, value, sizeof *value);
}

/* A Py_ssize_t at `base + offset`, -1 where the layout has no such field. */
static mi_error read_size(const mi_target *target, uintptr_t base, int32_t offset, int64_t *value) {
    *value = -1;
    return offset == MI_ABSENT ? MI_OK : mi_target_read(target, base + (uintptr_t)offset, value, sizeof *value);
}

/* Where the statistics of a generation are: in the struct itself, or the newest of a ring behind a pointer (3.15,
 * gc_get_prev_stats in Python/gc.c). */
static mi_error stats_address(const mi_target *target, const mi_layout *layout, uintptr_t gc, int generation,
                              uintptr_t *address) {
    uintptr_t base = gc + (uintptr_t)layout->gc_stats, size = (uintptr_t)layout->gc_stats_size;
    if (layout->gc_stats_rings == MI_ABSENT) {
        *address = base + (uintptr_t)generation * size;
        return MI_OK;
    }
    const int32_t rings[] = {layout->gc_stats_ring0, layout->gc_stats_ring1, layout->gc_stats_ring2};
    const int32_t indexes[] = {layout->gc_stats_index0, layout->gc_stats_index1, layout->gc_stats_index2};
    uintptr_t behind;
    int8_t index;
    mi_error error = mi_target_word(target, base, &behind);
    if (!error) error = mi_target_read(target, behind + (uintptr_t)indexes[generation], &index, sizeof index);
    if (error) return error;
    if (index < 0 || rings[generation] + (index + 1) * (int64_t)size > indexes[generation]) return MI_E_LAYOUT;
    *address = behind + (uintptr_t)rings[generation] + (uintptr_t)index * size;
    return MI_OK;
}

static mi_error generation_read(const mi_target *target, const mi_layout *layout, uintptr_t gc, int index,
                                mi_gc_generation *generation) {
    uintptr_t stats = 0;
    uintptr_t at = gc + (uintptr_t)layout->gc_counters + (uintptr_t)index * (uintptr_t)layout->gc_generation_size;
    generation->objects = -1;
    generation->duration_s = -1;
    mi_error error = read_int(target, at + (uintptr_t)layout->gc_generation_count, &generation->count);
    if (!error) error = read_int(target, at + (uintptr_t)layout->gc_generation_threshold, &generation->threshold);
    if (!error) error = stats_address(target, layout, gc, index, &stats);
    if (!error) error = read_size(target, stats, layout->gc_stats_collections, &generation->collections);
    if (!error) error = read_size(target, stats, layout->gc_stats_collected, &generation->collected);
    if (!error) error = read_size(target, stats, layout->gc_stats_uncollectable, &generation->uncollectable);
    if (!error) error = read_size(target, stats, layout->gc_stats_candidates, &generation->candidates);
    if (!error && layout->gc_stats_duration != MI_ABSENT)
        error = mi_target_read(target, stats + (uintptr_t)layout->gc_stats_duration, &generation->duration_s,
                               sizeof generation->duration_s);
    return error;
}

mi_error mi_gc_state_read(const mi_target *target, const mi_layout *layout, uintptr_t interpreter, mi_gc_state *state) {
    uint64_t started = mi_os_now_ns();
    memset(state, 0, sizeof *state);
    state->frozen = -1;
    uintptr_t gc = interpreter + (uintptr_t)layout->interpreter_gc;
    mi_error error = read_int(target, gc + (uintptr_t)layout->gc_enabled, &state->enabled);
    if (!error) error = read_int(target, gc + (uintptr_t)layout->gc_collecting, &state->collecting);
    state->visited_space = MI_ABSENT;
    if (!error && layout->gc_visited_space != MI_ABSENT)
        error = read_int(target, gc + (uintptr_t)layout->gc_visited_space, &state->visited_space);
    for (int i = 0; !error && i < MI_GC_GENERATIONS; i++)
        error = generation_read(target, layout, gc, i, &state->generations[i]);
    if (!error) error = read_size(target, gc, layout->gc_long_lived_total, &state->long_lived_total);
    if (!error) error = read_size(target, gc, layout->gc_long_lived_pending, &state->long_lived_pending);
    if (!error) error = read_size(target, gc, layout->gc_deferred_count, &state->deferred);
    if (error) return error;
    state->lists = lists_count(target, layout, gc, state);
    state->pause_ns = mi_os_now_ns() - started;
    return MI_OK;
}
