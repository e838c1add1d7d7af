/* resident_result.c - how the parts of a reading say what is wrong with it. */
#include "resident_result.h"

#include <stdio.h>
#include <string.h>

void mi_memory_say(mi_memory *out, int inexact, const char *clause) {
    size_t used = strlen(out->reason);
    if (inexact) out->exact = 0;
    if (strstr(out->reason, clause)) return;
    snprintf(out->reason + used, sizeof out->reason - used, "%s%s", used ? "; " : "", clause);
}
