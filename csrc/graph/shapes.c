/* shapes.c - the table of built-in types, and tp_members. */
#include "shapes.h"

#include <stddef.h>
#include <string.h>

enum { HEADER = 16, WORD = sizeof(uintptr_t), MOST_BASES = 64, MOST_MEMBERS = 512, MOST_WORDS = 4096 };
enum { HAVE_GC = 14, HEAP_TYPE = 9, TUPLE_SUBCLASS = 26 }; /* flags of Include/object.h */
/* PyMemberDef (Include/descrobject.h, structmember.h): name, type, offset, flags, doc; the types that are objects. */
enum { MEMBER_SIZE = 40, MEMBER_TYPE = 8, MEMBER_OFFSET = 16, MEMBER_OBJECT = 6, MEMBER_OBJECT_EX = 16 };

/* Types whose objects are known whole: what no row and no member names is no reference (weak ones, numbers, pointers).
 * `least`: so large is an object at least whose words its rule reads; a class of the program's may be called like it. */
static const struct {
    const char *name;
    mi_rule rule;
    uint32_t least;
} known_types[] = {
    {"object", MI_RULE_NONE, 0},
    {"tuple", MI_RULE_TUPLE, 0},
    {"list", MI_RULE_LIST, 0},
    {"dict", MI_RULE_DICT, 0},
    {"frozendict", MI_RULE_DICT, 0},
    {"collections.OrderedDict", MI_RULE_ORDERED_DICT, 72},
    {"set", MI_RULE_SET, 0},
    {"frozenset", MI_RULE_SET, 0},
    {"type", MI_RULE_TYPE, 0},
    {"frame", MI_RULE_FRAME, 0},
    {"generator", MI_RULE_GENERATOR, 0},
    {"coroutine", MI_RULE_GENERATOR, 0},
    {"async_generator", MI_RULE_GENERATOR, 0},
    {"collections.deque", MI_RULE_DEQUE, 208},
    {"datetime.datetime", MI_RULE_ZONED, 40},
    {"datetime.time", MI_RULE_ZONED, 40},
    {"numpy.ndarray", MI_RULE_ARRAY, 72},
    {"numpy.void", MI_RULE_ARRAY_SCALAR, 56},
    {"function", MI_RULE_NONE, 0},
    {"method", MI_RULE_NONE, 0},
    {"builtin_function_or_method", MI_RULE_NONE, 0},
    {"builtin_method", MI_RULE_NONE, 0},
    {"code", MI_RULE_NONE, 0},
    {"module", MI_RULE_NONE, 0},
    {"cell", MI_RULE_NONE, 0},
    {"weakref", MI_RULE_NONE, 0},
    {"weakref.ReferenceType", MI_RULE_NONE, 0},
    {"weakproxy", MI_RULE_NONE, 0},
    {"weakref.ProxyType", MI_RULE_NONE, 0},
    {"weakcallableproxy", MI_RULE_NONE, 0},
    {"weakref.CallableProxyType", MI_RULE_NONE, 0},
    {"BaseException", MI_RULE_NONE, 0},
    {"traceback", MI_RULE_NONE, 0},
    {"memoryview", MI_RULE_NONE, 0},
    {"managedbuffer", MI_RULE_NONE, 0},
    {"slice", MI_RULE_NONE, 0},
    {"staticmethod", MI_RULE_NONE, 0},
    {"classmethod", MI_RULE_NONE, 0},
    {"functools._lru_cache_wrapper", MI_RULE_LRU_CACHE, 136},
    {"functools._lru_list_elem", MI_RULE_NONE, 0},
};

/* Words that tp_members does not declare. Those with a field are in the layout; the others are structures of .c files,
 * the same from 3.11 to 3.15. */
