/* sort.h - sorting our tables in place.
 *
 * qsort of glibc may call malloc, which a measurement must not. Items are structs whose first member is a uintptr_t,
 * which is the key. */
#ifndef MI_SORT_H
#define MI_SORT_H

#include <stddef.h>

void mi_sort(void *items, size_t count, size_t size);

#endif
