/* os_other.c - os.h where there is no Linux: every question is answered MI_E_ABSENT, so that the package imports and
 * each feature can say what is missing. */
#ifndef __linux__
#include "os.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

size_t mi_os_page_size(void) { return 4096; }
void *mi_os_alloc(size_t size) { return calloc(1, size ? size : 1); }
void *mi_os_alloc_whole(size_t size) { return mi_os_alloc(size); }
void *mi_os_alloc_shared(size_t size) { return mi_os_alloc(size); }
void *mi_os_realloc(void *block, size_t old_size, size_t new_size) {
    char *grown = realloc(block, new_size);
    if (grown && new_size > old_size) memset(grown + old_size, 0, new_size - old_size);
    return grown;
}
void mi_os_free(void *block, size_t size) {
    (void)size;
    free(block);
}
void mi_os_prefer_huge_pages(void *block, size_t size) {
    (void)block;
    (void)size;
}
size_t mi_os_blocks(mi_os_block *to, size_t capacity) {
    (void)to, (void)capacity;
    return 0;
}
uint64_t mi_os_now_ns(void) {
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}
void mi_os_sleep_ns(uint64_t ns) { (void)ns; }
void mi_os_wait_word(_Atomic uint32_t *word, uint32_t value, uint64_t ns) { (void)word, (void)value, (void)ns; }
void mi_os_wake_word(_Atomic uint32_t *word) { (void)word; }
mi_error mi_os_read(pid_t pid, uintptr_t address, void *to, size_t size) {
    (void)pid, (void)address, (void)to, (void)size;
    return MI_E_ABSENT;
}
mi_read_method mi_os_read_method(pid_t pid) {
    (void)pid;
    return MI_READ_NONE;
}
void mi_os_read_reset(void) {}
mi_error mi_os_maps(pid_t pid, mi_maps *maps) {
    (void)pid;
    memset(maps, 0, sizeof *maps);
    return MI_E_ABSENT;
}
void mi_os_maps_free(mi_maps *maps) { memset(maps, 0, sizeof *maps); }
const mi_mapping *mi_os_maps_find(const mi_maps *maps, uintptr_t address) {
    (void)maps, (void)address;
    return NULL;
}
int mi_os_maps_covers(const mi_maps *maps, uintptr_t address, size_t size) {
    (void)maps, (void)address, (void)size;
    return 0;
}
int mi_os_pagemap_open(pid_t pid, mi_error *error) {
    (void)pid;
    *error = MI_E_ABSENT;
    return -1;
}
mi_error mi_os_pagemap_read(int pagemap, uintptr_t start, uint64_t *entries, size_t pages) {
    (void)pagemap, (void)start, (void)entries, (void)pages;
    return MI_E_ABSENT;
}
void mi_os_close(int fd) { (void)fd; }
mi_error mi_os_page_runs(int pagemap, uintptr_t start, uintptr_t end, mi_page_run *runs, size_t capacity, size_t *count,
                         uintptr_t *next) {
    (void)pagemap, (void)start, (void)end, (void)runs, (void)capacity, (void)count, (void)next;
    return MI_E_ABSENT;
}
int mi_os_is_alone(void) { return 0; }

mi_error mi_os_threads(pid_t pid, int32_t *tids, size_t capacity, size_t *count) {
    (void)pid, (void)tids, (void)capacity;
    *count = 0;
    return MI_E_ABSENT;
}
ssize_t mi_os_slurp(const char *path, char *to, size_t size, mi_error *error) {
    (void)path, (void)to, (void)size;
    *error = MI_E_ABSENT;
    return -1;
}
mi_error mi_os_slurp_all(const char *path, char **text, size_t *text_size, size_t *length) {
    (void)path, (void)text, (void)text_size, (void)length;
    return MI_E_ABSENT;
}
#else
typedef int mi_os_other_is_elsewhere; /* ISO C forbids an empty translation unit */
#endif
