/* partial_report.c - see partial_report.h: what can be told of this process while somebody else holds the GIL. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "partial_report.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gil.h"
#include "process.h"
#include "resident_mimalloc.h"

#define TEXT_LIMIT 4096
#define MALLOC_ARENAS 1024 /* as many as the whole report lists */
#define GILS 64

static void member_null(mi_json *json, const char *key) {
    mi_json_key(json, key);
    mi_json_null(json);
}

static void member_text(mi_json *json, const char *key, const char *text) {
    mi_json_key(json, key);
    mi_json_text(json, text, TEXT_LIMIT);
}

static void member_uint(mi_json *json, const char *key, uint64_t value) {
    mi_json_key(json, key);
    mi_json_uint(json, value);
}

/* A figure that is negative when it is not known. */
static void member_known(mi_json *json, const char *key, int64_t value) {
    if (value < 0)
        member_null(json, key);
    else
        member_uint(json, key, (uint64_t)value);
}

static void member_bool(mi_json *json, const char *key, int value) {
    mi_json_key(json, key);
    mi_json_bool(json, value);
}

/* A section that is not there, and why. */
static void section_missing(mi_json *json, const char *key, const char *reason_key, const char *reason) {
    member_null(json, key);
    member_text(json, reason_key, reason);
}

/* ---- process ------------------------------------------------------------------------------------------------------- */

static void write_count(mi_json *json, const char *key, const char *folder, size_t ours) {
    size_t count;
    if (mi_process_entries(0, folder, &count) || count < ours)
        member_null(json, key);
    else
        member_uint(json, key, count - ours);
}

static void write_process(mi_json *json, const mi_partial_head *head) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    mi_json_key(json, "process");
    mi_json_open(json, '{');
    mi_json_raw(json, head->process, head->process_size);
    mi_json_key(json, "pid");
    mi_json_int(json, getpid());
    mi_json_key(json, "taken_s");
    mi_json_seconds(json, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
    write_count(json, "threads", "task", 0);
    write_count(json, "open_files", "fd", 1); /* the one that lists them is not the program's */
    mi_json_close(json, '}');
}

/* ---- memory -------------------------------------------------------------------------------------------------------- */

static int compare_paths(const mi_leaf *left, const mi_leaf *right) {
    for (int depth = 0; depth < MI_LEAF_DEPTH; depth++) {
        if (!left->path[depth] || !right->path[depth]) return !!left->path[depth] - !!right->path[depth];
        int order = strcmp(left->path[depth], right->path[depth]);
        if (order) return order;
    }
    return 0;
}

/* Shell's sort: qsort of glibc may call malloc. */
static void sort_by_path(const mi_leaf **leaves, size_t count) {
    for (size_t gap = count / 2; gap; gap /= 2)
        for (size_t i = gap; i < count; i++) {
            const mi_leaf *moving = leaves[i];
            size_t at = i;
            for (; at >= gap && compare_paths(leaves[at - gap], moving) > 0; at -= gap) leaves[at] = leaves[at - gap];
            leaves[at] = moving;
        }
}

static int ends_at(const mi_leaf *leaf, int depth) { return depth + 1 == MI_LEAF_DEPTH || !leaf->path[depth + 1]; }

static void open_node(mi_json *json, const char *name, int parent, const mi_leaf **leaves, size_t from, size_t to) {
    uint64_t resident = 0, address_space = 0, count = 0;
    for (size_t i = from; i < to; i++) {
        resident += leaves[i]->resident_bytes;
        address_space += leaves[i]->virtual_bytes;
        count += leaves[i]->count;
    }
    mi_json_open(json, '{');
    member_text(json, "name", name);
    member_uint(json, "bytes", resident);
    member_uint(json, "virtual_bytes", address_space);
    if (parent)
        member_null(json, "count"); /* things of different kinds are not counted together */
    else
        member_uint(json, "count", count);
    mi_json_key(json, "children");
    mi_json_open(json, '[');
}

static void close_node(mi_json *json) {
    mi_json_close(json, ']');
    mi_json_close(json, '}');
}

/* The nodes of the leaves [from, to), which share their path above `depth`: one for each name at `depth`. */
static void write_nodes(mi_json *json, const mi_leaf **leaves, size_t from, size_t to, int depth) {
    for (size_t start = from, end; start < to; start = end) {
        const char *name = leaves[start]->path[depth];
        for (end = start + 1; end < to && !strcmp(leaves[end]->path[depth], name);) end++;
        size_t below = start; /* leaves that end here come first in the order */
        while (below < end && ends_at(leaves[below], depth)) below++;
        open_node(json, name, below < end, leaves, start, end);
        if (below > start && below < end) {
            open_node(json, "other", 0, leaves, start, below);
            close_node(json);
        }
        if (below < end) write_nodes(json, leaves, below, end, depth + 1);
        close_node(json);
    }
}

