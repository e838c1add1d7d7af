/* object_size.h - what was asked for when an object was allocated, from its type's sizes and its own header.
 *
 * As the allocating functions compute it: _PyObject_SIZE and _PyObject_VAR_SIZE (Include/cpython/objimpl.h),
 * _PyType_AllocNoTrack (Objects/typeobject.c), PyUnicode_New, _PyLong_New, PyBytes_FromStringAndSize, datetime_alloc and
 * time_alloc (Modules/_datetimemodule.c).
 * It is asked of most blocks of the heap, so it is inline. */
#ifndef MI_OBJECT_SIZE_H
#define MI_OBJECT_SIZE_H

#include <string.h>

#include "types.h"

/* Bytes of a dict's keys (struct _dictkeysobject), of which the head is readable at `at`; 0 when they contradict
 * themselves. */
size_t mi_dict_keys_size(const mi_layout *layout, const unsigned char *at);

static inline int64_t mi_size_number(const unsigned char *at, int32_t offset) {
    int64_t number;
    memcpy(&number, at + offset, sizeof number);
    return number;
}

static inline size_t mi_str_size(const mi_layout *layout, const mi_type *type, const unsigned char *at) {
    uint32_t state;
    memcpy(&state, at + layout->str_state, sizeof state);
    state >>= layout->str_kind_shift;
    uint32_t kind = state & 7, compact = state >> 3 & 1, ascii = state >> 4 & 1;
    if (!compact) return type->whole;
    uint64_t length = (uint64_t)mi_size_number(at, layout->str_length);
    return (size_t)(ascii ? layout->str_ascii_size : layout->str_compact_size) + (size_t)(length + 1) * kind;
}

/* Whether all of a str lies in the object itself: it is compact and ASCII, and so has no UTF-8 cache either. */
static inline int mi_str_is_whole(const mi_layout *layout, const unsigned char *at) {
    uint32_t state;
    memcpy(&state, at + layout->str_state, sizeof state);
    return (state >> layout->str_kind_shift >> 3 & 3) == 3;
}

static inline size_t mi_int_size(const mi_layout *layout, const mi_type *type, const unsigned char *at) {
    uint64_t digits;
    if (layout->long_tag != MI_ABSENT) {
        digits = (uint64_t)mi_size_number(at, layout->long_tag) >> layout->long_tag_shift;
    } else {
        int64_t signed_digits = mi_size_number(at, layout->object_var_size);
        digits = (uint64_t)(signed_digits < 0 ? -signed_digits : signed_digits);
    }
    if (type->generic) /* a subclass: tp_alloc with a sentinel's room */
        return (size_t)((type->whole + (digits + 1) * type->itemsize + 7) & ~7ull);
    return (size_t)layout->long_digits + (size_t)(digits ? digits : 1) * type->itemsize;
}

static inline size_t mi_var_size(const mi_layout *layout, const mi_type *type, const unsigned char *at) {
    int64_t items = mi_size_number(at, layout->object_var_size);
    if (items < 0) items = -items;
    if (type->kind == MI_KIND_BYTES && !type->generic) return type->whole + (size_t)items;
    uint64_t size = type->whole + ((uint64_t)items + type->generic) * type->itemsize;
    return (size_t)((size + 7) & ~7ull);
}

/* _PyInlineValuesSize, Include/internal/pycore_dict.h: a head of 4 bytes and one for each value, then the values. */
static inline size_t mi_inline_size(const mi_layout *layout, const mi_type *type, const unsigned char *at,
                                    size_t room) {
    if (type->whole + 8 > room) return 0;
    size_t capacity = at[type->whole + (size_t)layout->values_capacity];
    return ((capacity + 7) & ~(size_t)7) + (capacity + 1) * sizeof(void *);
}

/* _PyDateTime_BaseDateTime and _PyDateTime_BaseTime, Include/datetime.h: a hash and a flag lie behind the head. */
static inline size_t mi_zoned_size(const mi_layout *layout, const mi_type *type, const unsigned char *at) {
    return at[(size_t)layout->object_size + sizeof(int64_t)] ? type->whole : type->basicsize;
}

/* With what lies before the object (type->preheader), and never more than its block has: an object that says so of itself is
 * taken for its type's least size. */
static inline size_t mi_size_in_room(const mi_type *type, size_t size, size_t room) {
    return type->preheader + (size > room ? type->basicsize : size);
}

/* Bytes of the object at `at`, of which `room` bytes are readable, as mi_size_in_room() has them. */
static inline size_t mi_object_size(const mi_layout *layout, const mi_type *type, const unsigned char *at,
                                    size_t room) {
    size_t size = type->whole;
    switch ((mi_sizing)type->sizing) {
    case MI_SIZING_FIXED:
    case MI_SIZING_FRAME: break; /* its code is elsewhere */
    case MI_SIZING_STR: size = mi_str_size(layout, type, at); break;
    case MI_SIZING_INT: size = mi_int_size(layout, type, at); break;
    case MI_SIZING_VAR: size = mi_var_size(layout, type, at); break;
    case MI_SIZING_ZONED: size = mi_zoned_size(layout, type, at); break;
    case MI_SIZING_INLINE: size += mi_inline_size(layout, type, at, room); break;
    }
    return mi_size_in_room(type, size, room);
}

#endif
