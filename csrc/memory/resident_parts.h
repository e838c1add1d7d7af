/* resident_parts.h - the parts of mi_memory_take that have files of their own. */
#ifndef MI_RESIDENT_PARTS_H
#define MI_RESIDENT_PARTS_H

#include "resident_survey.h"

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
