/* resident_survey.h - what the parts of a reading share: the process as found so far, and its unclaimed heap memory. */
#ifndef MI_RESIDENT_SURVEY_H
#define MI_RESIDENT_SURVEY_H

#include "elf_objects.h"
#include "glibc_heap.h"
#include "resident_result.h"
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

/* Anonymous memory that may hold heaps: private, without a file, no [stack] or [vdso]. */
int mi_is_heap_memory(const mi_mapping *mapping);
/* The end of the run of adjacent mappings of such memory that begins at `item`, and the item behind it. */
size_t mi_region_end(const mi_maps *maps, size_t item, uintptr_t *end);
/* Calls `gap` for all unclaimed parts of such memory, adjacent mappings joined: the kernel merges and splits them. */
void mi_survey_gaps(mi_survey *survey, mi_gap_function gap, void *context);

#endif
