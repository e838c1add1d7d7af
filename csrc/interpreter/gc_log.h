/* gc_log.h - collections of an interpreter, noted as gc.callbacks tells of them, and why each was made.
 *
 * Nothing is done between two collections. The log is filled by the thread that collects: one at a time, as a collection
 * of an interpreter keeps others of it from beginning. */
#ifndef MI_GC_LOG_H
#define MI_GC_LOG_H

#include "layout.h"

typedef enum mi_gc_trigger {
    MI_GC_TRIGGER_UNKNOWN = 0,
    MI_GC_BY_ALLOCATION, /* more objects had come than the generation's threshold says */
    MI_GC_BY_CALL        /* gc.collect(), or C code that asks for one */
} mi_gc_trigger;

/* Why the collection that begins now is made, from the counters of the interpreter at this address, before they are set
 * back. Called by a thread of it under the GIL; unknown where a build decides by more than the counters. */
mi_gc_trigger mi_gc_trigger_now(const mi_layout *layout, uintptr_t interpreter, int generation);

typedef struct mi_gc_record {
    uint64_t begin_ns, end_ns; /* CLOCK_MONOTONIC */
    int64_t collected, uncollectable;
    uint64_t native_id;
    int32_t generation, trigger;
} mi_gc_record;

typedef struct mi_gc_log {
    mi_gc_record *records;
    uint64_t room, count, lost; /* of `room` records */
    uint64_t begin_ns;          /* when the log was begun */
    mi_gc_record open;          /* the collection that is being made; begin_ns 0: none */
} mi_gc_log;

mi_error mi_gc_log_begin(mi_gc_log *log, uint64_t bytes);
void mi_gc_log_collection_begins(mi_gc_log *log, int generation, mi_gc_trigger trigger);
void mi_gc_log_collection_ends(mi_gc_log *log, int64_t collected, int64_t uncollectable);
void mi_gc_log_free(mi_gc_log *log);

#endif
