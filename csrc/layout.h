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

#endif
