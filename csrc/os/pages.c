/* pages.c - runs of resident pages, and a window that reads only them. */
#include "pages.h"

#include <string.h>

#define WINDOW_MOST ((size_t)1 << 18) /* more would not stay in the cache, nor cost fewer calls to speak of */
#define ENTRIES 4096                  /* of pagemap, read at a time */

/* ---- the table ---------------------------------------------------------------------------------------------------- */

static mi_error make_room(mi_pages *pages, size_t runs) {
    if (runs <= pages->capacity) return MI_OK;
    size_t capacity = runs + runs / 4 + 1024;
    mi_page_run *grown = mi_os_realloc(pages->runs, pages->capacity * sizeof *grown, capacity * sizeof *grown);
    if (!grown) return MI_E_MEMORY;
    pages->runs = grown;
    uint64_t *sums = mi_os_realloc(pages->sums, (pages->capacity + 1) * sizeof *sums, (capacity + 1) * sizeof *sums);
    if (!sums) return MI_E_MEMORY;
    pages->sums = sums;
    pages->capacity = capacity;
    return MI_OK;
}

static mi_error add_page(mi_pages *pages, uintptr_t start, uint64_t categories) {
    mi_page_run *last = pages->count ? &pages->runs[pages->count - 1] : NULL;
    if (last && last->end == start && last->categories == categories) {
        last->end += mi_os_page_size();
        return MI_OK;
    }
    mi_error error = make_room(pages, pages->count + 1);
    if (error) return error;
    pages->runs[pages->count++] = (mi_page_run){start, start + mi_os_page_size(), categories};
    return MI_OK;
}

/* ---- the two ways to read ------------------------------------------------------------------------------------------ */

static mi_error read_by_scan(mi_pages *pages, uintptr_t end) {
    uintptr_t at = 0;
    pages->count = 0;
    pages->zero_bytes = 0;
    while (at < end) {
        size_t got = 0;
        mi_error error = make_room(pages, pages->count + 64);
        if (!error)
            error = mi_os_page_runs(pages->pagemap, at, end, pages->runs + pages->count, pages->capacity - pages->count,
                                    &got, &at);
        if (error) return error;
        size_t kept = pages->count;
        for (size_t run = pages->count; run < pages->count + got; run++) {
            if (pages->runs[run].categories & MI_RUN_ZERO)
                pages->zero_bytes += pages->runs[run].end - pages->runs[run].start;
            else
                pages->runs[kept++] = pages->runs[run];
        }
        pages->count = kept;
    }
    return MI_OK;
}

/* A huge zero page shows as a file page in private anonymous memory; a small one looks like a page that is shared since
 * a fork (admin-guide/mm/pagemap.rst). Device mappings ([vvar]) show pages that are no memory of the process. */
static mi_error read_entries(mi_pages *pages, const mi_maps *maps) {
    size_t page = mi_os_page_size();
    uint64_t entries[ENTRIES];
    pages->count = 0;
    pages->zero_bytes = pages->doubtful_bytes = 0;
    for (size_t item = 0; item < maps->count; item++) {
        const mi_mapping *mapping = &maps->items[item];
        int private_anonymous = !mapping->inode && !(mapping->flags & MI_MAP_SHARED) && mapping->name[0] != '/';
        if (!strncmp(mapping->name, "[vvar", 5) || !strcmp(mapping->name, "[vsyscall]")) continue;
        for (uintptr_t at = mapping->start; at < mapping->end; at += ENTRIES * page) {
            size_t count = (mapping->end - at) / page < ENTRIES ? (mapping->end - at) / page : ENTRIES;
            mi_error error = mi_os_pagemap_read(pages->pagemap, at, entries, count);
            for (size_t entry = 0; entry < count && !error; entry++) {
                uint64_t bits = entries[entry];
                if (!(bits & MI_PAGE_PRESENT)) continue;
                int file = (bits & MI_PAGE_FILE_OR_SHARED) != 0;
                if (private_anonymous && file && strcmp(mapping->name, "[vdso]")) {
                    pages->zero_bytes += page;
                    continue;
                }
                if (private_anonymous && !file && !(bits & MI_PAGE_EXCLUSIVE)) pages->doubtful_bytes += page;
                error = add_page(pages, at + entry * page, MI_RUN_PRESENT | (file ? MI_RUN_FILE : 0u));
            }
            if (error) return error;
        }
    }
    return MI_OK;
}

