/* census_outside.c - finds the types of a process by its heap, counts, and reads the names of what was counted. */
#include "census_outside.h"

#include <string.h>

typedef struct outside {
    const mi_outside_job *job;
    const mi_layout *layout;
    mi_target target; /* the copy, with the other process' memory in it */
    uintptr_t *types; /* in the order in which they were found */
    size_t count, cut;
} outside;

static int covers(const outside *outside, uintptr_t address, size_t size) {
    return mi_os_maps_covers(&outside->target.maps, address, size);
}

static uintptr_t word_at(uintptr_t address, int32_t offset) {
    uintptr_t word;
    memcpy(&word, (const void *)(address + (uintptr_t)(intptr_t)offset), sizeof word);
    return word;
}

/* ---- types ---------------------------------------------------------------------------------------------------------- */

/* The type whose method resolution order the tuple at `tuple` is, or 0. `room`: bytes of its block from there on. */
static uintptr_t type_of_mro(const outside *outside, uintptr_t tuple, size_t room) {
    const mi_layout *layout = outside->layout;
    if (room < (size_t)layout->tuple_items + sizeof(uintptr_t)) return 0;
    if (word_at(tuple, layout->object_type) != outside->job->tuple_type) return 0;
    if (!word_at(tuple, layout->object_var_size)) return 0;
    uintptr_t type = word_at(tuple, layout->tuple_items);
    if (type % sizeof(uintptr_t) || !covers(outside, type, (size_t)layout->type_size)) return 0;
    return word_at(type, layout->type_mro) == tuple ? type : 0;
}

static void find_in_pool(outside *outside, const mi_pool *pool) {
    const mi_layout *layout = outside->layout;
    uint32_t size = (pool->size_class + 1u) * (uint32_t)layout->alignment;
    uint32_t padding = outside->job->census.request.padding, before = padding + (uint32_t)layout->gc_head_size;
    for (uint32_t offset = (uint32_t)layout->pool_header_size; offset + size <= (uint32_t)layout->pool_size;
         offset += size) {
        if (before >= size) return;
        uintptr_t type = type_of_mro(outside, (uintptr_t)pool->address + offset + before, size - before);
        if (!type) continue;
        if (outside->count < MI_OUTSIDE_TYPES)
            outside->types[outside->count++] = type;
        else
            outside->cut++;
    }
}

static mi_error find_types(outside *outside, const mi_runtime *runtime) {
    mi_heap_walk walk;
    const mi_census_job *census = &outside->job->census;
    mi_error error = mi_heap_walk_all(runtime, census->self, census->hidden, MI_WALK_POOLS | MI_WALK_FROZEN, &walk);
    for (size_t i = 0; !error && i < walk.heap.pool_count; i++)
        if (walk.heap.pools[i].size_class != MI_POOL_FREE) find_in_pool(outside, &walk.heap.pools[i]);
    mi_heap_walk_free(&walk);
    return error;
}

/* ---- names ---------------------------------------------------------------------------------------------------------- */

static void put_utf8(char *to, size_t *used, uint32_t code) {
    unsigned char bytes[4];
    if (code > 0x10ffff) code = 0xfffd; /* no character: the string was torn while it was copied */
    size_t count = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = count; i-- > 1; code >>= 6) bytes[i] = (unsigned char)(0x80 | (code & 0x3f));
    bytes[0] = (unsigned char)(first[count] | code);
    if (*used + count >= MI_OUTSIDE_NAME) return;
    memcpy(to + *used, bytes, count);
    *used += count;
}

/* A compact str (Include/cpython/unicodeobject.h: 3 bits kind, then compact and ASCII). */
static void read_str(const outside *outside, uintptr_t object, char *to) {
    const mi_layout *layout = outside->layout;
    uint32_t state;
    size_t used = 0;
    if (object % sizeof(uintptr_t) || !covers(outside, object, (size_t)layout->str_ascii_size)) return;
    memcpy(&state, (const void *)(object + (uintptr_t)layout->str_state), sizeof state);
    state >>= layout->str_kind_shift;
    uint32_t kind = state & 7, compact = state >> 3 & 1, ascii = state >> 4 & 1;
    uint64_t length = (uint64_t)word_at(object, layout->str_length);
    if (!compact || (kind != 1 && kind != 2 && kind != 4)) return;
    if (length >= MI_OUTSIDE_NAME) length = MI_OUTSIDE_NAME - 1;
    uintptr_t at = object + (uintptr_t)(ascii ? layout->str_ascii_size : layout->str_compact_size);
    if (!covers(outside, at, (size_t)length * kind)) return;
    for (; length--; at += kind) {
        uint32_t code = 0;
        memcpy(&code, (const void *)at, kind); /* little-endian, as all machines of the layouts */
        put_utf8(to, &used, code);
    }
}

