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

/* Words of a structure that are pointers or numbers: what they point to belongs to it when it is no object, and what the
 * words in the first `most` bytes of that point to, `depth` blocks deep. */
void mi_owner_claim_words(const mi_owner_context *context, uintptr_t object, size_t from, size_t to, mi_owner owner,
                          int depth, size_t most);

#endif
