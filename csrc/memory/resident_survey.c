/* resident_survey.c - the anonymous memory that may hold heaps, adjacent mappings joined. */
#include "resident_survey.h"

#include <string.h>

int mi_is_heap_memory(const mi_mapping *mapping) {
    if (mapping->inode || mapping->flags & MI_MAP_SHARED) return 0;
    return !mapping->name[0] || !strcmp(mapping->name, "[heap]") || !strncmp(mapping->name, "[anon:", 6);
}

size_t mi_region_end(const mi_maps *maps, size_t item, uintptr_t *end) {
    *end = maps->items[item].end;
    for (item++; item < maps->count && maps->items[item].start == *end && mi_is_heap_memory(&maps->items[item]); item++)
        *end = maps->items[item].end;
    return item;
}

void mi_survey_gaps(mi_survey *survey, mi_gap_function gap, void *context) {
    const mi_maps *maps = survey->maps;
    uintptr_t end;
    for (size_t item = 0; item < maps->count;) {
        if (!mi_is_heap_memory(&maps->items[item])) {
            item++;
            continue;
        }
        uintptr_t start = maps->items[item].start;
        item = mi_region_end(maps, item, &end);
        mi_painter_gaps(survey->painter, start, end, gap, context);
    }
}
