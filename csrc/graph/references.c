/* references.c - the rules of references.h. */
#include "references.h"

#include <string.h>

enum { HEADER = 16, WORD = sizeof(uintptr_t), MOST_SLOTS = 1 << 20, TAGS = 3 };

int mi_reader_covers(mi_reader *reader, uintptr_t address, size_t size) {
    const mi_mapping *mapping = reader->last;
    if (!mapping || address < mapping->start || address >= mapping->end) {
        mapping = mi_os_maps_find(&reader->target->maps, address);
        if (!mapping || !(mapping->flags & MI_MAP_READ)) return 0;
        reader->last = mapping;
    }
    return size <= mapping->end - address || mi_os_maps_covers(&reader->target->maps, address, size);
}

/* Of memory that was proven. */
static uintptr_t word_at(uintptr_t address, int32_t offset) {
    uintptr_t word;
    memcpy(&word, (const void *)(address + (uintptr_t)(intptr_t)offset), sizeof word);
    return word;
}

/* A word of a structure that is not in the layout, by its place behind a header of 16 bytes: that of builds without a GIL is
 * longer. */
static int32_t behind_header(const mi_reader *reader, int32_t offset) {
    return offset + reader->layout->object_size - HEADER;
}

static uint8_t byte_at(uintptr_t address, int32_t offset) {
    return *(const uint8_t *)(address + (uintptr_t)(intptr_t)offset);
}

static void tell(mi_reader *reader, uintptr_t to, unsigned role, uint64_t detail) {
    if (to) reader->visit(reader->context, to, role, detail);
}

static void tell_field(mi_reader *reader, uintptr_t object, int32_t offset, const char *name) {
    if (offset != MI_ABSENT) tell(reader, word_at(object, offset), MI_ROLE_FIELD, (uint64_t)(uintptr_t)name);
}

static void tell_words(mi_reader *reader, uintptr_t from, uint64_t count, unsigned role) {
    if (!count || count > SIZE_MAX / WORD || !mi_reader_covers(reader, from, (size_t)count * WORD)) return;
    for (uint64_t i = 0; i < count; i++) tell(reader, word_at(from + i * WORD, 0), role, i);
}

/* ---- dicts and instances ------------------------------------------------------------------------------------------- */

typedef struct keys { /* PyDictKeysObject */
    uintptr_t entries;
    uint64_t count;
    unsigned entry_size, key, value; /* PyDictUnicodeEntry, or PyDictKeyEntry with its hash in front */
} keys;

static int keys_read(mi_reader *reader, uintptr_t address, keys *keys) {
    const mi_layout *layout = reader->layout;
    if (!address || address % WORD || !mi_reader_covers(reader, address, (size_t)layout->keys_indices)) return 0;
    unsigned log2_size = byte_at(address, layout->keys_log2_size);
    unsigned log2_index = byte_at(address, layout->keys_log2_index_bytes);
    int general = byte_at(address, layout->keys_kind) == 0;
    keys->count = (uint64_t)word_at(address, layout->keys_entries);
    if (log2_size > 40 || log2_index > 44 || keys->count > 1ull << log2_size) return 0;
    keys->entries = address + (uintptr_t)layout->keys_indices + ((uintptr_t)1 << log2_index);
    keys->entry_size = general ? 3 * WORD : 2 * WORD;
    keys->key = general ? WORD : 0;
    keys->value = keys->key + WORD;
    return mi_reader_covers(reader, keys->entries, keys->count * keys->entry_size);
}

static uintptr_t key_at(const keys *keys, uint64_t index) {
    return index < keys->count ? word_at(keys->entries + index * keys->entry_size, (int32_t)keys->key) : 0;
}

