/* target.c - views of a target's memory: the memory itself, or copies of it. */
#include "target.h"

#include <string.h>

#include "pages.h"

mi_error mi_target_open(mi_target *target, mi_target_kind kind, pid_t pid) {
    memset(target, 0, sizeof *target);
    target->kind = kind;
    target->pid = kind == MI_TARGET_PROCESS ? pid : 0;
    return mi_os_maps(target->pid, &target->maps);
}

mi_error mi_target_refresh(mi_target *target) {
    mi_maps fresh;
    mi_error error = mi_os_maps(target->pid, &fresh);
    if (error) return error;
    mi_os_maps_free(&target->maps);
    target->maps = fresh;
    return MI_OK;
}

void mi_target_close(mi_target *target) {
    mi_os_maps_free(&target->maps);
    memset(target, 0, sizeof *target);
}

mi_error mi_target_read(const mi_target *target, uintptr_t address, void *to, size_t size) {
    return mi_os_read(target->pid, address, to, size);
}

mi_error mi_target_word(const mi_target *target, uintptr_t address, uintptr_t *word) {
    return mi_target_read(target, address, word, sizeof *word);
}

/* Copies the resident parts of a range into zeroed memory. */
static mi_error read_resident(const mi_target *target, uintptr_t address, unsigned char *to, size_t size) {
    const mi_pages *pages = target->pages;
    uintptr_t end = address + size;
    size_t hint = 0, run = mi_pages_seek(pages, &hint, address);
    for (; run < pages->count && pages->runs[run].start < end; run++) {
        uintptr_t from = pages->runs[run].start > address ? pages->runs[run].start : address;
        uintptr_t until = pages->runs[run].end < end ? pages->runs[run].end : end;
        mi_error error = mi_target_read(target, from, to + (from - address), until - from);
        if (error) return error;
    }
    return MI_OK;
}

mi_error mi_target_view(const mi_target *target, uintptr_t address, size_t size, mi_view *view) {
    memset(view, 0, sizeof *view);
    view->address = address;
    view->size = size;
    if (target->kind == MI_TARGET_SELF) {
        if (!mi_os_maps_covers(&target->maps, address, size)) return MI_E_UNMAPPED;
        view->bytes = (const unsigned char *)address;
        return MI_OK;
    }
    view->copy = mi_os_alloc(size);
    if (!view->copy) return MI_E_MEMORY;
    mi_error error = target->pages ? read_resident(target, address, view->copy, size)
                                   : mi_target_read(target, address, view->copy, size);
    if (error) {
        mi_view_free(view);
        return error;
    }
    view->bytes = view->copy;
    return MI_OK;
}

void mi_view_free(mi_view *view) {
    mi_os_free(view->copy, view->size);
    memset(view, 0, sizeof *view);
}
