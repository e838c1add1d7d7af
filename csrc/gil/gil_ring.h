/* gil_ring.h - where the events of a trace are put: one mapping with counters, threads, rings and a log.
 *
 *     header | GILs | threads | code objects | long holds | text | one ring for each GIL | log
 *
 * A ring belongs to a GIL, not to a thread: every event of a GIL is made by a thread that holds gil->mutex, so there is
 * one producer at a time, handed on from thread to thread by that mutex; no lock and no atomic read-modify-write is
 * needed, the events of a GIL stand in their true order, and a thousand short threads need no thousand rings. Each event
 * names its thread. A drain, one at a time, moves events from the rings to the log.
 *
 * The mapping may be a file in memory that another process has open: all in it are numbers and offsets, no pointers, and
 * what was written by a process that was killed can be read. An event has its number within its GIL: a gap in them is a
 * place where events were lost, and how many; one found twice was copied to the log just before the process died. */
#ifndef MI_GIL_RING_H
#define MI_GIL_RING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "os.h"

#define MI_GIL_REGION_MAGIC 0x3152474du /* "MGR1" */

enum {
    MI_GILS_MOST = 64,
    MI_GIL_THREADS_MOST = 1 << 16,
    MI_GIL_NAME = 64,
    MI_GIL_CODES_MOST = 1 << 14,
    MI_GIL_LONG_HOLDS_MOST = 1 << 12,
    MI_GIL_STACK = 448,         /* bytes of a sampled stack's text */
    MI_GIL_TEXT_SIZE = 32 << 20 /* bytes of names and tables of lines */
};

typedef enum mi_gil_event_kind {
    MI_GIL_HELD = 1,         /* already held when the trace of this GIL began; thread 0: not known by whom */
    MI_GIL_WAIT,             /* a thread begins to wait; detail: when it asked */
    MI_GIL_TIMEOUT,          /* its wait has lasted an interval: it asks the holder to drop the GIL */
    MI_GIL_ACQUIRED,         /* detail: when it asked, 0: before the trace began */
    MI_GIL_RELEASED,         /* detail: see mi_gil_release(); other: the thread whose timeout made the drop request */
    MI_GIL_ABANDONED,        /* a thread stopped waiting without the GIL: the interpreter ends */
    MI_GIL_COLLECTION_BEGIN, /* detail: generation, and mi_gc_trigger (gc_log.h) from bit 8 on */
    MI_GIL_COLLECTION_END /* detail: generation, from bit 8 on 32 bits collected, then 24 bits uncollectable objects */
} mi_gil_event_kind;

/* A release's detail: bit 0, a drop request was pending; from bit 1 on the instruction (index of the code unit, 31 bits)
 * and from bit 32 on the code object's row, 0: not known, or not attributed. */
static inline uint64_t mi_gil_release(int forced, uint32_t code, uint32_t instruction) {
    return (uint64_t)code << 32 | (uint64_t)(instruction & 0x7FFFFFFFu) << 1 | (uint64_t)(forced != 0);
}

typedef struct mi_gil_event {
    uint64_t time; /* ticks of the region's clock */
    uint64_t detail;
    uint32_t thread; /* row in the table of threads */
    uint32_t other;  /* another row, 0: none */
    uint32_t number; /* of the event within its GIL, lost ones counted too */
    uint16_t gil;    /* row in the table of GILs */
    uint16_t kind;
} mi_gil_event;

/* What is counted as events happen, whether or not their event is lost. Written with gil->mutex held. */
typedef struct mi_gil_counts {
    _Atomic uint64_t acquisitions, releases;
    _Atomic uint64_t held_since; /* ticks, 0 when nobody holds it */
    _Atomic uint32_t holder;     /* row of the thread that holds it, 0: nobody, or not known */
    _Atomic uint32_t closed;     /* the trace of this GIL has ended: its interpreter did, or the trace was stopped */
    _Atomic uint64_t forced_releases;  /* with a drop request pending */
    _Atomic uint64_t hand_offs;        /* the GIL went from one OS thread to another */
    _Atomic uint64_t forced_hand_offs; /* of them: the release before it was forced */
    _Atomic uint64_t tstate_switches;  /* acquired with another last_holder than before */
    _Atomic uint64_t timeouts, abandoned;
    _Atomic uint64_t switch_number_begin, switch_number_end; /* CPython's own */
    _Atomic uint64_t lost;                                   /* the ring was full */
} mi_gil_counts;

