/* thread_blocks.c - the functions before the allocators, and the table of thread_blocks.h.
 *
 * Interpreters with a GIL of their own ask at the same time. So the allocators' contexts stay what they are (a thread may
 * read our function with the context before, or the other way round), and a flag guards the table, for which nobody waits
 * for ever: a child that was forked meanwhile would. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "thread_blocks.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "sort.h"

enum { DOMAINS = 2, FIRST_BITS = 10, MOST_SPINS = 1 << 22 };
static const PyMemAllocatorDomain domains[DOMAINS] = {PYMEM_DOMAIN_MEM, PYMEM_DOMAIN_OBJ};

static struct {
    PyMemAllocatorEx real[DOMAINS];
    int in_place[DOMAINS];
    _Atomic int on;
    uintptr_t measured; /* pthread_self() */
    uintptr_t *others;  /* ascending */
    size_t other_count, others_size;
    _Atomic uint64_t asked; /* by the measured thread, while it tries whether we are asked */
    _Atomic int trying;
    atomic_flag busy;
    _Atomic size_t count; /* of blocks.count, read without the flag */
    mi_thread_blocks blocks;
} all = {.busy = ATOMIC_FLAG_INIT};

/* ---- the table ------------------------------------------------------------------------------------------------------- */

static size_t slot_of(unsigned bits, uintptr_t address) {
    return (size_t)((address * 0x9E3779B97F4A7C15u) >> (64 - bits));
}

mi_thread_block *mi_thread_blocks_find(const mi_thread_blocks *blocks, uintptr_t address) {
    if (!blocks->items || !address) return NULL;
    size_t mask = ((size_t)1 << blocks->bits) - 1;
    for (size_t at = slot_of(blocks->bits, address); blocks->items[at].address; at = (at + 1) & mask)
        if (blocks->items[at].address == address) return &blocks->items[at];
    return NULL;
}

static void put(mi_thread_blocks *blocks, mi_thread_block block) {
    size_t mask = ((size_t)1 << blocks->bits) - 1, at = slot_of(blocks->bits, block.address);
    while (blocks->items[at].address && blocks->items[at].address != block.address) at = (at + 1) & mask;
    blocks->count += !blocks->items[at].address;
    blocks->items[at] = block;
}

static void add(mi_thread_blocks *blocks, mi_thread_block block) {
    if (blocks->count >= (size_t)3 << blocks->bits >> 2) {
        mi_thread_blocks more = {.items = mi_os_alloc(sizeof *more.items << (blocks->bits + 1)),
                                 .bits = blocks->bits + 1};
        if (!more.items) {
            blocks->lost = 1;
            return;
        }
        for (size_t at = 0; at >> blocks->bits == 0; at++)
            if (blocks->items[at].address) put(&more, blocks->items[at]);
        mi_os_free(blocks->items, sizeof *blocks->items << blocks->bits);
        blocks->items = more.items;
        blocks->bits = more.bits;
    }
    put(blocks, block);
}

/* Takes an entry out; those behind it that it kept from their places move up. */
static int take(mi_thread_blocks *blocks, uintptr_t address, mi_thread_block *taken) {
    mi_thread_block *found = mi_thread_blocks_find(blocks, address);
    if (!found) return 0;
    *taken = *found;
    size_t mask = ((size_t)1 << blocks->bits) - 1, hole = (size_t)(found - blocks->items), at = hole;
    for (;;) {
        at = (at + 1) & mask;
        if (!blocks->items[at].address) break;
        size_t home = slot_of(blocks->bits, blocks->items[at].address);
        if (((at - home) & mask) < ((at - hole) & mask)) continue;
        blocks->items[hole] = blocks->items[at];
        hole = at;
    }
    blocks->items[hole].address = 0;
    blocks->count--;
    return 1;
}

static int enter(void) {
    for (int left = MOST_SPINS; atomic_flag_test_and_set_explicit(&all.busy, memory_order_acquire); left--) {
        if (!left) {
            all.blocks.lost = 1;
            return 0;
        }
        if (left % 64 == 0) sched_yield();
    }
    return 1;
}

