/* resident.c - one moment of a process' memory: the order of reading, the claims, the painting, the sums. */
#include "resident.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"
#include "resident_parts.h"

enum { OWN_BLOCKS_MOST = 1024 };

/* ---- the kernel's own figures ------------------------------------------------------------------------------------------ */

/* The kB behind a name at the beginning of a line, in bytes. */
static int64_t kernel_figure(const char *text, const char *name) {
    size_t length = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (!strncmp(line, name, length)) return (int64_t)strtoll(line + length, NULL, 10) * 1024;
    }
    return MI_UNKNOWN;
}

static int read_proc(pid_t pid, const char *file, char *text, size_t size) {
    char path[64];
    mi_error error;
    if (pid)
        snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    else
        snprintf(path, sizeof path, "/proc/self/%s", file);
    return mi_os_slurp(path, text, size, &error) > 0;
}

/* Rss as smaps_rollup counts it, page by page, and its kin; VmRSS where the kernel has no such file, which may lag behind.
 * The kernel walks all page tables for it: it is read no oftener than is needed. */
static int64_t read_rss(pid_t pid, mi_memory *out) {
    char text[4096];
    out->pss_bytes = out->uss_bytes = out->swap_bytes = MI_UNKNOWN;
    if (!read_proc(pid, "smaps_rollup", text, sizeof text))
        return read_proc(pid, "status", text, sizeof text) ? kernel_figure(text, "VmRSS:") : MI_UNKNOWN;
    int64_t clean = kernel_figure(text, "Private_Clean:"), dirty = kernel_figure(text, "Private_Dirty:");
    out->pss_bytes = kernel_figure(text, "Pss:");
    out->swap_bytes = kernel_figure(text, "Swap:");
    if (clean >= 0 && dirty >= 0) out->uss_bytes = clean + dirty;
    return kernel_figure(text, "Rss:");
}

static void read_peak(pid_t pid, mi_memory *out) {
    char text[4096];
    out->peak_rss_bytes = MI_UNKNOWN;
    if (!read_proc(pid, "status", text, sizeof text)) return;
    out->peak_rss_bytes = kernel_figure(text, "VmHWM:");
    if (out->swap_bytes < 0) out->swap_bytes = kernel_figure(text, "VmSwap:");
}

/* ---- claims -------------------------------------------------------------------------------------------------------------- */

static uint32_t leaf2(mi_painter *painter, const char *first, const char *second) {
    const char *path[MI_LEAF_DEPTH] = {first, second, NULL};
    return mi_painter_leaf(painter, path);
}

static mi_error claim_own(mi_survey *survey, const mi_os_block *blocks, size_t count) {
    uint32_t leaf = leaf2(survey->painter, "meminspect", NULL);
    mi_error error = MI_OK;
    for (size_t at = 0; at < count && !error; at++)
        error = mi_painter_claim(
            survey->painter,
            (mi_claim){.start = blocks[at].start, .end = blocks[at].start + blocks[at].size, .leaf = leaf});
    return error;
}

/* Executable memory without a file is code made at run time; .bss lies behind a file's pages without being of the file. */
static mi_error claim_by_map(mi_survey *survey) {
    mi_painter *painter = survey->painter;
    mi_error error = MI_OK;
    for (size_t at = 0; at < survey->maps->count && !error; at++) {
        const mi_mapping *mapping = &survey->maps->items[at];
        if (!mi_is_heap_memory(mapping) || !(mapping->flags & MI_MAP_EXEC)) continue;
        uint32_t leaf = leaf2(painter, "interpreter", "code made at run time (JIT, trampolines)");
        error = mi_painter_claim(painter, (mi_claim){.start = mapping->start, .end = mapping->end, .leaf = leaf});
    }
    for (size_t at = 0; at < survey->objects.count && !error; at++) {
        const mi_object *object = &survey->objects.items[at];
        const char *path[MI_LEAF_DEPTH] = {"files", object->name, ".bss", NULL};
        if (object->bss_end <= object->bss_start) continue;
        error = mi_painter_claim(
            painter,
            (mi_claim){.start = object->bss_start, .end = object->bss_end, .leaf = mi_painter_leaf(painter, path)});
    }
    return error;
}

