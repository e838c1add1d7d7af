/* waits.c - see waits.h. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "waits.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "relocations.h"

/* Bytes above the call in which the record of a wait lies: the frames of _PySemaphore_Wait and _PyParkingLot_Park. */
enum { RECORD_WITHIN = 4096 };

static struct {
    mi_wait *items;
    uint64_t room;
    _Atomic uint64_t next; /* beyond `room`: how many found no room */
    _Atomic int noting;
    _Atomic int inside; /* threads that write to `items` */
    uint64_t begin_ns;
    mi_target target;
    const mi_layout *layout;
    uintptr_t runtime, interpreter;
    void *(*own_thread_state)(void);
    mi_relocations calls;
} session;

static int (*original_wait)(sem_t *);
static int (*original_clockwait)(sem_t *, clockid_t, const struct timespec *);
static int (*original_timedwait)(sem_t *, const struct timespec *);

/* Which thread has asked for the stop: read before the wait, since it is over when the wait is. */
static int32_t requester(void) {
    uintptr_t thread = 0;
    uint64_t native_id = 0;
    const mi_layout *layout = session.layout;
    if (mi_target_word(&session.target, session.interpreter + (uintptr_t)layout->interpreter_world_requester, &thread))
        return 0;
    if (!thread &&
        mi_target_word(&session.target, session.runtime + (uintptr_t)layout->runtime_world_requester, &thread))
        return 0;
    if (!thread ||
        mi_target_read(&session.target, thread + (uintptr_t)layout->thread_native_id, &native_id, sizeof native_id))
        return 0;
    return (int32_t)native_id;
}

/* `frame` is an address in the caller's frame: the record of a wait lies above it, on the same stack. */
static void describe(mi_wait *wait, const sem_t *semaphore, uintptr_t frame) {
    const mi_layout *layout = session.layout;
    uintptr_t at = (uintptr_t)semaphore;
    wait->kind = MI_WAIT_RAW;
    if (at < frame || at - frame > RECORD_WITHIN) return;
    uintptr_t node = at + sizeof(sem_t), previous = *(const uintptr_t *)(node + sizeof(uintptr_t)), linked = 0;
    if (mi_target_word(&session.target, previous, &linked) || linked != node) return; /* llist_node: next, prev */
    wait->address = *(const uintptr_t *)(at - sizeof(uintptr_t));
    wait->kind = MI_WAIT_PARKED;
    uintptr_t own = (uintptr_t)session.own_thread_state();
    if (own && wait->address == own + (uintptr_t)layout->thread_state) {
        wait->kind = MI_WAIT_STOPPED;
        wait->other = requester();
    } else if (wait->address == session.interpreter + (uintptr_t)layout->interpreter_world_event ||
               wait->address == session.runtime + (uintptr_t)layout->runtime_world_event) {
        wait->kind = MI_WAIT_STOPPING;
    }
}

static void begin(mi_wait *wait, const sem_t *semaphore, uintptr_t frame) {
    *wait = (mi_wait){0};
    if (!atomic_load_explicit(&session.noting, memory_order_acquire)) return;
    wait->thread = (int32_t)syscall(SYS_gettid);
    describe(wait, semaphore, frame);
    wait->begin_ns = mi_os_now_ns();
}

static void end(mi_wait *wait, int failed) {
    int error = errno;
    if (wait->begin_ns) {
        wait->end_ns = mi_os_now_ns();
        wait->ended = failed ? (uint32_t)error : 0;
        atomic_fetch_add(&session.inside, 1);
        if (atomic_load(&session.noting) && wait->begin_ns >= session.begin_ns) {
            uint64_t index = atomic_fetch_add(&session.next, 1);
            if (index < session.room) session.items[index] = *wait;
        }
        atomic_fetch_sub(&session.inside, 1);
    }
    errno = error;
}

static int wait_in_place(sem_t *semaphore) {
    mi_wait wait;
    begin(&wait, semaphore, (uintptr_t)__builtin_frame_address(0));
    int failed = original_wait(semaphore);
    end(&wait, failed);
    return failed;
}

static int clockwait_in_place(sem_t *semaphore, clockid_t clock, const struct timespec *until) {
    mi_wait wait;
    begin(&wait, semaphore, (uintptr_t)__builtin_frame_address(0));
    int failed = original_clockwait(semaphore, clock, until);
    end(&wait, failed);
    return failed;
}

