/* owners.c - the rules of owners.h: simple pointers as a table, the rest as a function a kind. */
#include "owners_parts.h"

const char *mi_owner_name(mi_owner owner) {
    static const char *const names[MI_OWNERS] = {
        [MI_OWNER_LIST_ITEMS] = "list: items",
        [MI_OWNER_DICT_KEYS] = "dict: keys and values",
        [MI_OWNER_SHARED_KEYS] = "type: keys shared by its instances",
        [MI_OWNER_DICT_VALUES] = "instance: split values",
        [MI_OWNER_SET_TABLE] = "set: table",
        [MI_OWNER_BYTEARRAY] = "bytearray: bytes",
        [MI_OWNER_ARRAY] = "array: items",
        [MI_OWNER_STR_UTF8] = "str: UTF-8 cache",
        [MI_OWNER_STR_DATA] = "str: characters outside the object",
        [MI_OWNER_CODE] = "code: caches and instrumentation",
        [MI_OWNER_TYPE] = "type: name and doc",
        [MI_OWNER_MODULE_STATE] = "module: state",
        [MI_OWNER_ODICT_NODES] = "OrderedDict: nodes",
        [MI_OWNER_STRUCT] = "Struct: codes",
        [MI_OWNER_IO_BUFFER] = "io: buffer",
        [MI_OWNER_CAPSULE] = "capsule: content",
        [MI_OWNER_DECIMAL] = "Decimal: digits",
        [MI_OWNER_CTYPES] = "ctypes: memory",
        [MI_OWNER_ITERTOOLS] = "itertools: indices",
        [MI_OWNER_METHODCALLER] = "methodcaller: arguments",
        [MI_OWNER_NUMPY] = "numpy: parts of ufuncs and methods",
        [MI_OWNER_NUMPY_DATA] = "numpy: array data",
        [MI_OWNER_EXPAT] = "expat: parser",
        [MI_OWNER_XML] = "ElementTree: children and stacks",
        [MI_OWNER_PICKLE] = "pickle: memo and marks",
        [MI_OWNER_ZONE] = "zoneinfo: transitions",
        [MI_OWNER_SRE] = "re: state of a match",
        [MI_OWNER_QUEUE] = "queue: items",
        [MI_OWNER_DEQUE] = "deque: blocks",
        [MI_OWNER_FILE] = "io: status of a file",
        [MI_OWNER_CSV] = "csv: fields",
        [MI_OWNER_LENT] = "exporters: what they lend",
        [MI_OWNER_INTERPRETER] = "interpreter: state",
        [MI_OWNER_FREE_OBJECTS] = "objects kept for later",
        [MI_OWNER_WAITING] = "freed, until no thread can be reading it",
    };
    return (unsigned)owner < MI_OWNERS ? names[owner] : "unknown";
}

/* ---- kinds whose buffer is a word at a known place ---------------------------------------------------------------- */

/* Structures of extension modules, which no header shows; the same from 3.11 to 3.15, behind an object's head of 16
 * bytes. */
static const struct {
    uint16_t kind, owner, offset;
} pointers[] = {
    {MI_KIND_ARRAY, MI_OWNER_ARRAY, 24},            /* arrayobject.ob_item, Modules/arraymodule.c */
    {MI_KIND_STRUCT, MI_OWNER_STRUCT, 32},          /* PyStructObject.s_codes, Modules/_struct.c */
    {MI_KIND_STRINGIO, MI_OWNER_IO_BUFFER, 16},     /* stringio.buf, Modules/_io/stringio.c */
    {MI_KIND_BUFFERED, MI_OWNER_IO_BUFFER, 56},     /* buffered.buffer, Modules/_io/bufferedio.c */
    {MI_KIND_CAPSULE, MI_OWNER_CAPSULE, 16},        /* PyCapsule.pointer, Objects/capsule.c */
    {MI_KIND_CAPSULE, MI_OWNER_CAPSULE, 24},        /* .name */
    {MI_KIND_CAPSULE, MI_OWNER_CAPSULE, 32},        /* .context */
    {MI_KIND_DECIMAL, MI_OWNER_DECIMAL, 64},        /* PyDecObject.dec.data, Modules/_decimal/_decimal.c */
    {MI_KIND_CDATA, MI_OWNER_CTYPES, 16},           /* CDataObject.b_ptr, Modules/_ctypes/ctypes.h */
    {MI_KIND_COMBINATIONS, MI_OWNER_ITERTOOLS, 24}, /* combinationsobject.indices, Modules/itertoolsmodule.c */
    {MI_KIND_PERMUTATIONS, MI_OWNER_ITERTOOLS, 24}, /* permutationsobject.indices */
    {MI_KIND_PERMUTATIONS, MI_OWNER_ITERTOOLS, 32}, /* .cycles */
    {MI_KIND_ARRAY_METHOD, MI_OWNER_NUMPY, 16},     /* PyArrayMethodObject.name, numpy array_method.h */
};

