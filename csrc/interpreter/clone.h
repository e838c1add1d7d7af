/* clone.h - runs a C function in a frozen copy of this process.
 *
 * The copy is made by the bare system call clone() with no exit signal, so that the program notices nothing: no atfork
 * handler runs, no SIGCHLD comes, waitpid(-1) does not see it, and it prints, dumps and outlives nothing. It has one
 * thread, the memory of the moment of the call, and a deadline.
 *
 * Use: mi_clone_start() while whatever must not move is held still (the GIL); it returns as soon as the copy exists. Let
 * the program go on, then mi_clone_wait() from the same thread, without the GIL. Between a start that succeeded and the
 * wait nothing may return to the program: the wait is what ends and reaps the copy.
 *
 * What the work may do in the copy: read memory, plain system calls, mi_os_* and mi_target_*, and functions that are
 * async-signal-safe. It may not allocate by malloc, print, take a lock (another thread may hold it for ever) or touch a
 * Python object's count. Its results go into memory of mi_os_alloc_shared, made before the start: all else it writes is
 * its own and goes with it. malloc's chunks and everything that a thread without the GIL was changing may look torn. */
#ifndef MI_CLONE_H
#define MI_CLONE_H

#include "target.h"

/* `target` is of kind MI_TARGET_SELF with the copy's own map: ranges that the program keeps from its children
 * (MADV_DONTFORK) are not in it, so a view of them fails. What it returns comes back in mi_clone_result.error. */
typedef mi_error (*mi_clone_work)(const mi_target *target, void *context);

typedef struct mi_clone_order {
    mi_clone_work work;
    void *context;
    uint64_t lifetime_ns; /* the copy is killed when it lives longer */
    /* Bytes that the copies of pages may take, by the limits of control groups and the machine; UINT64_MAX: unknown. */
    uint64_t room_bytes;
    void *interpreter; /* free-threaded builds: the PyInterpreterState whose threads stand still meanwhile; else NULL */
} mi_clone_order;

typedef enum mi_clone_end {
    MI_CLONE_NOT_MADE, /* see what mi_clone_start returned */
    MI_CLONE_DONE,     /* the work returned: see `error` */
    MI_CLONE_CRASHED,  /* by `signal`, at `fault_address` where there is one */
    MI_CLONE_LATE,     /* killed at its deadline */
    MI_CLONE_LOST      /* it ended without a word, or someone else reaped it */
} mi_clone_end;

typedef struct mi_clone_result {
    mi_clone_end end;
    mi_error error;
    int system_error; /* errno of the clone() that failed */
    int signal;
    uint64_t fault_address;
    uint64_t torn;          /* steps of mi_clone_attempt that faulted */
    uint64_t missing_bytes; /* readable in the program just before the call and not in the copy */
    uint64_t needed_bytes; /* at most so much may be copied: anonymous resident pages (RssAnon) and their page tables */
    uint64_t pause_ns;     /* the system call alone; all threads that write wait for it */
    uint64_t world_ns;     /* how long the world was stopped, asking included; 0 with a GIL */
    uint64_t lived_ns;     /* from the call until the copy was reaped */
    uint64_t minor_faults, major_faults; /* of the whole program while it lived (getrusage) */
} mi_clone_result;

/* What lies between start and wait; its fields are clone.c's business. */
typedef struct mi_clone {
    mi_clone_order order;
    mi_clone_result result;
    struct mi_clone_note *note;
    mi_maps maps;
    void *stack;
    pid_t pid;
    uint64_t born_ns;
    uint64_t minor_before, major_before;
} mi_clone;

/* MI_E_MEMORY: no room for the copies (result.needed_bytes > order.room_bytes, nothing was made), or the kernel has none;
 * MI_E_PERMISSION: clone() is refused (a seccomp filter); MI_E_ABSENT: not Linux, or the world cannot be stopped.
 * After an error there is nothing to wait for. */
mi_error mi_clone_start(mi_clone *clone, const mi_clone_order *order);
/* Until the copy has ended, by itself or at its deadline; `clone->result` is whole then. */
void mi_clone_wait(mi_clone *clone);
/* Whether the copy goes on, and has time left: asked by who waits for a word of it (clone_desk.h). */
int mi_clone_lives(const mi_clone *clone);
/* Both, for a caller that holds nothing. */
mi_error mi_clone_run(const mi_clone_order *order, mi_clone_result *result);

/* In the copy: runs a step that may fault (SIGSEGV, SIGBUS). False when it did, which is counted as torn; the step's
 * writes until then remain. May be nested. Anywhere else it just runs the step. */
typedef void (*mi_clone_step)(void *context);
int mi_clone_attempt(mi_clone_step step, void *context);

#endif
