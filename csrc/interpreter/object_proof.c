/* object_proof.c - the parts of object_proof.h that are asked less often. */
#include "object_proof.h"

#include <string.h>

static uintptr_t word_at(const unsigned char *at, int32_t offset) {
    uintptr_t word;
    memcpy(&word, at + offset, sizeof word);
    return word;
}

/* Free-threaded builds count the owner's references apart from those of other threads, whose word has two flags. */
static int64_t count_of_both(const mi_layout *layout, const unsigned char *object) {
    uint32_t local;
    memcpy(&local, object + layout->object_ref_local, sizeof local);
    int64_t count = (int64_t)local + ((int64_t)word_at(object, layout->object_ref_shared) >> 2);
    return count > 0 ? count : 0;
}

/* From 3.14 on overflow and flags lie behind 32 bits of count, and an object that is kept for later has the address of the
 * next one in their place (pycore_freelist.h): the upper half of it is no overflow of a count. */
int64_t mi_object_count(const mi_layout *layout, const unsigned char *object) {
    if (layout->object_refcount == MI_ABSENT) return count_of_both(layout, object);
    int64_t count = (int64_t)word_at(object, layout->object_refcount);
    if (layout->object_refcount_size == 4) {
        uint16_t overflow;
        memcpy(&overflow, object + layout->object_overflow, sizeof overflow);
        count = overflow ? 0 : (int64_t)(uint32_t)count;
    }
    return count > 0 && count <= UINT32_MAX ? count : 0;
}

int mi_object_type(const mi_layout *layout, const mi_types *types, const unsigned char *object) {
    int type = mi_types_find(types, word_at(object, layout->object_type));
    return type >= 0 && mi_object_count(layout, object) ? type : -1;
}
