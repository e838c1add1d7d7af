/* gil_export.h - a trace's region as plain numbers: what is handed to Python, of this process or of one that has ended. */
#ifndef MI_GIL_EXPORT_H
#define MI_GIL_EXPORT_H

#include "gil_ring.h"

typedef struct mi_gil_head {
    uint64_t begin_ns, end_ns; /* CLOCK_MONOTONIC; the end of a trace that was cut off is when it was last seen alive */
    uint32_t clock, state, gils, threads, gils_left_out, threads_left_out;
    int32_t pid;
    uint64_t logged, taken, unlogged, log_events, strayed; /* logged: in the log; taken: out of it before */
    uint32_t attributed, codes, codes_left_out, long_holds, long_holds_left_out;
    uint64_t long_hold_ns; /* the threshold, 0: none */
} mi_gil_head;

typedef struct mi_gil_totals {
    int64_t interpreter;
    uint64_t acquisitions, releases, forced_releases, hand_offs, forced_hand_offs, tstate_switches, timeouts, abandoned;
    uint64_t switch_number_begin, switch_number_end, lost;
    int closed;             /* 0: switch_number_end is not known */
    uint32_t holder;        /* now: row, 0: nobody or not known */
    uint64_t held_since_ns; /* 0: nobody */
} mi_gil_totals;

typedef struct mi_gil_thread_totals {
    int32_t native_id;          /* 0: no event of it was noted */
    uint64_t first_ns, last_ns; /* since the beginning */
    uint64_t acquisitions, held_ns, waited_ns, lost, unlogged;
    char name[MI_GIL_NAME];  /* the kernel's, "" when it is not known */
    char given[MI_GIL_NAME]; /* the program's, as the thread began; the same */
} mi_gil_thread_totals;

/* Brings a region whose process has gone into the state of one that was stopped: what is left in the rings goes to the
 * log, but for what had been copied there already. */
void mi_gil_recover(mi_gil_region *region);

/* Gives the room of events up to the `taken`th back to the log. */
void mi_gil_take(mi_gil_region *region, uint64_t taken);

void mi_gil_export_head(const mi_gil_region *region, mi_gil_head *head);
void mi_gil_export_gil(const mi_gil_region *region, uint32_t gil, mi_gil_totals *totals);
void mi_gil_export_thread(const mi_gil_region *region, uint32_t thread, mi_gil_thread_totals *totals);
/* Who holds a GIL now, 0: nobody, or not known; and since when, in nanoseconds since the beginning. */
void mi_gil_export_holder(const mi_gil_region *region, uint32_t gil, uint32_t *thread, uint64_t *since_ns);
/* A code object's texts, which point into the region; all empty where the row is not sound. */
typedef struct mi_gil_code_text {
    const char *name, *file, *lines;
    uint32_t name_size, file_size, lines_size;
    int32_t first_line;
} mi_gil_code_text;
void mi_gil_export_code(const mi_gil_region *region, uint32_t code, mi_gil_code_text *text);
/* With times in nanoseconds since the beginning. */
void mi_gil_export_long_hold(const mi_gil_region *region, uint32_t index, mi_gil_long_hold *hold);
/* Events [from, from + count) of all that came into the log, with times in nanoseconds since the beginning; a request
 * from before it is 0. */
void mi_gil_export_events(const mi_gil_region *region, uint64_t from, uint64_t count, mi_gil_event *events);

#endif
