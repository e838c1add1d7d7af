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

/* Types that are known by name alone: those of extension modules, and built-in ones that no flag marks. */
static const struct {
    const char *name;
    mi_kind kind;
} by_name[] = {
    {"set", MI_KIND_SET},
    {"frozenset", MI_KIND_SET},
    {"frozendict", MI_KIND_DICT},
    {"bytearray", MI_KIND_BYTEARRAY},
    {"code", MI_KIND_CODE},
    {"function", MI_KIND_FUNCTION},
    {"module", MI_KIND_MODULE},
    {"PyCapsule", MI_KIND_CAPSULE},
    {"collections.OrderedDict", MI_KIND_ODICT},
    {"array.array", MI_KIND_ARRAY},
    {"_struct.Struct", MI_KIND_STRUCT},
    {"_io.StringIO", MI_KIND_STRINGIO},
    {"_io.BufferedReader", MI_KIND_BUFFERED},
    {"_io.BufferedWriter", MI_KIND_BUFFERED},
    {"_io.BufferedRandom", MI_KIND_BUFFERED},
    {"decimal.Decimal", MI_KIND_DECIMAL},
    {"_ctypes._CData", MI_KIND_CDATA},
    {"itertools.combinations", MI_KIND_COMBINATIONS},
    {"itertools.combinations_with_replacement", MI_KIND_COMBINATIONS},
    {"itertools.product", MI_KIND_COMBINATIONS},
    {"itertools.permutations", MI_KIND_PERMUTATIONS},
    {"operator.methodcaller", MI_KIND_METHODCALLER},
    {"numpy._ArrayMethod", MI_KIND_ARRAY_METHOD},
    {"numpy._BoundArrayMethod", MI_KIND_ARRAY_METHOD},
    {"numpy.ufunc", MI_KIND_UFUNC},
    {"numpy.ndarray", MI_KIND_NDARRAY},
    {"numpy.nditer", MI_KIND_NUMPY_PARTS},
    {"numpy.dtype", MI_KIND_NUMPY_PARTS},
    {"numpy._ArrayFunctionDispatcher", MI_KIND_NUMPY_PARTS},
    {"collections.deque", MI_KIND_DEQUE},
    {"xml.etree.ElementTree.Element", MI_KIND_ELEMENT},
    {"xml.etree.ElementTree.TreeBuilder", MI_KIND_XML_PARTS},
    {"xml.etree.ElementTree.XMLParser", MI_KIND_EXPAT},
    {"_elementtree._element_iterator", MI_KIND_XML_PARTS},
    {"pyexpat.xmlparser", MI_KIND_EXPAT},
    {"_pickle.Pickler", MI_KIND_PICKLE},
    {"_pickle.Unpickler", MI_KIND_PICKLE},
    {"_pickle.Pdata", MI_KIND_PICKLE},
    {"zoneinfo.ZoneInfo", MI_KIND_ZONE},
    {"_sre.SRE_Scanner", MI_KIND_SRE},
    {"re.Scanner", MI_KIND_SRE},
    {"_queue.SimpleQueue", MI_KIND_QUEUE},
    {"_io.FileIO", MI_KIND_FILE},
    {"_csv.reader", MI_KIND_CSV},
    {"_csv.writer", MI_KIND_CSV},
};

static mi_kind kind_of_name(const char *name) {
    for (size_t i = 0; i < sizeof by_name / sizeof *by_name; i++)
        if (!strcmp(by_name[i].name, name)) return by_name[i].kind;
    return MI_KIND_PLAIN;
}

/* A type's structure and name, of this process as they lie: the caller keeps the type alive. A system call for each field
 * would take longer than a small heap. */
static mi_error read_part(const mi_target *target, uintptr_t address, void *to, size_t size) {
    if (target->kind != MI_TARGET_SELF || !mi_os_maps_covers(&target->maps, address, size))
        return mi_target_read(target, address, to, size);
    memcpy(to, (const void *)address, size);
    return MI_OK;
}

