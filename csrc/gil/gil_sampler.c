/* gil_sampler.c - see gil_sampler.h. */
#ifdef __linux__
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#endif
#include "gil_sampler.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif

#include "gil_fork.h"

enum { GIL_BYTES = 512, WAITERS_SHIFT = 3, STACK = 256 << 10 };

static struct {
    mi_gil_sampling result;
    mi_target target;
    mi_runtime runtime;
    mi_interpreter interpreter;
    uintptr_t gil;
    uint64_t every_ns;
    long waiters_at; /* offset of __wrefs within a pthread_cond_t, -1: not known */
    pthread_t thread;
    int32_t thread_id;               /* the kernel's */
    int running, has_thread, pauses; /* has_thread: not while the program forks, `pauses` times at once */
    _Atomic uint32_t stopping;
    uint64_t random;
    uint64_t first_switches;
    int is_static; /* the main GIL lies in _PyRuntime, which is never unmapped: no call is needed to read it */
    uint64_t held_by, held_switches, run; /* the hold that the last looks met */
    mi_sampled_thread *met;               /* its thread */
    mi_thread *listed;
} sampler;

/* ---- how many wait ---------------------------------------------------------------------------------------------------- */

static pthread_mutex_t trial_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t trial;
static int trial_waits, trial_over;

static void *wait_once(void *unused) {
    struct timespec until;
    pthread_mutex_lock(&trial_lock);
    trial_waits = 1;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 10;
    while (!trial_over)
        if (pthread_cond_timedwait(&trial, &trial_lock, &until)) break;
    pthread_mutex_unlock(&trial_lock);
    return unused;
}

static uint32_t word_of(const pthread_cond_t *cond, size_t at) {
    return __atomic_load_n((const uint32_t *)((const char *)cond + at), __ATOMIC_RELAXED);
}

static void cond_make(pthread_cond_t *cond) {
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &clock);
    pthread_condattr_destroy(&clock);
}

/* The one word of a condition variable that says 1 above its flags while a thread waits, and 0 before and after. */
static long find_waiters(void) {
    uint32_t before[sizeof(pthread_cond_t) / 4], during[sizeof(pthread_cond_t) / 4];
    size_t words = sizeof(pthread_cond_t) / 4;
    pthread_t thread;
    long found = -1;
    trial_waits = trial_over = 0;
    cond_make(&trial);
    for (size_t at = 0; at < words; at++) before[at] = word_of(&trial, 4 * at);
    if (pthread_create(&thread, NULL, wait_once, NULL)) return -1;
    for (int waits = 0; !waits;) {
        struct timespec spell = {0, 50000};
        nanosleep(&spell, NULL);
        pthread_mutex_lock(&trial_lock); /* free again only once the thread is in its wait */
        waits = trial_waits;
        for (size_t at = 0; at < words; at++) during[at] = word_of(&trial, 4 * at);
        trial_over = waits;
        if (waits) pthread_cond_signal(&trial);
        pthread_mutex_unlock(&trial_lock);
    }
    pthread_join(thread, NULL);
    /* __wseq goes up by 2, and stays; __wrefs by 8, and comes back */
    for (size_t at = 0; at < words; at++)
        if (before[at] >> WAITERS_SHIFT == 0 && during[at] == before[at] + (1u << WAITERS_SHIFT) &&
            word_of(&trial, 4 * at) == before[at])
            found = found == -1 ? (long)(4 * at) : -2;
    pthread_cond_destroy(&trial);
    return found;
}

/* ---- threads ---------------------------------------------------------------------------------------------------------- */

static mi_sampled_thread *thread_of(uint64_t state, uint64_t native_id) {
    mi_gil_sampling *result = &sampler.result;
    for (uint32_t at = 0; at < result->threads; at++)
        if (result->thread[at].state == state && result->thread[at].native_id == native_id) return &result->thread[at];
    return NULL;
}

static mi_sampled_thread *add_thread(uint64_t state, uint64_t native_id) {
    char path[64];
    mi_error error;
    mi_gil_sampling *result = &sampler.result;
    mi_sampled_thread *found = thread_of(state, native_id);
    if (found) return found;
    if (result->threads == MI_SAMPLED_THREADS_MOST) {
        result->left_out++;
        return NULL;
    }
    found = &result->thread[result->threads++];
    *found = (mi_sampled_thread){.state = state, .native_id = native_id};
    snprintf(path, sizeof path, "/proc/self/task/%llu/comm", (unsigned long long)native_id);
    ssize_t got = mi_os_slurp(path, found->name, sizeof found->name, &error);
    if (got > 0 && found->name[got - 1] == '\n') found->name[got - 1] = 0;
    return found;
}

