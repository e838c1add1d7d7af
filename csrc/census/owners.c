/* owners.c - the rules of owners.h: simple pointers as a table, the rest as a function a kind. */
#include "owners.h"

#include <string.h>

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
        [MI_OWNER_INTERPRETER] = "interpreter: state",
        [MI_OWNER_FREE_OBJECTS] = "objects kept for later",
    };
    return (unsigned)owner < MI_OWNERS ? names[owner] : "unknown";
}

/* ---- kinds whose buffer is a word at a known place ---------------------------------------------------------------- */

/* Structures of extension modules, which no header shows; the same from 3.11 to 3.15. */
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

static uintptr_t word_of(uintptr_t object, int32_t offset) {
    uintptr_t word;
    memcpy(&word, (const void *)(object + (uintptr_t)(intptr_t)offset), sizeof word);
    return word;
}

static void claim_pointers(const mi_owner_context *context, const mi_type *type, uintptr_t object) {
    for (size_t i = 0; i < sizeof pointers / sizeof *pointers; i++)
        if (pointers[i].kind == type->kind && pointers[i].offset + sizeof(void *) <= type->basicsize)
            context->claim(context->claims, word_of(object, pointers[i].offset), (mi_owner)pointers[i].owner, 0);
}

static void claim_field(const mi_owner_context *context, uintptr_t object, int32_t offset, mi_owner owner) {
    if (offset != MI_ABSENT) context->claim(context->claims, word_of(object, offset), owner, 0);
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
    uintptr_t values = word_of(object, context->layout->dict_values);
    uintptr_t keys = word_of(object, context->layout->dict_keys);
    if (values) claim_values(context, values);
    context->claim(context->claims, keys, values ? MI_OWNER_SHARED_KEYS : MI_OWNER_DICT_KEYS, 0);
}

/* struct _odictobject and _odictnode, Objects/odictobject.c: first, last and fast nodes follow the dict. */
static void claim_odict(const mi_owner_context *context, uintptr_t object) {
    const mi_layout *layout = context->layout;
    uintptr_t node = word_of(object, layout->dict_size), nodes[4];
    int64_t most = (int64_t)word_of(object, layout->dict_used) + 1;
    context->claim(context->claims, word_of(object, layout->dict_size + 16), MI_OWNER_ODICT_NODES, 0);
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
    uintptr_t word = word_of(object, layout->managed_values);
    if (layout->managed_values_tag) {
        if (!(word & 1)) return; /* a dict, or nothing */
        word += 1;
    }
    if (word) claim_values(context, word);
}

/* ---- the other kinds with a rule of their own ---------------------------------------------------------------------- */

static void claim_list(const mi_owner_context *context, uintptr_t object) {
    const mi_layout *layout = context->layout;
    int64_t size = (int64_t)word_of(object, layout->object_var_size);
    int64_t allocated = (int64_t)word_of(object, layout->list_allocated);
    if (size < 0 || size > allocated || allocated > (int64_t)1 << 40) return;
    context->claim(context->claims, word_of(object, layout->list_items), MI_OWNER_LIST_ITEMS, (size_t)allocated * 8);
}

static void claim_set(const mi_owner_context *context, uintptr_t object) {
    uintptr_t table = word_of(object, context->layout->set_table);
    uintptr_t entries = word_of(object, context->layout->set_mask) + 1;
    if (table != object + context->moved + (uintptr_t)context->layout->set_smalltable && entries < (uintptr_t)1 << 40)
        context->claim(context->claims, table, MI_OWNER_SET_TABLE, (size_t)entries * 16);
}