static mi_error read_pages(mi_pages *pages, const mi_maps *maps) {
    uintptr_t end = 0;
    for (size_t item = 0; item < maps->count; item++) /* [vsyscall] lies in the kernel's half */
        if (strcmp(maps->items[item].name, "[vsyscall]")) end = maps->items[item].end;
    if (pages->scanned) {
        mi_error error = read_by_scan(pages, end);
        if (error != MI_E_ABSENT) return error;
        pages->scanned = 0;
    }
    return read_entries(pages, maps);
}

mi_error mi_pages_read(mi_pages *pages, const mi_maps *maps) {
    mi_error error = read_pages(pages, maps);
    if (error) return error;
    uint64_t sum = 0;
    for (size_t run = 0; run < pages->count; run++) {
        pages->sums[run] = sum;
        sum += pages->runs[run].end - pages->runs[run].start;
    }
    pages->sums[pages->count] = sum;
    return MI_OK;
}

mi_error mi_pages_open(mi_pages *pages, pid_t pid, const mi_maps *maps, int plain) {
    mi_error error;
    memset(pages, 0, sizeof *pages);
    pages->pid = pid;
    pages->scanned = !plain;
    pages->pagemap = mi_os_pagemap_open(pid, &error);
    if (pages->pagemap < 0) return error;
    error = make_room(pages, 4096);
    if (!error) error = mi_pages_read(pages, maps);
    if (!error) error = make_room(pages, pages->count + pages->count / 16 + 1024);
    if (error) {
        mi_pages_close(pages);
        return error;
    }
    memset(pages->runs + pages->count, 0, (pages->capacity - pages->count) * sizeof *pages->runs);
    memset(pages->sums + pages->count, 0, (pages->capacity + 1 - pages->count) * sizeof *pages->sums);
    return MI_OK;
}

void mi_pages_close(mi_pages *pages) {
    mi_os_free(pages->runs, pages->capacity * sizeof *pages->runs);
    mi_os_free(pages->sums, (pages->capacity + 1) * sizeof *pages->sums);
    if (pages->pagemap > 0) mi_os_close(pages->pagemap);
    memset(pages, 0, sizeof *pages);
}

/* ---- questions ------------------------------------------------------------------------------------------------------ */

