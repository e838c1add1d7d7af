/* resident_python.h - what CPython itself maps: pymalloc's arenas split by block, and the data stacks of its frames.
 *
 * A source for mi_memory_take. Interpreters are found by runtime.h, arenas walked by obmalloc.h; nothing is held still
 * here, so a process that runs on is a little torn. */
#ifndef MI_RESIDENT_PYTHON_H
#define MI_RESIDENT_PYTHON_H

#include "obmalloc.h"
#include "resident.h"
#include "resident_seen.h"

enum { MI_IDENTITIES_MOST = 16384 };

/* A thread by both its names. */
typedef struct mi_identity {
    uint64_t ident;     /* threading.get_ident() */
    uint64_t native_id; /* the kernel's */
} mi_identity;

typedef struct mi_python_memory {
    const mi_layout *layout; /* verified */
    pid_t pid;               /* 0: this process */
    int held;                /* of this process: the caller holds the GIL, so memory is looked at where it lies */
    mi_arena_table table;    /* 3.11 of this process: found by mi_python_memory_prepare; address 0: unknown */
    mi_identity *identities; /* of the threads that have a thread state, from mi_python_memory_claim */
    size_t identity_count;
    /* ours, while the memory is taken */
    mi_target target;
    mi_heap heap;
    mi_seen seen;                                /* by mi_python_memory_look */
    uint32_t live, free, pools, untouched, rest; /* leaves */
} mi_python_memory;

/* Fills in what has to be known before: `layout` is verified. Of this process with the GIL held, once is enough for the
 * life of the interpreter: where 3.11 hides pymalloc's table is looked for here. */
mi_error mi_python_memory_prepare(mi_python_memory *python, const mi_layout *layout, pid_t pid);
/* For another process, around the moment of the page map: notes which arenas it has, so that those which it gives back
 * before they are walked keep their name. The context is a mi_python_memory. */
void mi_python_memory_look(void *context);
/* The source: its context is a mi_python_memory. */
mi_error mi_python_memory_claim(mi_painter *painter, void *context);
/* Gives back what the source made; behind mi_memory_take. */
void mi_python_memory_free(mi_python_memory *python);

#endif
