/* heap_types.c - the types of a process by its heap, and their names by their structures. */
#include "heap_types.h"

#include <string.h>

#include "object_proof.h"
#include "object_text.h"

static int covers(const mi_target *target, uintptr_t address, size_t size) {
    return !(address % sizeof(uintptr_t)) && mi_os_maps_covers(&target->maps, address, size);
}

static uintptr_t word_at(uintptr_t address, int32_t offset) {
    uintptr_t word;
    memcpy(&word, (const void *)(address + (uintptr_t)(intptr_t)offset), sizeof word);
    return word;
}

/* The entries of a dict that shares its keys with no other: each ends with its value, behind its key. */
typedef struct entries {
    uintptr_t first;
    uint64_t count;
    size_t size;
} entries;

static int entries_of(const mi_target *target, const mi_layout *layout, uintptr_t dict, entries *found) {
    if (!covers(target, dict, (size_t)layout->dict_size)) return 0;
    uintptr_t keys = word_at(dict, layout->dict_keys);
    if (word_at(dict, layout->dict_values)) return 0;
    if (!covers(target, keys, (size_t)layout->keys_indices)) return 0;
    const unsigned char *head = (const unsigned char *)keys;
    unsigned log2_index = head[layout->keys_log2_index_bytes];
    uint64_t count = (uint64_t)word_at(keys, layout->keys_entries), general = !head[layout->keys_kind];
    if (log2_index > 44 || count > 1ull << 32) return 0;
    uintptr_t first = keys + (uintptr_t)layout->keys_indices + ((uintptr_t)1 << log2_index);
    *found = (entries){first, count, (general ? 3 : 2) * sizeof(uintptr_t)};
    return covers(target, first, (size_t)count * found->size);
}

static uintptr_t value_in(const entries *all, uint64_t index) {
    return word_at(all->first + index * all->size, (int32_t)(all->size - sizeof(uintptr_t)));
}

static uintptr_t key_in(const entries *all, uint64_t index) {
    return word_at(all->first + index * all->size, (int32_t)(all->size - 2 * sizeof(uintptr_t)));
}

/* ---- finding -------------------------------------------------------------------------------------------------------- */

/* A living object that calls itself a type: its own type is one whose objects are types (Include/object.h). */
static int is_type(const mi_target *target, const mi_layout *layout, uintptr_t type) {
    enum { HEAP_TYPE = 9, TYPE_SUBCLASS = 31 };
    if (!covers(target, type, (size_t)layout->type_size) || !mi_object_count(layout, (const unsigned char *)type))
        return 0;
    if (word_at(type, layout->type_flags) >> HEAP_TYPE & 1 && !covers(target, type, (size_t)layout->heap_type_size))
        return 0;
    uintptr_t meta = word_at(type, layout->object_type);
    if (!covers(target, meta, (size_t)layout->type_size)) return 0;
    return (int)(word_at(meta, layout->type_flags) >> TYPE_SUBCLASS & 1);
}

/* The type whose method resolution order the tuple at `tuple` is, or 0. `room`: bytes of its block from there on. */
static uintptr_t type_of_mro(const mi_heap_types *found, const mi_target *target, const mi_layout *layout,
                             uintptr_t tuple, size_t room) {
    if (room < (size_t)layout->tuple_items + sizeof(uintptr_t)) return 0;
    if (word_at(tuple, layout->object_type) != found->tuple_type) return 0;
    if (!mi_object_count(layout, (const unsigned char *)tuple) || !word_at(tuple, layout->object_var_size)) return 0;
    uintptr_t type = word_at(tuple, layout->tuple_items);
    return is_type(target, layout, type) && word_at(type, layout->type_mro) == tuple ? type : 0;
}

static void add(mi_heap_types *found, uintptr_t type) {
    if (found->known && mi_types_find(found->known, type) >= 0) return;
    if (found->count < found->room)
        found->items[found->count++] = type;
    else
        found->cut++;
}

static uint32_t before_of(const mi_heap_types *found, const mi_layout *layout) {
    return found->padding + (uint32_t)layout->gc_head_size;
}

static void find_in_pool(mi_heap_types *found, const mi_target *target, const mi_layout *layout, const mi_pool *pool) {
    uint32_t size = (pool->size_class + 1u) * (uint32_t)layout->alignment, before = before_of(found, layout);
    if (before >= size) return;
    for (uint32_t offset = (uint32_t)layout->pool_header_size; offset + size <= (uint32_t)layout->pool_size;
         offset += size) {
        uintptr_t tuple = (uintptr_t)pool->address + offset + before;
        uintptr_t type = type_of_mro(found, target, layout, tuple, size - before);
        if (type) add(found, type);
    }
}

