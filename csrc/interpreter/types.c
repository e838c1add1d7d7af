/* types.c - reads types into the table of types.h and tells their kinds. */
#include "types.h"

#include <string.h>

/* Flags of Include/object.h; the subclass flags are the same in all versions. */
enum {
    LONG_SUBCLASS = 24,
    LIST_SUBCLASS = 25,
    BYTES_SUBCLASS = 27,
    UNICODE_SUBCLASS = 28,
    DICT_SUBCLASS = 29,
    TYPE_SUBCLASS = 31,
    HEAPTYPE = 9,
    HAVE_GC = 14
};

/* Types that are known by name alone: those of extension modules, and built-in ones that no flag marks. `least`: so large
 * is an object at least whose fields are read before its type's size is looked at. */
static const struct {
    const char *name;
    mi_kind kind;
    uint32_t least;
} by_name[] = {
    {"set", MI_KIND_SET, 0},
    {"frozenset", MI_KIND_SET, 0},
    {"frozendict", MI_KIND_DICT, 0},
    {"bytearray", MI_KIND_BYTEARRAY, 0},
    {"code", MI_KIND_CODE, 0},
    {"function", MI_KIND_FUNCTION, 0},
    {"module", MI_KIND_MODULE, 0},
    {"generator", MI_KIND_GENERATOR, 0},
    {"coroutine", MI_KIND_GENERATOR, 0},
    {"async_generator", MI_KIND_GENERATOR, 0},
    {"frame", MI_KIND_FRAME, 0},
    {"PyCapsule", MI_KIND_CAPSULE, 0},
    {"collections.OrderedDict", MI_KIND_ODICT, 72},
    {"StgDict", MI_KIND_CTYPES_DICT, 192},
    {"array.array", MI_KIND_ARRAY, 0},
    {"_struct.Struct", MI_KIND_STRUCT, 0},
    {"_io.StringIO", MI_KIND_STRINGIO, 0},
    {"_io.BufferedReader", MI_KIND_BUFFERED, 0},
    {"_io.BufferedWriter", MI_KIND_BUFFERED, 0},
    {"_io.BufferedRandom", MI_KIND_BUFFERED, 0},
    {"decimal.Decimal", MI_KIND_DECIMAL, 0},
    {"_ctypes._CData", MI_KIND_CDATA, 0},
    {"itertools.combinations", MI_KIND_COMBINATIONS, 0},
    {"itertools.combinations_with_replacement", MI_KIND_COMBINATIONS, 0},
    {"itertools.product", MI_KIND_COMBINATIONS, 0},
    {"itertools.permutations", MI_KIND_PERMUTATIONS, 0},
    {"operator.methodcaller", MI_KIND_METHODCALLER, 0},
    {"numpy._ArrayMethod", MI_KIND_ARRAY_METHOD, 0},
    {"numpy._BoundArrayMethod", MI_KIND_ARRAY_METHOD, 0},
    {"numpy.ufunc", MI_KIND_UFUNC, 0},
    {"numpy.ndarray", MI_KIND_NDARRAY, 72},
    {"numpy.void", MI_KIND_NUMPY_VOID, 56},
    {"numpy.nditer", MI_KIND_NUMPY_PARTS, 0},
    {"numpy.dtype", MI_KIND_NUMPY_PARTS, 0},
    {"numpy._ArrayFunctionDispatcher", MI_KIND_NUMPY_PARTS, 0},
    {"collections.deque", MI_KIND_DEQUE, 208},
    {"xml.etree.ElementTree.Element", MI_KIND_ELEMENT, 48},
    {"xml.etree.ElementTree.TreeBuilder", MI_KIND_XML_PARTS, 0},
    {"xml.etree.ElementTree.XMLParser", MI_KIND_EXPAT, 0},
    {"datetime.datetime", MI_KIND_ZONED, 40},
    {"datetime.time", MI_KIND_ZONED, 40},
    {"_elementtree._element_iterator", MI_KIND_XML_PARTS, 0},
    {"pyexpat.xmlparser", MI_KIND_EXPAT, 0},
    {"_pickle.Pickler", MI_KIND_PICKLE, 0},
    {"_pickle.Unpickler", MI_KIND_PICKLE, 0},
    {"_pickle.Pdata", MI_KIND_PICKLE, 0},
    {"zoneinfo.ZoneInfo", MI_KIND_ZONE, 0},
    {"_sre.SRE_Scanner", MI_KIND_SRE, 0},
    {"re.Scanner", MI_KIND_SRE, 0},
    {"_queue.SimpleQueue", MI_KIND_QUEUE, 0},
    {"_io.FileIO", MI_KIND_FILE, 0},
    {"_csv.reader", MI_KIND_CSV, 0},
    {"_csv.writer", MI_KIND_CSV, 0},
};

/* A class of the program's may be called as it likes: names without a module are those of static types alone, and what calls
 * itself as one of an extension module must have its size. */
