/* gc.h - the cyclic collector of one interpreter: its counters, and the lists that its generations are.
 *
 * GIL builds chain every tracked object into the list of its generation, through the PyGC_Head before it. Free-threaded
 * builds have no lists: there only the counters are read. */
#ifndef MI_GC_H
#define MI_GC_H

#include "layout.h"
#include "target.h"

enum { MI_GC_GENERATIONS = 3, MI_GC_PERMANENT = 3 };

typedef struct mi_gc_generation {
    int64_t objects; /* on its list; -1 where there is none, or it could not be walked */
    int32_t count, threshold;
    int64_t collections, collected, uncollectable;
    int64_t candidates; /* -1 where this version does not count them */
    double duration_s;  /* -1 likewise */
} mi_gc_generation;

typedef struct mi_gc_state {
    int32_t enabled, collecting;
    int32_t visited_space; /* which of generations[1 + n] is 'visited' while collecting incrementally, else MI_ABSENT */
    mi_gc_generation generations[MI_GC_GENERATIONS]; /* as they lie in memory */
    int64_t frozen;                                  /* in the permanent generation, -1 unknown */
    int64_t long_lived_total, long_lived_pending;    /* -1 where this version has none */
    int64_t deferred;                                /* allocations put off by the rule on RSS; -1 likewise */
    mi_error lists;                                  /* why objects are unknown; MI_E_LATE: some of them */
    uint64_t pause_ns;
} mi_gc_state;

/* Reads the collector of the interpreter at this address. A target of this process (MI_TARGET_SELF, opened under the
 * GIL) is walked in place, others through copies of pages, again when a list changed meanwhile.
 * Lists that a late target leaves no time for stay unknown. */
mi_error mi_gc_state_read(const mi_target *target, const mi_layout *layout, uintptr_t interpreter, mi_gc_state *state);

/* Which list holds the PyGC_Head at `head`: 0 to 2, or MI_GC_PERMANENT. Walks both ways from it, at most `steps` hops:
 * MI_E_LIMIT when neither end came in sight, MI_E_ABSENT when it is in none of the interpreter's lists. */
mi_error mi_gc_generation_find(const mi_target *target, const mi_layout *layout, uintptr_t interpreter, uintptr_t head,
                               uint32_t steps, int *generation);

#endif
