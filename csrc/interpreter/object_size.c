/* object_size.c - the sizes of object_size.h. */
#include "object_size.h"

#include <string.h>

static int64_t number_at(const unsigned char *at, int32_t offset) {
    int64_t number;
    memcpy(&number, at + offset, sizeof number);
    return number;
}

static size_t str_size(const mi_layout *layout, const mi_type *type, const unsigned char *at) {
    uint32_t state;
    memcpy(&state, at + layout->str_state, sizeof state);
    state >>= layout->str_kind_shift;
    uint32_t kind = state & 7, compact = state >> 3 & 1, ascii = state >> 4 & 1;
    if (!compact) return type->whole;
    uint64_t length = (uint64_t)number_at(at, layout->str_length);
    return (size_t)(ascii ? layout->str_ascii_size : layout->str_compact_size) + (size_t)(length + 1) * kind;
}

static uint64_t digits_of(const mi_layout *layout, const unsigned char *at) {
    if (layout->long_tag != MI_ABSENT) return (uint64_t)number_at(at, layout->long_tag) >> layout->long_tag_shift;
    int64_t digits = number_at(at, layout->object_var_size);
    return (uint64_t)(digits < 0 ? -digits : digits);
}

static size_t int_size(const mi_layout *layout, const mi_type *type, const unsigned char *at) {
    uint64_t digits = digits_of(layout, at);
    if (type->generic) /* a subclass: tp_alloc with a sentinel's room */
        return (size_t)((type->whole + (digits + 1) * type->itemsize + 7) & ~7ull);
    return (size_t)layout->long_digits + (size_t)(digits ? digits : 1) * type->itemsize;
}

static size_t var_size(const mi_layout *layout, const mi_type *type, const unsigned char *at) {
    int64_t items = number_at(at, layout->object_var_size);
    if (items < 0) items = -items;
    if (type->kind == MI_KIND_BYTES && !type->generic) return type->whole + (size_t)items;
    uint64_t size = type->whole + ((uint64_t)items + type->generic) * type->itemsize;
    return (size_t)((size + 7) & ~7ull);
}

/* _PyInlineValuesSize, Include/internal/pycore_dict.h: a head of 4 bytes and one for each value, then the values. */
static size_t inline_size(const mi_layout *layout, const mi_type *type, const unsigned char *at, size_t room) {
    if (type->whole + 8 > room) return 0;
    size_t capacity = at[type->whole + (size_t)layout->values_capacity];
    return ((capacity + 7) & ~(size_t)7) + (capacity + 1) * sizeof(void *);
}

size_t mi_object_size(const mi_layout *layout, const mi_type *type, const unsigned char *at, size_t room) {
    size_t size = type->whole;
    switch ((mi_sizing)type->sizing) {
    case MI_SIZING_FIXED: break;
    case MI_SIZING_STR: size = str_size(layout, type, at); break;
    case MI_SIZING_INT: size = int_size(layout, type, at); break;
    case MI_SIZING_VAR: size = var_size(layout, type, at); break;
    case MI_SIZING_INLINE: size += inline_size(layout, type, at, room); break;
    }
    return type->preheader + (size > room ? type->basicsize : size);
}

size_t mi_dict_keys_size(const mi_layout *layout, const unsigned char *at) {
    unsigned log2_size = at[layout->keys_log2_size], log2_index = at[layout->keys_log2_index];
    if (log2_size > 40 || log2_index > 44) return 0;
    uint64_t usable = ((uint64_t)1 << log2_size << 1) / 3; /* USABLE_FRACTION, Objects/dictobject.c */
    uint64_t entry = at[layout->keys_kind] ? 16 : 24;
    return (size_t)((uint64_t)layout->keys_size + ((uint64_t)1 << log2_index) + usable * entry);
}
