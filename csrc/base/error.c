/* error.c - the wording of the core's errors. */
#include "error.h"

const char *mi_error_text(mi_error error) {
    switch (error) {
    case MI_OK: return "no error";
    case MI_E_UNMAPPED: return "the memory is not mapped";
    case MI_E_PERMISSION: return "the kernel does not permit it";
    case MI_E_GONE: return "the process has ended";
    case MI_E_LAYOUT: return "the structures of this interpreter could not be verified";
    case MI_E_TORN: return "the memory changed while it was read";
    case MI_E_ABSENT: return "this interpreter or platform does not have it";
    case MI_E_LIMIT: return "a limit was reached, the result is partial";
    case MI_E_MEMORY: return "there is no memory for the tables of the measurement";
    case MI_E_LATE: return "max_pause was reached, the result is partial";
    case MI_E_OS: return "a system call failed";
    }
    return "an unknown error";
}
