/* clone.c - a frozen copy of this process: made, guarded, waited for.
 *
 * The order of the steps is what makes it invisible. All signals are blocked across the call, so that no handler of the
 * program ever runs in the copy; the copy first forbids dumps, then binds itself to its parent's life, and only then takes
 * SIGSEGV and SIGBUS for itself. It ends by exit_group alone: no exit handler, no flushed buffer. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#endif
#include "clone.h"

#include <string.h>

#ifdef __linux__
#include <errno.h>
#include <linux/futex.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "stop_the_world.h"

enum { SIGNAL_STACK = 64 << 10, KERNEL_SIGNALS = 64, LOOK_NS = 5000000, REAP_NS = 200000 };

/* What the copy tells, in memory that both see. */
typedef struct mi_clone_note {
    _Atomic uint32_t told; /* a futex: not 0 once the rest stands */
    mi_clone_end end;
    mi_error error;
    int signal;
    uint64_t fault_address, torn, missing_bytes;
} mi_clone_note;

/* ---- in the copy --------------------------------------------------------------------------------------------------- */

/* Set in the copy alone, which has one thread. */
static mi_clone_note *own_note;
static sigjmp_buf *volatile landing;

static _Noreturn void leave(mi_clone_end end) {
    own_note->end = end;
    atomic_store(&own_note->told, 1);
    syscall(SYS_futex, &own_note->told, FUTEX_WAKE, 1, NULL, NULL, 0);
    for (;;) syscall(SYS_exit_group, 0);
}

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    if (landing) siglongjmp(*landing, 1);
    own_note->signal = number;
    own_note->fault_address = (uint64_t)(uintptr_t)info->si_addr;
    leave(MI_CLONE_CRASHED);
}

int mi_clone_attempt(mi_clone_step step, void *context) {
    if (!own_note) {
        step(context);
        return 1;
    }
    sigjmp_buf here, *const outer = landing;
    if (sigsetjmp(here, 0)) {
        landing = outer;
        own_note->torn++;
        return 0;
    }
    landing = &here;
    step(context);
    landing = outer;
    return 1;
}

/* The kernel's own mask: glibc's functions leave out the two signals that it uses itself. */
static void set_mask(int how, const uint64_t *mask, uint64_t *before) {
    syscall(SYS_rt_sigprocmask, how, mask, before, sizeof *mask);
}

static void take_faults(void *stack) {
    stack_t alternative = {.ss_sp = stack, .ss_size = SIGNAL_STACK};
    struct sigaction action = {.sa_handler = SIG_DFL};
    /* the program's handlers go first: a fault of ours must not reach one (faulthandler writes a dump) */
    for (int number = 1; number <= KERNEL_SIGNALS; number++) sigaction(number, &action, NULL);
    sigaltstack(&alternative, NULL);
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER; /* it is left by a jump, which would keep it blocked */
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
    uint64_t faults = 1ull << (SIGSEGV - 1) | 1ull << (SIGBUS - 1);
    set_mask(SIG_UNBLOCK, &faults, NULL); /* the kernel kills a thread that blocks the signal of its own fault */
}

/* Mappings that the program keeps from its children leave holes, into which a mapping of our own would be put and pass for
 * the program's memory. They are filled with pages that nobody may read; a mapping is kept as a whole or not at all.
 * Returns how many readable bytes that were. Comes before anything is allocated here. */
static uint64_t close_holes(const mi_maps *before) {
    uint64_t total = 0;
    for (size_t i = 0; i < before->count; i++) {
        const mi_mapping *item = &before->items[i];
        size_t size = item->end - item->start;
        void *got = mmap((void *)item->start, size, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        if (got == MAP_FAILED) continue; /* EEXIST: it is here */
        if (got != (void *)item->start)
            munmap(got, size); /* a kernel before 4.17 takes the address for a wish */
        else if (item->flags & MI_MAP_READ)
            total += size;
    }
    return total;
}

static _Noreturn void live(const mi_clone *clone, pid_t parent) {
    struct rlimit none = {0, 0};
    mi_target target;
    own_note = clone->note;
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* a core_pattern that is a pipe takes no notice of the limit */
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent) leave(MI_CLONE_LOST); /* it died before, and the signal will not come */
    take_faults(clone->stack);
#ifdef SYS_close_range
    /* Pipes and sockets that the program closes meanwhile must not stay open by us. Kernels before 5.9 refuse. */
    syscall(SYS_close_range, 0u, ~0u, 0u);
#endif
    own_note->missing_bytes = close_holes(&clone->maps);
    mi_error error = mi_target_open(&target, MI_TARGET_SELF, 0);
    if (!error) error = clone->order.work(&target, clone->order.context);
    own_note->error = error;
    leave(MI_CLONE_DONE);
}

/* ---- in the program ------------------------------------------------------------------------------------------------ */

/* What the copies of pages may take: each anonymous page that is resident may be written while the other side has it.
 * /proc/PID/status rounds to KiB and counts per CPU: some hundred pages are added, and the copy's page tables. */
static uint64_t needed_bytes(void) {
    char text[4096];
    mi_error error;
    if (mi_os_slurp("/proc/self/status", text, sizeof text, &error) < 0) return 0;
    const char *line = strstr(text, "\nRssAnon:");
    uint64_t kib = 0;
    if (!line) return 0;
    for (line += strlen("\nRssAnon:"); *line == ' ' || *line == '\t'; line++) {
    }
    for (; *line >= '0' && *line <= '9'; line++) kib = kib * 10 + (uint64_t)(*line - '0');
    return kib * 1024 + kib * 1024 / 256 + (1 << 20);
}