static void leave(void) {
    atomic_store_explicit(&all.count, all.blocks.count, memory_order_relaxed);
    atomic_flag_clear_explicit(&all.busy, memory_order_release);
}

/* ---- the functions ---------------------------------------------------------------------------------------------------- */

/* Whether another thread asks, which is to be noted. */
static int is_other(void) {
    if (!atomic_load_explicit(&all.on, memory_order_acquire)) return 0;
    uintptr_t self = (uintptr_t)pthread_self();
    if (self == all.measured) {
        if (atomic_load_explicit(&all.trying, memory_order_relaxed)) all.asked++;
        return 0;
    }
    size_t low = 0, high = all.other_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (all.others[middle] < self)
            low = middle + 1;
        else
            high = middle;
    }
    return low < all.other_count && all.others[low] == self;
}

static void *given(void *block) {
    if (block && is_other() && enter()) {
        if (all.blocks.items) add(&all.blocks, (mi_thread_block){.address = (uintptr_t)block});
        leave();
    }
    return block;
}

static void *ask(int domain, size_t size) { return given(all.real[domain].malloc(all.real[domain].ctx, size)); }

static void *ask_zeroed(int domain, size_t count, size_t size) {
    return given(all.real[domain].calloc(all.real[domain].ctx, count, size));
}

/* Before the block goes: afterwards its address may be given out again. */
static void give_back(int domain, void *block) {
    int other = block && is_other();
    if (block && (other || atomic_load_explicit(&all.count, memory_order_relaxed)) && enter()) {
        mi_thread_block taken = {0};
        int known = take(&all.blocks, (uintptr_t)block, &taken);
        if (other && (!known || taken.moved)) all.blocks.freed++;
        leave();
    }
    all.real[domain].free(all.real[domain].ctx, block);
}

static void *resize(int domain, void *block, size_t size) {
    mi_thread_block taken = {.address = 0};
    int other = is_other(), known = 0;
    if (block && (other || atomic_load_explicit(&all.count, memory_order_relaxed)) && enter()) {
        known = take(&all.blocks, (uintptr_t)block, &taken);
        leave();
    }
    void *now = all.real[domain].realloc(all.real[domain].ctx, block, size);
    if (!known && !(now && other)) return now;
    if (!known) taken.moved = block != NULL;
    taken.address = (uintptr_t)(now ? now : block);
    if (enter()) {
        if (all.blocks.items) add(&all.blocks, taken);
        leave();
    }
    return now;
}

#define FUNCTIONS(name, domain)                                                                                        \
    static void *name##_malloc(void *context, size_t size) {                                                           \
        (void)context;                                                                                                 \
        return ask(domain, size);                                                                                      \
    }                                                                                                                  \
    static void *name##_calloc(void *context, size_t count, size_t size) {                                             \
        (void)context;                                                                                                 \
        return ask_zeroed(domain, count, size);                                                                        \
    }                                                                                                                  \
    static void *name##_realloc(void *context, void *block, size_t size) {                                             \
        (void)context;                                                                                                 \
        return resize(domain, block, size);                                                                            \
    }                                                                                                                  \
    static void name##_free(void *context, void *block) {                                                              \
        (void)context;                                                                                                 \
        give_back(domain, block);                                                                                      \
    }
FUNCTIONS(mem, 0)
FUNCTIONS(object, 1)

static PyMemAllocatorEx ours(int domain) {
    PyMemAllocatorEx own = {all.real[domain].ctx, mem_malloc, mem_calloc, mem_realloc, mem_free};
    if (domain) own = (PyMemAllocatorEx){own.ctx, object_malloc, object_calloc, object_realloc, object_free};
    return own;
}

static void put_in_place(void) {
    for (int domain = 0; domain < DOMAINS; domain++) {
        if (all.in_place[domain]) continue;
        PyMem_GetAllocator(domains[domain], &all.real[domain]);
        PyMemAllocatorEx own = ours(domain);
        PyMem_SetAllocator(domains[domain], &own);
        all.in_place[domain] = 1;
    }
}