/* The values of a split dict or an instance, beside the keys that its type shares (Objects/dictobject.c). */
static void tell_values(mi_reader *reader, uintptr_t values, uintptr_t keys_address, unsigned role) {
    const mi_layout *layout = reader->layout;
    keys keys = {0};
    uint64_t count;
    int known = keys_read(reader, keys_address, &keys);
    if (layout->values_capacity != MI_ABSENT) {
        if (!mi_reader_covers(reader, values, (size_t)layout->values_first)) return;
        count = byte_at(values, layout->values_capacity);
    } else if (known) {
        count = keys.count;
    } else {
        return;
    }
    uintptr_t first = values + (uintptr_t)layout->values_first;
    if (values % WORD || !mi_reader_covers(reader, first, count * WORD)) return;
    for (uint64_t i = 0; i < count; i++) tell(reader, word_at(first + i * WORD, 0), role, known ? key_at(&keys, i) : 0);
}

static void tell_dict(mi_reader *reader, uintptr_t object) {
    const mi_layout *layout = reader->layout;
    uintptr_t address = word_at(object, layout->dict_keys), values = word_at(object, layout->dict_values);
    keys keys;
    if (values) {
        if (values % WORD || !mi_reader_covers(reader, values, WORD)) return;
        /* values inside an instance are told with it, and the keys with the type that shares them */
        if (layout->dict_values_embedded == MI_ABSENT || !byte_at(values, layout->dict_values_embedded))
            tell_values(reader, values, address, MI_ROLE_VALUE);
        return;
    }
    if (!keys_read(reader, address, &keys)) return;
    for (uint64_t i = 0; i < keys.count; i++) {
        uintptr_t entry = keys.entries + i * keys.entry_size, key = word_at(entry, (int32_t)keys.key);
        uintptr_t value = word_at(entry, (int32_t)keys.value);
        if (!key || !value) continue; /* deleted */
        tell(reader, key, MI_ROLE_KEY, i);
        tell(reader, value, MI_ROLE_VALUE, key);
    }
}

int mi_reader_dict_entries(mi_reader *reader, uintptr_t dict, uintptr_t *entries, uint64_t *count, unsigned *size) {
    const mi_layout *layout = reader->layout;
    keys keys;
    if (!dict || dict % WORD || !mi_reader_covers(reader, dict, (size_t)layout->dict_size)) return 0;
    if (word_at(dict, layout->dict_values) || !keys_read(reader, word_at(dict, layout->dict_keys), &keys)) return 0;
    *entries = keys.entries;
    *count = keys.count;
    *size = keys.entry_size;
    return 1;
}

/* struct _odictobject and _odictnode, Objects/odictobject.c: behind the dict first, last, fast nodes, their size, a
 * sentinel, a state, and the instance's dict; a node holds its key once more, and names the next in its third word. */
static void tell_ordered_dict(mi_reader *reader, uintptr_t object) {
    const mi_layout *layout = reader->layout;
    uint64_t most = (uint64_t)word_at(object, layout->dict_used), index = 0;
    tell_dict(reader, object);
    for (uintptr_t node = word_at(object, layout->dict_size); node && index < most; node = word_at(node, 16)) {
        if (node % WORD || !mi_reader_covers(reader, node, 4 * WORD)) return;
        tell(reader, word_at(node, 0), MI_ROLE_KEY, index++);
    }
}

static void tell_instance(mi_reader *reader, uintptr_t object, const mi_type *type) {
    const mi_layout *layout = reader->layout;
    uintptr_t shared, dict;
    if (!(type->flags & (uint64_t)(uint32_t)layout->type_managed_dict)) return;
    shared = word_at(type->address, layout->heap_type_cached_keys);
    if (layout->managed_values != MI_ABSENT) {
        uintptr_t values = word_at(object, layout->managed_values);
        if (layout->managed_values_tag) values = values & 1 ? values + 1 : 0;
        if (values) tell_values(reader, values, shared, MI_ROLE_ATTRIBUTE);
    } else if (layout->type_inline_values != MI_ABSENT &&
               type->flags & (uint64_t)(uint32_t)layout->type_inline_values) {
        uintptr_t values = object + type->basicsize; /* _PyObject_InlineValues */
        if (mi_reader_covers(reader, values, (size_t)layout->values_first) && byte_at(values, layout->values_valid))
            tell_values(reader, values, shared, MI_ROLE_ATTRIBUTE);
    }
    dict = word_at(object, layout->object_managed_dict);
    if (!(dict & 1)) tell(reader, dict, MI_ROLE_FIELD, (uint64_t)(uintptr_t)"__dict__");
}

