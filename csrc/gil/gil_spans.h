/* gil_spans.h - events of GILs as spans: every hold, every wait, every collection, with what came before and after it.
 *
 * The one place where the order of events is made sense of. It is fed events in the order of the log, in parts of any
 * size, and keeps only what is going on now: a trace of any length passes through in bounded memory. A hold leaves when
 * it is known who got the GIL next. Where events were lost (a gap in a GIL's numbers) what was known of that GIL is known
 * no more, and the hold that was going on is left out; an event that comes twice is passed over. */
#ifndef MI_GIL_SPANS_H
#define MI_GIL_SPANS_H

#include "gil_ring.h"

typedef enum mi_gil_span_kind {
    MI_GIL_SPAN_HOLD = 1,
    MI_GIL_SPAN_WAIT,
    MI_GIL_SPAN_COLLECTION,
    MI_GIL_SPAN_WAITERS /* from `begin` on `detail` threads wait for the GIL; `end` is the same */
} mi_gil_span_kind;

enum {
    MI_GIL_FORCED = 1,  /* a hold: a drop request was pending at its end; a wait: at the release before it */
    MI_GIL_OPEN = 2,    /* had not ended with the trace */
    MI_GIL_EARLIER = 4, /* a hold that began before the trace */
    MI_GIL_BLOCKED = 8, /* a wait in which the thread slept, since another held the GIL */
    MI_GIL_IN_VAIN = 16 /* a wait that ended without the GIL */
};

typedef struct mi_gil_span {
    uint64_t begin, end; /* nanoseconds since the trace began */
    uint64_t detail;     /* hold: when it was first asked to end, 0: never; collection: objects collected */
    /* hold: number of the hand-off that began and ended it within its GIL, from 1; 0: none. collection: `came` has the
     * uncollectable objects */
    uint64_t came, went;
    uint32_t thread; /* row */
    uint32_t other;  /* hold: whose timeout asked; wait: who had it before; collection: generation; 0: nobody known */
    uint16_t gil;
    uint8_t kind, flags;
    uint32_t next; /* hold: who had it next, 0: nobody known; collection: mi_gc_trigger (gc_log.h) */
} mi_gil_span;

typedef struct mi_gil_spans mi_gil_spans;

/* Everything that one event or one GIL's end can give fits into so many spans. */
enum { MI_GIL_SPANS_MOST = 4 };

mi_gil_spans *mi_gil_spans_make(void); /* NULL: no memory */
void mi_gil_spans_free(mi_gil_spans *spans);
/* One event in, up to MI_GIL_SPANS_MOST spans out; returns how many. */
size_t mi_gil_spans_feed(mi_gil_spans *spans, const mi_gil_event *event, mi_gil_span *out);
/* What was going on when the trace ended at `end`: call until it returns 0. */
size_t mi_gil_spans_finish(mi_gil_spans *spans, uint64_t end, mi_gil_span *out);
/* How often events were found missing, and how many of them. */
uint64_t mi_gil_spans_gaps(const mi_gil_spans *spans, uint64_t *missing);

#endif
