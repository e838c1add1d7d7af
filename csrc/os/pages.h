/* pages.h - which pages of a process are resident at one moment, and reading only those.
 *
 * The pages are kept as runs in ascending order, whatever the kernel gave them as (PAGEMAP_SCAN, or the entries of
 * pagemap). Zero pages are left out: they are present but no memory, and Rss does not count them. The window reads a
 * target through mi_os_read and only what was resident, because touching another page would map it. */
#ifndef MI_PAGES_H
#define MI_PAGES_H

#include "ceiling.h"

typedef struct mi_pages {
    mi_page_run *runs;
    uint64_t *sums; /* sums[i]: bytes in the runs before runs[i]; one more than there are runs */
    size_t count, capacity;
    int scanned;             /* by PAGEMAP_SCAN, which tells zero pages */
    uint64_t zero_bytes;     /* present zero pages, left out */
    uint64_t doubtful_bytes; /* without PAGEMAP_SCAN: private pages that are a zero page or shared since a fork */
    pid_t pid;
    int pagemap;
} mi_pages;

/* Opens the page map and reads it once, so that the tables have their size and are resident themselves before the
 * reading that counts. `plain` asks for pagemap's entries even where the kernel has PAGEMAP_SCAN. */
mi_error mi_pages_open(mi_pages *pages, pid_t pid, const mi_maps *maps, int plain);
/* Reads the page map: this is the moment. */
mi_error mi_pages_read(mi_pages *pages, const mi_maps *maps);
void mi_pages_close(mi_pages *pages);

/* Resident bytes in [start, end). *hint is where the last search ended: ascending questions cost no search. */
uint64_t mi_pages_bytes(const mi_pages *pages, size_t *hint, uintptr_t start, uintptr_t end);
/* The first run that ends behind `address`, or pages->count. */
size_t mi_pages_seek(const mi_pages *pages, size_t *hint, uintptr_t address);

/* Memory that neither changes nor goes while it is looked at: it is read where it lies. No bytes: there is none. */
typedef struct mi_steady {
    uintptr_t start;
    size_t size;
} mi_steady;
static inline const void *mi_steady_at(const mi_steady *steady, uintptr_t address, size_t size) {
    return size <= steady->size && address - steady->start <= steady->size - size ? (const void *)address : NULL;
}

typedef struct mi_window {
    const mi_pages *pages;
    mi_steady steady;
    unsigned char *bytes;
    uintptr_t start;
    size_t size;  /* bytes that are valid */
    size_t ahead; /* how much the next read takes: grows while the reading is sequential */
    size_t hint;
    mi_hold *hold; /* asked at each read; may be NULL */
} mi_window;

mi_error mi_window_open(mi_window *window, const mi_pages *pages, mi_steady steady);
void mi_window_close(mi_window *window);
/* A copy of `size` bytes at `address`, which must not cross a page, or these bytes themselves; NULL when the page was not
 * resident or cannot be read. Valid until the next call. */
const void *mi_window_at(mi_window *window, uintptr_t address, size_t size);
/* A word, 0 where it cannot be read. */
uintptr_t mi_window_word(mi_window *window, uintptr_t address);

/* Copies of pages that were read last, in no order: for small pieces here and there, of which many lie in one page. */
typedef struct mi_page_copies mi_page_copies;
mi_page_copies *mi_page_copies_open(pid_t pid, mi_steady steady); /* NULL: no memory */
void mi_page_copies_close(mi_page_copies *copies);
/* False where a page cannot be read. */
int mi_page_copies_read(mi_page_copies *copies, uintptr_t address, void *to, size_t size);

#endif
