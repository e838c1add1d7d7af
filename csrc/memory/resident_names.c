/* resident_names.c - names for memory that is in no heap: stacks, files, shared memory, buffers of libraries. */
#include <stdio.h>
#include <string.h>

#include "resident_parts.h"
#include "sort.h"

enum { LINKER_MOST = 1 << 20, STACK_MOST = 64 << 20, BUFFER_LEAST = 65536, GAPS_MOST = 65536 };

static uint32_t leaf3(mi_painter *painter, const char *first, const char *second, const char *third) {
    const char *path[MI_LEAF_DEPTH] = {first, second, third, NULL};
    return mi_painter_leaf(painter, path);
}

/* ---- stacks -------------------------------------------------------------------------------------------------------------- */

/* Two leaves for one thread; they are claimed as the stack's lower and upper part. */
static mi_error claim_stack(mi_survey *survey, const mi_native_thread *thread, uintptr_t start, uintptr_t end) {
    mi_painter *painter = survey->painter;
    uintptr_t used = thread->pointer > start && thread->pointer < end ? thread->pointer : start;
    char name[48];
    snprintf(name, sizeof name, "%s (%d)", thread->name[0] ? thread->name : "thread", (int)thread->tid);
    uint32_t in_use = leaf3(painter, "thread stacks", name, used > start ? "in use" : "in use, as far as it was ever");
    painter->leaves[in_use].tid = thread->tid;
    mi_error error = mi_painter_claim(painter, (mi_claim){.start = used, .end = end, .leaf = in_use});
    if (error || used == start) return error;
    uint32_t below = leaf3(painter, "thread stacks", name, "below the stack pointer");
    painter->leaves[below].tid = thread->tid;
    return mi_painter_claim(painter, (mi_claim){.start = start, .end = used, .leaf = below});
}

mi_error mi_survey_stacks(mi_survey *survey) {
    mi_native_threads *threads = &survey->threads;
    mi_error error = MI_OK;
    mi_native_threads_find_stacks(&survey->painter->window, survey->maps, &survey->objects, threads);
    for (size_t at = 0; at < threads->count && !error; at++) {
        const mi_native_thread *thread = &threads->items[at];
        if (!thread->end) continue;
        if (thread->tid) {
            error = claim_stack(survey, thread, thread->start, thread->end);
            continue;
        }
        uint32_t leaf = leaf3(survey->painter, "thread stacks", "cached stacks of ended threads", NULL);
        error = mi_painter_claim(survey->painter, (mi_claim){.start = thread->start, .end = thread->end, .leaf = leaf});
    }
    for (size_t at = 0; at < survey->maps->count && !error; at++) {
        const mi_mapping *mapping = &survey->maps->items[at];
        if (!strcmp(mapping->name, "[stack]") && threads->live)
            error =
                claim_stack(survey, &threads->items[0], mapping->start, mapping->end); /* the first is the main one */
    }
    return error;
}

/* ---- what is left ---------------------------------------------------------------------------------------------------------- */

/* A gap and the object whose data names its beginning. */
typedef struct gap {
    uintptr_t start, end;
    const mi_object *owner;
} gap;

typedef struct gap_list {
    mi_survey *survey;
    gap *items;
    size_t count;
} gap_list;

static int holds(uintptr_t start, uintptr_t end, uintptr_t address) { return address >= start && address < end; }

/* The main thread's control block and the early records of ld.so lie in small mappings that ld.so made for itself. */
static int is_linkers(const mi_survey *survey, uintptr_t start, uintptr_t end) {
    if (end - start > LINKER_MOST) return 0;
    for (size_t at = 0; at < survey->threads.live; at++)
        if (!survey->threads.items[at].end && holds(start, end, survey->threads.items[at].block)) return 1;
    for (size_t at = 0; at < survey->objects.count; at++)
        if (holds(start, end, survey->objects.items[at].link_map)) return 1;
    return 0;
}

static void look_at_gap(mi_painter *painter, uintptr_t start, uintptr_t end, void *context) {
    gap_list *list = context;
    mi_survey *survey = list->survey;
    uint64_t resident = mi_pages_bytes(painter->pages, &painter->hint, start, end);
    if (!resident) return;
    if (is_linkers(survey, start, end)) {
        mi_painter_claim(painter, (mi_claim){.start = start, .end = end, .leaf = survey->linker});
        return;
    }
    for (size_t at = 0; at < survey->threads.live; at++) { /* a thread that is not glibc's: its stack is around here */
        const mi_native_thread *thread = &survey->threads.items[at];
        if (thread->end || !holds(start, end, thread->pointer)) continue;
        const mi_mapping *mapping = mi_os_maps_find(survey->maps, thread->pointer);
        if (!mapping || mapping->end - mapping->start > STACK_MOST) continue;
        claim_stack(survey, thread, mapping->start > start ? mapping->start : start,
                    mapping->end < end ? mapping->end : end);
    }
    const mi_mapping *first = mi_os_maps_find(survey->maps, start);
    if (first && !strcmp(first->name, "[heap]")) return; /* brk is malloc's, whichever it is */
    if (resident >= BUFFER_LEAST && list->count < GAPS_MOST) list->items[list->count++] = (gap){start, end, NULL};
}

static gap *gap_at(const gap_list *list, uintptr_t start) {
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (list->items[middle].start < start)
            low = middle + 1;
        else
            high = middle;
    }
    return low < list->count && list->items[low].start == start ? &list->items[low] : NULL;
}

/* Looks for beginnings of gaps among the words of a library's data. Only exact beginnings count: pointers into the
 * middle of a mapping are met by chance. */
