/* object_header.c - copies the header of one object.
 *
 * Sizes of what lies before it follow _PyType_PreHeaderSize (pycore_object.h); whether an object is collected follows
 * _PyObject_IS_GC, with the answer of the one tp_is_gc that CPython gives to types read from their flags. */
#include "object_header.h"

#include <string.h>

/* Bits of tp_flags, the same in 3.11 to 3.15 (Include/object.h; weak references are managed from 3.12 on). */
enum {
    FLAG_MANAGED_WEAKREF = 1 << 3,
    FLAG_MANAGED_DICT = 1 << 4,
    FLAG_HEAP_TYPE = 1 << 9,
    FLAG_HAVE_GC = 1 << 14,
    FLAG_LIST = 1 << 25
};
#define FLAG_TYPE ((uint64_t)1 << 31)

enum { LONGEST_BASE_CHAIN = 64 };

/* A C string of the target, cut to what fits; read up to page ends since what lies behind may not be mapped. */
static mi_error read_string(const mi_target *target, uintptr_t address, char *to, size_t size) {
    size_t page = mi_os_page_size(), done = 0;
    while (done < size - 1) {
        size_t part = page - (address + done) % page;
        if (part > size - 1 - done) part = size - 1 - done;
        mi_error error = mi_target_read(target, address + done, to + done, part);
        if (error) return error;
        if (memchr(to + done, 0, part)) return MI_OK;
        done += part;
    }
    to[done] = 0;
    return MI_OK;
}

static int is_or_derives(const mi_target *target, const mi_layout *layout, uintptr_t type, uintptr_t base) {
    for (int i = 0; base && type && i < LONGEST_BASE_CHAIN; i++) {
        if (type == base) return 1;
        if (mi_target_word(target, type + (uintptr_t)layout->type_base, &type)) return 0;
    }
    return 0;
}

/* _PyObject_IS_GC without calling anything. */
static mi_error is_collected(const mi_target *target, const mi_layout *layout, mi_object_header *header) {
    header->gc = (header->type_flags & FLAG_HAVE_GC) != 0;
    if (!header->gc) return MI_OK;
    uintptr_t decides, flags;
    mi_error error = mi_target_word(target, header->type + (uintptr_t)layout->type_is_gc, &decides);
    if (error || !decides) return error;
    if (!(header->type_flags & FLAG_TYPE)) {
        header->gc = -1;
        return MI_OK;
    }
    /* the object is a type itself, and type_is_gc (Objects/typeobject.c) says: heap types are, static types are not */
    error = mi_target_word(target, header->address + (uintptr_t)layout->type_flags, &flags);
    header->gc = (flags & FLAG_HEAP_TYPE) != 0;
    return error;
}

mi_error mi_object_header_read(const mi_target *target, const mi_layout *layout, uintptr_t address, uintptr_t var_base,
                               mi_object_header *header) {
    memset(header, 0, sizeof *header);
    header->address = address;
    mi_error error = mi_target_word(target, address + (uintptr_t)layout->object_type, &header->type);
    uintptr_t flags = 0, items = 0, name = 0;
    if (!error) error = mi_target_word(target, header->type + (uintptr_t)layout->type_flags, &flags);
    if (!error) error = mi_target_word(target, header->type + (uintptr_t)layout->type_itemsize, &items);
    if (!error) error = mi_target_word(target, header->type + (uintptr_t)layout->type_name, &name);
    header->type_flags = flags;
    if (!error) error = is_collected(target, layout, header);
    if (error) return error;
    if (read_string(target, name, header->type_name, sizeof header->type_name)) header->type_name[0] = 0;

    int pre_header = FLAG_MANAGED_DICT;
    if (layout->object_managed_weakrefs != MI_ABSENT) pre_header |= FLAG_MANAGED_WEAKREF;
    size_t before = 0;
    if (header->gc == 1 && layout->gc_head_size != MI_ABSENT) before += (size_t)layout->gc_head_size;
    if (flags & (uintptr_t)pre_header) before += 2 * sizeof(uintptr_t);
    header->var_sized = items || flags & FLAG_LIST || is_or_derives(target, layout, header->type, var_base);
    header->size = (uint32_t)(before + (size_t)layout->object_size + (header->var_sized ? sizeof(int64_t) : 0));
    if (header->size > sizeof header->memory) return MI_E_LAYOUT;
    header->start = address - before;
    return mi_target_read(target, header->start, header->memory, header->size);
}

mi_error mi_frame_holds_argument(const mi_target *target, const mi_layout *layout, uintptr_t thread, uintptr_t address,
                                 int *holds) {
    if (layout->frame_locals == MI_ABSENT) return MI_E_ABSENT;
    uintptr_t frame, local;
    mi_error error = mi_target_word(target, thread + (uintptr_t)layout->thread_current_frame, &frame);
    if (!error) error = mi_target_word(target, frame + (uintptr_t)layout->frame_locals, &local);
    if (error) return error;
    if ((local & ~(uintptr_t)3) != address) return MI_E_LAYOUT;
    *holds = !(local & 1);
    return MI_OK;
}