/* ---- other kinds ---------------------------------------------------------------------------------------------------- */

static void tell_set(mi_reader *reader, uintptr_t object) {
    const mi_layout *layout = reader->layout;
    uintptr_t table = word_at(object, layout->set_table), entry = (uintptr_t)layout->set_entry_size;
    uint64_t count = (uint64_t)word_at(object, layout->set_mask) + 1;
    if (count > (uint64_t)1 << 40 || !mi_reader_covers(reader, table, count * entry)) return;
    for (uint64_t i = 0; i < count; i++) tell(reader, word_at(table + i * entry, 0), MI_ROLE_KEY, i);
}

static void tell_type(mi_reader *reader, uintptr_t object) {
    enum { HEAP_TYPE = 9 };
    const mi_layout *layout = reader->layout;
    keys keys;
    tell_field(reader, object, layout->type_base, "__base__");
    tell_field(reader, object, layout->type_bases, "__bases__");
    tell_field(reader, object, layout->type_mro, "__mro__");
    tell_field(reader, object, layout->type_cache, "its cache");
    if (!(word_at(object, layout->type_flags) >> HEAP_TYPE & 1) ||
        !mi_reader_covers(reader, object, (size_t)layout->heap_type_size))
        return;
    tell_field(reader, object, layout->type_subclasses, "its subclasses");
    tell_field(reader, object, layout->heap_type_short_name, "__name__");
    tell_field(reader, object, layout->heap_type_qualname, "__qualname__");
    tell_field(reader, object, layout->heap_type_slots, "__slots__");
    tell_field(reader, object, layout->heap_type_module, "its module");
    if (keys_read(reader, word_at(object, layout->heap_type_cached_keys), &keys))
        for (uint64_t i = 0; i < keys.count; i++) tell(reader, key_at(&keys, i), MI_ROLE_KEY, i);
}

/* dequeobject and its blocks, Modules/_collectionsmodule.c: leftblock, rightblock, leftindex; left link, 64 items, right
 * link. */
static void tell_deque(mi_reader *reader, uintptr_t object) {
    enum { LEFT_BLOCK = 24, LEFT_INDEX = 40, ITEMS = 64, ITEM_0 = 8, RIGHT_LINK = ITEM_0 + ITEMS * WORD };
    uint64_t count = (uint64_t)word_at(object, reader->layout->object_var_size);
    uintptr_t block = word_at(object, behind_header(reader, LEFT_BLOCK)),
              at = word_at(object, behind_header(reader, LEFT_INDEX));
    for (uint64_t i = 0; i < count; i++, at++) {
        if (at == ITEMS) {
            block = word_at(block, RIGHT_LINK);
            at = 0;
        }
        if (at > ITEMS || block % WORD || ((i == 0 || at == 0) && !mi_reader_covers(reader, block, RIGHT_LINK + WORD)))
            return;
        tell(reader, word_at(block, ITEM_0 + (int32_t)(at * WORD)), MI_ROLE_ITEM, i);
    }
}

/* lru_cache_object, Modules/_functoolsmodule.c: it begins with a link, and all that it has are in a ring (prev, next) which
 * holds each once more than the cache does; a link has a hash, a key and a result behind these. */