#define FIELD(name) (int32_t)offsetof(mi_layout, name), -1
#define AT(number) -1, number /* behind a header of 16 bytes: that of builds without a GIL is longer */
static const struct {
    const char *type, *name;
    int32_t field, offset;
} rows[] = {
    {"function", "__globals__", FIELD(function_globals)},
    {"function", "__builtins__", FIELD(function_builtins)},
    {"function", "__name__", FIELD(function_name)},
    {"function", "__qualname__", FIELD(function_qualname)},
    {"function", "__code__", FIELD(function_code)},
    {"function", "__defaults__", FIELD(function_defaults)},
    {"function", "__kwdefaults__", FIELD(function_kwdefaults)},
    {"function", "__closure__", FIELD(function_closure)},
    {"function", "__doc__", FIELD(function_doc)},
    {"function", "__dict__", FIELD(function_dict)},
    {"function", "__module__", FIELD(function_module)},
    {"function", "__annotations__", FIELD(function_annotations)},
    {"function", "__annotate__", FIELD(function_annotate)},
    {"function", "__type_params__", FIELD(function_typeparams)},
    {"method", "__func__", FIELD(method_function)},
    {"method", "__self__", FIELD(method_self)},
    {"builtin_function_or_method", "__self__", FIELD(builtin_self)},
    {"builtin_function_or_method", "__module__", FIELD(builtin_module)},
    {"builtin_method", "__objclass__", FIELD(builtin_class)},
    {"module", "__dict__", FIELD(module_dict)},
    {"module", "__name__", FIELD(module_name)},
    {"code", "co_varnames", FIELD(code_local_names)},
    {"code", "its kinds of variables", FIELD(code_local_kinds)},
    {"cell", "cell_contents", FIELD(cell_contents)},
    {"weakref", "__callback__", FIELD(weakref_callback)},
    {"weakref.ReferenceType", "__callback__", FIELD(weakref_callback)},
    {"weakproxy", "its callback", FIELD(weakref_callback)},
    {"weakref.ProxyType", "its callback", FIELD(weakref_callback)},
    {"weakcallableproxy", "its callback", FIELD(weakref_callback)},
    {"weakref.CallableProxyType", "its callback", FIELD(weakref_callback)},
    {"generator", "gi_code", FIELD(generator_code)},
    {"generator", "__name__", FIELD(generator_name)},
    {"generator", "__qualname__", FIELD(generator_qualname)},
    {"generator", "its exception", FIELD(generator_exception)},
    {"coroutine", "cr_code", FIELD(generator_code)},
    {"coroutine", "__name__", FIELD(generator_name)},
    {"coroutine", "__qualname__", FIELD(generator_qualname)},
    {"coroutine", "its exception", FIELD(generator_exception)},
    /* gi_origin_or_finalizer of a generator is never written: make_gen(), Objects/genobject.c */
    {"coroutine", "cr_origin", FIELD(generator_origin)},
    {"async_generator", "ag_code", FIELD(generator_code)},
    {"async_generator", "__name__", FIELD(generator_name)},
    {"async_generator", "__qualname__", FIELD(generator_qualname)},
    {"async_generator", "its exception", FIELD(generator_exception)},
    {"async_generator", "its finalizer", FIELD(generator_origin)},
    {"frame", "f_back", FIELD(frame_back)},
    {"frame", "f_trace", FIELD(frame_trace)},
    {"frame", "its extra locals", FIELD(frame_extra_locals)},
    {"frame", "its locals' cache", FIELD(frame_locals_cache)},
    {"frame", "its overwritten locals", FIELD(frame_overwritten)},
    {"BaseException", "__dict__", FIELD(exception_dict)},
    {"BaseException", "args", FIELD(exception_args)},
    {"BaseException", "__notes__", FIELD(exception_notes)},
    {"BaseException", "__traceback__", FIELD(exception_traceback)},
    {"BaseException", "__context__", FIELD(exception_context)},
    {"BaseException", "__cause__", FIELD(exception_cause)},
    {"traceback", "tb_next", FIELD(traceback_next)},
    {"traceback", "tb_frame", FIELD(traceback_frame)},
    {"memoryview", "its buffer", FIELD(memoryview_buffer)},
    {"managedbuffer", "obj", FIELD(managed_buffer_object)},
    {"range", "start", AT(16)}, /* rangeobject, Objects/rangeobject.c */
    {"range", "stop", AT(24)},
    {"range", "step", AT(32)},
    {"range", "its length", AT(40)},
    {"slice", "start", AT(16)}, /* PySliceObject, Include/sliceobject.h */
    {"slice", "stop", AT(24)},
    {"slice", "step", AT(32)},
    {"staticmethod", "__func__", AT(16)}, /* staticmethod, Objects/funcobject.c */
    {"staticmethod", "__dict__", AT(24)},
    {"classmethod", "__func__", AT(16)},
    {"classmethod", "__dict__", AT(24)},
    {"mappingproxy", "the mapping", AT(16)},     /* mappingproxyobject, Objects/descrobject.c */
    {"datetime.timezone", "its offset", AT(16)}, /* PyDateTime_TimeZone, Include/datetime.h */
    {"datetime.timezone", "its name", AT(24)},
    /* lru_cache_object, Modules/_functoolsmodule.c. With no bound the cache has results, else links. */
    {"functools._lru_cache_wrapper", "its cache", AT(72)},
    {"functools._lru_cache_wrapper", "its function", AT(88)},
    {"functools._lru_cache_wrapper", "its mark of keywords", AT(112)},
    {"functools._lru_cache_wrapper", "the type of its links", AT(120)},
    {"functools._lru_cache_wrapper", "the type of cache_info", AT(128)},
    {"functools._lru_list_elem", "its key", AT(40)}, /* lru_list_elem, in the same file */
    {"functools._lru_list_elem", "its result", AT(48)},
};

