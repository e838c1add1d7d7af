/* gil_encode.c - see gil_encode.h. */
#include "gil_encode.h"

#include <stdio.h>
#include <string.h>

#include "os.h"

enum { RECORD_MOST = 1024 }; /* what one span makes is shorter */

struct mi_gil_encoder {
    mi_gil_encoder_plan plan;
    mi_gil_spans *spans;
    mi_gil_span pending[MI_GIL_SPANS_MOST];
    size_t pending_count, pending_at;
    int32_t native_ids[MI_GIL_THREADS_MOST]; /* + 1; 0: not known yet */
    uint8_t gils[MI_GILS_MOST];
    uint64_t arrow[MI_GILS_MOST];          /* the hand-off whose beginning was written last */
    uint64_t waiters_before[MI_GILS_MOST]; /* the window */
    uint8_t waiters_written[MI_GILS_MOST];
};

mi_gil_encoder *mi_gil_encoder_make(const mi_gil_encoder_plan *plan) {
    mi_gil_encoder *encoder = mi_os_alloc(sizeof *encoder);
    if (!encoder) return NULL;
    encoder->plan = *plan;
    encoder->spans = mi_gil_spans_make();
    if (encoder->spans) return encoder;
    mi_os_free(encoder, sizeof *encoder);
    return NULL;
}

void mi_gil_encoder_free(mi_gil_encoder *encoder) {
    if (!encoder) return;
    mi_gil_spans_free(encoder->spans);
    mi_os_free(encoder, sizeof *encoder);
}

void mi_gil_encoder_know(mi_gil_encoder *encoder, int needed, int32_t native_id) {
    if (needed >= MI_GIL_NEED_GIL)
        encoder->gils[(needed - MI_GIL_NEED_GIL) % MI_GILS_MOST] = 1;
    else if (needed >= 0 && needed < MI_GIL_THREADS_MOST)
        encoder->native_ids[needed] = native_id + 1;
}

static int32_t native_id_of(const mi_gil_encoder *encoder, uint32_t row) {
    return row && encoder->native_ids[row] ? encoder->native_ids[row] - 1 : 0;
}

/* ---- protobuf --------------------------------------------------------------------------------------------------------- */

typedef struct wire {
    uint8_t bytes[RECORD_MOST];
    size_t size;
} wire;

static void put_varint(wire *to, uint64_t value) {
    for (; value > 0x7f; value >>= 7) to->bytes[to->size++] = (uint8_t)(value | 0x80);
    to->bytes[to->size++] = (uint8_t)value;
}

static void put_number(wire *to, unsigned field, uint64_t value) {
    put_varint(to, field << 3);
    put_varint(to, value);
}

static void put_fixed64(wire *to, unsigned field, uint64_t value) {
    put_varint(to, field << 3 | 1);
    for (int at = 0; at < 8; at++) to->bytes[to->size++] = (uint8_t)(value >> (8 * at));
}

static void put_message(wire *to, unsigned field, const wire *message) {
    put_varint(to, field << 3 | 2);
    put_varint(to, message->size);
    memcpy(to->bytes + to->size, message->bytes, message->size);
    to->size += message->size;
}

enum { SLICE_BEGIN = 1, SLICE_END = 2, COUNTER = 4 }; /* TrackEvent.Type */
enum { SEQUENCE = 1, NEEDS_INCREMENTAL_STATE = 2 };

static uint64_t track_of(const mi_gil_encoder *encoder, unsigned kind, uint32_t row) {
    return (uint64_t)(uint32_t)encoder->plan.pid << 24 | (uint64_t)kind << 20 | row;
}

/* TrackEvent up to what says more about it. */
static void begin_event(wire *event, unsigned type, uint64_t track) {
    event->size = 0;
    put_number(event, 9, type);
    put_number(event, 11, track);
}

static size_t put_packet(const mi_gil_encoder *encoder, uint64_t time, const wire *event, char *out) {
    wire packet = {.size = 0}, trace = {.size = 0};
    put_number(&packet, 8, encoder->plan.base_ns + time);
    put_number(&packet, 10, SEQUENCE);
    put_message(&packet, 11, event);
    put_number(&packet, 13, NEEDS_INCREMENTAL_STATE);
    put_message(&trace, 1, &packet);
    memcpy(out, trace.bytes, trace.size);
    return trace.size;
}

static void put_note(wire *event, unsigned name, unsigned kind, uint64_t value) {
    wire note = {.size = 0};
    put_number(&note, 1, name);
    put_number(&note, kind, value);
    put_message(event, 4, &note);
}

