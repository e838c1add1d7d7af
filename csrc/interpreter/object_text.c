/* object_text.c - what str and int hold (Include/cpython/unicodeobject.h, pycore_long.h). */
#include "object_text.h"

#include <string.h>

static uintptr_t word_at(uintptr_t address, int32_t offset) {
    uintptr_t word;
    memcpy(&word, (const void *)(address + (uintptr_t)(intptr_t)offset), sizeof word);
    return word;
}

static int put_utf8(char *to, size_t room, size_t *used, uint32_t code) {
    unsigned char bytes[4];
    if (code > 0x10ffff) code = 0xfffd; /* no character: the string was torn while it was copied */
    size_t count = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    static const unsigned char first[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = count; i-- > 1; code >>= 6) bytes[i] = (unsigned char)(0x80 | (code & 0x3f));
    bytes[0] = (unsigned char)(first[count] | code);
    if (*used + count >= room) return 0;
    memcpy(to + *used, bytes, count);
    *used += count;
    return 1;
}

/* A compact str: 3 bits kind, then compact and ASCII. */
int mi_str_text(const mi_target *target, const mi_layout *layout, uintptr_t object, uint64_t most, char *to,
                size_t room) {
    uint32_t state;
    size_t used = 0;
    if (object % sizeof(uintptr_t) || !mi_os_maps_covers(&target->maps, object, (size_t)layout->str_ascii_size))
        return 0;
    memcpy(&state, (const void *)(object + (uintptr_t)layout->str_state), sizeof state);
    state >>= layout->str_kind_shift;
    uint32_t kind = state & 7, compact = state >> 3 & 1, ascii = state >> 4 & 1;
    uint64_t length = (uint64_t)word_at(object, layout->str_length);
    if (!compact || (kind != 1 && kind != 2 && kind != 4)) return 0;
    if (length > most) length = most;
    uintptr_t at = object + (uintptr_t)(ascii ? layout->str_ascii_size : layout->str_compact_size);
    if (!mi_os_maps_covers(&target->maps, at, (size_t)length * kind)) return 0;
    for (; length--; at += kind) {
        uint32_t code = 0;
        memcpy(&code, (const void *)at, kind); /* little-endian, as all machines of the layouts */
        if (!put_utf8(to, room, &used, code)) break;
    }
    to[used] = 0;
    return 1;
}

/* Digits of 30 bits, 4 bytes each. Their number: from 3.12 on above flags, of which 2 is a sign; before, ob_size, which is
 * below 0 for a number that is. */
int mi_int_number(const mi_target *target, const mi_layout *layout, uintptr_t object, int64_t *number) {
    enum { DIGIT_BITS = 30, MOST_DIGITS = 3, SIGN = 3, NEGATIVE = 2 };
    size_t header = (size_t)layout->object_var_size + sizeof(uintptr_t);
    uint32_t digits[MOST_DIGITS] = {0};
    unsigned __int128 value = 0;
    int negative;
    uint64_t count;
    if (object % sizeof(uintptr_t) || !mi_os_maps_covers(&target->maps, object, header)) return 0;
    if (layout->long_tag != MI_ABSENT) {
        uintptr_t tag = word_at(object, layout->long_tag);
        negative = (tag & SIGN) == NEGATIVE;
        count = (uint64_t)tag >> layout->long_tag_shift;
    } else {
        int64_t size = (int64_t)word_at(object, layout->object_var_size);
        negative = size < 0;
        count = (uint64_t)(negative ? -size : size);
    }
    uintptr_t first = object + (uintptr_t)layout->long_digits;
    if (count > MOST_DIGITS || !mi_os_maps_covers(&target->maps, first, (size_t)count * sizeof *digits)) return 0;
    memcpy(digits, (const void *)first, (size_t)count * sizeof *digits);
    for (uint64_t i = count; i--;) value = value << DIGIT_BITS | digits[i];
    if (value > (unsigned __int128)INT64_MAX + (negative ? 1 : 0)) return 0;
    *number = negative ? (int64_t)(0 - (uint64_t)value) : (int64_t)value;
    return 1;
}