size_t mi_pages_seek(const mi_pages *pages, size_t *hint, uintptr_t address) {
    size_t at = *hint;
    if (at <= pages->count && (!at || pages->runs[at - 1].end <= address)) {
        for (int step = 0; step < 8; step++, at++)
            if (at >= pages->count || pages->runs[at].end > address) return *hint = at;
    }
    size_t low = 0, high = pages->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (pages->runs[middle].end <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return *hint = low;
}

/* Resident bytes below `address`. */
static uint64_t below(const mi_pages *pages, size_t *hint, uintptr_t address) {
    size_t at = mi_pages_seek(pages, hint, address);
    uint64_t sum = pages->sums[at];
    if (at < pages->count && pages->runs[at].start < address) sum += address - pages->runs[at].start;
    return sum;
}

uint64_t mi_pages_bytes(const mi_pages *pages, size_t *hint, uintptr_t start, uintptr_t end) {
    if (end <= start) return 0;
    uint64_t before = below(pages, hint, start);
    return below(pages, hint, end) - before;
}

/* ---- the window ------------------------------------------------------------------------------------------------------ */

mi_error mi_window_open(mi_window *window, const mi_pages *pages, mi_steady steady) {
    memset(window, 0, sizeof *window);
    window->pages = pages;
    window->steady = steady;
    window->bytes = mi_os_alloc(WINDOW_MOST);
    return window->bytes ? MI_OK : MI_E_MEMORY;
}

void mi_window_close(mi_window *window) {
    mi_os_free(window->bytes, WINDOW_MOST);
    memset(window, 0, sizeof *window);
}

const void *mi_window_at(mi_window *window, uintptr_t address, size_t size) {
    const void *there = mi_steady_at(&window->steady, address, size);
    if (there) return there;
    if (address >= window->start && address - window->start + size <= window->size)
        return window->bytes + (address - window->start);
    mi_hold_is_over(window->hold);
    size_t page = mi_os_page_size();
    uintptr_t start = address / page * page;
    size_t at = mi_pages_seek(window->pages, &window->hint, address);
    if (at >= window->pages->count || window->pages->runs[at].start > address) return NULL;
    int sequential = start + 4 * page >= window->start && start <= window->start + window->size + 4 * page;
    window->ahead = sequential && window->ahead ? window->ahead * 2 : page;
    if (window->ahead > WINDOW_MOST) window->ahead = WINDOW_MOST;
    /* with the page before: who looks at what follows a chunk comes back to the chunk */
    window->start = window->ahead > page && start > window->pages->runs[at].start ? start - page : start;
    size_t left = window->pages->runs[at].end - window->start;
    window->size = left < window->ahead ? left : window->ahead;
    if (!mi_os_read(window->pages->pid, window->start, window->bytes, window->size))
        return window->bytes + (address - window->start);
    window->start = start; /* something around it was unmapped since: the page alone */
    window->size = page;
    if (!mi_os_read(window->pages->pid, start, window->bytes, page)) return window->bytes + (address - start);
    window->size = 0;
    return NULL;
}

uintptr_t mi_window_word(mi_window *window, uintptr_t address) {
    const void *at = address % sizeof(uintptr_t) ? NULL : mi_window_at(window, address, sizeof(uintptr_t));
    uintptr_t word = 0;
    if (at) memcpy(&word, at, sizeof word);
    return word;
}

/* ---- pages in no order ----------------------------------------------------------------------------------------------- */

enum { COPIES = 32 };
struct mi_page_copies {
    pid_t pid;
    mi_steady steady;
    size_t page;
    uintptr_t starts[COPIES]; /* 0: none */
    unsigned char bytes[];
};

static size_t copies_size(void) { return sizeof(mi_page_copies) + COPIES * mi_os_page_size(); }

mi_page_copies *mi_page_copies_open(pid_t pid, mi_steady steady) {
    mi_page_copies *copies = mi_os_alloc(copies_size());
    if (!copies) return NULL;
    copies->pid = pid;
    copies->steady = steady;
    copies->page = mi_os_page_size();
    return copies;
}

void mi_page_copies_close(mi_page_copies *copies) { mi_os_free(copies, copies_size()); }

/* The copy of the page that begins at `start`, or NULL. */
static const unsigned char *copy_of(mi_page_copies *copies, uintptr_t start) {
    size_t place = (size_t)(start / copies->page) % COPIES;
    unsigned char *bytes = copies->bytes + place * copies->page;
    if (copies->starts[place] == start && start) return bytes;
    copies->starts[place] = 0;
    if (mi_os_read(copies->pid, start, bytes, copies->page)) return NULL;
    copies->starts[place] = start;
    return bytes;
}

int mi_page_copies_read(mi_page_copies *copies, uintptr_t address, void *to, size_t size) {
    unsigned char *at = to;
    const void *there = mi_steady_at(&copies->steady, address, size);
    if (there) {
        memcpy(to, there, size);
        return 1;
    }
    while (size) {
        size_t inside = (size_t)(address % copies->page), part = copies->page - inside;
        if (part > size) part = size;
        const unsigned char *bytes = copy_of(copies, address - inside);
        if (!bytes) return 0;
        memcpy(at, bytes + inside, part);
        at += part;
        address += part;
        size -= part;
    }
    return 1;
}