static mi_error claim_sources(mi_survey *survey, const mi_memory_request *request) {
    char text[200];
    for (size_t at = 0; at < request->source_count; at++) {
        mi_error error = request->sources[at].claim(survey->painter, request->sources[at].context);
        if (error == MI_E_MEMORY) return error;
        if (!error || error == MI_E_ABSENT) continue;
        snprintf(text, sizeof text, "%s: %s", request->sources[at].name, mi_error_text(error));
        mi_memory_say(survey->out, 1, text);
    }
    return MI_OK;
}

/* The version of a glibc is asked of it by a call, so only of our own: which another process may have mapped too. */
static int is_our_libc(const mi_survey *survey) {
    mi_maps maps;
    if (!survey->pid) return 1;
    if (!survey->malloc_object || mi_os_maps(0, &maps)) return 0;
    const mi_mapping *own = mi_os_maps_find(&maps, (uintptr_t)&strtoll);
    int same = own && own->inode == survey->malloc_object->inode && own->device == survey->malloc_object->device;
    mi_os_maps_free(&maps);
    return same;
}

static void name_malloc(mi_survey *survey) {
    static const char *const names[] = {"unknown", "glibc", "jemalloc", "tcmalloc", "mimalloc", NULL};
    mi_memory *out = survey->out;
    survey->malloc = mi_malloc_in_force(survey->pid, &survey->objects, &survey->malloc_object);
    /* a static executable exports nothing; that glibc's arenas are in use tells then */
    if (!survey->malloc && survey->has_glibc) survey->malloc = MI_MALLOC_GLIBC;
    const char *name = names[survey->malloc];
    snprintf(out->malloc_name, sizeof out->malloc_name, "%s", name ? name : survey->malloc_object->name);
    if (!survey->malloc) mi_memory_say(out, 1, "no loaded object gives malloc");
    if (survey->malloc == MI_MALLOC_GLIBC && is_our_libc(survey))
        mi_process_libc(out->malloc_name, sizeof out->malloc_name);
    if (mi_objects_named(&survey->objects, "libarrow.so"))
        mi_memory_say(
            out, 0,
            "Arrow's library is loaded: its memory pool has a malloc of its own, which is not walked, so its memory "
            "is among the buffers of libraries or of no known owner");
    if (survey->malloc == MI_MALLOC_GLIBC || !survey->malloc) return;
    char text[160];
    snprintf(text, sizeof text,
             "malloc is %s, whose heaps are not walked: what nothing else claims is taken for its own",
             out->malloc_name);
    mi_memory_say(out, 1, text);
}

static mi_error claim_all(mi_survey *survey, const mi_memory_request *request, const mi_os_block *own,
                          size_t own_count) {
    mi_painter *painter = survey->painter;
    mi_error error = mi_objects_list(survey->pid, survey->maps, &survey->objects);
    if (error == MI_E_ABSENT) mi_memory_say(survey->out, 1, "the list of loaded objects could not be read");
    if (error && error != MI_E_ABSENT) return error;
    error = claim_own(survey, own, own_count);
    if (!error) error = claim_by_map(survey);
    if (!error) error = claim_sources(survey, request);
    if (!error) error = mi_survey_glibc(survey);
    if (!error) error = mi_survey_stacks(survey);
    if (error) return error;
    name_malloc(survey);
    mi_painter_settle(painter);
    error = mi_survey_mmapped(survey);
    mi_painter_settle(painter);
    if (!error) error = mi_survey_rest(survey);
    mi_painter_settle(painter);
    return error;
}

/* ---- painting ------------------------------------------------------------------------------------------------------------ */

static void paint_gap(mi_painter *painter, uintptr_t start, uintptr_t end, void *context) {
    mi_survey *survey = context;
    while (start < end) {
        const mi_mapping *mapping = mi_os_maps_find(survey->maps, start);
        uintptr_t stop = mapping && mapping->end < end ? mapping->end : end;
        if (mi_pages_bytes(painter->pages, &painter->hint, start, stop))
            mi_painter_add(painter, start, stop, mi_leaf_of_gap(survey, mapping), 1);
        start = stop;
    }
}