static void faults(uint64_t *minor, uint64_t *major) {
    struct rusage usage = {0};
    getrusage(RUSAGE_SELF, &usage);
    *minor = (uint64_t)usage.ru_minflt;
    *major = (uint64_t)usage.ru_majflt;
}

static void give_back(mi_clone *clone) {
    mi_os_maps_free(&clone->maps);
    mi_os_free(clone->note, sizeof *clone->note);
    mi_os_free(clone->stack, SIGNAL_STACK);
    clone->note = NULL;
    clone->stack = NULL;
}

/* The call itself, between the two masks. Nothing of the program runs in the copy: live() does not return. */
static void split(mi_clone *clone) {
    uint64_t all = ~0ull, before = 0;
    pid_t self = getpid();
    set_mask(SIG_SETMASK, &all, &before);
    clone->born_ns = mi_os_now_ns();
    /* no flag and no exit signal; the order of the arguments differs between machines, but all are 0 */
    long pid = syscall(SYS_clone, 0, 0, 0, 0, 0);
    if (pid == 0) live(clone, self);
    int failed = errno;
    clone->result.pause_ns = mi_os_now_ns() - clone->born_ns;
    set_mask(SIG_SETMASK, &before, NULL);
    clone->result.system_error = pid < 0 ? failed : 0;
    clone->pid = (pid_t)pid;
}

mi_error mi_clone_start(mi_clone *clone, const mi_clone_order *order) {
    mi_pause pause = {0};
    memset(clone, 0, sizeof *clone);
    clone->order = *order;
    clone->result.needed_bytes = needed_bytes();
    if (clone->result.needed_bytes > order->room_bytes) return MI_E_MEMORY;
    clone->note = mi_os_alloc_shared(sizeof *clone->note);
    clone->stack = mi_os_alloc(SIGNAL_STACK);
    mi_error error = clone->note && clone->stack ? mi_os_maps(0, &clone->maps) : MI_E_MEMORY;
    if (!error && order->interpreter) error = mi_world_stop(order->interpreter, &pause);
    if (error) {
        give_back(clone);
        return error;
    }
    faults(&clone->minor_before, &clone->major_before);
    split(clone);
    if (order->interpreter) {
        mi_world_start(order->interpreter, &pause);
        clone->result.world_ns = pause.started_ns - pause.asked_ns;
    }
    if (clone->pid > 0) return MI_OK;
    give_back(clone);
    switch (clone->result.system_error) {
    case ENOMEM: return MI_E_MEMORY;
    case EPERM:
    case EACCES:
    case ENOSYS: return MI_E_PERMISSION;
    default: return MI_E_OS;
    }
}

/* Waits until the copy tells something, ends, or some time has passed. */
static void doze(mi_clone_note *note) {
    struct timespec look = {0, LOOK_NS}, reap = {0, REAP_NS};
    if (atomic_load(&note->told))
        nanosleep(&reap, NULL); /* it is on its way out: the kernel takes its memory down */
    else
        syscall(SYS_futex, &note->told, FUTEX_WAIT, 0, &look, NULL, 0);
}

int mi_clone_lives(const mi_clone *clone) {
    siginfo_t ended = {0};
    if (mi_os_now_ns() - clone->born_ns >= clone->order.lifetime_ns) return 0;
    /* it is left to be reaped by the wait */
    if (waitid(P_PID, (id_t)clone->pid, &ended, WEXITED | WNOHANG | WNOWAIT | __WALL)) return errno == EINTR;
    return ended.si_pid == 0;
}

void mi_clone_wait(mi_clone *clone) {
    mi_clone_result *result = &clone->result;
    int status = 0, killed = 0;
    pid_t reaped;
    while ((reaped = waitpid(clone->pid, &status, __WALL | (killed ? 0 : WNOHANG))) != clone->pid) {
        if (reaped < 0 && errno == EINTR) continue;
        if (reaped < 0) break;
        if (mi_os_now_ns() - clone->born_ns >= clone->order.lifetime_ns) {
            kill(clone->pid, SIGKILL); /* still ours: the line above said that it was not reaped */
            killed = 1;
        } else {
            doze(clone->note);
        }
    }
    result->lived_ns = mi_os_now_ns() - clone->born_ns;
    faults(&result->minor_faults, &result->major_faults);
    result->minor_faults -= clone->minor_before;
    result->major_faults -= clone->major_before;
    result->torn = clone->note->torn;
    result->missing_bytes = clone->note->missing_bytes;
    if (atomic_load(&clone->note->told)) {
        result->end = clone->note->end;
        result->error = clone->note->error;
        result->signal = clone->note->signal;
        result->fault_address = clone->note->fault_address;
    } else if (killed) {
        result->end = MI_CLONE_LATE;
    } else if (reaped == clone->pid && WIFSIGNALED(status)) {
        result->end = MI_CLONE_CRASHED;
        result->signal = WTERMSIG(status);
    } else {
        result->end = MI_CLONE_LOST;
    }
    give_back(clone);
}

#else
mi_error mi_clone_start(mi_clone *clone, const mi_clone_order *order) {
    memset(clone, 0, sizeof *clone);
    clone->order = *order;
    return MI_E_ABSENT;
}
void mi_clone_wait(mi_clone *clone) { (void)clone; }
int mi_clone_lives(const mi_clone *clone) {
    (void)clone;
    return 0;
}
int mi_clone_attempt(mi_clone_step step, void *context) {
    step(context);
    return 1;
}
#endif

mi_error mi_clone_run(const mi_clone_order *order, mi_clone_result *result) {
    mi_clone clone;
    mi_error error = mi_clone_start(&clone, order);
    if (!error) mi_clone_wait(&clone);
    *result = clone.result;
    return error;
}
