/* graph_job.h - all of a graph that must be of one moment, as one piece of work: the heaps are walked, then their objects
 * and references read.
 *
 * It runs in the process itself while its threads are held still, or in a frozen copy of it (clone.h), which puts the arrays
 * into memory that it shares with the program: what is asked of them is computed outside the copy, which stays only to say
 * what references are by (clone_desk.h). Another process of the same build is read in a copy of ourselves that has its memory
 * (census_outside.h): its types are found there, and told by their names. */
#ifndef MI_GRAPH_JOB_H
#define MI_GRAPH_JOB_H

#include "census_others.h"
#include "census_outside.h"
#include "clone_desk.h"
#include "graph.h"
#include "graph_labels.h"

enum { MI_LONGEST_PATH = 64 };

/* What a copy is asked for when the arrays are there: labels of a path (graph_labels.h). In shared memory. */
typedef struct mi_label_desk {
    mi_clone_desk desk;
    uint32_t length;
    uint32_t path[MI_LONGEST_PATH + 1];
    mi_label labels[MI_LONGEST_PATH + 1];
} mi_label_desk;

/* What is found of other interpreters. Those that do not stand still are left out. */
typedef struct mi_graph_others {
    size_t omitted_count; /* of omitted[], which has no room for more than MI_CENSUS_OMITTED */
    mi_omitted omitted[MI_CENSUS_OMITTED];
    size_t count, cut; /* types that their own `object` alone leads to; how many there was no room for */
    mi_type types[MI_HEAP_TYPES];
    mi_type_name names[MI_HEAP_TYPES];
} mi_graph_others;

typedef struct mi_graph_job {
    const mi_layout *layout;
    mi_types *types;              /* the caller's; those of other interpreters are put behind them */
    mi_shapes *shapes;            /* of the same */
    mi_graph_others *others;      /* zeroed, in memory that a copy shares; NULL: there are no other interpreters */
    int types_held;               /* see graph.h */
    uintptr_t self;               /* the interpreter whose GIL the caller holds, or that is stopped */
    const mi_arena_table *hidden; /* see heap_walk.h */
    uint32_t padding;             /* of a debug allocator, before a block */
    mi_foreign foreign;           /* see references.h */
    void *room;                   /* shared memory that a copy puts the arrays into (mi_graph_export) */
    size_t room_size;
    mi_graph *graph;               /* where there is no room: filled, and the caller's */
    uintptr_t str, integer, tuple; /* types, in the process that is read */
    mi_label_desk *desk;           /* a copy stays to answer there; NULL: it ends */
} mi_graph_job;

/* `job` is a mi_graph_job; mi_clone_work's form. */
mi_error mi_graph_job_run(const mi_target *target, void *job);

/* A census and a graph of one moment: both read in the same copy, the census first. */
typedef struct mi_moment_job {
    mi_census_job *census;
    mi_graph_job *graph;   /* with a room, and without a desk */
    mi_error *graph_error; /* in shared memory: a graph that cannot be made takes no census away */
} mi_moment_job;

/* `job` is a mi_moment_job; mi_clone_work's form. */
mi_error mi_moment_run(const mi_target *target, void *job);

typedef struct mi_graph_outside_job {
    mi_outside_job outside; /* without a census' results */
    mi_graph_job graph;     /* without types, shapes and graph */
    /* filled, in shared memory: how many of outside.names there are, and MI_HEAP_TYPES of the types themselves */
    size_t *type_count;
    mi_type *types;
} mi_graph_outside_job;

/* `job` is a mi_graph_outside_job; mi_clone_work's form. */
mi_error mi_graph_outside_run(const mi_target *self, void *job);

#endif
