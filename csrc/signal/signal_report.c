/* signal_report.c - see signal_report.h: the handler, the two threads, and their life across fork and exit. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "signal_report.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os.h"

#define DOCUMENT_SIZE (16u << 20) /* address space; only what is written becomes resident */
#define MILLISECOND 1000000ull

enum { PARTIAL, FULL, WORKERS };
enum { GO_ON, ASKED_TO_END, ENDED };

typedef struct worker {
    const char *name;
    size_t stack_size; /* of the thread; the one that runs Python needs more, a debug build's frames are large */
    sem_t wake;
    atomic_int wanted; /* a request that was not begun yet: requests coalesce */
    atomic_int stage;
    pthread_t thread;
    atomic_int tid;
    int running; /* under `life` */
} worker;

static worker workers[WORKERS] = {
    [PARTIAL] = {.name = "meminspect", .stack_size = 512u << 10},
    [FULL] = {.name = "meminspect-gil", .stack_size = 2u << 20},
};

static struct {
    mi_signal_config config; /* points into `copy` */
    char *copy;
    size_t copy_size;
    atomic_int installed; /* the handler notes requests only then */
    atomic_int owner;     /* process whose threads these are: a child of vfork shares our memory */
    atomic_int early;     /* process that was asked before in_child() had run in it */
    atomic_uint_fast64_t requests, partial_reports, full_reports;
    atomic_int last_error, last_errno;
} state;

static atomic_int life;        /* 1 while somebody starts or stops threads */
static atomic_int writing;     /* 1 while a partial report is made */
static atomic_uint generation; /* counts forks, so that a thread knows that it is a copy */

static void pause_for(uint64_t nanoseconds) {
    struct timespec span = {(time_t)(nanoseconds / 1000000000u), (long)(nanoseconds % 1000000000u)};
    nanosleep(&span, NULL);
}

/* Locks are flags that the fork handler may simply clear in the child, where their holder does not exist. */
static void take(atomic_int *lock) {
    while (atomic_exchange(lock, 1)) pause_for(MILLISECOND / 4);
}

static void give(atomic_int *lock) { atomic_store(lock, 0); }

static mi_error failed(mi_error error, int number) {
    atomic_store(&state.last_error, (int)error);
    atomic_store(&state.last_errno, number);
    return error;
}

/* ---- the handler --------------------------------------------------------------------------------------------------- */

static void ask(worker *of) {
    if (!atomic_exchange(&of->wanted, 1)) sem_post(&of->wake);
}

static void on_signal(int number, siginfo_t *info, void *context) {
    (void)info;
    (void)context;
    int before = errno, pid = (int)getpid();
    if (atomic_load(&state.installed) == number) {
        if (atomic_load(&state.owner) == pid)
            ask(&workers[PARTIAL]);
        else
            atomic_store(&state.early, pid);
        atomic_fetch_add(&state.requests, 1);
    }
    errno = before;
}

static mi_signal_claim claim(int number) {
    struct sigaction now, ours;
    sigset_t blocked;
    if (sigaction(number, NULL, &now)) return MI_CLAIM_INVALID;
    int is_ours = (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == on_signal; /* left by an uninstall */
    if (!is_ours) {
        if ((now.sa_flags & SA_SIGINFO) || (now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN))
            return MI_CLAIM_TAKEN;
        if (now.sa_handler == SIG_IGN) return MI_CLAIM_IGNORED;
    }
    if (!pthread_sigmask(SIG_SETMASK, NULL, &blocked) && sigismember(&blocked, number)) return MI_CLAIM_BLOCKED;
    if (is_ours) return MI_CLAIM_OK;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_signal;
    ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    sigfillset(&ours.sa_mask);
    return sigaction(number, &ours, NULL) ? MI_CLAIM_INVALID : MI_CLAIM_OK;
}

/* ---- the file ------------------------------------------------------------------------------------------------------ */

/* The path of this process' report; 0 when it does not fit. */
static int report_path(char *to, size_t size) {
    char pid[16];
    size_t used = 0, pid_size = (size_t)snprintf(pid, sizeof pid, "%d", (int)getpid());
    for (size_t i = 0; i < state.config.path_size; i++) {
        const char *part = state.config.path[i] ? &state.config.path[i] : pid;
        size_t part_size = state.config.path[i] ? 1 : pid_size;
        if (used + part_size >= size) return 0;
        memcpy(to + used, part, part_size);
        used += part_size;
    }
    to[used] = 0;
    return 1;
}

static int write_all(int fd, const char *bytes, size_t size) {
    while (size) {
        ssize_t wrote = write(fd, bytes, size);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) return 0;
        bytes += wrote;
        size -= (size_t)wrote;
    }
    return 1;
}

