/* census_ahead.c - the work of census_ahead.h. */
#include "census_ahead.h"

enum { TURN_WAITS, TURN_HELPS, TURN_ENDS };

static void tell(_Atomic uint32_t *word, uint32_t value) {
    atomic_store_explicit(word, value, memory_order_release);
    mi_os_wake_word(word);
}

static void read_types(mi_census_ahead *ahead) {
    if (ahead->types)
        ahead->types_error = mi_types_read(ahead->types, ahead->target, ahead->layout, ahead->addresses, ahead->count);
    tell(&ahead->types_read, 1);
}

static void begin_large(mi_census_ahead *ahead) {
    ahead->large_error = ahead->small_only ? MI_E_ABSENT : mi_large_begin(&ahead->large, ahead->target, ahead->steady);
    tell(&ahead->large_begun, 1);
}

static void *run(void *argument) {
    mi_census_ahead *ahead = argument;
    read_types(ahead);
    begin_large(ahead);
    mi_os_await_change(&ahead->turn, TURN_WAITS);
    if (atomic_load_explicit(&ahead->turn, memory_order_acquire) == TURN_HELPS) ahead->help(ahead->argument);
    tell(&ahead->helped, 1);
    return NULL;
}

/* Whether the heap may be one that two threads walk: its headers, which tell, are not read yet. */
static int is_large(const mi_target *target) {
    const uint64_t most = (uint64_t)128 << 20;
    uint64_t bytes = 0;
    for (size_t i = 0; i < target->maps.count; i++) {
        const mi_mapping *mapping = &target->maps.items[i];
        if (!mapping->inode && mapping->flags & MI_MAP_WRITE) bytes += mapping->end - mapping->start;
    }
    return bytes > most;
}

void mi_census_ahead_begin(mi_census_ahead *ahead, int threads) {
    if (threads == 1 || (!threads && !is_large(ahead->target))) return;
    ahead->running = !pthread_create(&ahead->thread, NULL, run, ahead);
}

mi_error mi_census_ahead_types(mi_census_ahead *ahead) {
    if (ahead->running) mi_os_await_change(&ahead->types_read, 0);
    if (!atomic_load_explicit(&ahead->types_read, memory_order_acquire)) read_types(ahead);
    return ahead->types_error;
}

mi_error mi_census_ahead_large(mi_census_ahead *ahead) {
    if (ahead->running) mi_os_await_change(&ahead->large_begun, 0);
    if (!atomic_load_explicit(&ahead->large_begun, memory_order_acquire)) begin_large(ahead);
    return ahead->large_error;
}

int mi_census_ahead_help(mi_census_ahead *ahead, void *(*help)(void *), void *argument) {
    if (!ahead->running || atomic_load_explicit(&ahead->turn, memory_order_relaxed) != TURN_WAITS) return 0;
    ahead->help = help;
    ahead->argument = argument;
    tell(&ahead->turn, TURN_HELPS);
    return 1;
}

void mi_census_ahead_await(mi_census_ahead *ahead) {
    if (ahead->running && atomic_load_explicit(&ahead->turn, memory_order_relaxed) == TURN_HELPS)
        mi_os_await_change(&ahead->helped, 0);
}

void mi_census_ahead_close(mi_census_ahead *ahead) {
    if (ahead->running) {
        if (atomic_load_explicit(&ahead->turn, memory_order_relaxed) == TURN_WAITS) tell(&ahead->turn, TURN_ENDS);
        pthread_join(ahead->thread, NULL);
    }
    mi_large_close(&ahead->large);
}
