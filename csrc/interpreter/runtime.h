/* runtime.h - the way from _PyRuntime to interpreters, thread states and their parts.
 *
 * Python/pystate.c keeps interpreters and thread states in singly linked lists under `_PyRuntime`. They are followed here
 * without the GIL and without taking the runtime's locks, so every hop is a read that fails instead of faulting, every
 * list is bounded, and what is returned is as of the moment it was read. What holds it still is the caller's business:
 * with the GIL held no thread state of this interpreter comes or goes, but other interpreters may still be created. */
#ifndef MI_RUNTIME_H
#define MI_RUNTIME_H

#include "layout.h"
#include "target.h"

#define MI_MAX_INTERPRETERS 1024 /* beyond it a list is cut, or a cycle: MI_E_LIMIT */
#define MI_MAX_THREADS 65536
#define MI_MAX_STACK_CHUNKS 65536

typedef struct mi_runtime {
    const mi_target *target;
    const mi_layout *layout;
    uintptr_t address; /* of _PyRuntime in the target */
} mi_runtime;

typedef struct mi_interpreter {
    uintptr_t address;
    int64_t id;
    uintptr_t gil;      /* struct _gil_runtime_state, 0 when it has none yet */
    int own_gil;        /* the GIL is not shared with the main interpreter */
    uintptr_t obmalloc; /* struct _obmalloc_state, shared ones named more than once; 0 in 3.11 and without pymalloc */
    uintptr_t gc;       /* struct _gc_runtime_state */
    uintptr_t first_thread;
} mi_interpreter;

typedef struct mi_thread {
    uintptr_t address;
    uintptr_t interpreter;
    uint64_t ident;        /* threading.get_ident() */
    uint64_t native_id;    /* the kernel's thread id */
    uintptr_t stack_chunk; /* newest data-stack chunk, 0 when it has none */
} mi_thread;

typedef struct mi_stack_chunk {
    uintptr_t address;
    size_t size; /* bytes of the chunk, its header included */
    int newest;  /* in use up to a point that only the thread knows */
} mi_stack_chunk;

/* &_PyRuntime of this process. */
uintptr_t mi_runtime_own_address(void);
/* Where the object at `own` of this process lies in another process that has mapped the same file: translated by the
 * two load addresses. MI_E_ABSENT when the other process has no such mapping: it runs another build. */
mi_error mi_runtime_translate(const mi_maps *own_maps, const mi_target *target, uintptr_t own, uintptr_t *address);
/* Finds the target's _PyRuntime. Nothing is verified here: see mi_layout_verify and mi_runtime_verify. */
mi_error mi_runtime_open(mi_runtime *runtime, const mi_target *target, const mi_layout *layout);
/* Of another process: its main interpreter has the shape of this build's (id 0, thread states that point back to it,
 * native ids of threads that the kernel knows). Threads come and go meanwhile, so it looks again for some 50 ms.
 * MI_E_LAYOUT: no interpreter runs there. MI_E_TORN: the list of its threads changed each time that it was read. */
mi_error mi_runtime_verify(const mi_runtime *runtime);

/* Each fills at most `capacity` items and says how many there were; MI_E_LIMIT when there are more. Newest first. */
mi_error mi_runtime_interpreters(const mi_runtime *runtime, mi_interpreter *items, size_t capacity, size_t *count);
mi_error mi_runtime_threads(const mi_runtime *runtime, const mi_interpreter *interpreter, mi_thread *items,
                            size_t capacity, size_t *count);
mi_error mi_runtime_stack_chunks(const mi_runtime *runtime, const mi_thread *thread, mi_stack_chunk *items,
                                 size_t capacity, size_t *count);
/* One interpreter or thread state at an address that was found elsewhere. */
mi_error mi_runtime_interpreter_at(const mi_runtime *runtime, uintptr_t address, mi_interpreter *interpreter);
mi_error mi_runtime_thread_at(const mi_runtime *runtime, uintptr_t address, mi_thread *thread);

#endif
