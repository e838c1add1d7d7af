/* owners_parts.h - what the rules of owners.h share. */
#ifndef MI_OWNERS_PARTS_H
#define MI_OWNERS_PARTS_H

#include <string.h>

#include "owners.h"

static inline uintptr_t mi_owner_word(uintptr_t object, int32_t offset) {
    uintptr_t word;
    memcpy(&word, (const void *)(object + (uintptr_t)(intptr_t)offset), sizeof word);
    return word;
}

/* Where the block of a list's items begins and how many bytes it has; 0: it has none, or contradicts itself. */
static inline uintptr_t mi_owner_list_items(const mi_layout *layout, uintptr_t object, size_t *size) {
    int64_t used = (int64_t)mi_owner_word(object, layout->object_var_size);
    int64_t allocated = (int64_t)mi_owner_word(object, layout->list_allocated);
    uintptr_t items = mi_owner_word(object, layout->list_items);
    if (used < 0 || used > allocated || allocated > (int64_t)1 << 40 || !items) return 0;
    /* free-threaded builds have the capacity in front of the items, in the same block (_PyListArray) */
    uintptr_t before = layout->free_threaded ? sizeof(int64_t) : 0;
    *size = (size_t)allocated * 8 + (size_t)before;
    return items - before;
}

/* Whether a dict has its values apart from its keys, which then belong to a type. */
static inline int mi_owner_dict_is_split(const mi_layout *layout, uintptr_t object) {
    return mi_owner_word(object, layout->dict_values) != 0;
}

/* Words of a structure that are pointers or numbers: what they point to belongs to it when it is no object, and what the
 * words in the first `most` bytes of that point to, `depth` blocks deep. */
void mi_owner_claim_words(const mi_owner_context *context, uintptr_t object, size_t from, size_t to, mi_owner owner,
                          int depth, size_t most);

#endif
