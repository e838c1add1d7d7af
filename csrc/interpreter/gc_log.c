/* gc_log.c - see gc_log.h. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/syscall.h>
#endif
#include "gc_log.h"

#include <string.h>
#include <unistd.h>

#include "os.h"

static int32_t int_at(uintptr_t address) { return *(const volatile int32_t *)address; }
static int64_t size_at(uintptr_t address) { return *(const volatile int64_t *)address; }

mi_gc_trigger mi_gc_trigger_now(const mi_layout *layout, uintptr_t interpreter, int generation) {
    uintptr_t gc = interpreter + (uintptr_t)layout->interpreter_gc;
    /* where there is no list of each generation, or two of them share the old objects, the counters alone do not decide */
    if (layout->gc_generations == MI_ABSENT || layout->gc_visited_space != MI_ABSENT || generation < 0 ||
        generation > 2)
        return MI_GC_TRIGGER_UNKNOWN;
    uintptr_t at = gc + (uintptr_t)layout->gc_generations + (uintptr_t)(generation * layout->gc_generation_size);
    int32_t count = int_at(at + (uintptr_t)layout->gc_generation_count);
    int32_t threshold = int_at(at + (uintptr_t)layout->gc_generation_threshold);
    if (!int_at(gc + (uintptr_t)layout->gc_enabled) || count <= threshold) return MI_GC_BY_CALL;
    /* a full collection also waits until a quarter of the old objects is new (gc_select_generation, Python/gc.c) */
    if (generation == 2 && size_at(gc + (uintptr_t)layout->gc_long_lived_pending) <
                               size_at(gc + (uintptr_t)layout->gc_long_lived_total) / 4)
        return MI_GC_BY_CALL;
    return MI_GC_BY_ALLOCATION;
}

mi_error mi_gc_log_begin(mi_gc_log *log, uint64_t bytes) {
    uint64_t room = bytes / sizeof(mi_gc_record);
    if (!room) room = 1;
    mi_gc_record *records = mi_os_alloc(room * sizeof *records);
    if (!records) return MI_E_MEMORY;
    *log = (mi_gc_log){.records = records, .room = room, .begin_ns = mi_os_now_ns()};
    return MI_OK;
}

void mi_gc_log_collection_begins(mi_gc_log *log, int generation, mi_gc_trigger trigger) {
    log->open = (mi_gc_record){.generation = generation, .trigger = (int32_t)trigger};
#ifdef __linux__
    log->open.native_id = (uint64_t)syscall(SYS_gettid);
#endif
    log->open.begin_ns = mi_os_now_ns();
}

void mi_gc_log_collection_ends(mi_gc_log *log, int64_t collected, int64_t uncollectable) {
    uint64_t end = mi_os_now_ns();
    if (!log->open.begin_ns) return; /* it had begun before the log */
    log->open.end_ns = end;
    log->open.collected = collected;
    log->open.uncollectable = uncollectable;
    if (log->count < log->room)
        log->records[log->count++] = log->open;
    else
        log->lost++;
    log->open.begin_ns = 0;
}

void mi_gc_log_free(mi_gc_log *log) {
    mi_os_free(log->records, log->room * sizeof *log->records);
    memset(log, 0, sizeof *log);
}
