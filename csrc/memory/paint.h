/* paint.h - splitting resident pages by what lies in them.
 *
 * Everything that knows a piece of anonymous memory (a heap of malloc, an arena, a stack) claims it. Claims are sorted
 * and do not overlap; then each paints its piece in ascending order: so many bytes of this leaf, so many of that. What a
 * claim leaves out goes to its rest, what no claim covers to the leaf of the gap. So the leaves always sum to the pages
 * that were resident, and a leaf counts resident bytes alone. */
#ifndef MI_PAINT_H
#define MI_PAINT_H

#include "pages.h"

enum { MI_LEAF_DEPTH = 4, MI_LEAVES_MOST = 32768, MI_TEXT_MOST = 1 << 20 };

typedef struct mi_leaf {
    const char *path[MI_LEAF_DEPTH]; /* names from the top, NULL behind the last; as long as the painter's text lives */
    int32_t tid;                     /* the leaf belongs to this thread, 0: to none */
    uint64_t resident_bytes, virtual_bytes, count;
} mi_leaf;

typedef struct mi_painter mi_painter;
typedef struct mi_claim mi_claim;
/* Paints [claim->start, claim->end) by calls of mi_paint in ascending order; may leave parts out. */
typedef void (*mi_paint_function)(mi_painter *painter, const mi_claim *claim);

struct mi_claim {
    uintptr_t start, end;
    uintptr_t origin;        /* where the thing begins, `start` before another claim took part of it; 0: at `start` */
    mi_paint_function paint; /* NULL: all of it goes to `leaf` */
    uint32_t leaf;           /* what `paint` leaves out goes here too */
    uint32_t number;         /* for `paint` */
    void *data;              /* for `paint` */
};

struct mi_painter {
    const mi_maps *maps;
    mi_pages *pages;
    mi_window window;
    mi_leaf *leaves;
    size_t leaf_count;
    char *text; /* names of leaves */
    size_t text_used;
    mi_claim *claims;
    size_t claim_count, claim_capacity, settled;
    uintptr_t position, stop; /* of the claim that is being painted */
    uint32_t rest;
    size_t hint;
};

mi_error mi_painter_open(mi_painter *painter, const mi_maps *maps, mi_pages *pages);
void mi_painter_close(mi_painter *painter); /* leaves and text as well */

/* The leaf of this path (NULL-ended when shorter than MI_LEAF_DEPTH), made when it is new; names are copied, cut to 255
 * bytes. */
uint32_t mi_painter_leaf(mi_painter *painter, const char *const path[MI_LEAF_DEPTH]);

mi_error mi_painter_claim(mi_painter *painter, mi_claim claim);
/* Sorts the claims; where two overlap, the one that begins first keeps what both want. */
void mi_painter_settle(mi_painter *painter);

/* In a mi_paint_function: [start, end) is `count` things of `leaf`. */
void mi_paint(mi_painter *painter, uintptr_t start, uintptr_t end, uint32_t leaf, uint64_t count);
/* Outside of claims: adds to a leaf what is resident of the range. */
void mi_painter_add(mi_painter *painter, uintptr_t start, uintptr_t end, uint32_t leaf, uint64_t count);

/* Paints the settled claims inside [start, end) and calls `gap` for what lies between them. */
typedef void (*mi_gap_function)(mi_painter *painter, uintptr_t start, uintptr_t end, void *context);
void mi_painter_range(mi_painter *painter, uintptr_t start, uintptr_t end, mi_gap_function gap, void *context);
/* Calls `gap` alone, which may make claims; nothing is painted. */
void mi_painter_gaps(mi_painter *painter, uintptr_t start, uintptr_t end, mi_gap_function gap, void *context);

#endif