/* Whether a type's order is too long for a block of pymalloc, and its tuple is what it should be. */
static int has_long_order(const mi_heap_types *found, const mi_target *target, const mi_layout *layout,
                          uintptr_t type) {
    if (!is_type(target, layout, type)) return 0;
    uintptr_t mro = word_at(type, layout->type_mro);
    size_t head = (size_t)layout->tuple_items, most = (size_t)(layout->size_classes * layout->alignment);
    if (!covers(target, mro, head + sizeof(uintptr_t))) return 0;
    uint64_t count = (uint64_t)word_at(mro, layout->object_var_size);
    if (count > UINT32_MAX || !covers(target, mro, head + (size_t)count * sizeof(uintptr_t))) return 0;
    size_t size = before_of(found, layout) + found->padding / 2 + head + (size_t)count * sizeof(uintptr_t);
    return size > most && type_of_mro(found, target, layout, mro, head + sizeof(uintptr_t)) == type;
}

/* Adds the subclasses of a type that was found whose orders malloc has. A type keeps them under the number of their address
 * (Objects/typeobject.c, add_subclass). */
static void find_below(mi_heap_types *found, const mi_target *target, const mi_layout *layout, uintptr_t type,
                       size_t first_long) {
    entries all;
    if (!entries_of(target, layout, word_at(type, layout->type_subclasses), &all)) return;
    for (uint64_t at = 0; at < all.count; at++) {
        int64_t number;
        size_t seen = first_long;
        if (!value_in(&all, at) || !mi_int_number(target, layout, key_in(&all, at), &number)) continue;
        if (!has_long_order(found, target, layout, (uintptr_t)number)) continue;
        while (seen < found->count && found->items[seen] != (uintptr_t)number) seen++;
        if (seen == found->count) add(found, (uintptr_t)number);
    }
}

void mi_heap_types_find(mi_heap_types *found, const mi_target *target, const mi_layout *layout, const mi_heap *heap) {
    for (size_t i = 0; i < heap->pool_count; i++)
        if (heap->pools[i].size_class != MI_POOL_FREE) find_in_pool(found, target, layout, &heap->pools[i]);
    for (size_t i = 0, first_long = found->count; i < found->count; i++)
        find_below(found, target, layout, found->items[i], first_long);
}

/* ---- names ---------------------------------------------------------------------------------------------------------- */

static void read_str(const mi_target *target, const mi_layout *layout, uintptr_t object, char *to) {
    mi_str_text(target, layout, object, MI_HEAP_TYPE_NAME - 1, to, MI_HEAP_TYPE_NAME);
}

/* What a dict has under a name: the entries are looked through, no hash is made. 0: not there. */
static uintptr_t value_of(const mi_target *target, const mi_layout *layout, uintptr_t dict, const char *name) {
    entries all;
    if (!entries_of(target, layout, dict, &all)) return 0;
    for (uint64_t at = 0; at < all.count; at++) {
        char key[MI_HEAP_TYPE_NAME] = "";
        uintptr_t value = value_in(&all, at);
        if (value) read_str(target, layout, key_in(&all, at), key);
        if (value && !strcmp(key, name)) return value;
    }
    return 0;
}

/* As type.__module__ and type.__qualname__ have it (Objects/typeobject.c): a static type's name holds its module. */
void mi_heap_type_name(const mi_target *target, const mi_layout *layout, const mi_type *type, mi_type_name *name) {
    enum { HEAP_TYPE = 9 };
    name->address = type->address;
    if (type->flags >> HEAP_TYPE & 1 && covers(target, type->address, (size_t)layout->heap_type_size)) {
        read_str(target, layout, word_at(type->address, layout->heap_type_qualname), name->qualname);
        read_str(target, layout, value_of(target, layout, word_at(type->address, layout->type_dict), "__module__"),
                 name->module);
        return;
    }
    char text[MI_HEAP_TYPE_NAME] = "";
    if (mi_target_read(target, word_at(type->address, layout->type_name), text, sizeof text - 1)) {
        for (size_t i = 0; i < sizeof text - 1; i++) /* it may be the last of its mapping */
            if (mi_target_read(target, word_at(type->address, layout->type_name) + i, &text[i], 1) || !text[i]) break;
    }
    char *dot = strrchr(text, '.');
    strcpy(name->qualname, dot ? dot + 1 : text);
    if (dot) *dot = 0;
    strcpy(name->module, dot ? text : "builtins");
}
