/* os.h - all that the core asks of the operating system, in one interface.
 *
 * Implemented by os_linux.c; os_other.c answers MI_E_ABSENT to everything so that the package imports anywhere. Nothing
 * here calls malloc or creates a Python object, so all of it may run without the GIL and beside a stopped world:
 * tables live in anonymous mappings of our own (mi_os_alloc) and are given back. */
#ifndef MI_OS_H
#define MI_OS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

/* ---- our own memory ---------------------------------------------------------------------------------------------- */

/* Zeroed pages from the kernel, NULL when there are none; the size is rounded up to pages. */
void *mi_os_alloc(size_t size);
/* The same, resident at once: for tables of which most is written. One call costs less than a fault for each page, and a
 * page that is read before it is written is mapped twice, which interrupts every thread's processor. */
void *mi_os_alloc_whole(size_t size);
/* The same, shared with the processes that are made of this one afterwards (csrc/interpreter/clone.h); mi_os_free gives it back. */
void *mi_os_alloc_shared(size_t size);
void *mi_os_realloc(void *block, size_t old_size, size_t new_size);
void mi_os_free(void *block, size_t size);
/* Asks for huge pages: for large tables that are used whole and read in no order. The kernel may not have any. */
void mi_os_prefer_huge_pages(void *block, size_t size);
/* The blocks above that are in use now, so that a measurement can name its own memory. Some may be left out when there
 * are more than the core ever holds at once; returns how many were written. */
typedef struct mi_os_block {
    uintptr_t start;
    size_t size;
} mi_os_block;
size_t mi_os_blocks(mi_os_block *to, size_t capacity);

/* ---- clocks ------------------------------------------------------------------------------------------------------ */

uint64_t mi_os_now_ns(void); /* CLOCK_MONOTONIC */
void mi_os_sleep_ns(uint64_t ns);
/* Sleeps while *word is `value`, until `ns` of mi_os_now_ns() at the latest; may wake early. One system call, no lock. */
void mi_os_wait_word(_Atomic uint32_t *word, uint32_t value, uint64_t ns);
void mi_os_wake_word(_Atomic uint32_t *word); /* all that sleep on it */
/* Sleeps as long as *word is `value`: who changes it wakes. */
static inline void mi_os_await_change(_Atomic uint32_t *word, uint32_t value) {
    const uint64_t second = 1000000000;
    while (atomic_load_explicit(word, memory_order_acquire) == value)
        mi_os_wait_word(word, value, mi_os_now_ns() + second);
}

/* ---- memory of a process ----------------------------------------------------------------------------------------- */

/* How memory is read without being dereferenced; the first that the kernel allows is kept. */
typedef enum mi_read_method { MI_READ_NONE = 0, MI_READ_PROCESS_VM, MI_READ_PIPE, MI_READ_PROC_MEM } mi_read_method;

/* Copies `size` bytes; MI_E_UNMAPPED where a dereference would fault. `pid` 0 is this process. */
mi_error mi_os_read(pid_t pid, uintptr_t address, void *to, size_t size);
/* The method that mi_os_read uses for this process (0) or another. */
mi_read_method mi_os_read_method(pid_t pid);
/* Forget the method found (tests that install a seccomp filter, a child after fork). */
void mi_os_read_reset(void);

/* ---- the memory map (/proc/PID/maps) ------------------------------------------------------------------------------ */

enum { MI_MAP_READ = 1, MI_MAP_WRITE = 2, MI_MAP_EXEC = 4, MI_MAP_SHARED = 8 };

typedef struct mi_mapping {
    uintptr_t start, end;
    uint64_t offset; /* in the file */
    uint64_t inode;
    uint32_t device; /* major << 20 | minor */
    uint32_t flags;
    const char *name; /* "" for anonymous memory; lives as long as the mi_maps */
} mi_mapping;

typedef struct mi_maps {
    mi_mapping *items; /* in ascending order of address */
    size_t count;
    void *text; /* the file as read; names point into it */
    size_t text_size, items_size;
} mi_maps;

mi_error mi_os_maps(pid_t pid, mi_maps *maps);
void mi_os_maps_free(mi_maps *maps);
/* The mapping that holds `address`, or NULL. */
const mi_mapping *mi_os_maps_find(const mi_maps *maps, uintptr_t address);
/* Both map the same file. */
static inline int mi_mapping_same_file(const mi_mapping *left, const mi_mapping *right) {
    return left->inode && left->inode == right->inode && left->device == right->device;
}
/* True when [address, address + size) lies in readable mappings without a gap. */
int mi_os_maps_covers(const mi_maps *maps, uintptr_t address, size_t size);

/* ---- page residency (/proc/PID/pagemap) --------------------------------------------------------------------------- */

size_t mi_os_page_size(void);
/* One 64-bit entry a page, as the kernel's admin-guide/mm/pagemap.rst has it. */
#define MI_PAGE_PRESENT (1ull << 63)
#define MI_PAGE_SWAPPED (1ull << 62)
#define MI_PAGE_FILE_OR_SHARED (1ull << 61)
#define MI_PAGE_EXCLUSIVE (1ull << 56)

int mi_os_pagemap_open(pid_t pid, mi_error *error); /* a file descriptor, or -1 */
/* Entries of the `pages` pages from `start`; pages beyond the map read as 0. */
mi_error mi_os_pagemap_read(int pagemap, uintptr_t start, uint64_t *entries, size_t pages);
void mi_os_close(int fd);

/* Runs of present pages in the kernel's own form (struct page_region of uapi/linux/fs.h). */
typedef struct mi_page_run {
    uintptr_t start, end;
    uint64_t categories;
} mi_page_run;
enum { MI_RUN_FILE = 1 << 2, MI_RUN_PRESENT = 1 << 3, MI_RUN_ZERO = 1 << 5 };
/* Writes the runs of [start, end) by the PAGEMAP_SCAN ioctl, and in *next where to go on (`end` when all was seen);
 * MI_E_ABSENT on kernels before 6.7. Untouched memory costs nothing. */
mi_error mi_os_page_runs(int pagemap, uintptr_t start, uintptr_t end, mi_page_run *runs, size_t capacity, size_t *count,
                         uintptr_t *next);

/* ---- small files of /proc ------------------------------------------------------------------------------------------ */

/* The ids of the threads of a process, in ascending order as the kernel lists them; *count may exceed `capacity`, then
 * only as many were written. */
mi_error mi_os_threads(pid_t pid, int32_t *tids, size_t capacity, size_t *count);

/* Whether this process has one thread alone: false where the kernel does not tell. */
int mi_os_is_alone(void);

/* Reads a whole small file (at most size - 1 bytes) and ends it with 0; its length, or -1 with the error set. */
ssize_t mi_os_slurp(const char *path, char *to, size_t size, mi_error *error);
/* Reads a file of unknown length into a block of its own, ended by a 0: give it back by mi_os_free(*text, *text_size). */
mi_error mi_os_slurp_all(const char *path, char **text, size_t *text_size, size_t *length);

#endif
