/* object_header.h - the header of one object: the bytes before and at its address, and what is needed to decode them.
 *
 * Where each field lies differs per version and build; the bytes are copied as they stand and the decoding is left to
 * a pure function of probes/header.py. Nothing of the object is called and no reference is taken. */
#ifndef MI_OBJECT_HEADER_H
#define MI_OBJECT_HEADER_H

#include "layout.h"
#include "target.h"

enum { MI_HEADER_BYTES = 128, MI_HEADER_NAME = 256 };

typedef struct mi_object_header {
    uintptr_t address, start; /* of the object, and of the first byte of `memory`: GC head and pre-header come before */
    uint32_t size;            /* bytes in `memory` */
    unsigned char memory[MI_HEADER_BYTES];
    uintptr_t type;
    uint64_t type_flags;
    int32_t gc;                     /* 1 or 0; -1 when a function of the type decides, which is not called */
    int32_t var_sized;              /* ob_size (or lv_tag of int) is part of the memory */
    char type_name[MI_HEADER_NAME]; /* tp_name, cut to what fits */
} mi_object_header;

/* `var_base` is a type whose instances have ob_size though it has no items (bytearray), 0 for none. */
mi_error mi_object_header_read(const mi_target *target, const mi_layout *layout, uintptr_t address, uintptr_t var_base,
                               mi_object_header *header);

/* Whether the running frame's first local, which must be the object at `address`, counts as a reference to it: 1 or 0.
 * MI_E_ABSENT where frames hold a reference always, MI_E_LAYOUT when that local is something else. */
mi_error mi_frame_holds_argument(const mi_target *target, const mi_layout *layout, uintptr_t thread, uintptr_t address,
                                 int *holds);

#endif
