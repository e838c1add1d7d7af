/* gil_encode.h - events of a trace as the records of a trace file: Perfetto's protobuf, or Chrome's trace events.
 *
 * Streaming: events in, bytes out, what is kept is what is going on (gil_spans.h). The head of the file, the names of
 * tracks and its end are the caller's, who is asked for a row's names before its first record. Field numbers are those of
 * protos/perfetto/trace/trace_packet.proto and track_event/track_event.proto, which are never given another meaning. */
#ifndef MI_GIL_ENCODE_H
#define MI_GIL_ENCODE_H

#include "gil_spans.h"

typedef enum mi_gil_format { MI_GIL_PERFETTO = 1, MI_GIL_CHROME } mi_gil_format;

/* Tracks of a Perfetto file: pid << 24 | kind << 20 | row, of a thread or of a GIL. */
enum { MI_GIL_TRACK_PROCESS = 0, MI_GIL_TRACK_THREAD, MI_GIL_TRACK_WAITERS, MI_GIL_TRACK_COLLECTIONS };

/* Numbers of strings, which the caller's first packet gives their text. */
enum { MI_GIL_NAME_HELD = 1, MI_GIL_NAME_WAITING, MI_GIL_NAME_COLLECTION /* + generation, 0 to 2 */ };
enum { MI_GIL_CATEGORY_GIL = 1, MI_GIL_CATEGORY_GC };
enum { MI_GIL_NOTE_FORCED = 1, MI_GIL_NOTE_ASKED_BY, MI_GIL_NOTE_COLLECTED };

typedef struct mi_gil_encoder_plan {
    mi_gil_format format;
    int32_t pid;
    uint64_t base_ns;  /* Perfetto: added to all times, so that they are CLOCK_MONOTONIC's */
    uint64_t from, to; /* nanoseconds since the beginning: what lies outside is left out, what crosses is cut */
} mi_gil_encoder_plan;

typedef struct mi_gil_encoder mi_gil_encoder;

enum { MI_GIL_NEED_NOTHING = -1, MI_GIL_NEED_GIL = 1 << 24 }; /* needed: a thread's row, or MI_GIL_NEED_GIL + a GIL's */

mi_gil_encoder *mi_gil_encoder_make(const mi_gil_encoder_plan *plan); /* NULL: no memory */
void mi_gil_encoder_free(mi_gil_encoder *encoder);
/* The caller has written the names of what was needed; `native_id` of a thread. */
void mi_gil_encoder_know(mi_gil_encoder *encoder, int needed, int32_t native_id);
/* Takes events and writes to out[room], of at least 4 KiB. Comes back when all are taken, when the room is used, or when a
 * name is needed: *taken events are done. */
size_t mi_gil_encode(mi_gil_encoder *encoder, const mi_gil_event *events, size_t count, size_t *taken, char *out,
                     size_t room, int *needed);
/* The same for what is left at the trace's end: until *more is 0. */
size_t mi_gil_encode_end(mi_gil_encoder *encoder, uint64_t end, char *out, size_t room, int *needed, int *more);

#endif
