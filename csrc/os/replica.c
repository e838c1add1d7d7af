/* replica.c - gives up what is ours, then puts the other process' memory in its place. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#endif
#include "replica.h"

#include <string.h>

#ifdef __linux__
#include <errno.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>

enum { READ_AT_ONCE = 1 << 20 };

/* ---- what stays ----------------------------------------------------------------------------------------------------- */

typedef struct stay {
    const mi_maps *own;
    uintptr_t keep[MI_REPLICA_KEEPS];
    size_t keeps;
} stay;

static void stay_add(stay *stay, uintptr_t address) {
    if (address && stay->keeps < MI_REPLICA_KEEPS) stay->keep[stay->keeps++] = address;
}

/* Our code and the C library with their data, the linker (thread-local storage), both stacks. */
static void stay_open(stay *stay, const mi_maps *own, const uintptr_t *keep, size_t keeps) {
    stack_t alternative = {0};
    memset(stay, 0, sizeof *stay);
    stay->own = own;
    sigaltstack(NULL, &alternative);
    stay_add(stay, (uintptr_t)&mi_replica_make);
    stay_add(stay, (uintptr_t)&mmap);
    stay_add(stay, (uintptr_t)getauxval(AT_BASE));
    stay_add(stay, (uintptr_t)&errno);
    stay_add(stay, (uintptr_t)&alternative);
    stay_add(stay, (uintptr_t)alternative.ss_sp);
    stay_add(stay, (uintptr_t)own->items);
    stay_add(stay, (uintptr_t)own->text);
    for (size_t i = 0; i < keeps; i++) stay_add(stay, keep[i]);
}

static int stays(const stay *stay, size_t index) {
    const mi_mapping *mapping = &stay->own->items[index];
    if (mapping->flags & MI_MAP_SHARED || !strncmp(mapping->name, "[v", 2)) return 1;
    for (size_t i = 0; i < stay->keeps; i++) {
        if (stay->keep[i] >= mapping->start && stay->keep[i] < mapping->end) return 1;
        const mi_mapping *held = mi_os_maps_find(stay->own, stay->keep[i]);
        if (held && mi_mapping_same_file(held, mapping)) return 1;
    }
    /* .bss lies behind the last pages of its file, and has no name */
    const mi_mapping *before = index ? mapping - 1 : NULL;
    return !mapping->inode && before && before->end == mapping->start && before->inode && stays(stay, index - 1);
}

/* Without the linker's mark: whatever is not needed goes, so that no word of the other process leads to our memory. */
static void give_up_ours(const stay *stay) {
    for (size_t i = 0; i < stay->own->count; i++) {
        const mi_mapping *mapping = &stay->own->items[i];
        if (!stays(stay, i)) munmap((void *)mapping->start, mapping->end - mapping->start);
    }
}

/* ---- what comes ----------------------------------------------------------------------------------------------------- */

static int is_wanted(const mi_mapping *mapping) {
    int unwanted = mapping->flags & (MI_MAP_SHARED | MI_MAP_EXEC) || !(mapping->flags & MI_MAP_READ);
    return !unwanted && strncmp(mapping->name, "[v", 2) && strncmp(mapping->name, "[stack", 6);
}

/* The resident pages of [start, end), which is mapped here. */
static void fill(const mi_target *from, const mi_pages *pages, uintptr_t start, uintptr_t end, mi_replica *replica) {
    size_t hint = 0;
    for (size_t run = mi_pages_seek(pages, &hint, start); run < pages->count && pages->runs[run].start < end; run++) {
        uintptr_t at = pages->runs[run].start > start ? pages->runs[run].start : start;
        uintptr_t until = pages->runs[run].end < end ? pages->runs[run].end : end;
        for (size_t size; at < until; at += size) {
            size = until - at < READ_AT_ONCE ? until - at : READ_AT_ONCE;
            if (mi_os_read(from->pid, at, (void *)at, size))
                replica->lost_bytes += size;
            else
                replica->copied_bytes += size;
        }
    }
}

static mi_error place(const mi_target *from, const mi_pages *pages, const mi_mapping *mapping, mi_replica *replica) {
    size_t size = mapping->end - mapping->start;
    void *got = mmap((void *)mapping->start, size, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
    if (got == (void *)mapping->start) {
        fill(from, pages, mapping->start, mapping->end, replica);
        return MI_OK;
    }
    if (got != MAP_FAILED) munmap(got, size); /* a kernel before 4.17 takes the address for a wish */
    if (got == MAP_FAILED && errno == ENOMEM) return MI_E_MEMORY;
    if (!mapping->inode) return MI_E_LIMIT;
    replica->blocked_bytes += size; /* of a file: a library's constants and variables, as the C library's own */
    return MI_OK;
}

mi_error mi_replica_make(const mi_target *from, const mi_pages *pages, const uintptr_t *keep, size_t keeps,
                         mi_replica *replica) {
    mi_maps own;
    stay stay;
    memset(replica, 0, sizeof *replica);
    mi_error error = mi_os_maps(0, &own);
    if (error) return error;
    stay_open(&stay, &own, keep, keeps);
    give_up_ours(&stay);
    for (size_t i = 0; i < from->maps.count && !error; i++)
        if (is_wanted(&from->maps.items[i])) error = place(from, pages, &from->maps.items[i], replica);
    return error; /* `own` is given back with the copy: its memory may lie in the midst of what was placed */
}

#else
mi_error mi_replica_make(const mi_target *from, const mi_pages *pages, const uintptr_t *keep, size_t keeps,
                         mi_replica *replica) {
    (void)from, (void)pages, (void)keep, (void)keeps;
    memset(replica, 0, sizeof *replica);
    return MI_E_ABSENT;
}
#endif
