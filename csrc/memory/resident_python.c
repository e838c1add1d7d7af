/* resident_python.c - claims of pymalloc's arenas and of data-stack chunks. */
#include "resident_python.h"

#include <string.h>

#include "runtime.h"
#include "sort.h"

enum { THREADS_MOST = 4096, CHUNKS_MOST = 4096, WALKS_MOST = 3 };

static uint32_t leaf2(mi_painter *painter, const char *first, const char *second) {
    const char *path[MI_LEAF_DEPTH] = {first, second, NULL};
    return mi_painter_leaf(painter, path);
}

/* ---- arenas -------------------------------------------------------------------------------------------------------------- */

/* Whether a block in use begins at `address`: one bit per 16 bytes of the arena. */
static int is_live(const mi_python_memory *python, size_t arena, uintptr_t address) {
    uintptr_t size = (uintptr_t)python->layout->arena_size;
    size_t bit = arena * (size / 16) + (address - python->heap.arenas[arena].address) / 16;
    return (int)(python->heap.blocks[bit / 64] >> bit % 64 & 1);
}

/* A pool in use: header, blocks in address order, those never handed out, what is left of the pool's end. */
static void paint_pool(mi_painter *painter, mi_python_memory *python, const mi_pool *pool) {
    uintptr_t size = (uintptr_t)python->layout->pool_size, end = (uintptr_t)pool->address + size;
    uintptr_t block = (uintptr_t)python->layout->alignment * (pool->size_class + 1u);
    uintptr_t at = (uintptr_t)pool->address + (uintptr_t)python->layout->pool_header_size;
    if (pool->torn) {
        mi_paint(painter, (uintptr_t)pool->address, end, python->live, 0); /* it was in use: how much cannot be told */
        return;
    }
    uint32_t handed_out = (uint32_t)pool->used + pool->free - pool->untouched;
    for (uint32_t index = 0; index < handed_out;) {
        uint32_t first = index;
        uintptr_t start = at;
        int live = is_live(python, pool->arena, at);
        while (index < handed_out && is_live(python, pool->arena, at) == live) {
            index++;
            at += block;
        }
        mi_paint(painter, start, at, live ? python->live : python->free, index - first);
    }
    mi_paint(painter, at, at + block * pool->untouched, python->untouched, pool->untouched);
}

/* claim->number: index of the arena. What is left out (headers, ends of pools, unaligned ends) goes to the rest. */
static void paint_arena(mi_painter *painter, const mi_claim *claim) {
    mi_python_memory *python = claim->data;
    const mi_arena *arena = &python->heap.arenas[claim->number];
    uintptr_t size = (uintptr_t)python->layout->pool_size;
    size_t low = 0, high = python->heap.pool_count; /* pools are in order of their arenas */
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (python->heap.pools[middle].arena < claim->number)
            low = middle + 1;
        else
            high = middle;
    }
    uintptr_t carved = (uintptr_t)arena->address + size - 1;
    carved -= carved % size; /* the first pool */
    for (; low < python->heap.pool_count && python->heap.pools[low].arena == claim->number; low++) {
        const mi_pool *pool = &python->heap.pools[low];
        carved = (uintptr_t)pool->address + size;
        if (pool->size_class == MI_POOL_FREE)
            mi_paint(painter, (uintptr_t)pool->address, carved, python->pools, 1);
        else
            paint_pool(painter, python, pool);
    }
    uintptr_t never_used = size * arena->pools_never_used;
    mi_paint(painter, carved, carved + never_used, python->untouched, 0);
}

static mi_error claim_arenas(mi_painter *painter, mi_python_memory *python) {
    mi_error error = MI_OK;
    python->live = leaf2(painter, "pymalloc", "live blocks");
    python->free = leaf2(painter, "pymalloc", "free blocks");
    python->pools = leaf2(painter, "pymalloc", "free pools");
    python->untouched = leaf2(painter, "pymalloc", "untouched");
    python->rest = leaf2(painter, "pymalloc", "headers and ends of pools");
    for (size_t at = 0; at < python->heap.arena_count && !error; at++) {
        uintptr_t start = (uintptr_t)python->heap.arenas[at].address;
        error = mi_painter_claim(painter, (mi_claim){.start = start,
                                                     .end = start + (uintptr_t)python->layout->arena_size,
                                                     .paint = paint_arena,
                                                     .leaf = python->rest,
                                                     .number = (uint32_t)at,
                                                     .data = python});
    }
    return error;
}