static mi_kind kind_of_name(const char *name, int heap_type, int64_t basicsize) {
    if (heap_type && !strchr(name, '.')) return MI_KIND_PLAIN;
    for (size_t i = 0; i < sizeof by_name / sizeof *by_name; i++)
        if (*by_name[i].name == *name && !strcmp(by_name[i].name, name))
            return basicsize >= by_name[i].least ? by_name[i].kind : MI_KIND_PLAIN;
    return MI_KIND_PLAIN;
}

/* Bytes of a type's structure or name, of this process as they lie: the caller keeps the type alive. A system call for each
 * would take longer than a small heap. NULL when they cannot be read. */
static const unsigned char *bytes_at(const mi_target *target, uintptr_t address, void *room, size_t size) {
    if (target->kind == MI_TARGET_SELF && mi_os_maps_covers(&target->maps, address, size))
        return (const unsigned char *)address;
    return mi_target_read(target, address, room, size) ? NULL : room;
}

enum { TYPE_ROOM = 1024 };

static const unsigned char *type_at(const mi_target *target, const mi_layout *layout, uintptr_t address, void *room) {
    return layout->type_size > TYPE_ROOM ? NULL : bytes_at(target, address, room, (size_t)layout->type_size);
}

static uintptr_t word_at(const unsigned char *type, int32_t offset) {
    uintptr_t word;
    memcpy(&word, type + offset, sizeof word);
    return word;
}

static int has(uint64_t flags, int bit) { return (int)(flags >> bit & 1); }

/* The nearest base whose name is known decides; OrderedDict comes before its base dict. */
static mi_kind kind_of(const mi_target *target, const mi_layout *layout, uintptr_t type, uint64_t flags) {
    enum { MOST_BASES = 64, NAME = 48 };
    unsigned char room[TYPE_ROOM];
    for (int depth = 0; type && depth < MOST_BASES; depth++) {
        char name[NAME] = "";
        const unsigned char *at = type_at(target, layout, type, room);
        if (!at) break;
        const unsigned char *text = bytes_at(target, word_at(at, layout->type_name), name, NAME - 1);
        if (text) {
            if (text != (const unsigned char *)name) memcpy(name, text, NAME - 1);
            mi_kind kind = kind_of_name(name, has(word_at(at, layout->type_flags), HEAPTYPE),
                                        (int64_t)word_at(at, layout->type_basicsize));
            if (kind != MI_KIND_PLAIN) return kind;
        }
        type = word_at(at, layout->type_base);
    }
    if (has(flags, LIST_SUBCLASS)) return MI_KIND_LIST;
    if (has(flags, DICT_SUBCLASS)) return MI_KIND_DICT;
    if (has(flags, UNICODE_SUBCLASS)) return MI_KIND_STR;
    if (has(flags, LONG_SUBCLASS)) return MI_KIND_INT;
    if (has(flags, BYTES_SUBCLASS)) return MI_KIND_BYTES;
    if (has(flags, TYPE_SUBCLASS)) return MI_KIND_TYPE;
    return MI_KIND_PLAIN;
}

/* _PyType_PreHeaderSize, Include/internal/pycore_object.h. */
static uint16_t preheader_of(const mi_layout *layout, uint64_t flags) {
    uint16_t size = 0;
    if (has(flags, HAVE_GC) && layout->gc_head_size != MI_ABSENT) size = (uint16_t)layout->gc_head_size;
    if (flags & (uint64_t)(uint32_t)layout->type_preheader_flags) size = (uint16_t)(size + 2 * sizeof(void *));
    return size;
}

static mi_sizing sizing_of(const mi_layout *layout, const mi_type *type) {
    if (type->kind == MI_KIND_STR) return MI_SIZING_STR;
    if (type->kind == MI_KIND_INT) return MI_SIZING_INT;
    if (type->kind == MI_KIND_GENERATOR || type->kind == MI_KIND_FRAME) return MI_SIZING_FRAME;
    if (type->itemsize) return MI_SIZING_VAR;
    if (type->kind == MI_KIND_ZONED && !has(type->flags, HEAPTYPE)) return MI_SIZING_ZONED;
    if (layout->type_inline_values != MI_ABSENT && type->flags & (uint64_t)(uint32_t)layout->type_inline_values)
        return MI_SIZING_INLINE;
    return MI_SIZING_FIXED;
}

/* By its kind, or for the values of instances up to 3.12 (owners.c, claim_instance). */
static mi_owning owning_of(const mi_layout *layout, const mi_type *type) {
    switch ((mi_kind)type->kind) {
    case MI_KIND_STRINGIO:
    case MI_KIND_METHODCALLER:
    case MI_KIND_UFUNC: return MI_OWNS_WORDS;
    case MI_KIND_PLAIN:
    case MI_KIND_BYTES:
    case MI_KIND_ZONED:
    case MI_KIND_GENERATOR:
    case MI_KIND_FRAME:
    case MI_KIND_INT: break;
    default: return type->kind >= MI_KIND_EXPAT ? MI_OWNS_WORDS : MI_OWNS_NAMED;
    }
    int managed = layout->managed_values != MI_ABSENT && type->flags & (uint64_t)(uint32_t)layout->type_managed_dict;
    return managed ? MI_OWNS_NAMED : MI_OWNS_NOTHING;
}

