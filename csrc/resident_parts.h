/* resident_parts.h - the parts of mi_memory_take that have files of their own. */
#ifndef MI_RESIDENT_PARTS_H
#define MI_RESIDENT_PARTS_H

#include "elf_objects.h"
#include "glibc_heap.h"
#include "resident.h"
#include "stacks.h"

/* What is found out about the process while its memory is claimed. */
typedef struct mi_survey {
    mi_memory *out;
    mi_painter *painter;
    const mi_maps *maps;
    pid_t pid;
    mi_objects objects;
    mi_native_threads threads;
    mi_malloc_kind malloc;
    const mi_object *malloc_object;
    mi_glibc glibc;
    int has_glibc; /* glibc's arenas were found */
    uint64_t mmapped_count, mmapped_bytes;
    uint32_t unattributed; /* leaf */
    uint32_t linker;       /* leaf: thread control blocks and what ld.so allocated */
} mi_survey;

/* Adds a clause to out->reason; `inexact` takes `exact` back as well. */
void mi_memory_say(mi_memory *out, int inexact, const char *clause);

/* Anonymous memory that may hold heaps: private, without a file, no [stack] or [vdso]. */
int mi_is_heap_memory(const mi_mapping *mapping);
/* Calls `gap` for all unclaimed parts of such memory, adjacent mappings joined: the kernel merges and splits them. */
void mi_survey_gaps(mi_survey *survey, mi_gap_function gap, void *context);

/* resident_glibc.c: claims of malloc's heaps, then (behind a settle) of mmapped chunks. */
mi_error mi_survey_glibc(mi_survey *survey);
mi_error mi_survey_mmapped(mi_survey *survey);
void mi_survey_glibc_end(mi_survey *survey); /* sums, and what did not add up */

/* resident_names.c: stacks; behind the heaps, names for what is left. */
mi_error mi_survey_stacks(mi_survey *survey);
mi_error mi_survey_rest(mi_survey *survey);
void mi_paint_mapping(mi_survey *survey, const mi_mapping *mapping);
/* The leaf of a part of anonymous memory that nothing claimed. */
uint32_t mi_leaf_of_gap(mi_survey *survey, const mi_mapping *mapping);

/* resident_smaps.c: the tree by smaps' lines alone, for a process whose page map may not be read. */
mi_error mi_memory_by_smaps(pid_t pid, mi_memory *out);

#endif