/* By how much the head of an object is longer: free-threaded builds have two counts and a thread in it. */
static int32_t head_of(const mi_layout *layout) { return layout->object_size - 16; }

static void claim_pointers(const mi_owner_context *context, const mi_type *type, uintptr_t object) {
    int32_t more = head_of(context->layout);
    for (size_t i = 0; i < sizeof pointers / sizeof *pointers; i++) {
        int32_t offset = pointers[i].offset + more;
        if (pointers[i].kind == type->kind && (uint32_t)offset + sizeof(void *) <= type->basicsize)
            context->claim(context->claims, mi_owner_word(object, offset), (mi_owner)pointers[i].owner, 0);
    }
}

static void claim_field(const mi_owner_context *context, uintptr_t object, int32_t offset, mi_owner owner) {
    if (offset != MI_ABSENT) context->claim(context->claims, mi_owner_word(object, offset), owner, 0);
}

/* ---- dicts and instances ------------------------------------------------------------------------------------------- */

/* PyDictValues outside the object. Up to 3.12 a prefix lies before it whose length is its last byte; from 3.13 on a head
 * says whether the values are embedded in an object (Objects/dictobject.c, new_values). */
static void claim_values(const mi_owner_context *context, uintptr_t values) {
    const mi_layout *layout = context->layout;
    uintptr_t head;
    unsigned char bytes[sizeof head];
    if (layout->dict_values_embedded == MI_ABSENT) {
        if (!context->heap_word(context->claims, values - sizeof head, &head)) return;
        memcpy(bytes, &head, sizeof head);
        context->claim(context->claims, values - bytes[sizeof head - 1], MI_OWNER_DICT_VALUES, 0);
        return;
    }
    if (!context->heap_word(context->claims, values, &head)) return;
    memcpy(bytes, &head, sizeof head);
    if (!bytes[layout->dict_values_embedded]) context->claim(context->claims, values, MI_OWNER_DICT_VALUES, 0);
}

static void claim_dict(const mi_owner_context *context, uintptr_t object) {
    uintptr_t values = mi_owner_word(object, context->layout->dict_values);
    uintptr_t keys = mi_owner_word(object, context->layout->dict_keys);
    if (values) claim_values(context, values);
    context->claim(context->claims, keys, values ? MI_OWNER_SHARED_KEYS : MI_OWNER_DICT_KEYS, 0);
}

/* struct _odictobject and _odictnode, Objects/odictobject.c: first, last and fast nodes follow the dict. */
static void claim_odict(const mi_owner_context *context, uintptr_t object) {
    const mi_layout *layout = context->layout;
    uintptr_t node = mi_owner_word(object, layout->dict_size), nodes[4];
    int64_t most = (int64_t)mi_owner_word(object, layout->dict_used) + 1;
    context->claim(context->claims, mi_owner_word(object, layout->dict_size + 16), MI_OWNER_ODICT_NODES, 0);
    for (; node && most-- > 0; node = nodes[2]) {
        if (!context->heap_word(context->claims, node + 16, &nodes[2])) break;
        if (!context->claim(context->claims, node, MI_OWNER_ODICT_NODES, sizeof nodes)) break;
    }
}

/* Instances of 3.11 and 3.12 keep their values in a block that the pre-header names (pycore_object.h,
 * _PyObject_ValuesPointer; in 3.12 tagged, _PyDictOrValues_GetValues). */
static void claim_instance(const mi_owner_context *context, const mi_type *type, uintptr_t object) {
    const mi_layout *layout = context->layout;
    if (layout->managed_values == MI_ABSENT || !(type->flags & (uint64_t)(uint32_t)layout->type_managed_dict)) return;
    uintptr_t word = mi_owner_word(object, layout->managed_values);
    if (layout->managed_values_tag) {
        if (!(word & 1)) return; /* a dict, or nothing */
        word += 1;
    }
    if (word) claim_values(context, word);
}

/* ---- the other kinds with a rule of their own ---------------------------------------------------------------------- */

static void claim_list(const mi_owner_context *context, uintptr_t object) {
    size_t size;
    uintptr_t items = mi_owner_list_items(context->layout, object, &size);
    if (items) context->claim(context->claims, items, MI_OWNER_LIST_ITEMS, size);
}