static int has(uint64_t flags, int bit) { return (int)(flags >> bit & 1); }

/* The nearest base whose name is known decides; OrderedDict comes before its base dict. */
static mi_kind kind_of(const mi_target *target, const mi_layout *layout, uintptr_t type, uint64_t flags) {
    enum { MOST_BASES = 64 };
    for (int depth = 0; type && depth < MOST_BASES; depth++) {
        char name[48] = "";
        uintptr_t at;
        if (!read_part(target, type + (uintptr_t)layout->type_name, &at, sizeof at) &&
            !read_part(target, at, name, sizeof name - 1)) {
            mi_kind kind = kind_of_name(name);
            if (kind != MI_KIND_PLAIN) return kind;
        }
        if (read_part(target, type + (uintptr_t)layout->type_base, &type, sizeof type)) break;
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
    if (type->itemsize) return MI_SIZING_VAR;
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
    case MI_KIND_INT: break;
    default: return type->kind >= MI_KIND_EXPAT ? MI_OWNS_WORDS : MI_OWNS_NAMED;
    }
    int managed = layout->managed_values != MI_ABSENT && type->flags & (uint64_t)(uint32_t)layout->type_managed_dict;
    return managed ? MI_OWNS_NAMED : MI_OWNS_NOTHING;
}

/* From 3.14 on overflow and flags lie behind 32 bits of count, and an object that is kept for later has the address of the
 * next one in their place (pycore_freelist.h): the upper half of it is no overflow of a count. */
static mi_count_bits count_bits_of(const mi_layout *layout) {
    unsigned char never[sizeof(uint64_t)] = {0}, some[sizeof(uint64_t)] = {0};
    mi_count_bits bits = {0};
    const uint64_t low = UINT32_MAX, high = ~low;
    if (layout->object_refcount == MI_ABSENT) return bits;
    if (layout->object_refcount_size != 4) return (mi_count_bits){high, low};
    memset(some, 0xff, sizeof(uint32_t));
    memset(never + (layout->object_overflow - layout->object_refcount), 0xff, sizeof(uint16_t));
    memcpy(&bits.never, never, sizeof never);
    memcpy(&bits.some, some, sizeof some);
    return bits;
}

static mi_error read_type(const mi_target *target, const mi_layout *layout, uintptr_t address, mi_type *type) {
    int64_t basicsize, itemsize;
    mi_error error = read_part(target, address + (uintptr_t)layout->type_flags, &type->flags, sizeof type->flags);
    if (!error) error = read_part(target, address + (uintptr_t)layout->type_basicsize, &basicsize, sizeof basicsize);
    if (!error) error = read_part(target, address + (uintptr_t)layout->type_itemsize, &itemsize, sizeof itemsize);
    if (error) return error;
    type->address = address;
    type->kind = (uint16_t)kind_of(target, layout, address, type->flags);
    type->preheader = preheader_of(layout, type->flags);
    type->basicsize = basicsize < 0 || basicsize > INT32_MAX ? INT32_MAX : (uint32_t)basicsize;
    type->whole = type->basicsize;
    type->itemsize = itemsize < 0 || itemsize > INT32_MAX ? 0 : (uint32_t)itemsize;
    /* the basicsize of str is that of its largest form; a compact ASCII string is shorter */
    if (type->kind == MI_KIND_STR) type->basicsize = (uint32_t)layout->str_ascii_size;
    type->sizing = (uint8_t)sizing_of(layout, type);
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
        uint64_t hash = mi_types_hash(addresses[i]), bit = hash >> 48;
        types->filter[bit >> 6] |= 1ull << (bit & 63);
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

void mi_types_free(mi_types *types) {
    mi_os_free(types->items, types->room * sizeof *types->items);
    if (types->keys) mi_os_free(types->keys, sizeof *types->keys << types->index_bits);
    memset(types, 0, sizeof *types);
}
