/* native_stack.h - which C functions another thread of this process is in, without a signal and without stopping it.
 *
 * A thread that sleeps says so in /proc/self/task/TID/syscall, with its stack pointer and where it will go on. One that
 * runs is seen by the kernel's clock of tasks (perf_event_open, at most for some milliseconds), where that is allowed.
 * From the stack pointer on, words of the stack that stand behind a call instruction are taken for return addresses: an
 * address that a finished call has left there looks the same, so a stack is told as likely, but for its first line. */
#ifndef MI_NATIVE_STACK_H
#define MI_NATIVE_STACK_H

#include "os.h"

typedef enum mi_stack_how {
    MI_STACK_BLOCKED = 1,
    MI_STACK_RUNNING,
    MI_STACK_REFUSED, /* it runs, and the kernel does not allow to see where */
    MI_STACK_GONE     /* it ran, and was not seen within the time */
} mi_stack_how;

/* Writes "function (object)" a line, the innermost first, at most `depth` lines. */
mi_stack_how mi_native_stack(int32_t tid, int depth, char *text, size_t size);

#endif
