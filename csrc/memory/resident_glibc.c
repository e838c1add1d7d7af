/* resident_glibc.c - glibc's heaps in the tree: each chunk's resident bytes, and what malloc_trim would give back. */
#include <stdio.h>
#include <string.h>

#include "resident_parts.h"

#define TOP_NAME "glibc malloc"
enum { CHUNK_RECORD = 48, TOP_RESERVE = 33 }; /* sizeof (struct malloc_chunk); MINSIZE + 1 */

/* ---- one heap ---------------------------------------------------------------------------------------------------------- */

/* While the chunks of one heap are visited. */
typedef struct heap_walk {
    mi_survey *survey;
    mi_malloc_arena *arena;
    int is_main;
    uint32_t live, free, tcache, top, fence; /* leaves */
    uintptr_t used_start, used_end;          /* the last chunk in use, or kept by a thread as if it were */
    uintptr_t run_start, run_end; /* free chunks in a row: malloc_trim joins fast chunks to their neighbours */
} heap_walk;

static uintptr_t page_down(uintptr_t address) { return address / mi_os_page_size() * mi_os_page_size(); }
static uintptr_t page_up(uintptr_t address) { return page_down(address + mi_os_page_size() - 1); }

static uint64_t resident(mi_survey *survey, uintptr_t start, uintptr_t end) {
    size_t hint = survey->painter->hint;
    return mi_pages_bytes(survey->painter->pages, &hint, start, end);
}

/* mtrim() of malloc.c drops the whole pages behind the first 48 bytes of a free chunk, in every arena. */
static void end_run(heap_walk *walk) {
    if (walk->run_end > walk->run_start)
        walk->arena->trim_bytes +=
            resident(walk->survey, page_up(walk->run_start + CHUNK_RECORD), page_down(walk->run_end));
    walk->run_start = walk->run_end = 0;
}

/* systrim() gives the upper whole pages of the main arena's top back by brk; other arenas keep theirs. */
static void trim_top(heap_walk *walk, uintptr_t start, uintptr_t end) {
    if (walk->run_end == start && walk->run_start)
        start = walk->run_start; /* a fast chunk below top becomes part of it */
    walk->run_start = walk->run_end = 0;
    if (!walk->is_main || end - start <= TOP_RESERVE) return;
    walk->arena->trim_bytes += resident(walk->survey, end - page_down(end - start - TOP_RESERVE), end);
}

static int visit(void *context, mi_chunk_kind kind, uintptr_t start, uintptr_t end) {
    heap_walk *walk = context;
    mi_painter *painter = walk->survey->painter;
    mi_malloc_arena *arena = walk->arena;
    uint64_t size = end - start;
    if (kind == MI_CHUNK_FREE || kind == MI_CHUNK_FAST) {
        if (walk->run_end != start) end_run(walk);
        if (!walk->run_start) walk->run_start = start;
        walk->run_end = end;
        arena->free_chunks++;
        arena->free_bytes += size;
        arena->free_resident_bytes += resident(walk->survey, start, end);
        mi_paint(painter, start, end, walk->free, 1);
        return 0;
    }
    if (kind != MI_CHUNK_TOP) end_run(walk);
    if (kind == MI_CHUNK_LIVE || kind == MI_CHUNK_TCACHE) {
        walk->used_start = start;
        walk->used_end = end;
    }
    switch (kind) {
    case MI_CHUNK_LIVE:
        arena->live_chunks++;
        arena->live_bytes += size;
        mi_paint(painter, start, end, walk->live, 1);
        break;
    case MI_CHUNK_TCACHE:
        arena->tcache_chunks++;
        arena->tcache_bytes += size;
        mi_paint(painter, start, end, walk->tcache, 1);
        break;
    case MI_CHUNK_TOP:
        arena->top_bytes += size;
        arena->below_top = walk->used_start;
        arena->below_top_bytes = walk->used_end - walk->used_start;
        arena->free_resident_bytes += resident(walk->survey, start, end);
        trim_top(walk, start, end);
        mi_paint(painter, start, end, walk->top, 1);
        break;
    case MI_CHUNK_TORN:
        arena->torn_bytes += resident(walk->survey, start, end);
        mi_paint(painter, start, end, walk->survey->unattributed, 0);
        break;
    default: mi_paint(painter, start, end, walk->fence, 0);
    }
    return 0;
}