static void claim_set(const mi_owner_context *context, uintptr_t object) {
    uintptr_t table = mi_owner_word(object, context->layout->set_table);
    uintptr_t entries = mi_owner_word(object, context->layout->set_mask) + 1;
    if (table != object + context->moved + (uintptr_t)context->layout->set_smalltable && entries < (uintptr_t)1 << 40)
        context->claim(context->claims, table, MI_OWNER_SET_TABLE, (size_t)entries * 16);
}

/* From 3.15 on the bytes are an object of their own. */
static void claim_bytearray(const mi_owner_context *context, uintptr_t object) {
    const mi_layout *layout = context->layout;
    if (layout->bytearray_bytes == MI_ABSENT) return;
    uintptr_t size = mi_owner_word(object, layout->bytearray_alloc);
    context->claim(context->claims, mi_owner_word(object, layout->bytearray_bytes), MI_OWNER_BYTEARRAY,
                   size < (uintptr_t)1 << 40 ? (size_t)size : 0);
}

/* A compact ASCII string has neither a UTF-8 cache nor characters elsewhere (Include/cpython/unicodeobject.h). */
static void claim_str(const mi_owner_context *context, uintptr_t object) {
    const mi_layout *layout = context->layout;
    uint32_t state;
    memcpy(&state, (const void *)(object + (uintptr_t)layout->str_state), sizeof state);
    state >>= layout->str_kind_shift;
    uintptr_t kind = state & 7, compact = state >> 3 & 1, ascii = state >> 4 & 1;
    if (compact && ascii) return;
    uintptr_t utf8 = mi_owner_word(object, layout->str_utf8),
              data = compact ? 0 : mi_owner_word(object, layout->str_data);
    uintptr_t most = (uintptr_t)1 << 40, length = mi_owner_word(object, layout->str_length) + 1;
    if (length > most) return;
    if (utf8 && utf8 != data) {
        uintptr_t bytes = mi_owner_word(object, layout->str_utf8_length) + 1;
        context->claim(context->claims, utf8, MI_OWNER_STR_UTF8, bytes < most ? (size_t)bytes : 0);
    }
    context->claim(context->claims, data, MI_OWNER_STR_DATA, (size_t)(length * kind));
}

/* What a metaclass of C has behind a heap type's own fields (PyArray_DTypeMeta.dt_slots of numpy's dtypes). */
static void claim_of_metaclass(const mi_owner_context *context, uintptr_t object) {
    const mi_layout *layout = context->layout;
    int metaclass = mi_types_find(context->types, mi_owner_word(object, layout->object_type));
    size_t end = metaclass >= 0 ? context->types->items[metaclass].whole : 0;
    for (size_t at = (size_t)layout->heap_type_size; at + sizeof(uintptr_t) <= end; at += sizeof(uintptr_t)) {
        uintptr_t word;
        if (!context->heap_word(context->claims, object + at, &word)) return;
        context->claim_plain(context->claims, word, MI_OWNER_TYPE);
    }
}

static void claim_type(const mi_owner_context *context, uintptr_t object) {
    const mi_layout *layout = context->layout;
    enum { HEAPTYPE = 1 << 9 };
    uintptr_t flags = mi_owner_word(object, layout->type_flags);
    claim_of_metaclass(context, object);
    if (!(flags & HEAPTYPE)) { /* a struct sequence's members are made at run time (structseq.c) */
        mi_owner_claim_words(context, object, (size_t)layout->object_size, (size_t)layout->type_size, MI_OWNER_TYPE, 0,
                             0);
        return;
    }
    claim_field(context, object, layout->type_doc, MI_OWNER_TYPE);
    claim_field(context, object, layout->heap_type_name, MI_OWNER_TYPE);
    claim_field(context, object, layout->heap_type_cached_keys, MI_OWNER_SHARED_KEYS);
    /* tp_methods, tp_members, tp_getset of types made from a spec (PyType_FromMetaclass copies them) */
    mi_owner_claim_words(context, object, (size_t)layout->object_size, (size_t)layout->heap_type_size, MI_OWNER_TYPE, 0,
                         0);
}

/* StgDictObject, Modules/_ctypes/ctypes.h (until 3.12): a dict with what a type of ctypes looks like. */
static void claim_ctypes_dict(const mi_owner_context *context, uintptr_t object) {
    enum { ELEMENTS = 40, FORMAT = 120, SHAPE = 136 };
    static const int32_t parts[] = {ELEMENTS, FORMAT, SHAPE};
    claim_dict(context, object);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        context->claim_plain(context->claims, mi_owner_word(object, context->layout->dict_size + parts[i]),
                             MI_OWNER_CTYPES);
}