static void take_out(void) {
    for (int domain = 0; domain < DOMAINS; domain++) {
        PyMemAllocatorEx now, own = ours(domain);
        PyMem_GetAllocator(domains[domain], &now);
        if (!all.in_place[domain] || now.malloc != own.malloc) continue;
        PyMem_SetAllocator(domains[domain], &all.real[domain]);
        all.in_place[domain] = 0;
    }
}

/* ---- begin and end ---------------------------------------------------------------------------------------------------- */

static mi_error find_others(const mi_runtime *runtime, uintptr_t interpreter) {
    size_t sizes[] = {MI_MAX_INTERPRETERS * sizeof(mi_interpreter), MI_MAX_THREADS * sizeof(mi_thread)}, count = 0;
    mi_interpreter *found = mi_os_alloc(sizes[0]);
    mi_thread *threads = mi_os_alloc(sizes[1]);
    all.others_size = MI_MAX_THREADS * sizeof *all.others;
    all.others = mi_os_alloc(all.others_size);
    all.other_count = 0;
    mi_error error = found && threads && all.others ? MI_OK : MI_E_MEMORY;
    if (!error) error = mi_runtime_interpreters(runtime, found, MI_MAX_INTERPRETERS, &count);
    uintptr_t gil = 0;
    for (size_t i = 0; !error && i < count; i++)
        if (found[i].address == interpreter) gil = found[i].gil;
    for (size_t i = 0; !error && i < count; i++) {
        size_t there = 0;
        if (found[i].gil != gil) continue;
        error = mi_runtime_threads(runtime, &found[i], threads, MI_MAX_THREADS, &there);
        for (size_t j = 0; !error && j < there && all.other_count < MI_MAX_THREADS; j++)
            if (threads[j].ident && threads[j].ident != all.measured)
                all.others[all.other_count++] = (uintptr_t)threads[j].ident;
    }
    mi_os_free(found, sizes[0]);
    mi_os_free(threads, sizes[1]);
    if (!error && !all.other_count) error = MI_E_ABSENT;
    if (!error) mi_sort(all.others, all.other_count, sizeof *all.others);
    return error;
}

static void forget(void) {
    atomic_store(&all.on, 0);
    mi_os_free(all.others, all.others_size);
    all.others = NULL;
    all.other_count = 0;
}

mi_error mi_thread_blocks_begin(const mi_runtime *runtime, uintptr_t interpreter) {
    if (atomic_load(&all.on)) return MI_E_LIMIT;
    if (runtime->layout->free_threaded) return MI_E_ABSENT;
    all.measured = (uintptr_t)pthread_self();
    mi_error error = find_others(runtime, interpreter);
    all.blocks = (mi_thread_blocks){.bits = FIRST_BITS};
    if (!error) all.blocks.items = mi_os_alloc(sizeof *all.blocks.items << FIRST_BITS);
    if (!error && !all.blocks.items) error = MI_E_MEMORY;
    if (error) {
        forget();
        return error;
    }
    put_in_place();
    all.asked = 0;
    atomic_store(&all.trying, 1);
    atomic_store(&all.on, 1);
    PyMem_Free(PyMem_Malloc(1));
    PyObject_Free(PyObject_Malloc(1));
    atomic_store(&all.trying, 0);
    if (all.asked >= DOMAINS) return MI_OK;
    mi_thread_blocks none;
    mi_thread_blocks_end(&none);
    mi_thread_blocks_free(&none);
    return MI_E_ABSENT;
}

mi_error mi_thread_blocks_end(mi_thread_blocks *found) {
    memset(found, 0, sizeof *found);
    if (!atomic_load(&all.on)) return MI_E_ABSENT;
    take_out();
    forget();
    int entered = enter();
    *found = all.blocks;
    all.blocks = (mi_thread_blocks){.bits = FIRST_BITS};
    if (entered) leave();
    return MI_OK;
}

void mi_thread_blocks_free(mi_thread_blocks *found) {
    mi_os_free(found->items, sizeof *found->items << found->bits);
    memset(found, 0, sizeof *found);
}