static void write_tree(mi_json *json, const mi_memory *memory) {
    size_t size = memory->leaf_count * sizeof(mi_leaf *), count = 0;
    const mi_leaf **leaves = mi_os_alloc(size);
    mi_json_key(json, "tree");
    if (!leaves) {
        json->failed = 1;
        return;
    }
    for (size_t i = 0; i < memory->leaf_count; i++)
        if (memory->leaves[i].resident_bytes || memory->leaves[i].virtual_bytes) leaves[count++] = &memory->leaves[i];
    sort_by_path(leaves, count);
    open_node(json, "resident memory", 1, leaves, 0, count);
    write_nodes(json, leaves, 0, count, 0);
    close_node(json);
    mi_os_free(leaves, size);
}

static void write_malloc_arenas(mi_json *json, const mi_memory *memory) {
    char name[32];
    size_t listed = memory->arena_count < MALLOC_ARENAS ? memory->arena_count : MALLOC_ARENAS;
    mi_json_key(json, "malloc_arenas");
    mi_json_open(json, '[');
    for (size_t i = 0; i < listed; i++) {
        const mi_malloc_arena *arena = &memory->arenas[i];
        mi_json_open(json, '{');
        snprintf(name, sizeof name, i ? "thread %zu" : "main", i);
        member_text(json, "name", name);
        member_uint(json, "address", arena->address);
        member_uint(json, "size_bytes", arena->size_bytes);
        member_uint(json, "live_chunks", arena->live_chunks);
        member_uint(json, "live_bytes", arena->live_bytes);
        member_uint(json, "free_chunks", arena->free_chunks);
        member_uint(json, "free_bytes", arena->free_bytes);
        member_uint(json, "free_resident_bytes", arena->free_resident_bytes);
        member_uint(json, "tcache_chunks", arena->tcache_chunks);
        member_uint(json, "tcache_bytes", arena->tcache_bytes);
        member_uint(json, "top_bytes", arena->top_bytes);
        member_uint(json, "trim_bytes", arena->trim_bytes);
        member_null(json, "holder"); /* its type would have to be looked up */
        member_null(json, "holder_bytes");
        member_null(json, "holder_type");
        mi_json_close(json, '}');
    }
    mi_json_close(json, ']');
    member_uint(json, "malloc_arenas_omitted", memory->arena_count - listed);
}

static void write_memory(mi_json *json, const mi_partial_head *head, const char *reason) {
    mi_memory memory;
    mi_memory_request request;
    mi_python_memory python = head->python;
    memset(&request, 0, sizeof request);
    mi_mimalloc_memory mimalloc;
    memset(&mimalloc, 0, sizeof mimalloc);
    mimalloc.layout = python.layout;
    if (python.layout) {
        mi_memory_request_add(&request, mi_python_memory_claim, &python, "CPython's own heaps");
        mi_memory_request_add(&request, mi_mimalloc_memory_claim, &mimalloc, "mimalloc's heaps");
    }
    mi_error error = mi_memory_take(&request, &memory);
    mi_python_memory_free(&python);
    mi_mimalloc_memory_free(&mimalloc);
    if (error) {
        section_missing(json, "memory", "memory_reason", mi_error_text(error));
        return;
    }
    mi_json_key(json, "memory");
    mi_json_open(json, '{');
    mi_json_key(json, "pid");
    mi_json_int(json, getpid());
    member_uint(json, "rss_bytes", (uint64_t)memory.rss_bytes);
    member_known(json, "pss_bytes", memory.pss_bytes);
    member_known(json, "uss_bytes", memory.uss_bytes);
    member_known(json, "peak_rss_bytes", memory.peak_rss_bytes);
    member_known(json, "swap_bytes", memory.swap_bytes);
    int64_t apart = memory.rss_bytes - (int64_t)memory.tree_bytes;
    member_uint(json, "unattributed_bytes", memory.unattributed_bytes + (uint64_t)(apart < 0 ? -apart : apart));
    member_known(json, "trim_would_return_bytes", memory.trim_bytes);
    member_text(json, "malloc", memory.malloc_name);
    member_known(json, "mmapped_chunks", memory.mmapped_chunks);
    member_known(json, "mmapped_bytes", memory.mmapped_bytes);
    write_malloc_arenas(json, &memory);
    member_known(json, "mmap_threshold_bytes", memory.mmap_threshold);
    member_uint(json, "zero_bytes", memory.zero_bytes);
    section_missing(json, "cgroup", "cgroup_reason", reason);
    write_tree(json, &memory);
    member_bool(json, "exact", memory.exact && python.layout);
    if (memory.reason[0])
        member_text(json, "reason", memory.reason);
    else if (!python.layout)
        member_text(json, "reason", "CPython's own heaps: their layout could not be verified");
    else
        member_null(json, "reason");
    mi_json_key(json, "pause_s");
    mi_json_seconds(json, memory.pause_ns);
    mi_json_close(json, '}');
    mi_memory_free(&memory);
}