static uint32_t leaf_of(mi_painter *painter, const char *arena, const char *part) {
    const char *path[MI_LEAF_DEPTH] = {TOP_NAME, arena, part, NULL};
    return mi_painter_leaf(painter, path);
}

/* claim->number: the arena. Its first heap begins with a heap_info and a malloc_state, the others with a heap_info. */
static void paint_heap(mi_painter *painter, const mi_claim *claim) {
    mi_survey *survey = claim->data;
    const mi_glibc *glibc = &survey->glibc;
    const char *name = painter->leaves[claim->leaf].path[1];
    uintptr_t chunks = claim->origin;
    for (size_t at = 0; at < glibc->heap_count; at++)
        if (glibc->heaps[at].start == claim->origin) chunks = glibc->heaps[at].chunks;
    heap_walk walk = {.survey = survey,
                      .arena = &survey->out->arena_table[claim->number],
                      .is_main = claim->number == 0,
                      .live = leaf_of(painter, name, "live chunks"),
                      .free = leaf_of(painter, name, "free chunks"),
                      .tcache = leaf_of(painter, name, "kept by tcache"),
                      .top = leaf_of(painter, name, "top"),
                      .fence = claim->leaf};
    mi_glibc_walk(&painter->window, glibc, chunks, claim->end, glibc->arenas[claim->number].top, visit, &walk);
    end_run(&walk);
}

/* ---- claims ------------------------------------------------------------------------------------------------------------ */

static mi_error claim_heap(mi_survey *survey, size_t arena, uintptr_t start, uintptr_t end) {
    char name[48];
    snprintf(name, sizeof name, arena ? "thread arena %zu" : "main arena", arena);
    mi_malloc_arena *record = &survey->out->arena_table[arena];
    uint32_t leaf = leaf_of(survey->painter, name, "headers");
    if (!record->address || start < record->address) record->address = start;
    record->size_bytes += end - start;
    return mi_painter_claim(
        survey->painter,
        (mi_claim){
            .start = start, .end = end, .paint = paint_heap, .leaf = leaf, .number = (uint32_t)arena, .data = survey});
}

/* [heap] as far as it is one piece; what lies before its first chunk is not malloc's (a static program's thread control
 * block and .bss come from brk too). */
static mi_error claim_main(mi_survey *survey) {
    uintptr_t start = 0, end = 0;
    for (size_t at = 0; at < survey->maps->count; at++) {
        const mi_mapping *mapping = &survey->maps->items[at];
        if (strcmp(mapping->name, "[heap]")) continue;
        if (!start) start = mapping->start;
        if (mapping->start == end || !end) end = mapping->end;
    }
    uintptr_t first = survey->glibc.sbrk_base;
    if (!start) return MI_OK;
    if (first <= start || first >= end) first = start;
    mi_error error =
        mi_painter_claim(survey->painter, (mi_claim){.start = start, .end = first, .leaf = survey->linker});
    return error ? error : claim_heap(survey, 0, first, end);
}

mi_error mi_survey_glibc(mi_survey *survey) {
    mi_memory *out = survey->out;
    mi_glibc *glibc = &survey->glibc;
    mi_error error = mi_glibc_find(&survey->painter->window, survey->maps, mi_objects_libc(&survey->objects), glibc);
    if (error) return error == MI_E_ABSENT ? MI_OK : error;
    survey->has_glibc = 1;
    out->arena_table_size = glibc->arena_count * sizeof *out->arena_table;
    out->arena_table = mi_os_alloc(out->arena_table_size);
    if (!out->arena_table) return MI_E_MEMORY;
    out->arenas = out->arena_table;
    out->arena_count = glibc->arena_count;
    error = claim_main(survey);
    for (size_t at = 0; at < glibc->heap_count && !error; at++)
        error = claim_heap(survey, glibc->heaps[at].arena, glibc->heaps[at].start, glibc->heaps[at].end);
    return error;
}