/* A reader sees the old file or the new one, never half of one; only the owner may read it. */
mi_error mi_signal_report_store(const void *bytes, size_t size) {
    char path[PATH_MAX], beside[PATH_MAX + 24];
    struct stat there;
    uint64_t salt;
    if (!report_path(path, sizeof path)) return failed(MI_E_LIMIT, ENAMETOOLONG);
    if (!lstat(path, &there) && !S_ISREG(there.st_mode)) return failed(MI_E_OS, EEXIST);
    if (getrandom(&salt, sizeof salt, GRND_NONBLOCK) != (ssize_t)sizeof salt) salt = mi_os_now_ns();
    snprintf(beside, sizeof beside, "%s.%016llx", path, (unsigned long long)salt);
    int fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return failed(MI_E_OS, errno);
    int number = write_all(fd, bytes, size) ? 0 : errno;
    if (close(fd) && !number) number = errno;
    if (!number && rename(beside, path)) number = errno;
    if (!number) return MI_OK;
    unlink(beside);
    return failed(MI_E_OS, number);
}

mi_error mi_signal_report_store_partial(const char *reason) {
    mi_json json;
    char *text = mi_os_alloc(DOCUMENT_SIZE);
    if (!text) return failed(MI_E_MEMORY, ENOMEM);
    take(&writing);
    mi_json_begin(&json, text, DOCUMENT_SIZE);
    mi_partial_report_write(&json, &state.config.head, reason);
    mi_error error = mi_json_end(&json) ? mi_signal_report_store(text, json.used) : failed(MI_E_LIMIT, 0);
    give(&writing);
    mi_os_free(text, DOCUMENT_SIZE);
    if (!error) atomic_fetch_add(&state.partial_reports, 1);
    return error;
}

/* ---- the threads --------------------------------------------------------------------------------------------------- */

static void answer(int which) {
    if (which == PARTIAL) {
        mi_signal_report_store_partial("waiting for the GIL");
        ask(&workers[FULL]);
    } else if (state.config.full()) {
        atomic_fetch_add(&state.full_reports, 1);
    }
}

static void *work(void *argument) {
    worker *self = argument;
    unsigned born = atomic_load(&generation);
    prctl(PR_SET_NAME, self->name);
    atomic_store(&self->tid, (int)syscall(SYS_gettid));
    for (;;) {
        while (sem_wait(&self->wake)) {
        }
        int asked = ASKED_TO_END;
        if (atomic_compare_exchange_strong(&self->stage, &asked, ENDED)) return NULL;
        if (!atomic_exchange(&self->wanted, 0)) continue;
        answer((int)(self - workers));
        /* Code of the program may have forked from this very thread (a finaliser); in the child it is not ours. */
        if (atomic_load(&generation) != born) return NULL;
    }
}

/* What a thread does to itself; blocked, a fault would kill the process past the program's faulthandler. */
static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};

static int start_worker(worker *self) {
    pthread_attr_t attributes;
    sigset_t all, before;
    atomic_store(&self->stage, GO_ON);
    int number = pthread_attr_init(&attributes);
    if (number) return number;
    sigfillset(&all);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&all, faults[i]);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* inherited: the program's signals never land in our threads */
    pthread_attr_setstacksize(&attributes, self->stack_size);
    number = pthread_create(&self->thread, &attributes, work, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (number) return number;
    self->running = 1;
    if (atomic_load(&self->wanted)) sem_post(&self->wake); /* asked while no thread was there */
    return 0;
}

mi_error mi_signal_report_start(void) {
    int number = 0;
    if (!atomic_load(&state.installed)) return MI_OK;
    take(&life);
    for (int i = 0; i < WORKERS && !number; i++)
        if (!workers[i].running) number = start_worker(&workers[i]);
    give(&life);
    return number ? failed(MI_E_OS, number) : MI_OK;
}

/* A joined thread is still counted in /proc/self/stat for a moment, where os.fork() looks for threads of which it has to
 * warn (Modules/posixmodule.c: get_number_of_os_threads). Waits until the kernel has forgotten it too. */
static void wait_until_gone(int tid) {
    enum { TRIES = 5000 };
    for (int i = 0; i < TRIES && !syscall(SYS_tgkill, getpid(), tid, 0); i++) mi_os_sleep_ns(MILLISECOND / 20);
}

/* Ends one thread; 0 when it is busy beyond the deadline, and then it goes on as before. */
static int stop_worker(worker *self, const struct timespec *deadline) {
    int go_on = GO_ON, asked = ASKED_TO_END;
    if (!self->running) return 1;
    if (pthread_equal(self->thread, pthread_self())) return 0; /* code of the program that ran in it */
    atomic_compare_exchange_strong(&self->stage, &go_on, ASKED_TO_END);
    sem_post(&self->wake);
    int number = pthread_timedjoin_np(self->thread, NULL, deadline);
    if (number) {
        if (atomic_compare_exchange_strong(&self->stage, &asked, GO_ON)) return 0;
        pthread_join(self->thread, NULL); /* it ended at that very moment */
    }
    wait_until_gone(atomic_load(&self->tid));
    self->running = 0;
    return 1;
}

