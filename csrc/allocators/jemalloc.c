/* jemalloc.c - its statistics, by the mallctl that the process has loaded. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* RTLD_DEFAULT */
#endif
#include "jemalloc.h"

#include <dlfcn.h>
#include <stdint.h>

typedef int (*control)(const char *name, void *old, size_t *old_size, void *new, size_t new_size);

static int read_size(control mallctl, const char *name, size_t *value) {
    size_t size = sizeof *value;
    return !mallctl(name, value, &size, NULL, 0) && size == sizeof *value;
}

mi_error mi_jemalloc_read(mi_jemalloc *figures) {
    control mallctl = NULL;
    uint64_t epoch = 1;
    size_t size = sizeof epoch;
    *(void **)&mallctl = dlsym(RTLD_DEFAULT, "mallctl");
    if (!mallctl) return MI_E_ABSENT;
    /* the statistics are as of the last time that the epoch was advanced */
    if (mallctl("epoch", &epoch, &size, &epoch, sizeof epoch)) return MI_E_ABSENT;
    if (!read_size(mallctl, "stats.allocated", &figures->allocated_bytes)) return MI_E_ABSENT;
    return read_size(mallctl, "stats.resident", &figures->resident_bytes) ? MI_OK : MI_E_ABSENT;
}
