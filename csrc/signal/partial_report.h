/* partial_report.h - the part of a report that needs no GIL, as a JSON document of the report's schema.
 *
 * Written by the thread that answers a signal at once, whoever holds the GIL: where the resident memory is, glibc's
 * arenas, and who holds the GIL. Every section that only the interpreter could tell is null, and `missing` says why. */
#ifndef MI_PARTIAL_REPORT_H
#define MI_PARTIAL_REPORT_H

#include "json_write.h"
#include "resident_python.h"

typedef struct mi_partial_head {
    const char *report; /* members of the document that never change: "schema":1,"python":{...} */
    size_t report_size;
    const char *process; /* members of "process" that never change: "program":"...","libc":"..." */
    size_t process_size;
    mi_python_memory python; /* prepared; without a layout when none could be verified */
} mi_partial_head;

/* `reason` says why the rest is not there, for example "waiting for the GIL". */
void mi_partial_report_write(mi_json *json, const mi_partial_head *head, const char *reason);

#endif
