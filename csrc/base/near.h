/* near.h - a rough answer to whether memory of some kind lies at an address, for words of which most point nowhere.
 *
 * A bit for each MiB of the address space, modulo their number: a set one may stand for another place, one that is not set
 * for none. */
#ifndef MI_NEAR_H
#define MI_NEAR_H

#include <stdint.h>

enum { MI_NEAR_WORDS = 64, MI_NEAR_SHIFT = 20 };

typedef struct mi_near {
    uint64_t words[MI_NEAR_WORDS];
} mi_near;

static inline void mi_near_add(mi_near *near, uintptr_t start, uintptr_t end) {
    const uintptr_t most = MI_NEAR_WORDS * 64;
    if (start >= end) return;
    uintptr_t first = start >> MI_NEAR_SHIFT, last = (end - 1) >> MI_NEAR_SHIFT;
    for (uintptr_t at = first; at <= last && at - first < most; at++) near->words[at % most / 64] |= 1ull << at % 64;
}

static inline int mi_near_has(const mi_near *near, uintptr_t address) {
    uintptr_t at = address >> MI_NEAR_SHIFT;
    return (int)(near->words[at / 64 % MI_NEAR_WORDS] >> at % 64 & 1);
}

#endif
