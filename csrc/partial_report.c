/* partial_report.c - see partial_report.h: what can be told of this process while somebody else holds the GIL. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "partial_report.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "process.h"

#define TEXT_LIMIT 4096

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

void mi_partial_report_write(mi_json *json, const mi_partial_head *head, const char *reason) {
    mi_json_open(json, '{');
    mi_json_raw(json, head->report, head->report_size);
    member_bool(json, "partial", 1);
    section_missing(json, "gil", "gil_reason", reason);
    write_process(json, head);
    section_missing(json, "memory", "memory_reason", reason);
    section_missing(json, "pymalloc", "pymalloc_reason", reason);
    section_missing(json, "large", "large_reason", reason);
    section_missing(json, "gc", "gc_reason", reason);
    mi_json_close(json, '}');
}
