/* paint.c - leaves, claims, and the bookkeeping that makes the leaves sum to what is resident. */
#include "paint.h"

#include <string.h>

#include "sort.h"

#define NAME_MOST 255

mi_error mi_painter_open(mi_painter *painter, const mi_maps *maps, mi_pages *pages) {
    memset(painter, 0, sizeof *painter);
    painter->maps = maps;
    painter->pages = pages;
    painter->leaves = mi_os_alloc(MI_LEAVES_MOST * sizeof *painter->leaves); /* used as far as there are leaves */
    painter->text = mi_os_alloc(MI_TEXT_MOST);
    mi_error error =
        painter->leaves && painter->text ? mi_window_open(&painter->window, pages, (mi_steady){0}) : MI_E_MEMORY;
    if (error) mi_painter_close(painter);
    return error;
}

void mi_painter_close(mi_painter *painter) {
    mi_window_close(&painter->window);
    mi_os_free(painter->leaves, MI_LEAVES_MOST * sizeof *painter->leaves);
    mi_os_free(painter->text, MI_TEXT_MOST);
    mi_os_free(painter->claims, painter->claim_capacity * sizeof *painter->claims);
    memset(painter, 0, sizeof *painter);
}

/* ---- leaves ------------------------------------------------------------------------------------------------------------ */

/* A copy, the last leaf's own where it has the same name: leaves come in groups. */
static const char *keep_name(mi_painter *painter, const char *name, int depth) {
    const char *last = painter->leaf_count ? painter->leaves[painter->leaf_count - 1].path[depth] : NULL;
    size_t length = strlen(name);
    if (last && !strcmp(last, name)) return last;
    if (length > NAME_MOST) length = NAME_MOST;
    if (painter->text_used + length + 1 > MI_TEXT_MOST) return "(more)";
    char *copy = painter->text + painter->text_used;
    memcpy(copy, name, length);
    copy[length] = 0;
    painter->text_used += length + 1;
    return copy;
}

static int same_path(const mi_leaf *leaf, const char *const path[MI_LEAF_DEPTH]) {
    for (int at = 0; at < MI_LEAF_DEPTH; at++) {
        if (!leaf->path[at] || !path[at]) return leaf->path[at] == path[at];
        if (strcmp(leaf->path[at], path[at])) return 0;
    }
    return 1;
}

uint32_t mi_painter_leaf(mi_painter *painter, const char *const path[MI_LEAF_DEPTH]) {
    const char *names[MI_LEAF_DEPTH] = {NULL};
    for (size_t at = 0; at < painter->leaf_count; at++)
        if (same_path(&painter->leaves[at], path)) return (uint32_t)at;
    if (painter->leaf_count == MI_LEAVES_MOST) return MI_LEAVES_MOST - 1; /* the last one holds all that are too many */
    for (int at = 0; at < MI_LEAF_DEPTH && path[at]; at++) names[at] = keep_name(painter, path[at], at);
    memcpy(painter->leaves[painter->leaf_count].path, names, sizeof names);
    return (uint32_t)painter->leaf_count++;
}

/* ---- claims ------------------------------------------------------------------------------------------------------------ */

mi_error mi_painter_claim(mi_painter *painter, mi_claim claim) {
    if (claim.end <= claim.start) return MI_OK;
    if (painter->claim_count == painter->claim_capacity) {
        size_t capacity = painter->claim_capacity ? painter->claim_capacity * 2 : 4096;
        void *grown = mi_os_realloc(painter->claims, painter->claim_capacity * sizeof claim, capacity * sizeof claim);
        if (!grown) return MI_E_MEMORY;
        painter->claims = grown;
        painter->claim_capacity = capacity;
    }
    if (!claim.origin) claim.origin = claim.start;
    painter->claims[painter->claim_count++] = claim;
    return MI_OK;
}

void mi_painter_settle(mi_painter *painter) {
    size_t kept = 0;
    uintptr_t end = 0;
    mi_sort(painter->claims, painter->claim_count, sizeof *painter->claims);
    for (size_t at = 0; at < painter->claim_count; at++) {
        mi_claim claim = painter->claims[at];
        if (claim.start < end) claim.start = end;
        if (claim.end <= claim.start) continue;
        end = claim.end;
        painter->claims[kept++] = claim;
    }
    painter->claim_count = painter->settled = kept;
}

/* ---- painting ---------------------------------------------------------------------------------------------------------- */

void mi_painter_add(mi_painter *painter, uintptr_t start, uintptr_t end, uint32_t leaf, uint64_t count) {
    mi_leaf *to = &painter->leaves[leaf];
    if (end <= start) return;
    to->resident_bytes += mi_pages_bytes(painter->pages, &painter->hint, start, end);
    to->virtual_bytes += end - start;
    to->count += count;
}

void mi_paint(mi_painter *painter, uintptr_t start, uintptr_t end, uint32_t leaf, uint64_t count) {
    if (end > painter->stop) end = painter->stop;
    if (start < painter->position) start = painter->position;
    if (end <= start) return;
    if (start > painter->position) mi_painter_add(painter, painter->position, start, painter->rest, 0);
    mi_painter_add(painter, start, end, leaf, count);
    painter->position = end;
}

static void paint_claim(mi_painter *painter, const mi_claim *claim, uintptr_t start, uintptr_t end) {
    mi_hold_is_over(painter->window.hold);
    painter->position = start;
    painter->stop = end;
    painter->rest = claim->leaf;
    if (claim->paint)
        claim->paint(painter, claim);
    else
        mi_paint(painter, start, end, claim->leaf, 1);
    if (painter->position < end) mi_painter_add(painter, painter->position, end, painter->rest, 0);
}

/* The first settled claim that ends behind `address`. */
static size_t first_claim(const mi_painter *painter, uintptr_t address) {
    size_t low = 0, high = painter->settled;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (painter->claims[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void each_part(mi_painter *painter, uintptr_t start, uintptr_t end, int paint, mi_gap_function gap,
                      void *context) {
    uintptr_t position = start;
    for (size_t at = first_claim(painter, start); at < painter->settled; at++) {
        mi_claim claim = painter->claims[at]; /* a copy: `gap` may move the table */
        if (claim.start >= end) break;
        uintptr_t from = claim.start > position ? claim.start : position, to = claim.end < end ? claim.end : end;
        if (from > position) gap(painter, position, from, context);
        if (paint) paint_claim(painter, &claim, from, to);
        position = to;
    }
    if (position < end) gap(painter, position, end, context);
}

void mi_painter_range(mi_painter *painter, uintptr_t start, uintptr_t end, mi_gap_function gap, void *context) {
    each_part(painter, start, end, 1, gap, context);
}

void mi_painter_gaps(mi_painter *painter, uintptr_t start, uintptr_t end, mi_gap_function gap, void *context) {
    each_part(painter, start, end, 0, gap, context);
}
