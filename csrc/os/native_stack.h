/* native_stack.h - which C functions another thread of this process is in, without a signal and without stopping it.
 *
 * A thread that sleeps says so in /proc/self/task/TID/syscall, with its stack pointer and where it will go on. One that
 * runs is seen by the kernel's clock of tasks (perf_event_open, at most for some milliseconds), where that is allowed, with
 * its registers and a copy of its stack of that very moment.
 *
 * From there each caller is found by what its compiler wrote down (cfi.h), and must lie behind a call instruction. Where
 * that is not so, or where a register would be needed that nobody has saved (of one that sleeps only two are known), the
 * stack ends with a line that says so: no word is taken for a return address because it looks like one. */
#ifndef MI_NATIVE_STACK_H
#define MI_NATIVE_STACK_H

#include "os.h"

typedef enum mi_stack_how {
    MI_STACK_BLOCKED = 1,
    MI_STACK_RUNNING,
    MI_STACK_REFUSED, /* it runs, and the kernel does not allow to see where */
    MI_STACK_GONE     /* it ran, and was not seen within the time */
} mi_stack_how;

/* Its last line where the rest of the stack could not be proven. */
#define MI_STACK_UNPROVEN "? (unknown)"

/* Writes "function (object)" a line, the innermost first, at most `depth` lines and that one. */
mi_stack_how mi_native_stack(int32_t tid, int depth, char *text, size_t size);

#endif