static void look_in_data(gap_list *list, uintptr_t start, uintptr_t end, const mi_object *object) {
    mi_window *window = &list->survey->painter->window;
    size_t page = mi_os_page_size(), hint = 0;
    for (uintptr_t at = start; at < end; at += page) {
        size_t run = mi_pages_seek(window->pages, &hint, at);
        if (run >= window->pages->count) return;
        if (window->pages->runs[run].start > at) at = window->pages->runs[run].start;
        const uintptr_t *words = at < end ? mi_window_at(window, at, page) : NULL;
        for (size_t word = 0; words && word < page / sizeof *words; word++) {
            gap *found = words[word] && !(words[word] % page) ? gap_at(list, words[word]) : NULL;
            if (found && !found->owner) found->owner = object;
        }
    }
}

/* Buffers that a library mapped for itself, such as OpenBLAS': the library's data holds where they begin. */
static mi_error claim_buffers(gap_list *list) {
    mi_survey *survey = list->survey;
    mi_painter *painter = survey->painter;
    mi_error error = MI_OK;
    for (size_t at = 0; at < survey->objects.count; at++) {
        const mi_object *object = &survey->objects.items[at];
        /* what malloc and ld.so know the beginning of is not theirs for that: it is what they handed out */
        if (object == survey->malloc_object || !strncmp(object->name, "ld-", 3) || !strncmp(object->name, "libc.so", 7))
            continue;
        for (size_t item = 0; item < survey->maps->count; item++) {
            const mi_mapping *mapping = &survey->maps->items[item];
            if (mapping->inode == object->inode && mapping->device == object->device && mapping->flags & MI_MAP_WRITE)
                look_in_data(list, mapping->start, mapping->end, object);
        }
        if (object->bss_end > object->bss_start) look_in_data(list, object->bss_start, object->bss_end, object);
    }
    for (size_t at = 0; at < list->count && !error; at++) {
        const gap *gap = &list->items[at];
        if (!gap->owner) continue;
        uint32_t leaf = leaf3(painter, "buffers of libraries", gap->owner->name, NULL);
        error = mi_painter_claim(painter, (mi_claim){.start = gap->start, .end = gap->end, .leaf = leaf});
    }
    return error;
}

mi_error mi_survey_rest(mi_survey *survey) {
    gap_list list = {survey, mi_os_alloc(GAPS_MOST * sizeof(gap)), 0};
    if (!list.items) return MI_E_MEMORY;
    mi_survey_gaps(survey, look_at_gap, &list);
    mi_sort(list.items, list.count, sizeof *list.items);
    mi_error error = claim_buffers(&list);
    mi_os_free(list.items, GAPS_MOST * sizeof(gap));
    return error;
}

uint32_t mi_leaf_of_gap(mi_survey *survey, const mi_mapping *mapping) {
    mi_painter *painter = survey->painter;
    if (mapping && mapping->name[0] == '[' && strcmp(mapping->name, "[heap]"))
        return leaf3(painter, "other anonymous mappings", mapping->name, NULL); /* named by prctl(PR_SET_VMA) */
    if (mapping && !(mapping->flags & MI_MAP_WRITE))
        return leaf3(painter, "other anonymous mappings", "not writable", NULL);
    switch (survey->malloc) {
    case MI_MALLOC_JEMALLOC: return leaf3(painter, "jemalloc", NULL, NULL);
    case MI_MALLOC_TCMALLOC: return leaf3(painter, "tcmalloc", NULL, NULL);
    case MI_MALLOC_MIMALLOC: return leaf3(painter, "mimalloc (LD_PRELOAD or linked)", NULL, NULL);
    case MI_MALLOC_OTHER: return leaf3(painter, survey->malloc_object->name, NULL, NULL);
    default: return survey->unattributed;
    }
}

/* ---- files and shared memory ------------------------------------------------------------------------------------------------ */

static int is_shared_memory(const mi_mapping *mapping) {
    static const char *const names[] = {"/dev/zero", "/SYSV", "/memfd:", "/dev/shm/", "/anon_hugepage", "[anon_shmem"};
    for (size_t at = 0; at < sizeof names / sizeof *names; at++)
        if (!strncmp(mapping->name, names[at], strlen(names[at]))) return 1;
    return 0;
}

/* The name of a file that two files may share; the last one is the same for most mappings of a file. */
static const char *file_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash && slash[1] ? slash + 1 : path;
}

void mi_paint_mapping(mi_survey *survey, const mi_mapping *mapping) {
    mi_painter *painter = survey->painter;
    const mi_pages *pages = painter->pages;
    const char *name = mapping->name[0] ? file_name(mapping->name) : "anonymous";
    int shared_memory = is_shared_memory(mapping);
    uint64_t kept[2] = {0, 0}; /* clean or shared; private */
    size_t run = mi_pages_seek(pages, &painter->hint, mapping->start);
    for (; run < pages->count && pages->runs[run].start < mapping->end; run++) {
        uintptr_t start = pages->runs[run].start > mapping->start ? pages->runs[run].start : mapping->start;
        uintptr_t end = pages->runs[run].end < mapping->end ? pages->runs[run].end : mapping->end;
        kept[!(pages->runs[run].categories & MI_RUN_FILE)] += end - start;
    }
    if (!kept[0] && !kept[1]) return;
    uint32_t leaf =
        shared_memory ? leaf3(painter, "shared memory", name, NULL) : leaf3(painter, "files", name, "unchanged pages");
    painter->leaves[leaf].resident_bytes += kept[0];
    painter->leaves[leaf].virtual_bytes += mapping->end - mapping->start;
    painter->leaves[leaf].count++;
    if (!kept[1]) return;
    if (!shared_memory) leaf = leaf3(painter, "files", name, "private changed pages");
    painter->leaves[leaf].resident_bytes += kept[1];
}