/* How many thread states there are; each is in the table then. */
static size_t list_threads(void) {
    size_t count = 0;
    mi_error error = mi_runtime_interpreter_at(&sampler.runtime, sampler.interpreter.address, &sampler.interpreter);
    if (error) return 0;
    error = mi_runtime_threads(&sampler.runtime, &sampler.interpreter, sampler.listed, MI_SAMPLED_THREADS_MOST, &count);
    if (error && error != MI_E_LIMIT) return 0;
    return count < MI_SAMPLED_THREADS_MOST ? count : MI_SAMPLED_THREADS_MOST;
}

/* Who holds it: last_holder may dangle, so the pair of its address and its thread must be, or have been, in the list. */
static mi_sampled_thread *holder_of(uint64_t state) {
    uint64_t native_id = 0;
    if (mi_target_read(&sampler.target, state + (uintptr_t)sampler.runtime.layout->thread_native_id, &native_id,
                       sizeof native_id))
        return NULL;
    mi_sampled_thread *known = thread_of(state, native_id);
    if (known) return known;
    size_t count = list_threads();
    for (size_t at = 0; at < count; at++)
        if (sampler.listed[at].address == state && sampler.listed[at].native_id == native_id)
            return add_thread(state, native_id);
    return NULL;
}

/* ---- one look --------------------------------------------------------------------------------------------------------- */

static void end_run(void) {
    if (!sampler.run) return;
    unsigned bucket = 63u - (unsigned)__builtin_clzll(sampler.run);
    sampler.result.runs[bucket < MI_SAMPLED_RUNS ? bucket : MI_SAMPLED_RUNS - 1]++;
    sampler.run = 0;
}

static void look_at_gil(void) {
    const mi_layout *layout = sampler.runtime.layout;
    mi_gil_sampling *result = &sampler.result;
    unsigned char copy[GIL_BYTES];
    int32_t locked;
    uint32_t waiters;
    uint64_t holder, switches;
    size_t size = (size_t)layout->gil_cond + sizeof(pthread_cond_t);
    if (sampler.is_static && size <= sizeof copy) {
        memcpy(copy, (const void *)sampler.gil, size);
    } else if (size > sizeof copy || mi_target_read(&sampler.target, sampler.gil, copy, size)) {
        result->failed++;
        return;
    }
    memcpy(&locked, copy + layout->gil_locked, sizeof locked);
    memcpy(&holder, copy + layout->gil_last_holder, sizeof holder);
    memcpy(&switches, copy + layout->gil_switch_number, sizeof switches);
    if (!result->looks++) sampler.first_switches = switches;
    result->switches = switches - sampler.first_switches;
    if (sampler.waiters_at >= 0) {
        memcpy(&waiters, copy + layout->gil_cond + sampler.waiters_at, sizeof waiters);
        waiters >>= WAITERS_SHIFT;
        result->waiting += waiters;
        result->waiters[waiters < MI_SAMPLED_WAITERS ? waiters : MI_SAMPLED_WAITERS]++;
    }
    if (sampler.run && (locked != 1 || holder != sampler.held_by || switches != sampler.held_switches)) end_run();
    if (locked != 1) return;
    result->locked++;
    sampler.held_by = holder;
    sampler.held_switches = switches;
    sampler.run++;
    if (sampler.run == 1 || !sampler.met) sampler.met = holder_of(holder);
    if (sampler.met)
        sampler.met->held++;
    else
        result->unknown++;
}

static void look_at_states(void) {
    mi_gil_sampling *result = &sampler.result;
    size_t count = list_threads();
    if (!count) {
        result->failed++;
        return;
    }
    result->looks++;
    for (size_t at = 0; at < count; at++) {
        int32_t state = 0;
        mi_sampled_thread *thread = add_thread(sampler.listed[at].address, sampler.listed[at].native_id);
        if (thread && !mi_target_read(&sampler.target, thread->state + (uintptr_t)sampler.runtime.layout->thread_state,
                                      &state, sizeof state))
            thread->states[(uint32_t)state % MI_THREAD_STATES]++;
    }
}

/* ---- the thread ------------------------------------------------------------------------------------------------------- */

/* Between a half and one and a half of the interval. */
static uint64_t next_interval(void) {
    uint64_t x = sampler.random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    sampler.random = x;
    return sampler.every_ns / 2 + x % (sampler.every_ns + 1);
}

