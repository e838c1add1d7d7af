/* census_outside.h - the census of another process of the same build, read from outside.
 *
 * Its memory is put at its own addresses in a frozen copy of ourselves (replica.h), and counted there as our own would be.
 * There is no `object` to ask for its subclasses: types are found in its heap (heap_types.h). */
#ifndef MI_CENSUS_OUTSIDE_H
#define MI_CENSUS_OUTSIDE_H

#include "census_job.h"
#include "heap_types.h"
#include "replica.h"

typedef struct mi_outside_job {
    const mi_target *from; /* of kind MI_TARGET_PROCESS, with its map */
    const mi_pages *pages; /* what was resident */
    uintptr_t runtime;     /* addresses in the other process: its _PyRuntime, main interpreter, `tuple` */
    uintptr_t tuple_type;
    mi_census_job census; /* `self` is the main interpreter; without types and rows */
    /* filled: in memory that is shared with the copy, of MI_HEAP_TYPES items each */
    mi_census_sum *rows;
    mi_type_name *names; /* of the types that have objects */
    mi_replica *replica;
    size_t *types_cut; /* types beyond MI_HEAP_TYPES */
} mi_outside_job;

/* `job` is a mi_outside_job; mi_clone_work's form. */
mi_error mi_census_outside_run(const mi_target *self, void *job);

/* The same for other walks (graph_job.h): the other process' memory put in place of ours, and its types read from there;
 * then the names of them all. */
mi_error mi_outside_open(const mi_target *self, const mi_outside_job *job, mi_target *target, mi_runtime *runtime,
                         mi_types *types);
void mi_outside_names(const mi_outside_job *job, const mi_target *target, const mi_types *types);

#endif
