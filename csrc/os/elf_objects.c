/* elf_objects.c - the dynamic linker's list of objects, their program headers and their hash tables (64-bit ELF). */
#include "elf_objects.h"

#include <stdio.h>
#include <string.h>

#define OBJECTS_MOST 8192
#define HEADERS_MOST 64
#define DYNAMIC_MOST 256

/* The parts of <elf.h> that are read here, which is not on every platform that the package imports on. */
typedef struct file_header {
    unsigned char ident[16];
    uint16_t type, machine;
    uint32_t version;
    uint64_t entry, program_headers, section_headers;
    uint32_t flags;
    uint16_t size, program_header_size, program_header_count;
} file_header;

typedef struct program_header {
    uint32_t type, flags;
    uint64_t offset, address, physical, file_size, memory_size, alignment;
} program_header;

typedef struct dynamic_entry {
    int64_t tag;
    uint64_t value;
} dynamic_entry;

typedef struct symbol_entry {
    uint32_t name;
    unsigned char info, other;
    uint16_t section;
    uint64_t value, size;
} symbol_entry;

enum { TYPE_EXEC = 2, LOAD = 1, DYNAMIC = 2, FLAG_WRITE = 2 };
enum { TAG_STRTAB = 5, TAG_SYMTAB = 6, TAG_DEBUG = 21, TAG_GNU_HASH = 0x6ffffef5 };
enum { AUX_PHDR = 3 };

