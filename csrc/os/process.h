/* process.h - facts about a process that no structure of CPython tells: from /proc, and from the C library. */
#ifndef MI_PROCESS_H
#define MI_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

#include "error.h"

/* Entries of /proc/PID/NAME (a folder: "fd", "task"), without "." and ".."; pid 0 is this process. */
mi_error mi_process_entries(pid_t pid, const char *name, size_t *count);
/* What prctl(PR_GET_DUMPABLE) says of this process; -1 where the system has no such thing. */
int mi_process_dumpable(void);
/* "glibc 2.36", or "unknown". */
void mi_process_libc(char *to, size_t size);
/* The release of the kernel, or "unknown". */
void mi_process_kernel(char *to, size_t size);
long mi_process_clock_ticks(void);

#endif