/* ---- mmapped chunks ------------------------------------------------------------------------------------------------------ */

static int all_found(const mi_survey *survey) {
    return survey->glibc.has_parameters && survey->mmapped_count >= survey->glibc.mmapped_count;
}

static void look_for_chunks(mi_painter *painter, uintptr_t start, uintptr_t end, void *context) {
    mi_survey *survey = context;
    const mi_glibc_arena *main_arena = &survey->glibc.arenas[0];
    const char *path[MI_LEAF_DEPTH] = {TOP_NAME, "mmapped chunks", NULL};
    int fresh = 1; /* at the beginning of the gap or behind a chunk: here one with an alignment may begin */
    for (uintptr_t at = page_up(start); at < end && !all_found(survey);) {
        const mi_mapping *mapping = mi_os_maps_find(survey->maps, at);
        int first = mapping && mapping->start == at;
        size_t length = mi_glibc_mmapped(&painter->window, at, end, fresh || first);
        if (length) {
            mi_claim claim = {.start = at, .end = at + length, .leaf = mi_painter_leaf(painter, path)};
            if (mi_painter_claim(painter, claim)) return;
            survey->mmapped_count++;
            survey->mmapped_bytes += length;
            at += length;
            fresh = 1;
            continue;
        }
        if (first && survey->out->arena_table[0].size_bytes < main_arena->system_size &&
            mi_glibc_is_segment(&painter->window, at, mapping->end, main_arena->top)) {
            if (claim_heap(survey, 0, at, mapping->end)) return; /* brk was blocked, malloc went on with mmap */
            at = mapping->end;
            continue;
        }
        fresh = 0;
        size_t run = mi_pages_seek(painter->pages, &painter->hint, at + mi_os_page_size());
        if (run >= painter->pages->count) return;
        at += mi_os_page_size();
        if (painter->pages->runs[run].start > at)
            at = painter->pages->runs[run].start; /* only resident pages are read */
    }
}

mi_error mi_survey_mmapped(mi_survey *survey) {
    if (survey->has_glibc) mi_survey_gaps(survey, look_for_chunks, survey);
    return MI_OK;
}

void mi_survey_glibc_end(mi_survey *survey) {
    mi_memory *out = survey->out;
    char text[160];
    uint64_t torn = 0;
    if (!survey->has_glibc) return;
    out->trim_bytes = 0;
    for (size_t at = 0; at < out->arena_count; at++) {
        out->trim_bytes += (int64_t)out->arena_table[at].trim_bytes;
        torn += out->arena_table[at].torn_bytes;
    }
    out->mmapped_chunks = (int64_t)survey->mmapped_count;
    out->mmapped_bytes = (int64_t)survey->mmapped_bytes;
    if (survey->glibc.has_parameters) out->mmap_threshold = (int64_t)survey->glibc.mmap_threshold;
    if (torn) {
        snprintf(text, sizeof text, "%llu bytes of glibc's heaps changed while they were read or are no chunks",
                 (unsigned long long)torn);
        mi_memory_say(out, 1, text);
    }
    if (!survey->glibc.complete) mi_memory_say(out, 1, "the list of glibc's arenas could not be followed to its end");
    uint64_t walked = out->arena_table[0].size_bytes, system = survey->glibc.arenas[0].system_size;
    if (walked + ((uint64_t)1 << 20) < system) {
        snprintf(text, sizeof text, "%llu bytes of glibc's main arena lie outside [heap] and were not found",
                 (unsigned long long)(system - walked));
        mi_memory_say(out, 1, text);
    }
    if (survey->glibc.has_parameters && survey->mmapped_count < survey->glibc.mmapped_count) {
        snprintf(text, sizeof text, "%llu of glibc's %llu mmapped chunks were found",
                 (unsigned long long)survey->mmapped_count, (unsigned long long)survey->glibc.mmapped_count);
        mi_memory_say(out, 1, text);
    }
}
