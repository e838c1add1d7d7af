/* gil_spans.c - see gil_spans.h. */
#include "gil_spans.h"

#include <string.h>

#include "os.h"

typedef struct gil_now {
    uint32_t number; /* of the next event */
    uint64_t time;   /* of the last one: those of one GIL never go back */
    int seen;
    int held;      /* `hold` is going on */
    int released;  /* `hold` has ended and waits for who comes next */
    uint32_t last; /* who released it, when `known` */
    int known, forced;
    mi_gil_span hold;
    uint64_t hand_offs, waiters;
    mi_gil_event collection; /* kind 0: none */
} gil_now;

struct mi_gil_spans {
    gil_now gils[MI_GILS_MOST];
    uint64_t gaps, missing;
    uint32_t finishing;                        /* threads looked at by finish */
    uint16_t waits_for[MI_GIL_THREADS_MOST];   /* row of a GIL + 1, 0: none */
    uint64_t waits_since[MI_GIL_THREADS_MOST]; /* when it asked */
};

mi_gil_spans *mi_gil_spans_make(void) { return mi_os_alloc(sizeof(mi_gil_spans)); }

void mi_gil_spans_free(mi_gil_spans *spans) {
    if (spans) mi_os_free(spans, sizeof *spans);
}

uint64_t mi_gil_spans_gaps(const mi_gil_spans *spans, uint64_t *missing) {
    *missing = spans->missing;
    return spans->gaps;
}

static mi_gil_span waiters_at(const gil_now *gil, uint16_t index, uint64_t time) {
    return (mi_gil_span){.begin = time, .end = time, .detail = gil->waiters, .gil = index, .kind = MI_GIL_SPAN_WAITERS};
}

/* The hold that had ended leaves, when there is one. */
static size_t flush(gil_now *gil, mi_gil_span *out) {
    if (!gil->released) return 0;
    gil->released = 0;
    *out = gil->hold;
    return 1;
}

static size_t forget(mi_gil_spans *spans, gil_now *gil, uint16_t index, uint32_t number, mi_gil_span *out) {
    size_t count = flush(gil, out);
    spans->gaps++;
    spans->missing += number - gil->number;
    for (uint32_t row = 0; gil->waiters && row < MI_GIL_THREADS_MOST; row++) {
        if (spans->waits_for[row] != index + 1) continue;
        spans->waits_for[row] = 0;
        gil->waiters--;
    }
    gil->held = gil->known = 0;
    gil->waiters = 0;
    gil->collection.kind = 0;
    return count;
}

static void begin_hold(gil_now *gil, const mi_gil_event *event, uint8_t flags, uint64_t came) {
    gil->held = 1;
    gil->hold = (mi_gil_span){.begin = event->time,
                              .came = came,
                              .thread = event->thread,
                              .gil = event->gil,
                              .kind = MI_GIL_SPAN_HOLD,
                              .flags = flags};
}

static int stop_waiting(mi_gil_spans *spans, gil_now *gil, const mi_gil_event *event) {
    if (spans->waits_for[event->thread] != event->gil + 1) return 0;
    spans->waits_for[event->thread] = 0;
    gil->waiters--;
    return 1;
}

static size_t acquired(mi_gil_spans *spans, gil_now *gil, const mi_gil_event *event, mi_gil_span *out) {
    size_t count = 0;
    int handed = gil->known && gil->last != event->thread, blocked = stop_waiting(spans, gil, event);
    uint64_t came = handed ? ++gil->hand_offs : 0;
    if (gil->released) {
        gil->hold.next = event->thread;
        gil->hold.went = came;
        count += flush(gil, out);
    }
    out[count++] =
        (mi_gil_span){.begin = event->detail < event->time ? event->detail : event->time,
                      .end = event->time,
                      .thread = event->thread,
                      .other = handed ? gil->last : 0,
                      .gil = event->gil,
                      .kind = MI_GIL_SPAN_WAIT,
                      .flags = (uint8_t)((handed && gil->forced ? MI_GIL_FORCED : 0) | (blocked ? MI_GIL_BLOCKED : 0))};
    if (blocked) out[count++] = waiters_at(gil, event->gil, event->time);
    begin_hold(gil, event, 0, came);
    return count;
}

static void released(gil_now *gil, const mi_gil_event *event) {
    if (!gil->held) begin_hold(gil, event, MI_GIL_EARLIER, 0);
    gil->hold.thread = event->thread;
    gil->hold.end = event->time > gil->hold.begin ? event->time : gil->hold.begin;
    gil->hold.other = event->other;
    gil->forced = event->detail & 1;
    if (gil->forced) gil->hold.flags |= MI_GIL_FORCED;
    gil->held = 0;
    gil->released = gil->known = 1;
    gil->last = event->thread;
}