/* A slice is two packets; both are known when it has ended, and readers sort them by time. */
static size_t slice_packets(mi_gil_encoder *encoder, const mi_gil_span *span, uint64_t begin, uint64_t end, char *out) {
    wire event;
    int is_collection = span->kind == MI_GIL_SPAN_COLLECTION;
    uint64_t track = is_collection ? track_of(encoder, MI_GIL_TRACK_COLLECTIONS, span->gil)
                                   : track_of(encoder, MI_GIL_TRACK_THREAD, span->thread);
    uint32_t generation = span->other < 2 ? span->other : 2;
    begin_event(&event, SLICE_BEGIN, track);
    put_number(&event, 3, is_collection ? MI_GIL_CATEGORY_GC : MI_GIL_CATEGORY_GIL);
    put_number(&event, 10,
               is_collection                    ? MI_GIL_NAME_COLLECTION + generation
               : span->kind == MI_GIL_SPAN_HOLD ? MI_GIL_NAME_HELD
                                                : MI_GIL_NAME_WAITING);
    if (is_collection) put_note(&event, MI_GIL_NOTE_COLLECTED, 3, span->detail);
    if (span->kind == MI_GIL_SPAN_HOLD) {
        uint64_t base = (uint64_t)span->gil << 48;
        if (span->flags & MI_GIL_FORCED) put_note(&event, MI_GIL_NOTE_FORCED, 2, 1);
        if (span->other) put_note(&event, MI_GIL_NOTE_ASKED_BY, 3, (uint64_t)native_id_of(encoder, span->other));
        if (span->went && end == span->end) put_fixed64(&event, 47, base | span->went);
        if (span->came && encoder->arrow[span->gil] == span->came) put_fixed64(&event, 48, base | span->came);
        encoder->arrow[span->gil] = end == span->end ? span->went : 0;
    }
    size_t size = put_packet(encoder, begin, &event, out);
    begin_event(&event, SLICE_END, track);
    return size + put_packet(encoder, end, &event, out + size);
}

static size_t counter_packet(mi_gil_encoder *encoder, uint16_t gil, uint64_t time, uint64_t value, char *out) {
    wire event;
    begin_event(&event, COUNTER, track_of(encoder, MI_GIL_TRACK_WAITERS, gil));
    put_number(&event, 30, value);
    return put_packet(encoder, time, &event, out);
}

/* ---- Chrome's trace events -------------------------------------------------------------------------------------------- */

#define TIME "%llu.%03u" /* microseconds */
#define TIME_OF(ns) (unsigned long long)((ns) / 1000), (unsigned)((ns) % 1000)

/* A number: Perfetto takes a text for one in base 16, and drops what is none. */
static unsigned long long arrow_of(uint16_t gil, uint64_t number) {
    _Static_assert(MI_GILS_MOST <= 64, "six bits");
    return (unsigned long long)(number << 6 | gil);
}

static size_t slice_text(mi_gil_encoder *encoder, const mi_gil_span *span, uint64_t begin, uint64_t end, char *out) {
    int pid = encoder->plan.pid, tid = native_id_of(encoder, span->thread);
    uint64_t length = end - begin;
    int size;
    if (span->kind == MI_GIL_SPAN_COLLECTION)
        return (size_t)snprintf(out, RECORD_MOST,
                                ",\n{\"ph\":\"X\",\"pid\":%d,\"tid\":\"collections %u\",\"ts\":" TIME ",\"dur\":" TIME
                                ",\"name\":\"collection, generation %u\",\"cat\":\"gc\",\"args\":{\"collected\":%llu}}",
                                pid, span->gil, TIME_OF(begin), TIME_OF(length), span->other,
                                (unsigned long long)span->detail);
    size = snprintf(out, RECORD_MOST,
                    ",\n{\"ph\":\"X\",\"pid\":%d,\"tid\":%d,\"ts\":" TIME ",\"dur\":" TIME
                    ",\"name\":\"%s\",\"cat\":\"gil\"",
                    pid, tid, TIME_OF(begin), TIME_OF(length), span->kind == MI_GIL_SPAN_HOLD ? "held" : "waiting");
    if (span->kind != MI_GIL_SPAN_HOLD) return (size_t)(size + sprintf(out + size, "}"));
    size += sprintf(out + size, ",\"args\":{\"forced\":%s", span->flags & MI_GIL_FORCED ? "true" : "false");
    if (span->other) size += sprintf(out + size, ",\"asked_by\":%d", native_id_of(encoder, span->other));
    size += sprintf(out + size, "}}");
    if (span->came && encoder->arrow[span->gil] == span->came)
        size += sprintf(out + size,
                        ",\n{\"ph\":\"f\",\"bp\":\"e\",\"id\":%llu,\"pid\":%d,\"tid\":%d,\"ts\":" TIME
                        ",\"name\":\"hand-off\",\"cat\":\"gil\"}",
                        arrow_of(span->gil, span->came), pid, tid, TIME_OF(begin));
    encoder->arrow[span->gil] = end == span->end ? span->went : 0;
    if (encoder->arrow[span->gil])
        size += sprintf(out + size,
                        ",\n{\"ph\":\"s\",\"id\":%llu,\"pid\":%d,\"tid\":%d,\"ts\":" TIME
                        ",\"name\":\"hand-off\",\"cat\":\"gil\"}",
                        arrow_of(span->gil, span->went), pid, tid, TIME_OF(end > begin ? end - 1 : end));
    return (size_t)size;
}

