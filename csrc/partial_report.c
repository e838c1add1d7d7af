/* partial_report.c - see partial_report.h: what can be told of this process while somebody else holds the GIL. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "partial_report.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "gil.h"
#include "process.h"

#define TEXT_LIMIT 4096
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
    section_missing(json, "memory", "memory_reason", reason);
    section_missing(json, "pymalloc", "pymalloc_reason", reason);
    section_missing(json, "large", "large_reason", reason);
    section_missing(json, "gc", "gc_reason", reason);
    mi_json_close(json, '}');
}
