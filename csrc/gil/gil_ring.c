/* gil_ring.c - see gil_ring.h: the mapping, its clock, and the drain from rings to log. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#endif
#include "gil_ring.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* 2 MiB: 320 ms of 200,000 events a second, if the drain were kept from running for so long */
#define RING_EVENTS ((uint64_t)1 << 16)
#define LOG_EVENTS_LEAST ((uint64_t)1 << 10)
#define LOG_EVENTS_MOST ((uint64_t)1 << 36)

_Static_assert(sizeof(mi_gil_event) == 32, "an event is half a cache line");

/* ---- the clock -------------------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
/* CPUID 80000007h, EDX bit 8: the counter runs at one rate in all states (Intel SDM 18.17.1, AMD APM 13.2.4). */
static int counter_is_invariant(void) {
    unsigned a, b, c, d;
    return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d >> 8 & 1);
}

/* The kernel watches the counters of all cores, and takes another source when they do not agree. */
static int kernel_keeps_time_by_it(void) {
    char source[32];
    mi_error error;
    ssize_t got =
        mi_os_slurp("/sys/devices/system/clocksource/clocksource0/current_clocksource", source, sizeof source, &error);
    return got > 0 && !strncmp(source, "tsc\n", 4);
}
#endif

mi_gil_clock mi_gil_clock_best(void) {
#if defined(__x86_64__)
    if (counter_is_invariant() && kernel_keeps_time_by_it()) return MI_GIL_CLOCK_TSC;
#endif
    return MI_GIL_CLOCK_MONOTONIC;
}

/* Ticks between two readings of the other clock: of some tries the one that took least, so that an interruption between
 * the two is not taken for a difference of the clocks. */
static mi_gil_moment this_moment(mi_gil_clock clock) {
    mi_gil_moment best = {0, 0};
    uint64_t least = UINT64_MAX;
    for (int attempt = 0; attempt < 5; attempt++) {
        uint64_t before = mi_gil_clock_read(clock), ns = mi_os_now_ns(), after = mi_gil_clock_read(clock);
        if (after - before >= least) continue;
        least = after - before;
        best = (mi_gil_moment){before + (after - before) / 2, ns};
    }
    if (clock == MI_GIL_CLOCK_MONOTONIC) best.ticks = best.ns;
    return best;
}

void mi_gil_calibrate(mi_gil_region *region) {
    uint32_t next = !atomic_load_explicit(&region->which, memory_order_relaxed);
    region->recent[next] = this_moment((mi_gil_clock)region->clock);
    atomic_store_explicit(&region->which, next, memory_order_release);
}

uint64_t mi_gil_ns(const mi_gil_region *region, uint64_t ticks) {
    if (region->clock != MI_GIL_CLOCK_TSC) return ticks;
    mi_gil_moment begin = region->begin;
    mi_gil_moment end = region->recent[atomic_load_explicit(&region->which, memory_order_acquire) & 1];
    if (end.ticks <= begin.ticks) return begin.ns;
    double rate = (double)(end.ns - begin.ns) / (double)(end.ticks - begin.ticks);
    double since = ticks >= begin.ticks ? (double)(ticks - begin.ticks) : -(double)(begin.ticks - ticks);
    return begin.ns + (uint64_t)(int64_t)(since * rate);
}

/* ---- the mapping ------------------------------------------------------------------------------------------------------ */

static uint64_t pages_of(uint64_t size) {
    uint64_t page = mi_os_page_size();
    return (size + page - 1) / page * page;
}

mi_error mi_gil_region_make(int fd, uint64_t log_bytes, mi_gil_region **made) {
    uint64_t log_events = log_bytes / sizeof(mi_gil_event);
    if (log_events < LOG_EVENTS_LEAST) log_events = LOG_EVENTS_LEAST;
    if (log_events > LOG_EVENTS_MOST) return MI_E_LIMIT;
    uint64_t gils_at = pages_of(sizeof(mi_gil_region));
    uint64_t threads_at = gils_at + pages_of(MI_GILS_MOST * sizeof(mi_gil_row));
    uint64_t codes_at = threads_at + pages_of(MI_GIL_THREADS_MOST * sizeof(mi_gil_thread_row));
    uint64_t long_holds_at = codes_at + pages_of(MI_GIL_CODES_MOST * sizeof(mi_gil_code));
    uint64_t text_at = long_holds_at + pages_of(MI_GIL_LONG_HOLDS_MOST * sizeof(mi_gil_long_hold));
    uint64_t rings_at = text_at + pages_of(MI_GIL_TEXT_SIZE);
    uint64_t log_at = rings_at + MI_GILS_MOST * RING_EVENTS * sizeof(mi_gil_event);
    uint64_t size = log_at + pages_of(log_events * sizeof(mi_gil_event));
    mi_gil_region *region;
    if (fd < 0) {
        region = mi_os_alloc(size);
        if (!region) return MI_E_MEMORY;
    } else {
        if (ftruncate(fd, (off_t)size)) return MI_E_MEMORY;
        region = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (region == MAP_FAILED) return MI_E_MEMORY;
    }
    region->clock = mi_gil_clock_best();
    region->size = size;
    region->ring_events = RING_EVENTS;
    region->log_events = log_events;
    region->gils_at = gils_at;
    region->threads_at = threads_at;
    region->codes_at = codes_at;
    region->long_holds_at = long_holds_at;
    region->text_at = text_at;
    region->rings_at = rings_at;
    region->log_at = log_at;
    atomic_store(&region->threads, 1);
    region->magic = MI_GIL_REGION_MAGIC;
    *made = region;
    return MI_OK;
}