static void tell_lru_cache(mi_reader *reader, uintptr_t object) {
    enum { NEXT = 24, KEY = 40, LINK_SIZE = 56, CACHE = 72, TYPE_OF_LINKS = 120 };
    const mi_layout *layout = reader->layout;
    uintptr_t cache = word_at(object, behind_header(reader, CACHE)),
              type = word_at(object, behind_header(reader, TYPE_OF_LINKS)),
              link = word_at(object, behind_header(reader, NEXT));
    if (!type || cache % WORD || !mi_reader_covers(reader, cache, (size_t)layout->dict_size)) return;
    for (uint64_t left = (uint64_t)word_at(cache, layout->dict_used); left && link != object; left--) {
        if (link % WORD || !mi_reader_covers(reader, link, (size_t)behind_header(reader, LINK_SIZE)) ||
            word_at(link, layout->object_type) != type)
            return;
        tell(reader, link, MI_ROLE_VALUE, word_at(link, behind_header(reader, KEY)));
        link = word_at(link, behind_header(reader, NEXT));
    }
}

/* PyDateTime_DateTime and PyDateTime_Time, Include/datetime.h: without a zone the object ends before that word. */
static void tell_zone(mi_reader *reader, uintptr_t object, const mi_type *type) {
    enum { HAS_ZONE = 24, ZONE_OF_TIME = 32, ZONE = 40 };
    if (!byte_at(object, behind_header(reader, HAS_ZONE))) return;
    int32_t zone = behind_header(reader, ZONE);
    if (type->whole < (uint32_t)zone + WORD) zone = behind_header(reader, ZONE_OF_TIME);
    tell_field(reader, object, zone, "tzinfo");
}

/* ---- frames --------------------------------------------------------------------------------------------------------- */

/* A word of a frame: from 3.14 on with tags, an int where all are set. */
static void tell_tagged(mi_reader *reader, uintptr_t word, unsigned role, uint64_t detail) {
    if (reader->layout->frame_locals != MI_ABSENT) {
        if ((word & TAGS) == TAGS) return;
        if (word & TAGS) role |= MI_ROLE_BORROWED;
        word &= ~(uintptr_t)TAGS;
    }
    tell(reader, word, role, detail);
}

/* How many local variables the frame's code has, -1 when that is no code object. */
static int64_t locals_of(mi_reader *reader, uintptr_t code) {
    const mi_layout *layout = reader->layout;
    int32_t count;
    if (layout->frame_locals != MI_ABSENT) code &= ~(uintptr_t)TAGS;
    if (code % WORD || !mi_reader_covers(reader, code, (size_t)layout->code_qualname + WORD)) return -1;
    int type = mi_types_find(reader->types, word_at(code, layout->object_type));
    if (type < 0 || reader->types->items[type].kind != MI_KIND_CODE) return -1;
    memcpy(&count, (const void *)(code + (uintptr_t)layout->code_locals), sizeof count);
    return count >= 0 && count < MOST_SLOTS ? count : -1;
}

/* What of the slots is in use: as far as the stack reached when it was last told, else (while it runs) the local variables.
 * A frame that was cleared tells 0, and take_ownership() (Python/frame.c) copies none of its slots into the frame object. */
static int64_t slots_of(mi_reader *reader, uintptr_t frame, int64_t locals) {
    const mi_layout *layout = reader->layout;
    int64_t top = -1;
    if (layout->iframe_stacktop != MI_ABSENT) {
        int32_t told;
        memcpy(&told, (const void *)(frame + (uintptr_t)layout->iframe_stacktop), sizeof told);
        top = told;
    } else {
        uintptr_t told = word_at(frame, layout->iframe_stackpointer), first = frame + (uintptr_t)layout->iframe_slots;
        if (told >= first && (told - first) % WORD == 0) top = (int64_t)((told - first) / WORD);
    }
    return top >= 0 && top < MOST_SLOTS ? top : locals;
}