typedef struct mi_gil_row {
    int64_t interpreter; /* id of the one that it was made for */
    uint64_t address;
    mi_gil_counts counts;
    _Alignas(64) _Atomic uint64_t head; /* events put, lost ones not counted */
    uint64_t number;                    /* events there were */
    _Alignas(64) _Atomic uint64_t tail; /* events taken out */
} mi_gil_row;

/* Written by the thread itself, but for the kernel's name and what the log had no room for. */
typedef struct mi_gil_thread_row {
    _Atomic int32_t native_id;                   /* of the kernel */
    _Atomic uint32_t named;                      /* the kernel's name below is whole */
    uint64_t ident;                              /* threading.get_ident() */
    _Atomic uint64_t first, last;                /* ticks of its first and last event */
    _Atomic uint64_t acquisitions, held, waited; /* the last two in ticks */
    _Atomic uint64_t lost, unlogged;             /* its events that found the ring full, the log full */
    char name[MI_GIL_NAME];                      /* the kernel's */
    char given[MI_GIL_NAME];                     /* the program's, where it was told as the thread began */
} mi_gil_thread_row;

/* A code object, copied when it was first seen: its text is name, file and table of lines in a row. */
typedef struct mi_gil_code {
    uint64_t address, name, lines; /* of the objects, to tell it from others */
    uint64_t text_at;
    uint32_t name_size, file_size, lines_size;
    int32_t first_line;
} mi_gil_code;

/* What a sample of a hold beyond the threshold found. */
typedef enum mi_gil_sampled {
    MI_GIL_SAMPLED_BLOCKED = 1, /* its thread slept in a system call, or waited for a page */
    MI_GIL_SAMPLED_RUNNING,     /* its thread ran */
    MI_GIL_SAMPLED_REFUSED      /* it ran, and the kernel did not allow to see where */
} mi_gil_sampled;

typedef struct mi_gil_long_hold {
    uint64_t begin, time; /* ticks: of the hold, of the sample */
    uint32_t thread, code, instruction;
    uint16_t gil, how;        /* mi_gil_sampled */
    char stack[MI_GIL_STACK]; /* "function (object)" a line, the innermost first */
} mi_gil_long_hold;

typedef enum mi_gil_clock { MI_GIL_CLOCK_MONOTONIC = 1, MI_GIL_CLOCK_TSC } mi_gil_clock;

/* The same moment by both clocks. */
typedef struct mi_gil_moment {
    uint64_t ticks, ns;
} mi_gil_moment;

typedef struct mi_gil_region {
    uint32_t magic, clock;
    uint64_t size;                                                                    /* bytes of the mapping */
    uint64_t ring_events;                                                             /* of each ring, a power of two */
    uint64_t log_events;                                                              /* there is room for */
    uint64_t gils_at, threads_at, codes_at, long_holds_at, text_at, rings_at, log_at; /* offsets from here */
    uint64_t long_hold;  /* ticks beyond which a hold is sampled, 0: none is */
    uint32_t attributed; /* releases name a code object */
    int32_t pid;
    _Atomic uint32_t state; /* mi_gil_state */
    mi_gil_moment begin;
    mi_gil_moment recent[2]; /* the one of `which` is whole */
    _Atomic uint32_t which;
    _Atomic uint32_t gils, threads; /* rows in use; row 0 of the threads stands for those that are not listed */
    _Atomic uint32_t gils_left_out; /* beyond MI_GILS_MOST */
    _Atomic uint32_t threads_left_out;
    _Atomic uint64_t logged, unlogged; /* events put into the log; events that it had no room for */
    _Atomic uint64_t taken;            /* of those in the log: taken out by who follows the trace, their room is free */
    _Atomic uint64_t strayed;          /* how often a hook was found undone and set again */
    _Atomic uint32_t codes, codes_left_out; /* rows in use, row 0 is none; code objects that found no room */
    _Atomic uint32_t long_holds, long_holds_left_out;
    _Atomic uint64_t text_used;
} mi_gil_region;

typedef enum mi_gil_state { MI_GIL_PREPARED = 0, MI_GIL_TRACING, MI_GIL_STOPPED } mi_gil_state;

