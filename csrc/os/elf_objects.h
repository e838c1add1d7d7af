/* elf_objects.h - the objects that are loaded in a process: where their .bss ends, which of them gives malloc.
 *
 * The list is the dynamic linker's own (r_debug and link_map, <link.h>), in the order in which symbols are looked up, so
 * the first object that defines `malloc` is the one in force. dladdr(dlsym("malloc")) is no answer: it names an
 * executable that only refers to it. All is read through mi_os_read; nothing is called. */
#ifndef MI_ELF_OBJECTS_H
#define MI_ELF_OBJECTS_H

#include "os.h"

typedef struct mi_object {
    const char *path;    /* as the memory map has it */
    const char *name;    /* the last part of the path */
    uint64_t inode;      /* with device: which file */
    uint32_t device;     /* as in mi_mapping */
    uintptr_t bias;      /* what is added to the file's addresses */
    uintptr_t start;     /* of its first mapping */
    uintptr_t dynamic;   /* its .dynamic */
    uintptr_t bss_start; /* whole pages of .bss behind the file's pages; equal when there are none */
    uintptr_t bss_end;
    uintptr_t link_map; /* the linker's record of it, 0 in a static executable */
} mi_object;

typedef struct mi_objects {
    mi_object *items; /* the executable first; names live as long as the maps */
    size_t count, items_size;
    int complete; /* 0: the linker's list could not be followed to its end */
} mi_objects;

mi_error mi_objects_list(pid_t pid, const mi_maps *maps, mi_objects *objects);
void mi_objects_free(mi_objects *objects);

/* The address of a symbol that the object defines, 0 when it does not. */
uintptr_t mi_object_symbol(pid_t pid, const mi_object *object, const char *symbol);

typedef enum mi_malloc_kind {
    MI_MALLOC_UNKNOWN,
    MI_MALLOC_GLIBC,
    MI_MALLOC_JEMALLOC,
    MI_MALLOC_TCMALLOC,
    MI_MALLOC_MIMALLOC,
    MI_MALLOC_OTHER
} mi_malloc_kind;

/* Which malloc is in force, and the object that gives it (NULL: none was found). */
mi_malloc_kind mi_malloc_in_force(pid_t pid, const mi_objects *objects, const mi_object **by);
/* The object that holds glibc: libc.so.6, or a static executable. NULL when there is none. */
const mi_object *mi_objects_libc(const mi_objects *objects);
const mi_object *mi_objects_named(const mi_objects *objects, const char *prefix);

#endif