static void paint_unknown(mi_painter *painter, uintptr_t start, uintptr_t end, void *context) {
    const mi_survey *survey = context;
    painter->leaves[survey->unattributed].resident_bytes += mi_pages_bytes(painter->pages, &painter->hint, start, end);
}

/* Pages outside the map came between the two readings; our own tables may be among them. */
static void paint_between(mi_survey *survey, uintptr_t start, uintptr_t end) {
    if (end > start && mi_pages_bytes(survey->painter->pages, &survey->painter->hint, start, end))
        mi_painter_range(survey->painter, start, end, paint_unknown, survey);
}

static void paint_all(mi_survey *survey) {
    const mi_maps *maps = survey->maps;
    mi_painter *painter = survey->painter;
    uintptr_t position = 0, end;
    for (size_t item = 0; item < maps->count;) {
        const mi_mapping *mapping = &maps->items[item];
        if (!strcmp(mapping->name, "[vsyscall]")) {
            item++;
            continue;
        }
        paint_between(survey, position, mapping->start);
        position = mapping->end;
        if (mi_is_heap_memory(mapping)) {
            item = mi_region_end(maps, item, &end);
            mi_painter_range(painter, mapping->start, end, paint_gap, survey);
            position = end;
            continue;
        }
        item++;
        if (!strcmp(mapping->name, "[stack]"))
            mi_painter_range(painter, mapping->start, mapping->end, paint_gap, survey);
        else if (strncmp(mapping->name, "/anon_hugepage", 14)) /* huge pages of hugetlbfs are not in Rss */
            mi_paint_mapping(survey, mapping);
    }
    paint_between(survey, position, UINTPTR_MAX);
}

/* ---- the moment ---------------------------------------------------------------------------------------------------------- */

static void sum_up(mi_memory *out, const mi_survey *survey) {
    out->leaves = out->painter.leaves;
    out->leaf_count = out->painter.leaf_count;
    out->tree_bytes = 0;
    for (size_t at = 0; at < out->leaf_count; at++) out->tree_bytes += out->leaves[at].resident_bytes;
    out->unattributed_bytes = out->leaves[survey->unattributed].resident_bytes;
    int64_t tree = (int64_t)out->tree_bytes, before = out->rss_before, after = out->rss_after;
    out->rss_bytes = before >= 0 && llabs(before - tree) < llabs(after - tree) ? before : after;
}

/* What was left over, when it is more than the 0.2 % that a process at rest stays below. */
static void say_unattributed(mi_memory *out) {
    char text[160];
    if (out->unattributed_bytes <= out->tree_bytes / 500) return;
    snprintf(text, sizeof text, "%llu bytes belong to nothing that is known, or changed before they were looked at",
             (unsigned long long)out->unattributed_bytes);
    mi_memory_say(out, 1, text);
}

/* The kernel's count and the page map are of two moments: what came or went in between is in one of them alone. */
static void say_moved(mi_memory *out) {
    char text[160];
    long long between = (long long)out->rss_bytes - (long long)out->tree_bytes;
    if (out->rss_bytes < 0 || (uint64_t)llabs(between) <= out->tree_bytes / 500) return;
    snprintf(text, sizeof text, "resident memory %s by %lld bytes between the page map and the kernel's count of it",
             between > 0 ? "grew" : "shrank", llabs(between));
    mi_memory_say(out, 1, text);
}

static void say_let_go(mi_memory *out, const mi_hold *hold, uint64_t started) {
    if (hold->let_go_ns < started + out->pause_ns)
        out->pause_ns = hold->let_go_ns > started ? hold->let_go_ns - started : 0;
    mi_memory_say(out, 1, "max_pause was reached: the process went on while the rest was read");
}

