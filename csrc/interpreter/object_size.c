/* object_size.c - what object_size.h does not need inline. */
#include "object_size.h"

size_t mi_dict_keys_size(const mi_layout *layout, const unsigned char *at) {
    unsigned log2_size = at[layout->keys_log2_size], log2_index = at[layout->keys_log2_index];
    if (log2_size > 40 || log2_index > 44) return 0;
    uint64_t usable = ((uint64_t)1 << log2_size << 1) / 3; /* USABLE_FRACTION, Objects/dictobject.c */
    uint64_t entry = at[layout->keys_kind] ? 16 : 24;
    return (size_t)((uint64_t)layout->keys_size + ((uint64_t)1 << log2_index) + usable * entry);
}