/* What a dict has under a name: the entries are looked through, no hash is made. 0: not there. */
static uintptr_t value_of(const outside *outside, uintptr_t dict, const char *name) {
    const mi_layout *layout = outside->layout;
    if (dict % sizeof(uintptr_t) || !covers(outside, dict, (size_t)layout->dict_size)) return 0;
    uintptr_t keys = word_at(dict, layout->dict_keys);
    if (word_at(dict, layout->dict_values) || keys % sizeof(uintptr_t)) return 0;
    if (!covers(outside, keys, (size_t)layout->keys_indices)) return 0;
    const unsigned char *head = (const unsigned char *)keys;
    unsigned log2_index = head[layout->keys_log2_index_bytes];
    uint64_t count = (uint64_t)word_at(keys, layout->keys_entries), general = !head[layout->keys_kind];
    if (log2_index > 44 || count > 1ull << 32) return 0;
    uintptr_t entries = keys + (uintptr_t)layout->keys_indices + ((uintptr_t)1 << log2_index);
    size_t size = (general ? 3 : 2) * sizeof(uintptr_t);
    if (!covers(outside, entries, (size_t)count * size)) return 0;
    for (uintptr_t entry = entries; count--; entry += size) {
        char key[MI_OUTSIDE_NAME] = "";
        uintptr_t value = word_at(entry, (int32_t)(size - sizeof value));
        if (value) read_str(outside, word_at(entry, (int32_t)(size - 2 * sizeof value)), key);
        if (value && !strcmp(key, name)) return value;
    }
    return 0;
}

/* As type.__module__ and type.__qualname__ have it (Objects/typeobject.c): a static type's name holds its module. */
static void read_name(const outside *outside, const mi_type *type, mi_outside_name *name) {
    enum { HEAP_TYPE = 9 };
    const mi_layout *layout = outside->layout;
    if (type->flags >> HEAP_TYPE & 1 && covers(outside, type->address, (size_t)layout->heap_type_size)) {
        read_str(outside, word_at(type->address, layout->heap_type_qualname), name->qualname);
        read_str(outside, value_of(outside, word_at(type->address, layout->type_dict), "__module__"), name->module);
        return;
    }
    char text[MI_OUTSIDE_NAME] = "";
    if (mi_target_read(&outside->target, word_at(type->address, layout->type_name), text, sizeof text - 1)) {
        for (size_t i = 0; i < sizeof text - 1; i++) /* it may be the last of its mapping */
            if (mi_target_read(&outside->target, word_at(type->address, layout->type_name) + i, &text[i], 1) ||
                !text[i])
                break;
    }
    char *dot = strrchr(text, '.');
    strcpy(name->qualname, dot ? dot + 1 : text);
    if (dot) *dot = 0;
    strcpy(name->module, dot ? text : "builtins");
}

static void read_names(const outside *outside, const mi_types *types) {
    static const mi_census_row none;
    for (size_t i = 0; i < types->count; i++)
        if (memcmp(&outside->job->rows[i], &none, sizeof none))
            read_name(outside, &types->items[i], &outside->job->names[i]);
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
        (uintptr_t)order->census.request.roots,
    };
    mi_error error = mi_replica_make(order->from, order->pages, keep, sizeof keep / sizeof *keep, order->replica);
    if (!error) error = mi_target_open(&outside->target, MI_TARGET_SELF, 0);
    if (error) return error;
    *runtime = (mi_runtime){&outside->target, outside->layout, order->runtime};
    outside->types = mi_os_alloc(MI_OUTSIDE_TYPES * sizeof *outside->types);
    error = outside->types ? find_types(outside, runtime) : MI_E_MEMORY;
    if (!error) error = mi_types_read(types, &outside->target, outside->layout, outside->types, outside->count);
    *order->types_cut = outside->cut;
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
    census.request.small_only = 1; /* what leads to malloc's heaps is our own C library's, which stays */
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
    outside outside = outside_of(job);
    outside.target = *target;
    for (size_t i = 0; i < types->count; i++) read_name(&outside, &types->items[i], &job->names[i]);
}