static size_t counter_text(mi_gil_encoder *encoder, uint16_t gil, uint64_t time, uint64_t value, char *out) {
    return (size_t)snprintf(out, RECORD_MOST,
                            ",\n{\"ph\":\"C\",\"pid\":%d,\"ts\":" TIME
                            ",\"name\":\"waiting for GIL %u\",\"args\":{\"threads\":%llu}}",
                            encoder->plan.pid, TIME_OF(time), gil, (unsigned long long)value);
}

/* ---- spans ------------------------------------------------------------------------------------------------------------ */

static size_t write_counter(mi_gil_encoder *encoder, uint16_t gil, uint64_t time, uint64_t value, char *out) {
    return encoder->plan.format == MI_GIL_CHROME ? counter_text(encoder, gil, time, value, out)
                                                 : counter_packet(encoder, gil, time, value, out);
}

static size_t write_waiters(mi_gil_encoder *encoder, const mi_gil_span *span, char *out) {
    size_t size = 0;
    if (span->begin < encoder->plan.from) {
        encoder->waiters_before[span->gil] = span->detail;
        return 0;
    }
    if (!encoder->waiters_written[span->gil]) {
        encoder->waiters_written[span->gil] = 1;
        size = write_counter(encoder, span->gil, encoder->plan.from, encoder->waiters_before[span->gil], out);
    }
    return size + write_counter(encoder, span->gil, span->begin, span->detail, out + size);
}

static size_t write_span(mi_gil_encoder *encoder, const mi_gil_span *span, char *out) {
    if (span->kind == MI_GIL_SPAN_WAITERS) return write_waiters(encoder, span, out);
    uint64_t begin = span->begin > encoder->plan.from ? span->begin : encoder->plan.from;
    uint64_t end = span->end < encoder->plan.to ? span->end : encoder->plan.to;
    return encoder->plan.format == MI_GIL_CHROME ? slice_text(encoder, span, begin, end, out)
                                                 : slice_packets(encoder, span, begin, end, out);
}

static int is_shown(const mi_gil_encoder *encoder, const mi_gil_span *span) {
    if (span->begin >= encoder->plan.to) return 0;
    if (span->kind == MI_GIL_SPAN_WAITERS) return 1;
    if (span->end < encoder->plan.from) return 0;
    return span->kind != MI_GIL_SPAN_WAIT || span->flags & MI_GIL_BLOCKED;
}

static int needed_by(const mi_gil_encoder *encoder, const mi_gil_span *span) {
    if (!encoder->gils[span->gil]) return MI_GIL_NEED_GIL + span->gil;
    if (span->kind == MI_GIL_SPAN_WAITERS) return MI_GIL_NEED_NOTHING;
    if (!encoder->native_ids[span->thread]) return (int)span->thread;
    if (span->kind == MI_GIL_SPAN_HOLD && span->other && !encoder->native_ids[span->other]) return (int)span->other;
    return MI_GIL_NEED_NOTHING;
}

/* Writes what is pending; 0 when it could not write all of it. */
static int write_pending(mi_gil_encoder *encoder, char *out, size_t room, size_t *size, int *needed) {
    for (; encoder->pending_at < encoder->pending_count; encoder->pending_at++) {
        const mi_gil_span *span = &encoder->pending[encoder->pending_at];
        if (!is_shown(encoder, span)) continue;
        *needed = needed_by(encoder, span);
        if (*needed != MI_GIL_NEED_NOTHING || room - *size < 2 * RECORD_MOST) return 0;
        *size += write_span(encoder, span, out + *size);
    }
    encoder->pending_count = encoder->pending_at = 0;
    return 1;
}

size_t mi_gil_encode(mi_gil_encoder *encoder, const mi_gil_event *events, size_t count, size_t *taken, char *out,
                     size_t room, int *needed) {
    size_t size = 0;
    *needed = MI_GIL_NEED_NOTHING;
    for (*taken = 0; write_pending(encoder, out, room, &size, needed) && *taken < count; ++*taken)
        encoder->pending_count = mi_gil_spans_feed(encoder->spans, &events[*taken], encoder->pending);
    return size;
}

size_t mi_gil_encode_end(mi_gil_encoder *encoder, uint64_t end, char *out, size_t room, int *needed, int *more) {
    size_t size = 0;
    *needed = MI_GIL_NEED_NOTHING;
    for (*more = 1; write_pending(encoder, out, room, &size, needed);) {
        encoder->pending_count = mi_gil_spans_finish(encoder->spans, end, encoder->pending);
        if (encoder->pending_count) continue;
        *more = 0;
        break;
    }
    return size;
}
