/* layout.h - where CPython's fields lie in one build of CPython, as data.
 *
 * The members are generated from csrc/layout/fields.py, the one list of what the core reads. There is a table for the
 * interpreter that this was compiled for (mi_layout_native) and checked-in ones of other builds (layout/tables.inc).
 * mi_layout_choose() picks the first candidate of this version and kind that is true of the running interpreter: it is
 * verified against facts that do not come from the table, and an unverified layout is never used. */
#ifndef MI_LAYOUT_H
#define MI_LAYOUT_H

#include <stdint.h>

#include "error.h"

#define MI_ABSENT (-1)

typedef struct mi_layout {
    uint32_t version; /* PY_VERSION_HEX of the headers it was taken from */
    int32_t free_threaded, debug;
#include "layout_fields.h"
} mi_layout;

extern const mi_layout mi_layout_native;
extern const mi_layout mi_layout_tables[];
extern const int mi_layout_table_count;

/* What the running interpreter says of itself through its public API: no number in it was read by way of a layout. The
 * door gathers it with the GIL held. 0 stands for "not known", and what rests on it is then not checked. */
typedef struct mi_facts {
    uint32_t version; /* Py_Version, the one that runs */
    int free_threaded, debug, gil_held;
    uintptr_t interpreter, main_interpreter, thread;    /* PyInterpreterState_Get(), _Main(), PyThreadState_Get() */
    int64_t interpreter_id;                             /* PyInterpreterState_GetID() */
    uint64_t thread_ident, thread_native_id;            /* PyThread_get_thread_ident(), _native_id() */
    uint64_t switch_interval_us;                        /* sys.getswitchinterval() */
    int gc_enabled;                                     /* PyGC_IsEnabled() */
    int gc_thresholds_known, gc_thresholds[3];          /* gc.get_threshold() */
    uintptr_t list;                                     /* a new list, tracked by the collector, ... */
    uintptr_t list_type;                                /* ... of this type (PyObject_Type) ... */
    uint64_t list_length;                               /* ... that holds this many references ... */
    uintptr_t item;                                     /* ... to this object, which few others refer to */
    uint64_t type_flags, type_basicsize, type_itemsize; /* of `list`: PyType_GetFlags, list.__basicsize__, ... */
} mi_facts;

typedef enum mi_verdict { MI_FALSE = 0, MI_TRUE = 1, MI_NOT_CHECKED = -1 } mi_verdict;

typedef struct mi_fact {
    const char *name; /* a clause in English */
    mi_verdict verdict;
} mi_fact;

#define MI_MAX_FACTS 32
#define MI_MAX_TRIALS 16

/* One candidate held against the facts. */
typedef struct mi_trial {
    const mi_layout *layout;
    int native;   /* the layout this was compiled for, not one of the checked-in tables */
    int verified; /* no fact is false */
    int count;
    mi_fact facts[MI_MAX_FACTS];
} mi_trial;

/* Holds one layout against the facts; reads only through mi_os_read, so a wrong layout cannot fault. */
mi_error mi_layout_verify(const mi_layout *layout, const mi_facts *facts, mi_trial *trial);
/* Tries the candidates of the running version and kind in their order until one is verified, and keeps it for
 * mi_layout_current(). `trials` (MI_MAX_TRIALS of them) gets what was tried; MI_E_LAYOUT when none is true. */
mi_error mi_layout_choose(const mi_facts *facts, mi_trial *trials, int *count);
/* The layout that was chosen, NULL before or when none could be verified. */
const mi_layout *mi_layout_current(void);

#endif
