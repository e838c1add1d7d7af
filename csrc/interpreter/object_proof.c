/* object_proof.c - the rule of object_proof.h. */
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

/* Decides by a place whose second word is the type of that index. */
static int decide(const mi_layout *layout, const mi_types *types, int type, const unsigned char *object, uint32_t room,
                  uint32_t before) {
    const mi_type *known = &types->items[type];
    return known->preheader == before && known->basicsize <= room && mi_object_count(layout, object) ? type : -1;
}

int mi_object_in_block(const mi_layout *layout, const mi_types *types, mi_proof_cache *cache,
                       const unsigned char *block, uint32_t size, uint32_t padding, uint32_t *before) {
    uint32_t around = padding * 3 / 2, header = (uint32_t)layout->object_size;
    if (size < around + header) return -1; /* _PyMem_DebugRawAlloc: two words before, one behind */
    size -= around;
    block += padding;
    for (uint32_t place = 0; place < MI_PLACES && size >= place * MI_PLACE_BYTES + header; place++) {
        uint32_t at = place * MI_PLACE_BYTES;
        uintptr_t word = word_at(block + at, layout->object_type);
        int type = cache->type[place];
        if (word != cache->word[place]) {
            type = mi_types_find(types, word);
            if (type < 0) continue;
            cache->word[place] = word;
            cache->type[place] = type;
        }
        type = decide(layout, types, type, block + at, size - at, at);
        if (type >= 0) *before = padding + at;
        return type;
    }
    return -1;
}