/* What the other process wrote is not trusted: every part must lie in the file. */
static int is_sound(const mi_gil_region *region, uint64_t size) {
    uint64_t rings = region->ring_events * MI_GILS_MOST * sizeof(mi_gil_event);
    return region->magic == MI_GIL_REGION_MAGIC && region->size == size && region->log_events &&
           region->log_events <= LOG_EVENTS_MOST && region->ring_events && region->ring_events <= RING_EVENTS &&
           !(region->ring_events & (region->ring_events - 1)) && region->gils_at >= sizeof *region &&
           region->gils_at <= size && region->threads_at <= size && region->codes_at <= size &&
           region->long_holds_at <= size && region->text_at <= size && region->rings_at <= size &&
           region->log_at <= size && region->gils_at + MI_GILS_MOST * sizeof(mi_gil_row) <= region->threads_at &&
           region->threads_at + MI_GIL_THREADS_MOST * sizeof(mi_gil_thread_row) <= region->codes_at &&
           region->codes_at + MI_GIL_CODES_MOST * sizeof(mi_gil_code) <= region->long_holds_at &&
           region->long_holds_at + MI_GIL_LONG_HOLDS_MOST * sizeof(mi_gil_long_hold) <= region->text_at &&
           region->text_at + MI_GIL_TEXT_SIZE <= region->rings_at && region->rings_at + rings <= region->log_at &&
           region->log_at + region->log_events * sizeof(mi_gil_event) <= size;
}

mi_error mi_gil_region_open(int fd, int writable, mi_gil_region **opened) {
    struct stat status;
    if (fstat(fd, &status) || status.st_size < (off_t)sizeof(mi_gil_region)) return MI_E_LAYOUT;
    size_t size = (size_t)status.st_size;
    mi_gil_region *region = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    if (region == MAP_FAILED) return MI_E_MEMORY;
    if (!is_sound(region, size)) {
        munmap(region, size);
        return MI_E_LAYOUT;
    }
    *opened = region;
    return MI_OK;
}

void mi_gil_region_close(mi_gil_region *region) { mi_os_free(region, region->size); }

/* ---- the drain --------------------------------------------------------------------------------------------------------- */

static void drop(mi_gil_region *region, const mi_gil_event *events, uint64_t count) {
    for (uint64_t at = 0; at < count; at++) mi_gil_add(&mi_gil_threads(region)[events[at].thread].unlogged, 1);
    mi_gil_add(&region->unlogged, count);
}

static uint64_t drain_ring(mi_gil_region *region, uint32_t gil) {
    mi_gil_row *row = &mi_gil_rows(region)[gil];
    mi_gil_event *ring = mi_gil_ring(region, gil);
    uint64_t head = atomic_load_explicit(&row->head, memory_order_acquire), moved = 0;
    uint64_t tail = atomic_load_explicit(&row->tail, memory_order_relaxed);
    while (tail != head) {
        uint64_t from = tail & (region->ring_events - 1), part = region->ring_events - from;
        if (part > head - tail) part = head - tail;
        uint64_t logged = atomic_load_explicit(&region->logged, memory_order_relaxed);
        uint64_t taken = atomic_load_explicit(&region->taken, memory_order_acquire);
        uint64_t room = region->log_events - (logged - taken),
                 to_end = region->log_events - logged % region->log_events;
        if (part > to_end) part = to_end;
        uint64_t kept = part < room ? part : room;
        memcpy(mi_gil_log_at(region, logged), ring + from, kept * sizeof *ring);
        atomic_store_explicit(&region->logged, logged + kept, memory_order_release);
        drop(region, ring + from + kept, part - kept);
        tail += part;
        moved += part;
        atomic_store_explicit(&row->tail, tail, memory_order_release);
    }
    return moved;
}

uint64_t mi_gil_drain(mi_gil_region *region) {
    uint64_t moved = 0;
    uint32_t gils = atomic_load_explicit(&region->gils, memory_order_acquire);
    for (uint32_t gil = 0; gil < gils && gil < MI_GILS_MOST; gil++) moved += drain_ring(region, gil);
    return moved;
}
