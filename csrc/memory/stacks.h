/* stacks.h - the threads of a process and their stacks, native ones and those of ended threads too.
 *
 * glibc keeps every thread's control block (struct pthread, nptl/descr.h) in lists whose heads are in ld.so's data:
 * stacks in use, stacks that the user gave, and the cache of stacks whose threads have ended. The heads are found by
 * what must be true of them (a ring of list nodes inside blocks that point to themselves). A block names its stack; its
 * thread id tells a live thread from a cached stack. How deep a stack is in use comes from /proc/PID/task/TID/syscall,
 * which gives the stack pointer of every thread that is blocked. */
#ifndef MI_STACKS_H
#define MI_STACKS_H

#include "elf_objects.h"
#include "pages.h"

typedef struct mi_native_thread {
    int32_t tid;          /* 0: the thread has ended, its stack is cached */
    char name[16];        /* the kernel's name (comm), "" when unknown */
    uintptr_t pointer;    /* stack pointer, 0 while it runs or where the kernel does not say */
    uintptr_t block;      /* its struct pthread, 0 when not found */
    uintptr_t start, end; /* of the stack, guard included; 0 when not found, as for the main thread */
} mi_native_thread;

typedef struct mi_native_threads {
    mi_native_thread *items; /* live ones in the kernel's order, then cached stacks */
    size_t count, live, items_size;
    int listed; /* glibc's lists were found */
} mi_native_threads;

/* Threads with their stack pointers; to be asked beside the moment, before the calling thread's stack grows. */
mi_error mi_native_threads_list(pid_t pid, mi_native_threads *threads);
/* Finds the stacks in glibc's lists. */
void mi_native_threads_find_stacks(mi_window *window, const mi_maps *maps, const mi_objects *objects,
                                   mi_native_threads *threads);
void mi_native_threads_free(mi_native_threads *threads);

#endif