/* What the process had around the moment and had given back before the walk: all that can be told is whose it was. */
static mi_error claim_gone(mi_painter *painter, mi_python_memory *python) {
    mi_seen *seen = &python->seen;
    mi_error error = MI_OK;
    if (!seen->count) return MI_OK;
    for (size_t at = 0; at < python->heap.arena_count && !error; at++)
        error = mi_seen_add(seen, (uintptr_t)python->heap.arenas[at].address, 1);
    mi_sort(seen->items, seen->count, sizeof *seen->items);
    uint32_t leaf = leaf2(painter, "pymalloc", "given back while it was read");
    for (size_t at = 0, next; at < seen->count && !error; at = next) {
        uintptr_t start = seen->items[at].address, walked = 0;
        for (next = at; next < seen->count && seen->items[next].address == start; next++)
            walked |= seen->items[next].walked;
        if (walked) continue;
        error = mi_painter_claim(
            painter, (mi_claim){.start = start, .end = start + (uintptr_t)python->layout->arena_size, .leaf = leaf});
    }
    return error;
}

/* ---- interpreters ---------------------------------------------------------------------------------------------------------- */

static mi_error claim_stacks(mi_painter *painter, mi_python_memory *python, const mi_runtime *runtime,
                             const mi_interpreter *interpreter, mi_thread *threads, mi_stack_chunk *chunks) {
    size_t thread_count = 0, chunk_count = 0;
    uint32_t leaf = leaf2(painter, "interpreter", "data stacks (frames)");
    mi_error error = mi_runtime_threads(runtime, interpreter, threads, THREADS_MOST, &thread_count), partial = error;
    for (size_t at = 0; at < thread_count && at < THREADS_MOST; at++) {
        if (python->identity_count < MI_IDENTITIES_MOST)
            python->identities[python->identity_count++] = (mi_identity){threads[at].ident, threads[at].native_id};
        error = mi_runtime_stack_chunks(runtime, &threads[at], chunks, CHUNKS_MOST, &chunk_count);
        if (error) partial = error;
        for (size_t chunk = 0; chunk < chunk_count && chunk < CHUNKS_MOST; chunk++) {
            mi_claim claim = {
                .start = chunks[chunk].address, .end = chunks[chunk].address + chunks[chunk].size, .leaf = leaf};
            if (mi_painter_claim(painter, claim)) return MI_E_MEMORY;
        }
    }
    return partial;
}

static void go_by_copies(mi_python_memory *python) {
    python->target.kind = MI_TARGET_COPY;
    python->target.until_ns = 0;
}

static mi_error walk_arenas(mi_painter *painter, mi_python_memory *python, const mi_interpreter *interpreters,
                            size_t at) {
    mi_arena_table table = python->table;
    const mi_interpreter *interpreter = &interpreters[at];
    for (size_t before = 0; before < at; before++) /* interpreters may share a state; 3.11 has one for all */
        if (interpreters[before].obmalloc == interpreter->obmalloc) return MI_OK;
    if (interpreter->obmalloc) {
        mi_error error = mi_obmalloc_table(&python->target, python->layout, interpreter->obmalloc, &table);
        if (error) return error;
    }
    if (!table.address) return MI_E_ABSENT;
    mi_heap before = python->heap;
    mi_error error = mi_obmalloc_walk(&python->target, python->layout, &table, interpreter->id,
                                      MI_WALK_POOLS | MI_WALK_BLOCKS, &python->heap);
    if (error || python->heap.arenas_left == before.arenas_left) return error;
    mi_hold_let_go(painter->window.hold); /* all of them again, as copies and with the program going on */
    go_by_copies(python);
    mi_heap_cut(&python->heap, &before);
    return walk_arenas(painter, python, interpreters, at);
}

