/* alloc_probe.c - allocates through one of CPython's three functions, looks at where the block lies, and frees it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <dlfcn.h>
#include <malloc.h>
#include <string.h>

#include "alloc_probe.h"
#include "mimalloc.h"

/* ---- glibc's chunks ------------------------------------------------------------------------------------------------ */

enum { PREV_INUSE = 1, IS_MMAPPED = 2, CHUNK_FLAGS = 7, CHUNK_HEADER = 16, CHUNK_MIN = 32, CHUNK_ALIGN = 16 };

int mi_chunk_at(const mi_target *target, uintptr_t block, size_t at_least, size_t *usable, size_t *size, int *mmapped) {
    uintptr_t head[2], next;
    if (block % CHUNK_ALIGN || mi_target_read(target, block - CHUNK_HEADER, head, sizeof head)) return 0;
    *size = head[1] & ~(uintptr_t)CHUNK_FLAGS;
    *mmapped = (head[1] & IS_MMAPPED) != 0;
    if (*size < at_least || (*size < CHUNK_MIN && !*mmapped)) return 0;
    if (*mmapped) {
        /* up to glibc 2.42 the size counts the header and prev_size lies before it: together whole pages; from 2.43 on
         * it does not, and bit 0 of prev_size marks huge pages */
        size_t page = mi_os_page_size(), before = head[0] & ~(uintptr_t)1;
        int counted = (before + *size) % page == 0;
        if (!counted && (before + *size + CHUNK_HEADER) % page) return 0;
        if ((block - CHUNK_HEADER - before) % page) return 0;
        *usable = counted ? *size - CHUNK_HEADER : *size - sizeof(uintptr_t);
        return *usable >= at_least;
    }
    *usable = *size - sizeof(uintptr_t); /* the next chunk's prev_size is lent to this one */
    if (*size % CHUNK_ALIGN || *usable < at_least) return 0;
    if (mi_target_word(target, block - CHUNK_HEADER + *size + sizeof(uintptr_t), &next)) return 0;
    return (next & PREV_INUSE) != 0;
}

/* ---- one allocation ------------------------------------------------------------------------------------------------ */

/* What _PyMem_DebugRawAlloc writes before a block: the size in big-endian order, the domain's letter, 7 forbidden bytes;
 * and 8 forbidden bytes behind it. */
static int has_debug_frame(const mi_target *target, uintptr_t block, size_t size, char letter) {
    unsigned char before[MI_DEBUG_BEFORE], behind[sizeof(size_t)];
    uint64_t written = 0;
    if (mi_target_read(target, block - sizeof before, before, sizeof before)) return 0;
    for (size_t i = 0; i < sizeof(size_t); i++) written = written << 8 | before[i];
    if (written != size || before[sizeof(size_t)] != (unsigned char)letter) return 0;
    if (mi_target_read(target, block + size, behind, sizeof behind)) return 0;
    for (size_t i = sizeof(size_t) + 1; i < sizeof before; i++)
        if (before[i] != 0xfd) return 0;
    for (size_t i = 0; i < sizeof behind; i++)
        if (behind[i] != 0xfd) return 0;
    return 1;
}

enum { TRIM_FROM = 1 << 16 };

static void *allocate(mi_function function, size_t size) {
    if (function == MI_OBJECT_MALLOC) return PyObject_Malloc(size);
    return function == MI_MEM_MALLOC ? PyMem_Malloc(size) : PyMem_RawMalloc(size);
}

static void release(mi_function function, void *block) {
    if (function == MI_OBJECT_MALLOC)
        PyObject_Free(block);
    else if (function == MI_MEM_MALLOC)
        PyMem_Free(block);
    else
        PyMem_RawFree(block);
}

static void look(const mi_target *target, const mi_layout *layout, const mi_arena_table *table, char letter,
                 size_t size, mi_probe *probe) {
    int mmapped;
    probe->debug = (uint32_t)has_debug_frame(target, probe->address, size, letter);
    probe->block = probe->address - (probe->debug ? MI_DEBUG_BEFORE : 0);
    size_t needed = size + (probe->debug ? MI_DEBUG_AROUND : 0);
    if (mi_obmalloc_place(target, layout, table, probe->block, &probe->place) == MI_OK) {
        probe->path = MI_PATH_PYMALLOC;
        probe->usable = probe->place.size;
        return;
    }
    memset(&probe->place, 0, sizeof probe->place);
    if (mi_mimalloc_place(target, layout, (uintptr_t)PyThreadState_Get(), probe->block, &probe->place) == MI_OK) {
        probe->path = MI_PATH_MIMALLOC;
        probe->usable = probe->place.size;
        return;
    }
    /* A chunk may be larger than asked for by less than the smallest chunk or, mmapped, a (huge) page. */
    if (!mi_chunk_at(target, probe->block, needed, &probe->usable, &probe->chunk_size, &mmapped) ||
        (!mmapped && probe->usable > needed + 2 * CHUNK_MIN) || (mmapped && probe->usable > needed + (4u << 20)) ||
        malloc_usable_size((void *)probe->block) != probe->usable) {
        probe->path = MI_PATH_OTHER;
        probe->usable = probe->chunk_size = 0;
        return;
    }
    probe->path = mmapped ? MI_PATH_MMAPPED : MI_PATH_HEAP;
}

mi_error mi_probe_take(const mi_target *target, const mi_layout *layout, const mi_arena_table *table,
                       mi_function function, size_t size, int throw_away, mi_probe *probe) {
    static const char letters[] = {'o', 'm', 'r'};
    memset(probe, 0, sizeof *probe);
    if (throw_away && size >= TRIM_FROM) malloc_trim(0);
    void *block = allocate(function, size);
    if (!block) return MI_E_MEMORY;
    probe->address = (uintptr_t)block;
    look(target, layout, table, letters[function], size, probe);
    if (!throw_away || probe->path != MI_PATH_MMAPPED) release(function, block);
    return MI_OK;
}

/* ---- the allocator in force ----------------------------------------------------------------------------------------- */

mi_error mi_allocator_look(const mi_target *target, const mi_layout *layout, const mi_arena_table *table,
                           mi_allocator *allocator) {
    const char *(*current)(void);
    PyMemAllocatorEx object;
    mi_probe probe;
    memset(allocator, 0, sizeof *allocator);
    *(void **)&current = dlsym(RTLD_DEFAULT, "_PyMem_GetCurrentAllocatorName");
    if (current) allocator->name = current();
    PyMem_GetAllocator(PYMEM_DOMAIN_OBJ, &object);
    memcpy(&allocator->hook, &object.malloc, sizeof allocator->hook);
    const mi_mapping *served = mi_os_maps_find(&target->maps, allocator->hook);
    const mi_mapping *own = mi_os_maps_find(&target->maps, (uintptr_t)&PyObject_Malloc);
    allocator->hook_is_own = served && own && mi_mapping_same_file(served, own);
    mi_error error = mi_probe_take(target, layout, table, MI_OBJECT_MALLOC, 24, 0, &probe);
    allocator->pymalloc = !error && probe.path == MI_PATH_PYMALLOC;
    allocator->debug = !error && probe.debug;
    return error;
}
