/* gil_sites.h - where the GIL was let go, gathered from the events of a trace with attribution, in bounded memory.
 *
 * A place is a release's detail without its lowest bit (mi_gil_release): code object and instruction. 0: not known. */
#ifndef MI_GIL_SITES_H
#define MI_GIL_SITES_H

#include "gil_ring.h"

enum { MI_GIL_SITES_MOST = 1 << 15, MI_GIL_PLACED_MOST = 64 };

typedef struct mi_gil_site {
    uint64_t place;
    uint32_t thread, unused;
    uint64_t forced, voluntary; /* releases */
    uint64_t held, longest;     /* nanoseconds of the holds that ended here, as far as their beginning was seen */
} mi_gil_site;

/* One of the longest holds, by which a span of it is found. */
typedef struct mi_gil_placed {
    uint64_t gil, begin, length, place;
} mi_gil_placed;

typedef struct mi_gil_sites mi_gil_sites;

mi_gil_sites *mi_gil_sites_make(void); /* NULL: no memory */
void mi_gil_sites_free(mi_gil_sites *sites);
/* Events in the order of the log; times in nanoseconds. */
void mi_gil_sites_feed(mi_gil_sites *sites, const mi_gil_event *event);
const mi_gil_site *mi_gil_sites_all(const mi_gil_sites *sites, size_t *count, uint64_t *left_out);
const mi_gil_placed *mi_gil_sites_longest(const mi_gil_sites *sites, size_t *count);

#endif
