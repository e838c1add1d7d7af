/* signal_report.h - a process that answers a signal with a report, even while it is stuck in a C call.
 *
 * The handler only notes the request and posts a semaphore. Of two threads made here (signals blocked, small stacks)
 * one writes at once what needs no GIL, the other waits for the GIL and replaces the file by the whole report; with one
 * thread, later requests would wait behind the first one's wait for the GIL.
 *
 * Life: threads are stopped before os.fork (a fork of a process with threads of ours would earn the program a
 * DeprecationWarning and could copy a lock that is held) and started again on both sides; a fork that comes from C
 * leaves the child without threads until PyOS_AfterFork_Child runs our hook. Both end before the interpreter is torn
 * down. The handler stays for good: a signal that is on its way when we stop would otherwise end the process. */
#ifndef MI_SIGNAL_REPORT_H
#define MI_SIGNAL_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "partial_report.h"

typedef enum mi_signal_claim {
    MI_CLAIM_OK = 0,
    MI_CLAIM_TAKEN,    /* the program has a handler for it */
    MI_CLAIM_IGNORED,  /* the program ignores it */
    MI_CLAIM_BLOCKED,  /* blocked in the calling thread: somebody waits for it with sigwait or signalfd */
    MI_CLAIM_INVALID,  /* the system has no such signal, or does not let it be handled */
    MI_CLAIM_INSTALLED /* by an earlier call: uninstall first */
} mi_signal_claim;

typedef struct mi_signal_config {
    int signal;
    const char *path; /* a byte 0 stands for the process id */
    size_t path_size;
    mi_partial_head head;
    int (*full)(void); /* run in the second thread: takes the GIL, calls mi_signal_report_store; true when it did */
} mi_signal_config;

typedef struct mi_signal_state {
    int signal; /* 0 when not installed */
    int threads;
    int handler_in_place; /* 0 when the program has replaced it since */
    uint64_t requests, partial_reports, full_reports;
    mi_error last_error; /* of writing a file or starting a thread */
    int last_errno;
} mi_signal_state;

/* All of these are called without the GIL: they may wait for a thread that waits for it. */

/* Claims the signal; what the config points to is copied. The threads are started by mi_signal_report_start. */
mi_signal_claim mi_signal_report_install(const mi_signal_config *config, mi_error *error);
/* Starts the threads that do not run; nothing when not installed. */
mi_error mi_signal_report_start(void);
/* Ends the threads and joins them, without the GIL; 0 when one was still busy after the time and goes on. */
int mi_signal_report_stop(unsigned milliseconds);
/* Stops for good; the handler stays and does nothing. 0 when a thread was still busy: still installed then. */
int mi_signal_report_uninstall(unsigned milliseconds);

/* Replaces the file of this process by a document. */
mi_error mi_signal_report_store(const void *bytes, size_t size);
/* Writes the part without the GIL again, with the reason why the rest cannot follow. */
mi_error mi_signal_report_store_partial(const char *reason);

void mi_signal_report_state(mi_signal_state *state);

#endif
