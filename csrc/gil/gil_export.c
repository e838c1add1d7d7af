/* gil_export.c - see gil_export.h. */
#include "gil_export.h"

#include <string.h>

static uint64_t count_of(const _Atomic uint64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static uint64_t since_begin(const mi_gil_region *region, uint64_t ticks) {
    return ticks > region->begin.ticks ? mi_gil_ns(region, ticks) - region->begin.ns : 0;
}

static uint64_t duration_of(const mi_gil_region *region, uint64_t ticks) {
    return mi_gil_ns(region, region->begin.ticks + ticks) - region->begin.ns;
}

/* Events in the log that were not taken out; another process may have written anything. */
static uint64_t in_log(const mi_gil_region *region) {
    uint64_t there = count_of(&region->logged) - count_of(&region->taken);
    return there <= region->log_events ? there : 0;
}

void mi_gil_recover(mi_gil_region *region) {
    uint32_t last[MI_GILS_MOST];
    int known[MI_GILS_MOST] = {0};
    uint64_t taken = count_of(&region->taken), waiting = in_log(region);
    for (uint64_t at = taken; at < taken + waiting; at++) {
        const mi_gil_event *event = mi_gil_log_at(region, at);
        if (event->gil >= MI_GILS_MOST) continue;
        last[event->gil] = event->number;
        known[event->gil] = 1;
    }
    for (uint32_t gil = 0; gil < MI_GILS_MOST; gil++) {
        mi_gil_row *row = &mi_gil_rows(region)[gil];
        uint64_t head = count_of(&row->head), tail = count_of(&row->tail);
        if (head - tail > region->ring_events) tail = head - region->ring_events;
        const mi_gil_event *ring = mi_gil_ring(region, gil);
        while (known[gil] && tail != head && (int32_t)(ring[tail & (region->ring_events - 1)].number - last[gil]) <= 0)
            tail++;
        atomic_store(&row->tail, tail);
    }
    mi_gil_drain(region);
    atomic_store(&region->state, MI_GIL_STOPPED);
}

void mi_gil_take(mi_gil_region *region, uint64_t taken) {
    atomic_store_explicit(&region->taken, taken, memory_order_release);
}

void mi_gil_export_head(const mi_gil_region *region, mi_gil_head *head) {
    uint32_t which = atomic_load(&region->which) & 1;
    *head = (mi_gil_head){.begin_ns = region->begin.ns,
                          .end_ns = region->recent[which].ns,
                          .clock = region->clock,
                          .state = atomic_load(&region->state),
                          .gils = atomic_load(&region->gils),
                          .threads = atomic_load(&region->threads),
                          .gils_left_out = atomic_load(&region->gils_left_out),
                          .threads_left_out = atomic_load(&region->threads_left_out),
                          .pid = region->pid,
                          .logged = in_log(region),
                          .taken = count_of(&region->taken),
                          .unlogged = count_of(&region->unlogged),
                          .log_events = region->log_events,
                          .strayed = count_of(&region->strayed),
                          .attributed = region->attributed,
                          .codes = atomic_load(&region->codes),
                          .codes_left_out = atomic_load(&region->codes_left_out),
                          .long_holds = atomic_load(&region->long_holds),
                          .long_holds_left_out = atomic_load(&region->long_holds_left_out),
                          .long_hold_ns = duration_of(region, region->long_hold)};
    if (head->codes > MI_GIL_CODES_MOST) head->codes = MI_GIL_CODES_MOST;
    if (head->long_holds > MI_GIL_LONG_HOLDS_MOST) head->long_holds = MI_GIL_LONG_HOLDS_MOST;
    if (head->gils > MI_GILS_MOST) head->gils = MI_GILS_MOST;
    if (head->threads > MI_GIL_THREADS_MOST) head->threads = MI_GIL_THREADS_MOST;
}

void mi_gil_export_gil(const mi_gil_region *region, uint32_t gil, mi_gil_totals *totals) {
    const mi_gil_row *row = &mi_gil_rows(region)[gil];
    const mi_gil_counts *counts = &row->counts;
    *totals = (mi_gil_totals){.interpreter = row->interpreter,
                              .acquisitions = count_of(&counts->acquisitions),
                              .releases = count_of(&counts->releases),
                              .forced_releases = count_of(&counts->forced_releases),
                              .hand_offs = count_of(&counts->hand_offs),
                              .forced_hand_offs = count_of(&counts->forced_hand_offs),
                              .tstate_switches = count_of(&counts->tstate_switches),
                              .timeouts = count_of(&counts->timeouts),
                              .abandoned = count_of(&counts->abandoned),
                              .switch_number_begin = count_of(&counts->switch_number_begin),
                              .switch_number_end = count_of(&counts->switch_number_end),
                              .lost = count_of(&counts->lost),
                              .closed = (int)atomic_load(&counts->closed),
                              .holder = atomic_load(&counts->holder),
                              .held_since_ns = since_begin(region, count_of(&counts->held_since))};
}

void mi_gil_export_thread(const mi_gil_region *region, uint32_t thread, mi_gil_thread_totals *totals) {
    const mi_gil_thread_row *row = &mi_gil_threads(region)[thread];
    *totals = (mi_gil_thread_totals){.native_id = atomic_load(&row->native_id),
                                     .first_ns = since_begin(region, count_of(&row->first)),
                                     .last_ns = since_begin(region, count_of(&row->last)),
                                     .acquisitions = count_of(&row->acquisitions),
                                     .held_ns = duration_of(region, count_of(&row->held)),
                                     .waited_ns = duration_of(region, count_of(&row->waited)),
                                     .lost = count_of(&row->lost),
                                     .unlogged = count_of(&row->unlogged)};
    if (atomic_load_explicit(&row->named, memory_order_acquire)) memcpy(totals->name, row->name, MI_GIL_NAME - 1);
    memcpy(totals->given, row->given, MI_GIL_NAME - 1);
}

void mi_gil_export_holder(const mi_gil_region *region, uint32_t gil, uint32_t *thread, uint64_t *since_ns) {
    const mi_gil_counts *counts = &mi_gil_rows(region)[gil].counts;
    *since_ns = since_begin(region, count_of(&counts->held_since));
    *thread = atomic_load(&counts->holder);
}

void mi_gil_export_code(const mi_gil_region *region, uint32_t code, mi_gil_code_text *text) {
    mi_gil_code row = mi_gil_codes(region)[code];
    uint64_t size = (uint64_t)row.name_size + row.file_size + row.lines_size;
    *text = (mi_gil_code_text){.name = "", .file = "", .lines = "", .first_line = row.first_line};
    if (row.text_at > MI_GIL_TEXT_SIZE || size > MI_GIL_TEXT_SIZE - row.text_at) return;
    text->name = mi_gil_text(region) + row.text_at;
    text->file = text->name + row.name_size;
    text->lines = text->file + row.file_size;
    text->name_size = row.name_size;
    text->file_size = row.file_size;
    text->lines_size = row.lines_size;
}

void mi_gil_export_long_hold(const mi_gil_region *region, uint32_t index, mi_gil_long_hold *hold) {
    *hold = mi_gil_long_holds(region)[index];
    hold->begin = since_begin(region, hold->begin);
    hold->time = since_begin(region, hold->time);
    hold->stack[MI_GIL_STACK - 1] = 0;
}

void mi_gil_export_events(const mi_gil_region *region, uint64_t from, uint64_t count, mi_gil_event *events) {
    for (uint64_t at = 0; at < count; at++) {
        mi_gil_event *event = &events[at];
        *event = *mi_gil_log_at(region, from + at);
        int has_request =
            event->kind == MI_GIL_WAIT || event->kind == MI_GIL_ACQUIRED || event->kind == MI_GIL_ABANDONED;
        event->time = since_begin(region, event->time);
        if (has_request) event->detail = since_begin(region, event->detail);
    }
}
