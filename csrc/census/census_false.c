/* census_false.c - which of the blocks that were claimed and look like objects are none, by who claimed them. */
#include "census_parts.h"

#include "sort.h"

enum { UNDECIDED, FALSE_OBJECT, TRUE_OBJECT };

static const mi_lookalike *lookalike_at(const mi_lookalike *items, size_t count, uintptr_t block) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (items[middle].block < block)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && items[low].block == block ? &items[low] : NULL;
}

/* A block is a buffer when something that is no false object itself claims it; when all that claims it are false objects
 * it is an object after all. What claim one another in a circle are objects. */
static void judge(mi_lookalike *items, size_t count) {
    mi_sort(items, count, sizeof *items); /* by block */
    for (int changed = 1; changed;) {
        changed = 0;
        for (size_t from = 0, to; from < count; from = to) {
            int open = 0, held = 0;
            for (to = from; to < count && items[to].block == items[from].block; to++) {
                const mi_lookalike *claimer = lookalike_at(items, count, items[to].claimer);
                held |= !claimer || claimer->verdict == TRUE_OBJECT;
                open |= claimer && claimer->verdict == UNDECIDED;
            }
            if (items[from].verdict != UNDECIDED || (!held && open)) continue;
            for (size_t at = from; at < to; at++) items[at].verdict = held ? FALSE_OBJECT : TRUE_OBJECT;
            changed = 1;
        }
    }
}

size_t mi_census_exclude(const mi_census_shared *all, mi_lookalike *items, size_t count, uintptr_t *excluded) {
    size_t kept = 0;
    int matters = 0;
    judge(items, count);
    for (size_t i = 0; i < count; i++) {
        if (items[i].verdict != FALSE_OBJECT || (i && items[i].block == items[i - 1].block)) continue;
        const mi_type *type = &all->types->items[items[i].type];
        matters |= type->kind != MI_KIND_PLAIN || all->layout->managed_values != MI_ABSENT;
        excluded[kept++] = items[i].block;
    }
    return matters ? kept : 0;
}
