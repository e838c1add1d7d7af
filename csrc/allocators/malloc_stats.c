/* malloc_stats.c - calls _PyObject_DebugMallocStats and _PyObject_DebugTypeStats (Objects/obmalloc.c, Objects/object.c)
 * with a stream on pages of our own; both are found by name, for not every version exports the second. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "malloc_stats.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "os.h"

enum { ROOM = 1 << 16 }; /* the longest seen is 5 kB */

mi_error mi_malloc_stats_take(mi_malloc_stats *stats) {
    int (*allocator)(FILE *);
    void (*free_lists)(FILE *);
    memset(stats, 0, sizeof *stats);
    *(void **)&allocator = dlsym(RTLD_DEFAULT, "_PyObject_DebugMallocStats");
    *(void **)&free_lists = dlsym(RTLD_DEFAULT, "_PyObject_DebugTypeStats");
    if (!allocator) return MI_E_ABSENT;
    stats->room = ROOM;
    stats->text = mi_os_alloc(stats->room);
    FILE *stream = stats->text ? fmemopen(stats->text, stats->room, "w") : NULL;
    if (!stream) {
        mi_malloc_stats_free(stats);
        return MI_E_MEMORY;
    }
    stats->has_allocator = allocator(stream) != 0;
    stats->has_free_lists = free_lists != NULL;
    if (free_lists) free_lists(stream);
    int failed = fflush(stream) != 0; /* the text was longer than the room */
    long length = ftell(stream);
    fclose(stream);
    if (failed || length < 0 || (size_t)length >= stats->room) {
        mi_malloc_stats_free(stats);
        return MI_E_LIMIT;
    }
    stats->length = (size_t)length;
    stats->text[stats->length] = 0;
    return MI_OK;
}

void mi_malloc_stats_free(mi_malloc_stats *stats) {
    mi_os_free(stats->text, stats->room);
    memset(stats, 0, sizeof *stats);
}
