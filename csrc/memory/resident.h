/* resident.h - where the resident memory of a process is: every resident page split by what lies in it.
 *
 * mi_memory_take reads the memory map and the page map at one moment, finds what it knows in the anonymous memory
 * (malloc's heaps, Python's arenas, stacks, the buffers of libraries, our own) and paints it; files and shared memory
 * are counted by name. It needs no GIL (what is held is let go when it takes too
 * long), calls no malloc and works on this process and another alike; a process that goes
 * on running is a little torn, which is counted and said. */
#ifndef MI_RESIDENT_H
#define MI_RESIDENT_H

#include "resident_result.h"

/* Claims what one more kind of heap owns: called behind the moment, with the painter's window to read by. Python's heaps
 * come this way. What it returns is part of the reason when it is not MI_OK or MI_E_ABSENT. */
typedef mi_error (*mi_memory_source)(mi_painter *painter, void *context);

enum { MI_SOURCES_MOST = 4 };

typedef struct mi_memory_request {
    pid_t pid;                   /* 0: this process */
    int plain_pagemap;           /* do not use PAGEMAP_SCAN (tests) */
    mi_hold *hold;               /* of this process: what keeps it waiting, let go when the time is up; may be NULL */
    void (*look)(void *context); /* called right before the page map is read and right behind; may be NULL */
    void *look_context;
    struct {
        mi_memory_source claim;
        void *context;
        const char *name; /* for the reason */
    } sources[MI_SOURCES_MOST];
    size_t source_count;
} mi_memory_request;

void mi_memory_request_add(mi_memory_request *request, mi_memory_source claim, void *context, const char *name);

mi_error mi_memory_take(const mi_memory_request *request, mi_memory *out);
void mi_memory_free(mi_memory *memory);

#endif
