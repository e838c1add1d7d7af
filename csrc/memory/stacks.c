/* stacks.c - threads from /proc, their stacks from glibc's own lists. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* syscall() */
#endif
#include "stacks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define THREADS_MOST 32768
#define LIST_MOST 65536
#define BLOCK_WORDS 320 /* of struct pthread that are searched */

/* ---- from the kernel -------------------------------------------------------------------------------------------------------- */

static void task_path(char *to, size_t size, pid_t pid, int32_t tid, const char *file) {
    if (pid)
        snprintf(to, size, "/proc/%d/task/%d/%s", (int)pid, (int)tid, file);
    else
        snprintf(to, size, "/proc/self/task/%d/%s", (int)tid, file);
}

/* "number arg0 ... arg5 sp pc", "-1 sp pc", or "running" (proc(5)). */
static uintptr_t stack_pointer(pid_t pid, int32_t tid) {
    char path[64], text[256];
    mi_error error;
    task_path(path, sizeof path, pid, tid, "syscall");
    if (mi_os_slurp(path, text, sizeof text, &error) <= 0) return 0;
    char *pc = strrchr(text, ' ');
    if (!pc) return 0;
    *pc = 0;
    char *pointer = strrchr(text, ' ');
    return pointer ? (uintptr_t)strtoull(pointer + 1, NULL, 16) : 0;
}

static int32_t own_tid(void) {
#ifdef __linux__
    return (int32_t)syscall(SYS_gettid);
#else
    return 0;
#endif
}

mi_error mi_native_threads_list(pid_t pid, mi_native_threads *threads) {
    memset(threads, 0, sizeof *threads);
    threads->items_size = THREADS_MOST * sizeof *threads->items;
    threads->items = mi_os_alloc(threads->items_size);
    int32_t *tids = mi_os_alloc(THREADS_MOST * sizeof *tids);
    mi_error error = threads->items && tids ? MI_OK : MI_E_MEMORY;
    size_t count = 0;
    if (!error) error = mi_os_threads(pid, tids, THREADS_MOST, &count);
    for (size_t at = 0; at < count && at < THREADS_MOST && !error; at++) {
        mi_native_thread *thread = &threads->items[threads->count++];
        char path[64], name[64];
        mi_error ignored;
        thread->tid = tids[at];
        /* the caller runs, but knows where its stack is: here */
        thread->pointer = !pid && tids[at] == own_tid() ? (uintptr_t)&path : stack_pointer(pid, tids[at]);
        task_path(path, sizeof path, pid, tids[at], "comm");
        if (mi_os_slurp(path, name, sizeof name, &ignored) > 0) {
            name[strcspn(name, "\n")] = 0;
            snprintf(thread->name, sizeof thread->name, "%.15s", name);
        }
    }
    threads->live = threads->count;
    mi_os_free(tids, THREADS_MOST * sizeof *tids);
    if (error) mi_native_threads_free(threads);
    return error;
}

void mi_native_threads_free(mi_native_threads *threads) {
    mi_os_free(threads->items, threads->items_size);
    memset(threads, 0, sizeof *threads);
}

/* ---- from glibc --------------------------------------------------------------------------------------------------------------- */

/* The thread control block begins with a pointer to itself, and has another at its third word (tcbhead_t). */
static int is_block(mi_window *window, uintptr_t block) {
    return mi_window_word(window, block) == block && mi_window_word(window, block + 16) == block;
}

/* How far the list node lies behind the beginning of its struct pthread; 0 when the node is in none. */
static uintptr_t node_offset(mi_window *window, uintptr_t node) {
    for (uintptr_t offset = 0x100; offset < 0x800; offset += 8)
        if (is_block(window, node - offset)) return offset;
    return 0;
}

static void add_block(mi_window *window, mi_native_threads *threads, uintptr_t block, uintptr_t node) {
    size_t page = mi_os_page_size();
    uintptr_t start = 0, size = 0;
    int32_t tid = (int32_t)(uint32_t)mi_window_word(window, node + 16);               /* `tid` follows `list` */
    for (uintptr_t at = node + 24; at < block + 8 * BLOCK_WORDS && !start; at += 8) { /* stackblock, stackblock_size */
        uintptr_t first = mi_window_word(window, at), length = mi_window_word(window, at + 8);
        if (!first || first % page || !length || length % page || first > block || block - first >= length) continue;
        if (length - (block - first) > 65536) continue; /* the block lies at the stack's upper end */
        start = first;
        size = length;
    }
    for (size_t at = 0; at < threads->live; at++) {
        mi_native_thread *thread = &threads->items[at];
        if (thread->tid != tid) continue;
        thread->block = block;
        thread->start = start;
        thread->end = start + size;
        return;
    }
    if (!start || threads->count == THREADS_MOST) return;
    threads->items[threads->count++] = (mi_native_thread){.block = block, .start = start, .end = start + size};
}

/* Follows one ring from its head in ld.so's data; returns how many blocks were on it. */
static size_t follow(mi_window *window, mi_native_threads *threads, uintptr_t head, uintptr_t offset) {
    size_t count = 0;
    uintptr_t node = mi_window_word(window, head);
    for (; node && node != head && count < LIST_MOST; node = mi_window_word(window, node), count++) {
        if (!is_block(window, node - offset)) break; /* the list changed meanwhile */
        add_block(window, threads, node - offset, node);
    }
    return count;
}

void mi_native_threads_find_stacks(mi_window *window, const mi_maps *maps, const mi_objects *objects,
                                   mi_native_threads *threads) {
    const mi_object *linker = mi_objects_named(objects, "ld-");
    if (!linker && objects->count == 1) linker = &objects->items[0];
    uintptr_t offset = 0;
    for (size_t at = 0; linker && at < maps->count; at++) {
        const mi_mapping *mapping = &maps->items[at];
        int data =
            mapping->inode == linker->inode && mapping->device == linker->device && mapping->flags & MI_MAP_WRITE;
        int bss = linker->bss_start < linker->bss_end && mapping->start == linker->bss_start;
        for (uintptr_t head = mapping->start; (data || bss) && head + 16 <= mapping->end; head += 8) {
            uintptr_t next = mi_window_word(window, head), last = mi_window_word(window, head + 8);
            if (!next || !last || next == head || next % 8 || last % 8) continue;
            if (mi_window_word(window, next + 8) != head || mi_window_word(window, last) != head) continue;
            if (!offset) offset = node_offset(window, next);
            if (!offset || !is_block(window, next - offset)) continue;
            if (follow(window, threads, head, offset)) threads->listed = 1;
        }
    }
}
