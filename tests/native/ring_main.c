/* ring_main.c - threads that hand a mutex round put numbered events while another drains; tests/unit/test_gil_ring.py
 * builds it plain and under ThreadSanitizer, and reads what it prints. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "gil_ring.h"

enum { THREADS = 4 };

static mi_gil_region *region;
static mi_gil_put_to to[2];
static pthread_mutex_t mutexes[2] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_MUTEX_INITIALIZER};
static uint64_t made[2];
static unsigned long rounds;
static _Atomic int stop;

static void *produce(void *number) {
    uint32_t thread = (uint32_t)(uintptr_t)number;
    for (unsigned long round = 0; round < rounds; round++) {
        uint16_t gil = (uint16_t)((round + thread) & 1);
        pthread_mutex_lock(&mutexes[gil]);
        mi_gil_event event = {.detail = made[gil]++, .thread = thread, .gil = gil, .kind = MI_GIL_WAIT};
        mi_gil_put(&to[gil], &mi_gil_threads(region)[thread], event);
        pthread_mutex_unlock(&mutexes[gil]);
    }
    return NULL;
}

static void *drain(void *unused) {
    while (!atomic_load(&stop)) {
        mi_gil_drain(region);
        mi_gil_calibrate(region);
        usleep(200);
    }
    return unused;
}

int main(int count, char **arguments) {
    pthread_t threads[THREADS], drainer;
    rounds = strtoul(arguments[1], NULL, 10);
    int drains = count < 4;
    if (mi_gil_region_make(-1, strtoul(arguments[2], NULL, 10), &region)) return 1;
    region->begin = (mi_gil_moment){0, 0};
    atomic_store(&region->gils, 2);
    for (uint32_t gil = 0; gil < 2; gil++) to[gil] = mi_gil_put_to_of(region, gil);
    if (drains) pthread_create(&drainer, NULL, drain, NULL);
    for (uintptr_t at = 0; at < THREADS; at++) pthread_create(&threads[at], NULL, produce, (void *)(at + 1));
    for (int at = 0; at < THREADS; at++) pthread_join(threads[at], NULL);
    atomic_store(&stop, 1);
    if (drains) pthread_join(drainer, NULL);
    mi_gil_drain(region);
    uint64_t logged = atomic_load(&region->logged), next[2] = {0, 0}, gaps = 0, disorder = 0, lost = 0, thread_lost = 0;
    for (uint64_t at = 0; at < logged; at++) {
        mi_gil_event *event = &mi_gil_log(region)[at];
        gaps += (uint32_t)(event->number - next[event->gil]);
        disorder += event->number != event->detail || event->number < next[event->gil];
        next[event->gil] = event->number + 1;
    }
    for (int gil = 0; gil < 2; gil++) lost += atomic_load(&mi_gil_rows(region)[gil].counts.lost);
    for (int at = 0; at <= THREADS; at++) {
        thread_lost += atomic_load(&mi_gil_threads(region)[at].lost);
        thread_lost += atomic_load(&mi_gil_threads(region)[at].unlogged);
    }
    printf("made=%lu logged=%lu lost=%lu unlogged=%lu gaps=%lu disorder=%lu thread_lost=%lu\n",
           (unsigned long)(made[0] + made[1]), (unsigned long)logged, (unsigned long)lost,
           (unsigned long)atomic_load(&region->unlogged), (unsigned long)gaps, (unsigned long)disorder,
           (unsigned long)thread_lost);
    mi_gil_region_close(region);
    return 0;
}