/* One type while its words are gathered: a mark for each word that is explained. */
typedef struct gathering {
    const mi_target *target;
    const mi_layout *layout;
    mi_shapes *shapes;
    mi_shape *shape;
    uint32_t basicsize;
    unsigned char explained[MOST_WORDS];
    mi_error error;
} gathering;

static int has(uint64_t flags, int bit) { return (int)(flags >> bit & 1); }

static uintptr_t word_at(const mi_target *target, uintptr_t address, int32_t offset) {
    uintptr_t word;
    if (offset == MI_ABSENT || mi_target_word(target, address + (uintptr_t)offset, &word)) return 0;
    return word;
}

static void word_add(gathering *to, int32_t offset, const char *name, int guess) {
    mi_shapes *shapes = to->shapes;
    if (offset >= 0) {
        if (offset % WORD || (uint32_t)offset + WORD > to->basicsize || offset / WORD >= MOST_WORDS) return;
        if (to->explained[offset / WORD]++) return;
    }
    if (shapes->word_count == shapes->word_room) {
        size_t room = shapes->word_room * 2 + 4096, size = sizeof *shapes->words;
        mi_shape_word *words = mi_os_realloc(shapes->words, shapes->word_room * size, room * size);
        if (!words) {
            to->error = MI_E_MEMORY;
            return;
        }
        shapes->words = words;
        shapes->word_room = room;
    }
    shapes->words[shapes->word_count++] = (mi_shape_word){offset, (uint32_t)guess, name};
    to->shape->count++;
}

static void explain(gathering *to, uint32_t end) {
    for (uint32_t i = 0; i * WORD < end && i < MOST_WORDS; i++) to->explained[i] = 1;
}

static void rows_add(gathering *to, const char *type) {
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].type, type)) continue;
        int32_t offset = rows[i].offset + to->layout->object_size - HEADER;
        if (rows[i].field >= 0) memcpy(&offset, (const char *)to->layout + rows[i].field, sizeof offset);
        if (offset >= 0) word_add(to, offset, rows[i].name, 0);
    }
}

static void members_add(gathering *to, uintptr_t type) {
    uintptr_t member = word_at(to->target, type, to->layout->type_members);
    for (int left = MOST_MEMBERS; member && left; left--, member += MEMBER_SIZE) {
        unsigned char bytes[MEMBER_SIZE];
        uintptr_t name;
        int32_t kind;
        int64_t offset;
        if (mi_target_read(to->target, member, bytes, sizeof bytes)) return;
        memcpy(&name, bytes, sizeof name);
        memcpy(&kind, bytes + MEMBER_TYPE, sizeof kind);
        memcpy(&offset, bytes + MEMBER_OFFSET, sizeof offset);
        if (!name) return;
        if ((kind == MEMBER_OBJECT || kind == MEMBER_OBJECT_EX) && offset >= to->layout->object_size &&
            offset < INT32_MAX)
            word_add(to, (int32_t)offset, (const char *)name, 0);
    }
}