static mi_error survey_memory(const mi_memory_request *request, mi_maps *maps, mi_pages *pages, mi_memory *out) {
    mi_os_block own[OWN_BLOCKS_MOST];
    mi_survey survey = {.out = out, .painter = &out->painter, .maps = maps, .pid = request->pid};
    mi_error error = mi_painter_open(&out->painter, maps, pages);
    if (error) return error;
    survey.unattributed = leaf2(survey.painter, "unattributed", NULL);
    survey.linker = leaf2(survey.painter, "thread control blocks and ld.so", NULL);

    survey.painter->window.hold = request->hold;
    uint64_t started = mi_os_now_ns();
    mi_os_maps_free(maps);
    /* Another process goes on: its map and its page map come as close to each other as they can. Here the map's own memory
     * would be missing in what is counted before it. */
    if (request->pid) out->rss_before = read_rss(request->pid, out);
    error = mi_os_maps(request->pid, maps);
    if (!error && !request->pid && mi_native_threads_list(request->pid, &survey.threads))
        mi_memory_say(out, 1, "the threads could not be listed");
    size_t own_count = request->pid ? 0 : mi_os_blocks(own, OWN_BLOCKS_MOST);
    if (!error) {
        if (!request->pid) out->rss_before = read_rss(request->pid, out);
        if (request->look) request->look(request->look_context);
        error = mi_pages_read(pages, maps);
        if (request->look) request->look(request->look_context);
        out->rss_after = read_rss(request->pid, out);
        mi_hold_is_over(request->hold);
        if (request->pid && mi_native_threads_list(request->pid, &survey.threads))
            mi_memory_say(out, 1, "the threads could not be listed");
    }
    if (!error) error = claim_all(&survey, request, own, own_count);
    if (!error) {
        paint_all(&survey);
        out->pause_ns = mi_os_now_ns() - started;
        if (mi_hold_is_over(request->hold)) say_let_go(out, request->hold, started);
        mi_survey_glibc_end(&survey);
        out->zero_bytes = pages->zero_bytes;
        sum_up(out, &survey);
        say_unattributed(out);
        say_moved(out);
        if (!pages->scanned && pages->doubtful_bytes && out->tree_bytes > (uint64_t)out->rss_bytes)
            mi_memory_say(out, 1,
                          "this kernel does not tell zero pages, which are no memory, from pages shared since a fork");
    }
    mi_glibc_free(&survey.glibc);
    mi_native_threads_free(&survey.threads);
    mi_objects_free(&survey.objects);
    return error;
}

void mi_memory_request_add(mi_memory_request *request, mi_memory_source claim, void *context, const char *name) {
    if (request->source_count == MI_SOURCES_MOST) return;
    request->sources[request->source_count].claim = claim;
    request->sources[request->source_count].context = context;
    request->sources[request->source_count++].name = name;
}

mi_error mi_memory_take(const mi_memory_request *request, mi_memory *out) {
    mi_maps maps;
    mi_pages pages;
    memset(out, 0, sizeof *out);
    out->pid = request->pid;
    out->exact = 1;
    out->trim_bytes = out->mmapped_chunks = out->mmapped_bytes = out->mmap_threshold = MI_UNKNOWN;
    out->pss_bytes = out->uss_bytes = out->swap_bytes = out->peak_rss_bytes = MI_UNKNOWN;
    out->rss_bytes = out->rss_before = out->rss_after = MI_UNKNOWN;
    mi_error error = mi_os_maps(request->pid, &maps);
    if (error) return error;
    error = mi_pages_open(&pages, request->pid, &maps, request->plain_pagemap);
    if (!error) {
        error = survey_memory(request, &maps, &pages, out);
        mi_pages_close(&pages);
    } else if (error == MI_E_PERMISSION || error == MI_E_OS || error == MI_E_ABSENT) {
        error = mi_memory_by_smaps(request->pid, out);
        if (!error) read_rss(request->pid, out);
    }
    if (!error) read_peak(request->pid, out);
    mi_os_maps_free(&maps);
    out->painter.maps = NULL; /* the maps and pages end here; leaves and text go on */
    out->painter.pages = NULL;
    if (error) mi_memory_free(out);
    return error;
}

void mi_memory_free(mi_memory *memory) {
    mi_os_free(memory->arena_table, memory->arena_table_size);
    mi_painter_close(&memory->painter);
    memory->arena_table = NULL;
    memory->leaves = NULL;
    memory->arenas = NULL;
    memory->leaf_count = memory->arena_count = 0;
}