/* From 3.14 on overflow and flags lie behind 32 bits of count, and an object that is kept for later has the address of the
 * next one in their place (pycore_freelist.h): the upper half of it is no overflow of a count. */
static mi_count_bits count_bits_of(const mi_layout *layout) {
    unsigned char told[sizeof(uint64_t)] = {0};
    mi_count_bits bits = {0};
    if (layout->object_refcount == MI_ABSENT) return bits;
    bits = (mi_count_bits){UINT64_MAX, UINT32_MAX};
    if (layout->object_refcount_size != 4) return bits;
    memset(told, 0xff, sizeof(uint32_t));
    memset(told + (layout->object_overflow - layout->object_refcount), 0xff, sizeof(uint16_t));
    memcpy(&bits.told, told, sizeof told);
    return bits;
}

static mi_error read_type(const mi_target *target, const mi_layout *layout, uintptr_t address, mi_type *type) {
    unsigned char room[TYPE_ROOM];
    const unsigned char *at = type_at(target, layout, address, room);
    if (!at) return MI_E_UNMAPPED;
    int64_t basicsize = (int64_t)word_at(at, layout->type_basicsize);
    int64_t itemsize = (int64_t)word_at(at, layout->type_itemsize);
    type->flags = word_at(at, layout->type_flags);
    type->address = address;
    type->kind = (uint16_t)kind_of(target, layout, address, type->flags);
    type->preheader = preheader_of(layout, type->flags);
    type->basicsize = basicsize < 0 || basicsize > INT32_MAX ? INT32_MAX : (uint32_t)basicsize;
    type->whole = type->basicsize;
    type->itemsize = itemsize < 0 || itemsize > INT32_MAX ? 0 : (uint32_t)itemsize;
    /* the basicsize of str is that of its largest form; a compact ASCII string is shorter */
    if (type->kind == MI_KIND_STR) type->basicsize = (uint32_t)layout->str_ascii_size;
    type->sizing = (uint8_t)sizing_of(layout, type);
    if (type->sizing == MI_SIZING_ZONED) type->basicsize -= (uint32_t)sizeof(void *);
    type->generic = (uint8_t)has(type->flags, HEAPTYPE);
    type->owns = (uint8_t)owning_of(layout, type);
    return MI_OK;
}

mi_error mi_types_read(mi_types *types, const mi_target *target, const mi_layout *layout, const uintptr_t *addresses,
                       size_t count) {
    memset(types, 0, sizeof *types);
    types->room = count;
    types->count_bits = count_bits_of(layout);
    types->items = mi_os_alloc(count * sizeof *types->items);
    for (types->index_bits = 12; (size_t)1 << types->index_bits < count * 4; types->index_bits++) {
    }
    types->keys = mi_os_alloc(sizeof *types->keys << types->index_bits);
    if (!types->items || !types->keys) {
        mi_types_free(types);
        return MI_E_MEMORY;
    }
    size_t mask = ((size_t)1 << types->index_bits) - 1;
    for (size_t i = 0; i < count; i++) {
        if (mi_types_find(types, addresses[i]) >= 0 ||
            read_type(target, layout, addresses[i], &types->items[types->count]))
            continue;
        uint64_t hash = mi_types_hash(addresses[i]), first = hash >> 48, second = hash >> 32 & 0xffff;
        mi_near_add(&types->near, addresses[i], addresses[i] + 1);
        types->filter[first >> 6] |= 1ull << (first & 63);
        types->filter[second >> 6] |= 1ull << (second & 63);
        size_t at = (size_t)(hash >> (64 - types->index_bits));
        while (types->keys[at].address) at = (at + 1) & mask;
        const mi_type *type = &types->items[types->count];
        types->keys[at] = (mi_type_key){.address = type->address,
                                        .item = (uint32_t)types->count++,
                                        .basicsize = type->basicsize,
                                        .preheader = type->preheader,
                                        .sizing = type->sizing,
                                        .owns = type->owns};
    }
    return MI_OK;
}

mi_error mi_types_add(mi_types *types, const mi_type *items, size_t count) {
    size_t room = types->count + count;
    if (!count) return MI_OK;
    mi_type *all = mi_os_realloc(types->items, types->room * sizeof *all, room * sizeof *all);
    if (!all) return MI_E_MEMORY;
    memcpy(all + types->count, items, count * sizeof *all);
    types->items = all;
    types->count = types->room = room;
    return MI_OK;
}

void mi_types_free(mi_types *types) {
    mi_os_free(types->items, types->room * sizeof *types->items);
    if (types->keys) mi_os_free(types->keys, sizeof *types->keys << types->index_bits);
    memset(types, 0, sizeof *types);
}
