/* census_ahead.h - what a census asks for beside the heap's headers: the types, and malloc's heaps.
 *
 * A native thread finds both while the headers are walked, and helps with the walk of the blocks afterwards. Without one,
 * for small heaps and frozen copies, they are found when they are asked for. */
#ifndef MI_CENSUS_AHEAD_H
#define MI_CENSUS_AHEAD_H

#include <pthread.h>

#include "census_large.h"
#include "types.h"

typedef struct mi_census_ahead {
    const mi_target *target;
    const mi_layout *layout;
    mi_steady steady; /* see mi_large_steady() */
    int small_only;   /* malloc's heaps are left out */
    mi_types *types;  /* to be read from `addresses`; NULL: they are known */
    const uintptr_t *addresses;
    size_t count;
    mi_error types_error, large_error;
    mi_large large;
    _Atomic uint32_t types_read, large_begun, turn, helped;
    pthread_t thread;
    int running;
    void *(*help)(void *);
    void *argument;
} mi_census_ahead;

/* Begins with what the members up to `count` ask for, the rest being 0; threads -- as mi_census_request has it. */
void mi_census_ahead_begin(mi_census_ahead *ahead, int threads);
/* Wait until it is found. The second: as mi_large_begin(). */
mi_error mi_census_ahead_types(mi_census_ahead *ahead);
mi_error mi_census_ahead_large(mi_census_ahead *ahead);
/* Has the thread call `help`, once, if there is one. */
int mi_census_ahead_help(mi_census_ahead *ahead, void *(*help)(void *), void *argument);
/* Waits until `help` has returned, if it was called. */
void mi_census_ahead_await(mi_census_ahead *ahead);
/* Waits for the thread to end, too. */
void mi_census_ahead_close(mi_census_ahead *ahead);

#endif