static const char *last_part(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static uintptr_t page_down(uintptr_t address) { return address / mi_os_page_size() * mi_os_page_size(); }
static uintptr_t page_up(uintptr_t address) { return page_down(address + mi_os_page_size() - 1); }

/* ---- one object ------------------------------------------------------------------------------------------------------ */

/* From a first mapping of the file: bias, .dynamic and .bss by the program headers. */
static int describe(const program_header *headers, size_t count, int fixed, mi_object *object) {
    uintptr_t lowest = UINTPTR_MAX;
    for (size_t at = 0; at < count; at++)
        if (headers[at].type == LOAD && headers[at].address < lowest) lowest = (uintptr_t)headers[at].address;
    if (lowest == UINTPTR_MAX) return 0;
    object->bias = fixed ? 0 : object->start - page_down(lowest);
    for (size_t at = 0; at < count; at++) {
        const program_header *header = &headers[at];
        if (header->type == DYNAMIC) object->dynamic = object->bias + (uintptr_t)header->address;
        if (header->type != LOAD || !(header->flags & FLAG_WRITE) || header->memory_size <= header->file_size) continue;
        object->bss_start = page_up(object->bias + (uintptr_t)(header->address + header->file_size));
        object->bss_end = page_up(object->bias + (uintptr_t)(header->address + header->memory_size));
    }
    return 1;
}

static int read_headers(pid_t pid, mi_object *object) {
    file_header file;
    program_header headers[HEADERS_MOST];
    if (mi_os_read(pid, object->start, &file, sizeof file)) return 0;
    if (memcmp(file.ident, "\177ELF\2", 5) || file.program_header_size != sizeof *headers) return 0;
    size_t count = file.program_header_count < HEADERS_MOST ? file.program_header_count : HEADERS_MOST;
    if (mi_os_read(pid, object->start + (uintptr_t)file.program_headers, headers, count * sizeof *headers)) return 0;
    return describe(headers, count, file.type == TYPE_EXEC, object);
}

/* Fills in an object of which an address inside is known. */
static int object_around(pid_t pid, const mi_maps *maps, uintptr_t address, mi_object *object) {
    const mi_mapping *inside = mi_os_maps_find(maps, address), *first = inside;
    if (!inside || !inside->inode) return 0;
    while (first > maps->items && !(first->inode == inside->inode && first->device == inside->device && !first->offset))
        first--;
    if (first->inode != inside->inode || first->device != inside->device || first->offset) return 0;
    object->path = inside->name;
    object->name = last_part(inside->name);
    object->inode = inside->inode;
    object->device = inside->device;
    object->start = first->start;
    return read_headers(pid, object);
}

static uintptr_t dynamic_value(pid_t pid, const mi_object *object, int64_t tag) {
    dynamic_entry entries[DYNAMIC_MOST];
    size_t count = DYNAMIC_MOST;
    if (!object->dynamic) return 0;
    while (count && mi_os_read(pid, object->dynamic, entries, count * sizeof *entries)) count /= 2;
    for (size_t at = 0; at < count && entries[at].tag; at++)
        if (entries[at].tag == tag) return (uintptr_t)entries[at].value;
    return 0;
}

/* The linker adds the bias to addresses in .dynamic where it may write to it. */
static uintptr_t dynamic_address(pid_t pid, const mi_object *object, int64_t tag) {
    uintptr_t value = dynamic_value(pid, object, tag);
    return value && value < object->start ? value + object->bias : value;
}

/* ---- the list ---------------------------------------------------------------------------------------------------------- */

static uintptr_t executable_headers(pid_t pid) {
    char path[64];
    uint64_t aux[2 * 64];
    mi_error error;
    if (pid)
        snprintf(path, sizeof path, "/proc/%d/auxv", (int)pid);
    else
        snprintf(path, sizeof path, "/proc/self/auxv");
    ssize_t got = mi_os_slurp(path, (char *)aux, sizeof aux, &error);
    for (ssize_t at = 0; at + 16 <= got; at += 16)
        if (aux[at / 8] == AUX_PHDR) return (uintptr_t)aux[at / 8 + 1];
    return 0;
}

mi_error mi_objects_list(pid_t pid, const mi_maps *maps, mi_objects *objects) {
    memset(objects, 0, sizeof *objects);
    objects->items_size = OBJECTS_MOST * sizeof *objects->items;
    objects->items = mi_os_alloc(objects->items_size); /* pages are only used as far as there are objects */
    if (!objects->items) return MI_E_MEMORY;
    uintptr_t headers = executable_headers(pid);
    if (!headers || !object_around(pid, maps, headers, &objects->items[0])) {
        mi_objects_free(objects);
        return MI_E_ABSENT;
    }
    objects->count = 1;
    uintptr_t debug = dynamic_value(pid, &objects->items[0], TAG_DEBUG), link = 0;
    if (!debug) {
        objects->complete = 1; /* a static executable is alone */
        return MI_OK;
    }
    if (mi_os_read(pid, debug + 8, &link, sizeof link)) return MI_OK;
    for (int at = 0; link && at < OBJECTS_MOST; at++) {
        uintptr_t record[4]; /* l_addr, l_name, l_ld, l_next */
        if (mi_os_read(pid, link, record, sizeof record)) return MI_OK;
        mi_object *object = &objects->items[objects->count];
        if (!at) {
            objects->items[0].link_map = link;
        } else if (objects->count < OBJECTS_MOST && object_around(pid, maps, record[2], object)) {
            object->link_map = link;
            objects->count++;
        } else {
            memset(object, 0, sizeof *object); /* the vdso, or an object that came after the map was read */
        }
        link = record[3];
    }
    objects->complete = !link;
    return MI_OK;
}

void mi_objects_free(mi_objects *objects) {
    mi_os_free(objects->items, objects->items_size);
    memset(objects, 0, sizeof *objects);
}

/* ---- symbols ----------------------------------------------------------------------------------------------------------- */

uintptr_t mi_object_symbol(pid_t pid, const mi_object *object, const char *symbol) {
    uintptr_t table = dynamic_address(pid, object, TAG_GNU_HASH), symbols = dynamic_address(pid, object, TAG_SYMTAB);
    uintptr_t strings = dynamic_address(pid, object, TAG_STRTAB);
    uint32_t head[4], hash = 5381; /* head: buckets, first symbol, words of the filter, shift */
    char name[64];
    size_t length = strlen(symbol) + 1;
    if (!table || !symbols || !strings || length > sizeof name) return 0;
    if (mi_os_read(pid, table, head, sizeof head) || !head[0]) return 0;
    for (const char *at = symbol; *at; at++) hash = hash * 33 + (unsigned char)*at;
    uintptr_t buckets = table + 16 + 8 * (uintptr_t)head[2], chains = buckets + 4 * (uintptr_t)head[0];
    uint32_t index;
    if (mi_os_read(pid, buckets + 4 * (uintptr_t)(hash % head[0]), &index, sizeof index)) return 0;
    for (; index && index >= head[1]; index++) {
        uint32_t chain;
        symbol_entry entry;
        if (mi_os_read(pid, chains + 4 * (uintptr_t)(index - head[1]), &chain, sizeof chain)) return 0;
        if ((chain | 1) == (hash | 1)) {
            if (mi_os_read(pid, symbols + sizeof entry * index, &entry, sizeof entry)) return 0;
            if (!mi_os_read(pid, strings + entry.name, name, length) && !memcmp(name, symbol, length) && entry.section)
                return object->bias + (uintptr_t)entry.value;
        }
        if (chain & 1) break;
    }
    return 0;
}

static mi_malloc_kind kind_by_name(const char *name) {
    static const struct {
        const char *part;
        mi_malloc_kind kind;
    } known[] = {{"libjemalloc", MI_MALLOC_JEMALLOC},
                 {"libtcmalloc", MI_MALLOC_TCMALLOC},
                 {"libmimalloc", MI_MALLOC_MIMALLOC},
                 {"libc.so.6", MI_MALLOC_GLIBC}};
    for (size_t at = 0; at < sizeof known / sizeof *known; at++)
        if (!strncmp(name, known[at].part, strlen(known[at].part))) return known[at].kind;
    return MI_MALLOC_UNKNOWN;
}

mi_malloc_kind mi_malloc_in_force(pid_t pid, const mi_objects *objects, const mi_object **by) {
    *by = NULL;
    for (size_t at = 0; at < objects->count; at++) {
        const mi_object *object = &objects->items[at];
        if (!mi_object_symbol(pid, object, "malloc")) continue;
        *by = object;
        mi_malloc_kind kind = kind_by_name(object->name);
        if (kind) return kind;
        if (mi_object_symbol(pid, object, "gnu_get_libc_version")) return MI_MALLOC_GLIBC;
        if (mi_object_symbol(pid, object, "mallctl")) return MI_MALLOC_JEMALLOC;
        if (mi_object_symbol(pid, object, "mi_version")) return MI_MALLOC_MIMALLOC;
        if (mi_object_symbol(pid, object, "tc_version")) return MI_MALLOC_TCMALLOC;
        return MI_MALLOC_OTHER;
    }
    return MI_MALLOC_UNKNOWN;
}

const mi_object *mi_objects_named(const mi_objects *objects, const char *prefix) {
    for (size_t at = 0; at < objects->count; at++)
        if (!strncmp(objects->items[at].name, prefix, strlen(prefix))) return &objects->items[at];
    return NULL;
}

const mi_object *mi_objects_libc(const mi_objects *objects) {
    const mi_object *libc = mi_objects_named(objects, "libc.so.6");
    if (!libc) libc = mi_objects_named(objects, "libc-2.");
    if (!libc && objects->count == 1 && objects->complete) libc = &objects->items[0];
    return libc;
}