/* tp_dictoffset: from the object's start, or below 0 from its end (3.11), -1 where the pre-header has it. */
static void dict_add(gathering *to, uintptr_t type, const mi_type *known) {
    int64_t offset = (int64_t)word_at(to->target, type, to->layout->type_dict_offset);
    int64_t weak = (int64_t)word_at(to->target, type, to->layout->type_weaklist_offset);
    if (weak > 0 && weak / WORD < MOST_WORDS) to->explained[weak / WORD] = 1; /* no reference is held by it */
    if (offset > 0 && offset < INT32_MAX)
        word_add(to, (int32_t)offset, "__dict__", 0);
    else if (offset < -1 && offset > INT32_MIN && known->itemsize)
        word_add(to, (int32_t)offset, "__dict__", 0);
}

static void gather(gathering *to, const mi_type *known) {
    const mi_layout *layout = to->layout;
    uintptr_t at = known->address;
    int depth = 0, first_known = -1, ends = 0;
    uint32_t known_end = (uint32_t)layout->object_size;
    to->basicsize = known->basicsize;
    memset(to->explained, 0, sizeof to->explained);
    explain(to, (uint32_t)(known->itemsize ? layout->object_var_size + WORD : layout->object_size));
    dict_add(to, known->address, known);
    for (; at && depth < MOST_BASES && !ends; depth++) {
        char name[64] = "";
        uintptr_t text = word_at(to->target, at, layout->type_name);
        if (text && mi_target_read(to->target, text, name, sizeof name - 1)) memset(name, 0, sizeof name);
        uint64_t flags = word_at(to->target, at, layout->type_flags);
        uint64_t size = word_at(to->target, at, layout->type_basicsize);
        if (!has(flags, HEAP_TYPE) || strchr(name, '.')) { /* a class of the program's may be called as it likes */
            rows_add(to, name);
            for (size_t i = 0; i < sizeof known_types / sizeof *known_types && first_known < 0; i++) {
                if (strcmp(known_types[i].name, name) || size < known_types[i].least) continue;
                first_known = depth;
                to->shape->rule = (uint8_t)known_types[i].rule;
                known_end = (uint32_t)size;
            }
        }
        if (to->shape->rule != MI_RULE_TYPE || first_known != depth) members_add(to, at);
        ends = first_known == depth && to->shape->rule == MI_RULE_TYPE;
        at = word_at(to->target, at, layout->type_base);
    }
    if (has(known->flags, TUPLE_SUBCLASS)) to->shape->rule = MI_RULE_TUPLE;
    to->shape->heap_type = (uint8_t)has(known->flags, HEAP_TYPE);
    explain(to, known_end);
    if (!has(known->flags, HAVE_GC) || known->kind == MI_KIND_STR) return;
    for (uint32_t i = 0; (i + 1) * WORD <= known->basicsize && i < MOST_WORDS; i++)
        if (!to->explained[i]) {
            word_add(to, (int32_t)(i * WORD), NULL, 1);
            to->shape->foreign = to->shape->rule == MI_RULE_NONE;
        }
    to->shape->guess_items = known->itemsize == WORD && to->shape->rule == MI_RULE_NONE;
    to->shape->foreign |= to->shape->guess_items;
}

mi_error mi_shapes_read(mi_shapes *shapes, const mi_target *target, const mi_layout *layout, const mi_types *types) {
    memset(shapes, 0, sizeof *shapes);
    shapes->count = types->count;
    shapes->items = mi_os_alloc(types->count * sizeof *shapes->items);
    gathering *to = mi_os_alloc(sizeof *to);
    mi_error error = shapes->items && to ? MI_OK : MI_E_MEMORY;
    for (size_t i = 0; i < types->count && !error; i++) {
        to->target = target;
        to->layout = layout;
        to->shapes = shapes;
        to->shape = &shapes->items[i];
        to->shape->first = (uint32_t)shapes->word_count;
        gather(to, &types->items[i]);
        error = to->error;
    }
    mi_os_free(to, sizeof *to);
    if (error) mi_shapes_free(shapes);
    return error;
}

void mi_shapes_free(mi_shapes *shapes) {
    mi_os_free(shapes->items, shapes->count * sizeof *shapes->items);
    mi_os_free(shapes->words, shapes->word_room * sizeof *shapes->words);
    memset(shapes, 0, sizeof *shapes);
}