mi_error mi_python_memory_prepare(mi_python_memory *python, const mi_layout *layout, pid_t pid) {
    memset(python, 0, sizeof *python);
    python->layout = layout;
    python->pid = pid;
    if (pid || layout->interpreter_obmalloc != MI_ABSENT) return MI_OK;
    mi_error error = mi_obmalloc_find(layout, &python->table);
    return error == MI_E_ABSENT ? MI_OK : error;
}

void mi_python_memory_look(void *context) {
    mi_python_memory *python = context;
    mi_seen_look(&python->seen, python->layout, python->pid);
}

mi_error mi_python_memory_claim(mi_painter *painter, void *context) {
    mi_python_memory *python = context;
    mi_runtime runtime;
    size_t count = 0, interpreters_size = MI_MAX_INTERPRETERS * sizeof(mi_interpreter);
    size_t threads_size = THREADS_MOST * sizeof(mi_thread), chunks_size = CHUNKS_MOST * sizeof(mi_stack_chunk);
    mi_hold *hold = painter->window.hold;
    int held = python->held && !mi_hold_is_over(hold);
    mi_target_kind kind = python->pid ? MI_TARGET_PROCESS : held ? MI_TARGET_SELF : MI_TARGET_COPY;
    mi_error error = mi_target_open(&python->target, kind, python->pid), partial = MI_OK;
    if (error) return error;
    python->target.pages = painter->pages;
    if (held && hold) python->target.until_ns = hold->until_ns;
    mi_interpreter *interpreters = mi_os_alloc(interpreters_size);
    mi_thread *threads = mi_os_alloc(threads_size);
    mi_stack_chunk *chunks = mi_os_alloc(chunks_size);
    python->identities = mi_os_alloc(MI_IDENTITIES_MOST * sizeof *python->identities);
    if (!interpreters || !threads || !chunks || !python->identities) error = MI_E_MEMORY;
    if (!error) error = mi_runtime_open(&runtime, &python->target, python->layout);
    if (!error && python->pid) error = mi_runtime_verify(&runtime);
    if (!error && python->pid && python->layout->interpreter_obmalloc == MI_ABSENT) {
        partial = mi_obmalloc_find_in(&python->target, python->layout, &python->table);
        if (partial == MI_E_ABSENT) partial = MI_OK; /* pymalloc is not in force */
    }
    if (!error) {
        mi_error listed = mi_runtime_interpreters(&runtime, interpreters, MI_MAX_INTERPRETERS, &count);
        if (listed) partial = listed;
    }
    if (python->pid && !error) mi_python_memory_look(python);
    for (size_t at = 0; at < count && at < MI_MAX_INTERPRETERS && !error; at++) {
        mi_error walked = walk_arenas(painter, python, interpreters, at);
        for (int walks = 1; (walked == MI_E_TORN || walked == MI_E_UNMAPPED) && python->pid && walks < WALKS_MOST;
             walks++)
            walked = walk_arenas(painter, python, interpreters, at); /* its table was being changed, or moved */
        if (walked && walked != MI_E_ABSENT) partial = walked;
        walked = claim_stacks(painter, python, &runtime, &interpreters[at], threads, chunks);
        if (walked == MI_E_MEMORY) error = walked;
        if (walked) partial = walked;
    }
    if (!error) error = claim_arenas(painter, python);
    if (!error) error = claim_gone(painter, python);
    mi_os_free(interpreters, interpreters_size);
    mi_os_free(threads, threads_size);
    mi_os_free(chunks, chunks_size);
    python->target.pages = NULL; /* the pages end with the painter */
    return error ? error : partial;
}

void mi_python_memory_free(mi_python_memory *python) {
    mi_heap_free(&python->heap);
    mi_seen_free(&python->seen);
    mi_os_free(python->identities, MI_IDENTITIES_MOST * sizeof *python->identities);
    python->identities = NULL;
    python->identity_count = 0;
    mi_target_close(&python->target);
}