/* A look is short, and what a sleep and its end cost is most of it: so there is one system call, and one clock. */
static void *sampler_run(void *unused) {
    struct timespec cpu;
#ifdef __linux__
    sampler.thread_id = (int32_t)syscall(SYS_gettid);
    prctl(PR_SET_NAME, "meminspect-look");
    prctl(PR_SET_TIMERSLACK, (unsigned long)(sampler.every_ns / 20), 0, 0, 0); /* may be woken together with others */
#endif
    uint64_t until = mi_os_now_ns() + next_interval();
    while (!atomic_load(&sampler.stopping)) {
        mi_os_wait_word(&sampler.stopping, 0, until);
        uint64_t now = mi_os_now_ns();
        if (now < until) continue; /* woken early, or to stop */
        if (sampler.gil)
            look_at_gil();
        else
            look_at_states();
        until = now + next_interval(); /* when it came late, looks that were missed are not made up for */
    }
    end_run();
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    sampler.result.cpu_ns += (uint64_t)cpu.tv_sec * 1000000000u + (uint64_t)cpu.tv_nsec;
    return unused;
}

/* Guards the thread's beginning and end, and how many forks it stands back for. */
static pthread_mutex_t lives = PTHREAD_MUTEX_INITIALIZER;

/* In a child after fork there is no sampling thread. */
static void in_child(void) {
    sampler.running = sampler.has_thread = sampler.pauses = 0;
    lives = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    trial_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
}

/* _PyRuntime holds the GIL itself (3.11), or the main interpreter with it. */
static int is_static(uintptr_t gil) {
    const mi_layout *layout = sampler.runtime.layout;
    uintptr_t main = 0;
    if (layout->runtime_gil != MI_ABSENT) return gil == sampler.runtime.address + (uintptr_t)layout->runtime_gil;
    if (layout->interpreter_gil_storage == MI_ABSENT ||
        mi_target_word(&sampler.target, sampler.runtime.address + (uintptr_t)layout->runtime_main, &main))
        return 0;
    return gil == main + (uintptr_t)layout->interpreter_gil_storage;
}

/* Under `lives`. */
static void begin(void) {
    pthread_attr_t attributes;
    sigset_t all, old;
    atomic_store(&sampler.stopping, 0);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* the program's handlers run in the program's threads */
    sampler.has_thread = !pthread_create(&sampler.thread, &attributes, sampler_run, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
}

static void end(void) {
    if (!sampler.has_thread) return;
    atomic_store(&sampler.stopping, 1);
    mi_os_wake_word(&sampler.stopping);
    mi_gil_join(sampler.thread, sampler.thread_id);
    sampler.has_thread = 0;
}

void mi_gil_sampler_pause(void) {
    pthread_mutex_lock(&lives);
    sampler.pauses++;
    end();
    pthread_mutex_unlock(&lives);
}

void mi_gil_sampler_resume(void) {
    pthread_mutex_lock(&lives);
    if (sampler.pauses) sampler.pauses--;
    if (!sampler.pauses && sampler.running && !sampler.has_thread) begin();
    pthread_mutex_unlock(&lives);
}

mi_error mi_gil_sampler_start(const mi_runtime *runtime, uintptr_t interpreter, uintptr_t gil, double rate_hz) {
    static int prepared;
    if (sampler.running) return MI_E_LIMIT;
    if (!prepared) {
        if (pthread_atfork(NULL, NULL, in_child)) return MI_E_OS;
        sampler.waiters_at = gil ? find_waiters() : -1;
        sampler.pauses = 0; /* of a parent, before which this was not prepared */
        prepared = 1;
    }
    if (!sampler.listed) sampler.listed = mi_os_alloc(MI_SAMPLED_THREADS_MOST * sizeof *sampler.listed);
    if (!sampler.listed) return MI_E_MEMORY;
    memset(&sampler.result, 0, sizeof sampler.result);
    sampler.target = *runtime->target;
    sampler.runtime = *runtime;
    sampler.runtime.target = &sampler.target;
    mi_error error = mi_runtime_interpreter_at(&sampler.runtime, interpreter, &sampler.interpreter);
    if (error) return error;
    sampler.gil = gil;
    sampler.is_static = gil && is_static(gil);
    sampler.every_ns = (uint64_t)(1e9 / rate_hz);
    sampler.result.waiters_known = sampler.waiters_at >= 0;
    sampler.result.begin_ns = mi_os_now_ns();
    sampler.random = sampler.result.begin_ns | 1;
    sampler.run = 0;
    pthread_mutex_lock(&lives);
    begin();
    int begun = sampler.running = sampler.has_thread;
    pthread_mutex_unlock(&lives);
    return begun ? MI_OK : MI_E_OS;
}

const mi_gil_sampling *mi_gil_sampler_stop(void) {
    pthread_mutex_lock(&lives);
    int ran = sampler.running;
    if (ran) {
        end();
        sampler.result.end_ns = mi_os_now_ns();
        sampler.running = 0;
    }
    pthread_mutex_unlock(&lives);
    return ran ? &sampler.result : NULL;
}

int mi_gil_sampler_runs(void) { return sampler.running; }
