/* gil_sites.c - see gil_sites.h. */
#include "gil_sites.h"

#include "os.h"

enum { SLOTS = MI_GIL_SITES_MOST * 2 };

typedef struct open_hold {
    uint32_t number; /* of the next event of this GIL */
    int held;        /* and its beginning is known */
    uint64_t begin;
} open_hold;

struct mi_gil_sites {
    open_hold gils[MI_GILS_MOST];
    mi_gil_site sites[MI_GIL_SITES_MOST];
    uint32_t slots[SLOTS]; /* index of a site + 1 */
    size_t count, placed_count;
    uint64_t left_out;
    mi_gil_placed placed[MI_GIL_PLACED_MOST];
};

mi_gil_sites *mi_gil_sites_make(void) { return mi_os_alloc(sizeof(mi_gil_sites)); }

void mi_gil_sites_free(mi_gil_sites *sites) {
    if (sites) mi_os_free(sites, sizeof *sites);
}

static mi_gil_site *site_of(mi_gil_sites *sites, uint32_t thread, uint64_t place) {
    size_t slot = (size_t)((place ^ (uint64_t)thread << 40) * 0x9e3779b97f4a7c15u >> 32) & (SLOTS - 1);
    for (; sites->slots[slot]; slot = (slot + 1) & (SLOTS - 1)) {
        mi_gil_site *site = &sites->sites[sites->slots[slot] - 1];
        if (site->place == place && site->thread == thread) return site;
    }
    if (sites->count == MI_GIL_SITES_MOST) {
        sites->left_out++;
        return NULL;
    }
    mi_gil_site *site = &sites->sites[sites->count++];
    site->place = place;
    site->thread = thread;
    sites->slots[slot] = (uint32_t)sites->count;
    return site;
}

static void keep_longest(mi_gil_sites *sites, const mi_gil_placed *hold) {
    size_t at = sites->placed_count;
    if (at == MI_GIL_PLACED_MOST) {
        if (hold->length <= sites->placed[at - 1].length) return;
        at--;
    } else {
        sites->placed_count++;
    }
    for (; at && hold->length > sites->placed[at - 1].length; at--) sites->placed[at] = sites->placed[at - 1];
    sites->placed[at] = *hold;
}

static void released(mi_gil_sites *sites, const open_hold *gil, const mi_gil_event *event) {
    uint64_t place = event->detail >> 1;
    if (!place) return;
    mi_gil_site *site = site_of(sites, event->thread, place);
    if (site) ++*(event->detail & 1 ? &site->forced : &site->voluntary);
    if (!gil->held || event->time < gil->begin) return;
    uint64_t length = event->time - gil->begin;
    mi_gil_placed hold = {event->gil, gil->begin, length, place};
    keep_longest(sites, &hold);
    if (!site) return;
    site->held += length;
    if (length > site->longest) site->longest = length;
}

void mi_gil_sites_feed(mi_gil_sites *sites, const mi_gil_event *event) {
    if (event->gil >= MI_GILS_MOST || event->thread >= MI_GIL_THREADS_MOST) return; /* torn: its process was killed */
    open_hold *gil = &sites->gils[event->gil];
    if (event->number != gil->number) {
        if ((int32_t)(event->number - gil->number) < 0) return; /* it was here before */
        gil->held = 0;
    }
    gil->number = event->number + 1;
    if (event->kind == MI_GIL_RELEASED) released(sites, gil, event);
    if (event->kind == MI_GIL_RELEASED) gil->held = 0;
    if (event->kind != MI_GIL_ACQUIRED && event->kind != MI_GIL_HELD) return;
    gil->held = 1;
    gil->begin = event->time;
}

const mi_gil_site *mi_gil_sites_all(const mi_gil_sites *sites, size_t *count, uint64_t *left_out) {
    *count = sites->count;
    *left_out = sites->left_out;
    return sites->sites;
}

const mi_gil_placed *mi_gil_sites_longest(const mi_gil_sites *sites, size_t *count) {
    *count = sites->placed_count;
    return sites->placed;
}
