/* clone_desk.c - two counters that each side waits for the other to raise. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#endif
#include "clone_desk.h"

#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_NS = 5000000 };

static void wait_for(_Atomic uint32_t *word, uint32_t now) {
    struct timespec look = {0, LOOK_NS};
    syscall(SYS_futex, word, FUTEX_WAIT, now, &look, NULL, 0);
}

static void wake(_Atomic uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0); }

void mi_clone_serve(mi_clone_desk *desk, mi_clone_step answer, void *context) {
    uint32_t seen = 1, asked;
    for (;;) {
        atomic_store(&desk->answered, seen);
        wake(&desk->answered);
        while ((asked = atomic_load(&desk->asked)) <= seen) {
            if (atomic_load(&desk->dismissed)) return;
            wait_for(&desk->asked, asked);
        }
        seen = asked;
        mi_clone_attempt(answer, context);
    }
}

int mi_clone_ask(mi_clone *clone, mi_clone_desk *desk) {
    uint32_t asked = atomic_fetch_add(&desk->asked, 1) + 1, answered;
    wake(&desk->asked);
    while ((answered = atomic_load(&desk->answered)) != asked) {
        if (!mi_clone_lives(clone)) return 0;
        wait_for(&desk->answered, answered);
    }
    return 1;
}

void mi_clone_dismiss(mi_clone_desk *desk) {
    atomic_store(&desk->dismissed, 1);
    wake(&desk->asked);
}

#else
void mi_clone_serve(mi_clone_desk *desk, mi_clone_step answer, void *context) {
    (void)desk;
    (void)answer;
    (void)context;
}
int mi_clone_ask(mi_clone *clone, mi_clone_desk *desk) {
    (void)clone;
    (void)desk;
    return 0;
}
void mi_clone_dismiss(mi_clone_desk *desk) { (void)desk; }
#endif