/* ---- the GIL ------------------------------------------------------------------------------------------------------- */

static void write_gil_members(mi_json *json, const mi_gil *gil, int free_threaded) {
    uint32_t listed = gil->sharer_count < MI_GIL_SHARERS ? gil->sharer_count : MI_GIL_SHARERS;
    mi_json_key(json, "interpreter_ids");
    mi_json_open(json, '[');
    for (uint32_t i = 0; i < listed; i++) mi_json_int(json, gil->sharers[i]);
    mi_json_close(json, ']');
    member_uint(json, "tstate_switches", gil->switch_number);
    member_bool(json, "locked", gil->locked == 1);
    if (gil->holder)
        member_uint(json, "holder_native_id", gil->holder_native_id);
    else
        member_null(json, "holder_native_id");
    member_null(json, "holder_name");
    mi_json_key(json, "switch_interval_s");
    mi_json_seconds(json, gil->interval_us * 1000);
    member_bool(json, "enabled", gil->enabled == MI_ABSENT ? !free_threaded : gil->enabled != 0);
    member_bool(json, "exact", !gil->holder_unknown);
    member_text(json, "reason",
                gil->holder_unknown ? "the holder is none of the live threads" : "names of threads need the GIL");
}

static mi_error read_gils(mi_gil *gils, size_t *count, const mi_layout *layout) {
    mi_target target;
    mi_runtime runtime;
    memset(&target, 0, sizeof target);
    target.kind = MI_TARGET_COPY;
    mi_error error = mi_runtime_open(&runtime, &target, layout);
    return error ? error : mi_gil_read(&runtime, gils, GILS, count);
}

/* The main interpreter's GIL; `interpreters` lists all where a process has several. */
static void write_gil(mi_json *json) {
    const mi_layout *layout = mi_layout_current();
    size_t count = 0, main_one = 0, size = GILS * sizeof(mi_gil);
    mi_gil *gils = mi_os_alloc(size);
    mi_error error = !gils ? MI_E_MEMORY : !layout ? MI_E_LAYOUT : read_gils(gils, &count, layout);
    if (!error && !count) error = MI_E_ABSENT;
    if (error && error != MI_E_LIMIT) {
        section_missing(json, "gil", "gil_reason", mi_error_text(error));
        mi_os_free(gils, size);
        return;
    }
    for (size_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < gils[i].sharer_count && k < MI_GIL_SHARERS; k++)
            if (!gils[i].sharers[k]) main_one = i;
    mi_json_key(json, "gil");
    mi_json_open(json, '{');
    write_gil_members(json, &gils[main_one], layout->free_threaded);
    if (count > 1) {
        mi_json_key(json, "interpreters");
        mi_json_open(json, '[');
        for (size_t i = 0; i < count; i++) {
            mi_json_open(json, '{');
            write_gil_members(json, &gils[i], layout->free_threaded);
            mi_json_close(json, '}');
        }
        mi_json_close(json, ']');
    }
    mi_json_close(json, '}');
    mi_os_free(gils, size);
}

void mi_partial_report_write(mi_json *json, const mi_partial_head *head, const char *reason) {
    mi_json_open(json, '{');
    mi_json_raw(json, head->report, head->report_size);
    member_bool(json, "partial", 1);
    write_gil(json); /* first: who holds it is what changes fastest */
    write_process(json, head);
    write_memory(json, head, reason);
    section_missing(json, "pymalloc", "pymalloc_reason", reason);
    section_missing(json, "large", "large_reason", reason);
    section_missing(json, "gc", "gc_reason", reason);
    mi_json_close(json, '}');
}
