/* error.h - the one list of things that can go wrong in the core.
 *
 * Every function of the core that can fail returns one of these. The Cython door turns them into exceptions or into
 * `reason` texts; mi_error_text() is the only place that words them. */
#ifndef MI_ERROR_H
#define MI_ERROR_H

typedef enum mi_error {
    MI_OK = 0,
    MI_E_UNMAPPED,   /* the address is not mapped, or not readable */
    MI_E_PERMISSION, /* the kernel refused: ptrace rules, seccomp, a process that is not dumpable */
    MI_E_GONE,       /* the process has ended */
    MI_E_LAYOUT,     /* a structure is not where the layout says, or could not be verified */
    MI_E_TORN,       /* what was read contradicts itself: it changed while it was read */
    MI_E_ABSENT,     /* this build has no such structure (no pymalloc, no GIL, another allocator) */
    MI_E_LIMIT,      /* a bound of ours was reached: the result is partial */
    MI_E_MEMORY,     /* no room for our own tables */
    MI_E_LATE,       /* max_pause was reached: the result is partial */
    MI_E_OS          /* another failure of a system call */
} mi_error;

/* One clause of plain English, without a full stop; never NULL. */
const char *mi_error_text(mi_error error);

#endif