static int timedwait_in_place(sem_t *semaphore, const struct timespec *until) {
    mi_wait wait;
    begin(&wait, semaphore, (uintptr_t)__builtin_frame_address(0));
    int failed = original_timedwait(semaphore, until);
    end(&wait, failed);
    return failed;
}

/* In a child after fork: what was noted is the parent's. */
static void in_child(void) {
    size_t foreign;
    if (!atomic_load(&session.noting)) return;
    atomic_store(&session.noting, 0);
    atomic_store(&session.inside, 0);
    mi_os_free(session.items, session.room * sizeof(mi_wait));
    session.items = NULL;
    mi_relocations_restore(&session.calls, &foreign);
}

static mi_error find_calls(const void *inside) {
    mi_hook hooks[] = {
        {.symbol = "sem_wait", .replacement = (void *)wait_in_place},
        {.symbol = "sem_clockwait", .replacement = (void *)clockwait_in_place},
        {.symbol = "sem_timedwait", .replacement = (void *)timedwait_in_place},
    };
    mi_error error = mi_relocations_find(&session.calls, inside, hooks, sizeof hooks / sizeof *hooks);
    if (error) return error;
    if (!session.calls.hooks[0].slots) return MI_E_ABSENT;
    *(void **)&original_wait = session.calls.hooks[0].original;
    *(void **)&original_clockwait = session.calls.hooks[1].original;
    *(void **)&original_timedwait = session.calls.hooks[2].original;
    return MI_OK;
}

mi_error mi_waits_start(const mi_runtime *runtime, const void *inside, uintptr_t interpreter,
                        void *(*own_thread_state)(void), uint64_t bytes) {
    static int prepared;
    size_t foreign;
    if (atomic_load(&session.noting)) return MI_E_LIMIT;
    if (runtime->layout->interpreter_world_event == MI_ABSENT) return MI_E_ABSENT;
    if (!prepared && pthread_atfork(NULL, NULL, in_child)) return MI_E_OS;
    prepared = 1;
    mi_error error = session.calls.replaced ? mi_relocations_restore(&session.calls, &foreign) : MI_OK;
    if (!error) error = find_calls(inside);
    if (error) return error;
    session.room = bytes / sizeof(mi_wait) + 1;
    session.items = mi_os_alloc(session.room * sizeof(mi_wait));
    if (!session.items) return MI_E_MEMORY;
    session.target = *runtime->target;
    session.layout = runtime->layout;
    session.runtime = runtime->address;
    session.interpreter = interpreter;
    session.own_thread_state = own_thread_state;
    session.begin_ns = mi_os_now_ns();
    atomic_store(&session.next, 0);
    atomic_store(&session.noting, 1);
    error = mi_relocations_replace(&session.calls);
    if (error) {
        atomic_store(&session.noting, 0);
        mi_os_free(session.items, session.room * sizeof(mi_wait));
        return error;
    }
    mi_relocations_strayed(&session.calls, 1);
    return MI_OK;
}

mi_error mi_waits_stop(mi_waits *waits, size_t *foreign) {
    *foreign = 0;
    if (!atomic_load(&session.noting)) return MI_E_ABSENT;
    mi_error error = mi_relocations_restore(&session.calls, foreign);
    atomic_store(&session.noting, 0);
    while (atomic_load(&session.inside)) sched_yield(); /* after this no thread writes */
    uint64_t count = atomic_load(&session.next);
    *waits = (mi_waits){.items = session.items,
                        .room = session.room,
                        .count = count < session.room ? count : session.room,
                        .lost = count > session.room ? count - session.room : 0,
                        .begin_ns = session.begin_ns,
                        .end_ns = mi_os_now_ns()};
    return error;
}

void mi_waits_free(mi_waits *waits) { mi_os_free(waits->items, waits->room * sizeof(mi_wait)); }

int mi_waits_run(void) { return atomic_load(&session.noting); }
#else
#include "waits.h"

mi_error mi_waits_start(const mi_runtime *runtime, const void *inside, uintptr_t interpreter,
                        void *(*own_thread_state)(void), uint64_t bytes) {
    (void)runtime, (void)inside, (void)interpreter, (void)own_thread_state, (void)bytes;
    return MI_E_ABSENT;
}
mi_error mi_waits_stop(mi_waits *waits, size_t *foreign) {
    (void)waits;
    *foreign = 0;
    return MI_E_ABSENT;
}
void mi_waits_free(mi_waits *waits) { (void)waits; }
int mi_waits_run(void) { return 0; }
#endif