/* ---- the mapping ------------------------------------------------------------------------------------------------------ */

/* MI_GIL_CLOCK_TSC where the counter runs at one rate on all cores and the kernel keeps its own time by it. */
mi_gil_clock mi_gil_clock_best(void);
static inline uint64_t mi_gil_clock_read(mi_gil_clock clock) {
#if defined(__x86_64__)
    if (clock == MI_GIL_CLOCK_TSC) return __builtin_ia32_rdtsc();
#endif
    (void)clock;
    return mi_os_now_ns();
}

/* Makes a region with room for `log_bytes` of events; `fd` is an empty file in memory to make it in, or -1. Pages are
 * used as far as there are events. */
mi_error mi_gil_region_make(int fd, uint64_t log_bytes, mi_gil_region **region);
/* Maps a region that another process has made, and checks that its parts lie within it; MI_E_LAYOUT when they do not. */
mi_error mi_gil_region_open(int fd, int writable, mi_gil_region **region);
void mi_gil_region_close(mi_gil_region *region);

static inline mi_gil_row *mi_gil_rows(const mi_gil_region *region) {
    return (mi_gil_row *)((char *)region + region->gils_at);
}
static inline mi_gil_thread_row *mi_gil_threads(const mi_gil_region *region) {
    return (mi_gil_thread_row *)((char *)region + region->threads_at);
}
static inline mi_gil_code *mi_gil_codes(const mi_gil_region *region) {
    return (mi_gil_code *)((char *)region + region->codes_at);
}
static inline mi_gil_long_hold *mi_gil_long_holds(const mi_gil_region *region) {
    return (mi_gil_long_hold *)((char *)region + region->long_holds_at);
}
static inline char *mi_gil_text(const mi_gil_region *region) { return (char *)region + region->text_at; }
static inline mi_gil_event *mi_gil_log(const mi_gil_region *region) {
    return (mi_gil_event *)((char *)region + region->log_at);
}
/* The place of the log's `number`th event: it is a ring, whose events are taken out by one that follows the trace. */
static inline mi_gil_event *mi_gil_log_at(const mi_gil_region *region, uint64_t number) {
    return &mi_gil_log(region)[number % region->log_events];
}
static inline mi_gil_event *mi_gil_ring(const mi_gil_region *region, uint32_t gil) {
    return (mi_gil_event *)((char *)region + region->rings_at) + gil * region->ring_events;
}

/* ---- events ----------------------------------------------------------------------------------------------------------- */

/* Adds to a counter that one thread writes at a time: no locked instruction. */
static inline void mi_gil_add(_Atomic uint64_t *counter, uint64_t more) {
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

/* Where the events of one GIL are put, found once for all of them. */
typedef struct mi_gil_put_to {
    mi_gil_row *row;
    mi_gil_event *ring;
    uint64_t ring_events;
} mi_gil_put_to;

static inline mi_gil_put_to mi_gil_put_to_of(const mi_gil_region *region, uint32_t gil) {
    return (mi_gil_put_to){&mi_gil_rows(region)[gil], mi_gil_ring(region, gil), region->ring_events};
}

/* Puts an event, which gets its number here; called by one thread at a time for each GIL. */
static inline void mi_gil_put(const mi_gil_put_to *to, mi_gil_thread_row *thread, mi_gil_event event) {
    mi_gil_row *row = to->row;
    uint64_t head = atomic_load_explicit(&row->head, memory_order_relaxed);
    event.number = (uint32_t)row->number++;
    if (head - atomic_load_explicit(&row->tail, memory_order_acquire) >= to->ring_events) {
        mi_gil_add(&row->counts.lost, 1);
        mi_gil_add(&thread->lost, 1);
        return;
    }
    to->ring[head & (to->ring_events - 1)] = event;
    atomic_store_explicit(&row->head, head + 1, memory_order_release);
}

/* Moves what is in the rings to the log; called by one thread at a time. Returns how many events were moved. */
uint64_t mi_gil_drain(mi_gil_region *region);

/* Notes what both clocks say now. */
void mi_gil_calibrate(mi_gil_region *region);
/* Nanoseconds of CLOCK_MONOTONIC of a time in ticks. */
uint64_t mi_gil_ns(const mi_gil_region *region, uint64_t ticks);

#endif
