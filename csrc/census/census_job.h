/* census_job.h - all of a census that must be of one moment, as one piece of work: the heaps are walked, then their
 * blocks counted.
 *
 * It runs in the process itself while its threads are held still, or in a frozen copy of it (clone.h): so it makes no
 * Python object, and what it finds is put into memory of the caller, which the copy shares with the program. The list of
 * all blocks is not: it is asked for in the process itself alone, and the caller frees it. */
#ifndef MI_CENSUS_JOB_H
#define MI_CENSUS_JOB_H

#include "census.h"
#include "heap_types.h"
#include "heap_walk.h"

enum { MI_CENSUS_OMITTED = 64 };

/* All of it lies in one mapping: copied across processes as it is, but for the pointer to the rows. */
typedef struct mi_census_found {
    mi_census census; /* `objects` points to the caller's rows */
    uint64_t torn_pools, torn_arenas, arenas_left;
    size_t interpreters;  /* whose heaps were looked at */
    size_t own_types;     /* the caller's; the rest of census.types are those of other interpreters */
    size_t others_cut;    /* types of others that there was no room for */
    int mimalloc_late;    /* the time was up while mimalloc's pages were walked */
    size_t omitted_count; /* of omitted[], which has no room for more than MI_CENSUS_OMITTED */
    mi_omitted omitted[MI_CENSUS_OMITTED];
    size_t thread_count; /* of threads[], the same */
    mi_thread_frames threads[MI_CENSUS_THREADS];
} mi_census_found;

typedef struct mi_census_job {
    uintptr_t runtime;            /* of _PyRuntime; 0: this process' own */
    uintptr_t self;               /* the interpreter whose GIL the caller holds */
    const mi_arena_table *hidden; /* see heap_walk.h */
    int frozen;                   /* in a copy, where nothing moves: one native thread, all interpreters */
    int small_only;               /* malloc's heaps are left out: large_error is MI_E_ABSENT */
    mi_census_request request;    /* without target, heap, ahead and roots */
    mi_types *own_types;          /* the same as request.types, where they are to be read; NULL: they are */
    const uintptr_t *type_addresses;
    size_t type_count;
    uintptr_t tuple_type;      /* `tuple`, where types of other interpreters are looked for */
    size_t others_room;        /* how many of them at most; 0: they are not looked for */
    mi_census_sum *rows;       /* one a type and one for each of others_room, zeroed */
    mi_type_name *other_names; /* others_room of them, zeroed: filled for those that have objects */
    mi_census_found *found;
} mi_census_job;

/* `job` is a mi_census_job; mi_clone_work's form. */
mi_error mi_census_job_run(const mi_target *target, void *job);

#endif
