/* object_size.h - what was asked for when an object was allocated, from its type's sizes and its own header.
 *
 * As the allocating functions compute it: _PyObject_SIZE and _PyObject_VAR_SIZE (Include/cpython/objimpl.h),
 * _PyType_AllocNoTrack (Objects/typeobject.c), PyUnicode_New, _PyLong_New, PyBytes_FromStringAndSize. */
#ifndef MI_OBJECT_SIZE_H
#define MI_OBJECT_SIZE_H

#include "types.h"

/* Bytes of the object at `at`, of which `room` bytes are readable, with what lies before it (type->preheader). Never more
 * than the block has: an object that says so of itself is taken for its type's least size. */
size_t mi_object_size(const mi_layout *layout, const mi_type *type, const unsigned char *at, size_t room);
/* Bytes of a dict's keys (struct _dictkeysobject), of which the head is readable at `at`; 0 when they contradict
 * themselves. */
size_t mi_dict_keys_size(const mi_layout *layout, const unsigned char *at);

#endif