int mi_signal_report_stop(unsigned milliseconds) {
    struct timespec deadline;
    int ended = 1;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += milliseconds / 1000;
    deadline.tv_nsec += (long)(milliseconds % 1000) * (long)MILLISECOND;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_nsec -= 1000000000;
        deadline.tv_sec++;
    }
    take(&life);
    for (int i = 0; i < WORKERS; i++) ended &= stop_worker(&workers[i], &deadline);
    give(&life);
    return ended;
}

/* ---- fork ---------------------------------------------------------------------------------------------------------- */

/* In the child, where only the thread that forked exists: forgets the threads, requests and locks of the parent. */
static void in_child(void) {
    for (int i = 0; i < WORKERS; i++) {
        sem_init(&workers[i].wake, 0, 0);
        atomic_store(&workers[i].wanted, 0);
        workers[i].running = 0;
    }
    atomic_fetch_add(&generation, 1);
    give(&life);
    give(&writing);
    atomic_store(&state.partial_reports, 0);
    atomic_store(&state.full_reports, 0);
    atomic_store(&state.owner, (int)getpid());
    int early = atomic_exchange(&state.early, 0) == (int)getpid();
    atomic_store(&state.requests, (unsigned)early);
    if (early) ask(&workers[PARTIAL]);
}

/* ---- install, uninstall -------------------------------------------------------------------------------------------- */

static const char *keep(char **to, const char *bytes, size_t size) {
    char *start = *to;
    memcpy(start, bytes, size);
    *to += size;
    return start;
}

/* Once per process image: what later forks and installs rely on. */
static int prepare(void) {
    static int done;
    if (done) return 1;
    for (int i = 0; i < WORKERS; i++) sem_init(&workers[i].wake, 0, 0);
    done = !pthread_atfork(NULL, NULL, in_child);
    return done;
}

mi_signal_claim mi_signal_report_install(const mi_signal_config *config, mi_error *error) {
    size_t size = config->path_size + config->head.report_size + config->head.process_size;
    char *copy = mi_os_alloc(size), *at = copy;
    mi_signal_claim claimed = MI_CLAIM_OK;
    take(&life);
    *error = copy && prepare() ? MI_OK : MI_E_MEMORY;
    if (!*error) claimed = atomic_load(&state.installed) ? MI_CLAIM_INSTALLED : claim(config->signal);
    if (!*error && !claimed) {
        state.config = *config;
        state.config.path = keep(&at, config->path, config->path_size);
        state.config.head.report = keep(&at, config->head.report, config->head.report_size);
        state.config.head.process = keep(&at, config->head.process, config->head.process_size);
        state.copy = copy;
        state.copy_size = size;
        atomic_store(&state.owner, (int)getpid());
        atomic_store(&state.installed, config->signal);
        copy = NULL;
    }
    give(&life);
    mi_os_free(copy, size);
    return claimed;
}

int mi_signal_report_uninstall(unsigned milliseconds) {
    int number = atomic_exchange(&state.installed, 0);
    if (!number) return 1;
    if (!mi_signal_report_stop(milliseconds)) {
        atomic_store(&state.installed, number);
        return 0;
    }
    for (int i = 0; i < WORKERS; i++) atomic_store(&workers[i].wanted, 0);
    mi_os_free(state.copy, state.copy_size);
    state.copy = NULL;
    memset(&state.config, 0, sizeof state.config);
    return 1;
}

void mi_signal_report_state(mi_signal_state *to) {
    struct sigaction now;
    memset(to, 0, sizeof *to);
    to->signal = atomic_load(&state.installed);
    take(&life);
    for (int i = 0; i < WORKERS; i++) to->threads += workers[i].running;
    give(&life);
    to->handler_in_place = to->signal && !sigaction(to->signal, NULL, &now) && (now.sa_flags & SA_SIGINFO) &&
                           now.sa_sigaction == on_signal;
    to->requests = atomic_load(&state.requests);
    to->partial_reports = atomic_load(&state.partial_reports);
    to->full_reports = atomic_load(&state.full_reports);
    to->last_error = (mi_error)atomic_load(&state.last_error);
    to->last_errno = atomic_load(&state.last_errno);
}

#else
#include "signal_report.h"

#include <string.h>

mi_signal_claim mi_signal_report_install(const mi_signal_config *config, mi_error *error) {
    (void)config;
    *error = MI_E_ABSENT;
    return MI_CLAIM_OK;
}

mi_error mi_signal_report_start(void) { return MI_OK; }

int mi_signal_report_stop(unsigned milliseconds) {
    (void)milliseconds;
    return 1;
}

int mi_signal_report_uninstall(unsigned milliseconds) { return mi_signal_report_stop(milliseconds); }

mi_error mi_signal_report_store(const void *bytes, size_t size) {
    (void)bytes;
    (void)size;
    return MI_E_ABSENT;
}

mi_error mi_signal_report_store_partial(const char *reason) { return mi_signal_report_store(reason, 0); }

void mi_signal_report_state(mi_signal_state *state) { memset(state, 0, sizeof *state); }
#endif