/* _buffer_info_t, numpy's buffer.c: what an exported array said of itself, a format and a shape each time; the word that
 * leads to the first has a mark in its last bits. */
static void claim_buffer_infos(const mi_owner_context *context, uintptr_t word) {
    enum { MARK = 3, NEXT = 32, MOST = 1024 };
    uintptr_t format;
    if ((word & 7) != MARK) return;
    word -= MARK;
    for (int left = MOST; left && word && context->claim_plain(context->claims, word, MI_OWNER_NUMPY); left--) {
        if (!context->heap_word(context->claims, word, &format)) return;
        context->claim_plain(context->claims, format, MI_OWNER_NUMPY);
        if (!context->heap_word(context->claims, word + NEXT, &word)) return;
    }
}

/* The strings of a StringDType array that its dtype's arena had no room for: each element that has one names it in its
 * first word, and says so in the last byte (numpy's stringdtype/static_string.c). */
static void claim_strings(const mi_owner_context *context, uintptr_t data) {
    enum { ELEMENT = 16, FLAGS_SHIFT = 56, OUTSIDE_ARENA = 0x20 };
    size_t room = context->heap_room(context->claims, data);
    for (size_t at = 0; at + ELEMENT <= room; at += ELEMENT) {
        uintptr_t first, last;
        if (!context->heap_word(context->claims, data + at, &first)) return;
        if (!context->heap_word(context->claims, data + at + sizeof first, &last)) return;
        if (last >> FLAGS_SHIFT & OUTSIDE_ARENA) context->claim_plain(context->claims, first, MI_OWNER_NUMPY_DATA);
    }
}

/* PyArrayObject_fields, numpy/ndarraytypes.h: shape and strides are one block. */
static void claim_ndarray(const mi_owner_context *context, const mi_type *type, uintptr_t object) {
    enum { DATA = 16, DIMENSIONS = 32, DESCRIPTION = 56, FLAGS = 64, OWNDATA = 4, KINDS = 24, OF_STRINGS = 2056 };
    enum { INFOS = 80 };
    int32_t more = head_of(context->layout);
    uintptr_t data = mi_owner_word(object, DATA + more), kinds;
    context->claim(context->claims, mi_owner_word(object, DIMENSIONS + more), MI_OWNER_NUMPY, 0);
    if (type->basicsize >= (uint32_t)(INFOS + more) + sizeof data)
        claim_buffer_infos(context, mi_owner_word(object, INFOS + more));
    if (!(mi_owner_word(object, FLAGS + more) & OWNDATA)) return;
    context->claim(context->claims, data, MI_OWNER_NUMPY_DATA, 0);
    uintptr_t description = mi_owner_word(object, DESCRIPTION + more) + (uintptr_t)more;
    /* a StringDType is made anew for each array, so it is on the heap; four bytes of kinds, then the type number */
    if (context->heap_word(context->claims, description + KINDS, &kinds) && kinds >> 32 == OF_STRINGS)
        claim_strings(context, data);
}

/* PyVoidScalarObject, numpy/arrayscalars.h: an element of a structured array that was copied out of it. */
static void claim_void(const mi_owner_context *context, uintptr_t object) {
    enum { VALUE = 24, FLAGS = 40, BASE = 48, OWNDATA = 4 };
    int32_t more = head_of(context->layout);
    if (mi_owner_word(object, FLAGS + more) & OWNDATA && !mi_owner_word(object, BASE + more))
        context->claim(context->claims, mi_owner_word(object, VALUE + more), MI_OWNER_NUMPY_DATA, 0);
}

/* Each thread of a free-threaded build has bytecode of its own, all of it in one table (co_tlbc, _PyCodeArray). */
static void claim_bytecode(const mi_owner_context *context, const mi_type *type, uintptr_t object) {
    for (size_t at = (size_t)context->layout->object_size; at + sizeof(uintptr_t) <= type->basicsize;
         at += sizeof(uintptr_t)) {
        uintptr_t table = mi_owner_word(object, (int32_t)at), count, part;
        if (!context->claim_plain(context->claims, table, MI_OWNER_CODE)) continue;
        size_t room = context->heap_room(context->claims, table) / sizeof part;
        if (!context->heap_word(context->claims, table, &count) || !room) continue;
        for (uintptr_t entry = 1; entry <= count && entry < room; entry++) {
            if (!context->heap_word(context->claims, table + entry * sizeof part, &part) || !part) break;
            context->claim_plain(context->claims, part, MI_OWNER_CODE);
        }
    }
}