static size_t gave_up(mi_gil_spans *spans, gil_now *gil, const mi_gil_event *event, mi_gil_span *out) {
    uint64_t since = spans->waits_since[event->thread];
    if (!stop_waiting(spans, gil, event)) return 0;
    out[0] = (mi_gil_span){.begin = since < event->time ? since : event->time,
                           .end = event->time,
                           .thread = event->thread,
                           .gil = event->gil,
                           .kind = MI_GIL_SPAN_WAIT,
                           .flags = MI_GIL_BLOCKED | MI_GIL_IN_VAIN};
    out[1] = waiters_at(gil, event->gil, event->time);
    return 2;
}

static size_t collected(gil_now *gil, const mi_gil_event *event, mi_gil_span *out) {
    if (!gil->collection.kind) return 0;
    out[0] = (mi_gil_span){.begin = gil->collection.time,
                           .end = event->time,
                           .detail = event->detail >> 8 & 0xFFFFFFFFu,
                           .came = event->detail >> 40,
                           .next = (uint32_t)(gil->collection.detail >> 8),
                           .thread = event->thread,
                           .other = event->detail & 0xff,
                           .gil = event->gil,
                           .kind = MI_GIL_SPAN_COLLECTION};
    gil->collection.kind = 0;
    return 1;
}

size_t mi_gil_spans_feed(mi_gil_spans *spans, const mi_gil_event *given, mi_gil_span *out) {
    size_t count = 0;
    mi_gil_event now = *given, *event = &now;
    if (now.gil >= MI_GILS_MOST || now.thread >= MI_GIL_THREADS_MOST) return 0; /* torn: its process was killed */
    gil_now *gil = &spans->gils[now.gil];
    if (event->number != gil->number) {
        if (gil->seen && (int32_t)(event->number - gil->number) < 0) return 0;
        count = forget(spans, gil, event->gil, event->number, out);
    }
    if (now.time < gil->time) now.time = gil->time; /* clocks are compared again and again while a trace is followed */
    gil->time = now.time;
    gil->seen = 1;
    gil->number = event->number + 1;
    switch (event->kind) {
    case MI_GIL_HELD: begin_hold(gil, event, MI_GIL_EARLIER, 0); break;
    case MI_GIL_WAIT:
        if (!spans->waits_for[event->thread]) {
            spans->waits_for[event->thread] = event->gil + 1;
            spans->waits_since[event->thread] = event->detail;
            gil->waiters++;
            out[count] = waiters_at(gil, event->gil, event->time);
            count++;
        }
        break;
    case MI_GIL_TIMEOUT:
        if (gil->held && !gil->hold.detail) gil->hold.detail = event->time;
        break;
    case MI_GIL_ACQUIRED: count += acquired(spans, gil, event, out + count); break;
    case MI_GIL_RELEASED:
        count += flush(gil, out + count);
        released(gil, event);
        break;
    case MI_GIL_ABANDONED: count += gave_up(spans, gil, event, out + count); break;
    case MI_GIL_COLLECTION_BEGIN: gil->collection = *event; break;
    case MI_GIL_COLLECTION_END: count += collected(gil, event, out + count); break;
    default: break;
    }
    return count;
}

size_t mi_gil_spans_finish(mi_gil_spans *spans, uint64_t end, mi_gil_span *out) {
    for (uint16_t index = 0; index < MI_GILS_MOST; index++) {
        gil_now *gil = &spans->gils[index];
        if (flush(gil, out)) return 1;
        if (!gil->held) continue;
        gil->held = 0;
        gil->hold.end = end > gil->hold.begin ? end : gil->hold.begin;
        gil->hold.flags |= MI_GIL_OPEN;
        *out = gil->hold;
        return 1;
    }
    for (; spans->finishing < MI_GIL_THREADS_MOST; spans->finishing++) {
        uint32_t row = spans->finishing;
        uint16_t index = spans->waits_for[row];
        if (!index) continue;
        spans->waits_for[row] = 0;
        uint64_t since = spans->waits_since[row] < end ? spans->waits_since[row] : end;
        *out = (mi_gil_span){.begin = since,
                             .end = end,
                             .thread = row,
                             .gil = (uint16_t)(index - 1),
                             .kind = MI_GIL_SPAN_WAIT,
                             .flags = MI_GIL_BLOCKED | MI_GIL_OPEN | MI_GIL_IN_VAIN};
        return 1;
    }
    return 0;
}