/* From 3.15 on the bytes are an object of their own. */
static void claim_bytearray(const mi_owner_context *context, uintptr_t object) {
    const mi_layout *layout = context->layout;
    if (layout->bytearray_bytes == MI_ABSENT) return;
    uintptr_t size = word_of(object, layout->bytearray_alloc);
    context->claim(context->claims, word_of(object, layout->bytearray_bytes), MI_OWNER_BYTEARRAY,
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
    uintptr_t utf8 = word_of(object, layout->str_utf8), data = compact ? 0 : word_of(object, layout->str_data);
    uintptr_t most = (uintptr_t)1 << 40, length = word_of(object, layout->str_length) + 1;
    if (length > most) return;
    if (utf8 && utf8 != data) {
        uintptr_t bytes = word_of(object, layout->str_utf8_length) + 1;
        context->claim(context->claims, utf8, MI_OWNER_STR_UTF8, bytes < most ? (size_t)bytes : 0);
    }
    context->claim(context->claims, data, MI_OWNER_STR_DATA, (size_t)(length * kind));
}

/* Words of a structure that are pointers or numbers: what they point to belongs to it when it is no object. */
static void claim_words(const mi_owner_context *context, uintptr_t object, size_t from, size_t to, mi_owner owner) {
    for (size_t at = from; at + sizeof(uintptr_t) <= to; at += sizeof(uintptr_t))
        context->claim_plain(context->claims, word_of(object, (int32_t)at), owner);
}

static void claim_type(const mi_owner_context *context, uintptr_t object) {
    const mi_layout *layout = context->layout;
    enum { HEAPTYPE = 1 << 9 };
    uintptr_t flags = word_of(object, layout->type_flags);
    if (!(flags & HEAPTYPE)) { /* a struct sequence's members are made at run time (structseq.c) */
        claim_words(context, object, (size_t)layout->object_size, (size_t)layout->type_size, MI_OWNER_TYPE);
        return;
    }
    claim_field(context, object, layout->type_doc, MI_OWNER_TYPE);
    claim_field(context, object, layout->heap_type_name, MI_OWNER_TYPE);
    claim_field(context, object, layout->heap_type_cached_keys, MI_OWNER_SHARED_KEYS);
    /* tp_methods, tp_members, tp_getset of types made from a spec (PyType_FromMetaclass copies them) */
    claim_words(context, object, (size_t)layout->object_size, (size_t)layout->heap_type_size, MI_OWNER_TYPE);
}

/* numpy's ufunc keeps names, loops and a table of what was resolved before: blocks that hold blocks. */
static void claim_ufunc(const mi_owner_context *context, const mi_type *type, uintptr_t object) {
    for (size_t at = 16; at + sizeof(uintptr_t) <= type->basicsize; at += sizeof(uintptr_t)) {
        uintptr_t part = word_of(object, (int32_t)at);
        if (!context->claim_plain(context->claims, part, MI_OWNER_NUMPY)) continue;
        size_t room = context->heap_room(context->claims, part);
        claim_words(context, part, 0, room < 32 ? room : 32, MI_OWNER_NUMPY);
    }
}

/* PyArrayObject_fields, numpy/ndarraytypes.h: shape and strides are one block. */
static void claim_ndarray(const mi_owner_context *context, uintptr_t object) {
    enum { DATA = 16, DIMENSIONS = 32, FLAGS = 64, OWNDATA = 4 };
    if (word_of(object, FLAGS) & OWNDATA)
        context->claim(context->claims, word_of(object, DATA), MI_OWNER_NUMPY_DATA, 0);
    context->claim(context->claims, word_of(object, DIMENSIONS), MI_OWNER_NUMPY, 0);
}

static void claim_code(const mi_owner_context *context, uintptr_t object) {
    const mi_layout *layout = context->layout;
    claim_field(context, object, layout->code_cached, MI_OWNER_CODE);
    claim_field(context, object, layout->code_extra, MI_OWNER_CODE);
    claim_field(context, object, layout->code_executors, MI_OWNER_CODE);
    if (layout->code_monitoring == MI_ABSENT) return;
    uintptr_t monitoring = word_of(object, layout->code_monitoring), part;
    if (!context->claim(context->claims, monitoring, MI_OWNER_CODE, 0)) return;
    const int32_t parts[] = {layout->monitoring_tools, layout->monitoring_lines, layout->monitoring_line_tools,
                             layout->monitoring_opcodes, layout->monitoring_opcode_tools};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (context->heap_word(context->claims, monitoring + (uintptr_t)parts[i], &part))
            context->claim(context->claims, part, MI_OWNER_CODE, 0);
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
    case MI_KIND_DICT: claim_dict(context, object); break;
    case MI_KIND_SET: claim_set(context, object); break;
    case MI_KIND_STR: claim_str(context, object); break;
    case MI_KIND_TYPE: claim_type(context, object); break;
    case MI_KIND_CODE: claim_code(context, object); break;
    case MI_KIND_MODULE: claim_field(context, object, context->layout->module_state, MI_OWNER_MODULE_STATE); break;
    case MI_KIND_BYTEARRAY: claim_bytearray(context, object); break;
    case MI_KIND_NDARRAY: claim_ndarray(context, object); break;
    case MI_KIND_UFUNC: claim_ufunc(context, type, object); break;
    default: claim_pointers(context, type, object); break;
    }
}