static void claim_code(const mi_owner_context *context, const mi_type *type, uintptr_t object) {
    const mi_layout *layout = context->layout;
    if (layout->free_threaded) claim_bytecode(context, type, object);
    claim_field(context, object, layout->code_cached, MI_OWNER_CODE);
    claim_field(context, object, layout->code_extra, MI_OWNER_CODE);
    claim_field(context, object, layout->code_executors, MI_OWNER_CODE);
    if (layout->code_monitoring == MI_ABSENT) return;
    uintptr_t monitoring = mi_owner_word(object, layout->code_monitoring), part;
    if (!context->claim(context->claims, monitoring, MI_OWNER_CODE, 0)) return;
    const int32_t parts[] = {layout->monitoring_tools, layout->monitoring_lines, layout->monitoring_line_tools,
                             layout->monitoring_opcodes, layout->monitoring_opcode_tools};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (context->heap_word(context->claims, monitoring + (uintptr_t)parts[i], &part))
            context->claim(context->claims, part, MI_OWNER_CODE, 0);
}

/* ElementObject and ElementObjectExtra, Modules/_elementtree.c: more than four children lie in a block of their own. */
static void claim_element(const mi_owner_context *context, uintptr_t object) {
    enum { EXTRA = 40, CHILDREN = 24, OWN_CHILDREN = 32 };
    uintptr_t extra = mi_owner_word(object, EXTRA), children;
    if (!extra || !context->claim(context->claims, extra, MI_OWNER_XML, OWN_CHILDREN)) return;
    if (context->heap_word(context->claims, extra + CHILDREN, &children) && children != extra + OWN_CHILDREN)
        context->claim(context->claims, children, MI_OWNER_XML, 0);
}

/* dequeobject and block, Modules/_collectionsmodule.c: blocks of 64 items between a left and a right link, and some that
 * are kept for later. */
static void claim_deque(const mi_owner_context *context, uintptr_t object) {
    enum { LEFT = 24, RIGHT = 32, SPARE_COUNT = 72, SPARES = 80, MOST_SPARES = 16, RIGHT_LINK = 520, BLOCK = 528 };
    uintptr_t block = mi_owner_word(object, LEFT), last = mi_owner_word(object, RIGHT);
    int64_t most = (int64_t)mi_owner_word(object, context->layout->object_var_size) / 64 + 2;
    while (block && most-- > 0) {
        if (!context->claim(context->claims, block, MI_OWNER_DEQUE, BLOCK) || block == last) break;
        if (!context->heap_word(context->claims, block + RIGHT_LINK, &block)) break;
    }
    uintptr_t spares = mi_owner_word(object, SPARE_COUNT);
    for (uintptr_t i = 0; i < spares && i < MOST_SPARES; i++)
        context->claim(context->claims, mi_owner_word(object, (int32_t)(SPARES + 8 * i)), MI_OWNER_DEQUE, BLOCK);
}

void mi_owner_claim(const mi_owner_context *context, const mi_type *type, uintptr_t object) {
    claim_instance(context, type, object);
    switch ((mi_kind)type->kind) {
    case MI_KIND_PLAIN:
    case MI_KIND_BYTES:
    case MI_KIND_INT: break;
    case MI_KIND_LIST: claim_list(context, object); break;
    case MI_KIND_ODICT:
        claim_odict(context, object);
        claim_dict(context, object);
        break;
    case MI_KIND_CTYPES_DICT: claim_ctypes_dict(context, object); break;
    case MI_KIND_DICT: claim_dict(context, object); break;
    case MI_KIND_SET: claim_set(context, object); break;
    case MI_KIND_STR: claim_str(context, object); break;
    case MI_KIND_TYPE: claim_type(context, object); break;
    case MI_KIND_CODE: claim_code(context, type, object); break;
    case MI_KIND_MODULE: claim_field(context, object, context->layout->module_state, MI_OWNER_MODULE_STATE); break;
    case MI_KIND_BYTEARRAY: claim_bytearray(context, object); break;
    case MI_KIND_NDARRAY: claim_ndarray(context, type, object); break;
    case MI_KIND_NUMPY_VOID: claim_void(context, object); break;
    case MI_KIND_ELEMENT: claim_element(context, object); break;
    case MI_KIND_DEQUE: claim_deque(context, object); break;
    default: claim_pointers(context, type, object); break;
    }
}