void mi_references_of_frame(mi_reader *reader, uintptr_t frame) {
    const mi_layout *layout = reader->layout;
    if (frame % WORD || !mi_reader_covers(reader, frame, (size_t)layout->iframe_slots)) return;
    uintptr_t code = word_at(frame, layout->iframe_code);
    int64_t locals = locals_of(reader, code);
    if (locals < 0) return;
    tell_tagged(reader, code, MI_ROLE_FIELD, (uint64_t)(uintptr_t)"its code");
    tell_tagged(reader, word_at(frame, layout->iframe_function), MI_ROLE_FIELD, (uint64_t)(uintptr_t)"its function");
    tell_field(reader, frame, layout->iframe_locals, "f_locals");
    tell_field(reader, frame, layout->iframe_object, "its frame object");
    int64_t slots = slots_of(reader, frame, locals);
    uintptr_t first = frame + (uintptr_t)layout->iframe_slots;
    if (!slots || !mi_reader_covers(reader, first, (size_t)slots * WORD)) return;
    for (int64_t i = 0; i < slots; i++)
        tell_tagged(reader, word_at(first + (uintptr_t)i * WORD, 0), i < locals ? MI_ROLE_LOCAL : MI_ROLE_STACK,
                    (uint64_t)i);
}

static void tell_frame_object(mi_reader *reader, uintptr_t object) {
    uintptr_t own = object + (uintptr_t)reader->layout->frame_data;
    if (word_at(object, reader->layout->frame_frame) == own) mi_references_of_frame(reader, own);
}

static void tell_generator(mi_reader *reader, uintptr_t object) {
    const mi_layout *layout = reader->layout;
    if ((int8_t)byte_at(object, layout->generator_state) != layout->generator_cleared)
        mi_references_of_frame(reader, object + (uintptr_t)layout->generator_frame);
}

/* ---- types that are not known, by their own tp_traverse -------------------------------------------------------------- */

enum { MOST_TOLD = 256 };

/* What of an object was told by its known words: its tp_traverse tells that once more. */
typedef struct call {
    mi_reader *reader;
    mi_visit visit;
    void *context;
    uintptr_t told[MOST_TOLD];
    size_t told_count;
    uint64_t index;
} call;

static void note_told(void *context, uintptr_t to, unsigned role, uint64_t detail) {
    call *call = context;
    if (call->told_count < MOST_TOLD) call->told[call->told_count++] = to;
    call->visit(call->context, to, role, detail);
}

static int visit_called(void *object, void *context) {
    call *call = context;
    uintptr_t to = (uintptr_t)object;
    for (size_t i = 0; i < call->told_count; i++) {
        if (call->told[i] != to) continue;
        call->told[i] = call->told[--call->told_count];
        return 0;
    }
    if (to) call->visit(call->context, to, MI_ROLE_CALLED, call->index++);
    return 0;
}

/* Only objects that the collector tracks are whole; a static type's own traverse function would abort the process. */
static int may_be_called(mi_reader *reader, uintptr_t object, const mi_type *type) {
    int (*is_gc)(void *);
    const mi_layout *layout = reader->layout;
    uintptr_t function = word_at(type->address, reader->foreign.is_gc);
    if (layout->gc_head_size == MI_ABSENT || !word_at(type->address, reader->foreign.traverse)) return 0;
    memcpy(&is_gc, &function, sizeof is_gc);
    if (is_gc && !is_gc((void *)object)) return 0;
    return word_at(object - (uintptr_t)layout->gc_head_size, layout->gc_next) != 0;
}

static void call_traverse(call *call, uintptr_t object, const mi_type *type) {
    int (*traverse)(void *, int (*)(void *, void *), void *);
    uintptr_t function = word_at(type->address, call->reader->foreign.traverse);
    memcpy(&traverse, &function, sizeof traverse);
    traverse((void *)object, visit_called, call);
}

/* ---- one object ----------------------------------------------------------------------------------------------------- */

