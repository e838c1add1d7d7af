/* census_frames.h - the frames that threads run: where they lie, and which objects they hold.
 *
 * Frames of functions lie on chunks of their thread's own (the data stack: push_chunk() in Python/pystate.c), which come
 * from the same mmap as arenas and are in none. Those of generators and coroutines lie in these objects. The words of a
 * frame lead to objects; those that are blocks of the heap are counted, each once a thread. */
#ifndef MI_CENSUS_FRAMES_H
#define MI_CENSUS_FRAMES_H

#include "runtime.h"

enum { MI_CENSUS_THREADS = 512 };

/* Of one thread. Handed out as numbers: part of the raw format (probes/census.py). */
typedef struct mi_thread_frames {
    uint64_t native_id;
    int64_t interpreter;          /* id */
    uint64_t chunks, chunk_bytes; /* of its data stack */
    uint64_t frames, embedded;    /* that run: on the data stack; in generators and coroutines */
    uint64_t objects, bytes;      /* that these refer to, and their blocks */
} mi_thread_frames;

typedef struct mi_frames {
    const mi_runtime *runtime;
    uintptr_t interpreter; /* that asks */
    int all;               /* nothing moves: of all interpreters; else of those that are held still with it */
    mi_thread_frames *items;
    size_t room, count; /* count: of all threads, also beyond the room */
} mi_frames;

#endif
