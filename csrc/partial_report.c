/* partial_report.c - see partial_report.h: what can be told of this process while somebody else holds the GIL. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "partial_report.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#define TEXT_LIMIT 4096

static void member_null(mi_json *json, const char *key) {
    mi_json_key(json, key);
    mi_json_null(json);
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
    mi_json_close(json, '}');
}

void mi_partial_report_write(mi_json *json, const mi_partial_head *head, const char *reason) {
    static const char *const needs_gil[] = {"pymalloc", "large", "gc"};
    mi_json_open(json, '{');
    mi_json_raw(json, head->report, head->report_size);
    mi_json_key(json, "partial");
    mi_json_bool(json, 1);
    write_process(json, head);
    member_null(json, "memory");
    member_null(json, "gil");
    mi_json_key(json, "missing");
    mi_json_open(json, '{');
    for (size_t i = 0; i < sizeof needs_gil / sizeof *needs_gil; i++) {
        mi_json_key(json, needs_gil[i]);
        mi_json_text(json, reason, TEXT_LIMIT);
    }
    mi_json_close(json, '}');
    for (size_t i = 0; i < sizeof needs_gil / sizeof *needs_gil; i++) member_null(json, needs_gil[i]);
    mi_json_close(json, '}');
}