static void tell_shape(mi_reader *reader, uintptr_t object, const mi_type *type, const mi_shape *shape, int guess) {
    const mi_shape_word *words = reader->shapes->words + shape->first;
    for (uint32_t i = 0; i < shape->count; i++) {
        int64_t offset = words[i].offset;
        if (words[i].guess && !guess) continue;
        if (offset < 0) { /* _PyObject_VAR_SIZE */
            int64_t length = (int64_t)word_at(object, reader->layout->object_var_size);
            uint64_t end = type->basicsize + (uint64_t)(length < 0 ? -length : length) * type->itemsize;
            offset += (int64_t)((end + WORD - 1) & ~(uint64_t)(WORD - 1));
            if (offset < 0 || !mi_reader_covers(reader, object + (uintptr_t)offset, WORD)) continue;
        }
        uintptr_t to = word_at(object + (uintptr_t)offset, 0);
        if (words[i].guess)
            tell(reader, to, MI_ROLE_GUESS, (uint64_t)offset);
        else
            tell(reader, to, MI_ROLE_FIELD, (uint64_t)(uintptr_t)words[i].name);
    }
}

static void tell_known(mi_reader *reader, uintptr_t object, const mi_type *type, const mi_shape *shape, int guess) {
    if (shape->heap_type) tell(reader, type->address, MI_ROLE_TYPE, 0);
    if (shape->count) tell_shape(reader, object, type, shape, guess);
    if (shape->heap_type) tell_instance(reader, object, type);
}

static void tell_foreign(mi_reader *reader, uintptr_t object, const mi_type *type, const mi_shape *shape) {
    call call = {.reader = reader, .visit = reader->visit, .context = reader->context};
    reader->visit = note_told;
    reader->context = &call;
    tell_known(reader, object, type, shape, 0);
    reader->visit = call.visit;
    reader->context = call.context;
    call_traverse(&call, object, type);
}

void mi_references_of(mi_reader *reader, uintptr_t object, int index) {
    const mi_type *type = &reader->types->items[index];
    const mi_shape *shape = &reader->shapes->items[index];
    const mi_layout *layout = reader->layout;
    if (reader->foreign.traverse && shape->foreign && may_be_called(reader, object, type)) {
        tell_foreign(reader, object, type, shape);
        return;
    }
    tell_known(reader, object, type, shape, 1);
    switch ((mi_rule)shape->rule) {
    case MI_RULE_NONE: break;
    case MI_RULE_TUPLE:
        tell_words(reader, object + (uintptr_t)layout->tuple_items, (uint64_t)word_at(object, layout->object_var_size),
                   MI_ROLE_ITEM);
        break;
    case MI_RULE_LIST:
        tell_words(reader, word_at(object, layout->list_items), (uint64_t)word_at(object, layout->object_var_size),
                   MI_ROLE_ITEM);
        break;
    case MI_RULE_DICT: tell_dict(reader, object); break;
    case MI_RULE_ORDERED_DICT: tell_ordered_dict(reader, object); break;
    case MI_RULE_SET: tell_set(reader, object); break;
    case MI_RULE_TYPE: tell_type(reader, object); break;
    case MI_RULE_FRAME: tell_frame_object(reader, object); break;
    case MI_RULE_GENERATOR: tell_generator(reader, object); break;
    case MI_RULE_DEQUE: tell_deque(reader, object); break;
    case MI_RULE_LRU_CACHE: tell_lru_cache(reader, object); break;
    case MI_RULE_ZONED: tell_zone(reader, object, type); break;
    case MI_RULE_ARRAY: mi_references_of_array(reader, object); break;
    case MI_RULE_ARRAY_SCALAR: mi_references_of_array_scalar(reader, object); break;
    }
    if (shape->guess_items) {
        int64_t length = (int64_t)word_at(object, layout->object_var_size);
        tell_words(reader, object + type->basicsize, length > 0 ? (uint64_t)length : 0, MI_ROLE_GUESS);
    }
}
