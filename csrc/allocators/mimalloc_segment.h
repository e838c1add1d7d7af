/* mimalloc_segment.h - one segment of mimalloc: is it one, which slices are pages, how long their free lists are.
 *
 * The geometry is that of Objects/mimalloc/segment.c. Shared by the walk of whole heaps and by the look at one address. */
#ifndef MI_MIMALLOC_SEGMENT_H
#define MI_MIMALLOC_SEGMENT_H

#include "mimalloc.h"

/* The words of a segment's own structure that tell what it is. */
typedef struct mi_segment_head {
    uintptr_t address, cookie, thread, next;
    uint64_t size, used, info_slices, entries;
    uintptr_t reserve; /* where the reserve begins that it lies in, 0 when the kernel gave it by itself */
    uint32_t kind;
} mi_segment_head;

/* Reads them without dereferencing; MI_E_ABSENT when `cookie` (unless 0) says that no segment starts there. */
mi_error mi_segment_head_read(const mi_layout *layout, const mi_target *target, uintptr_t address, uintptr_t cookie,
                              mi_segment_head *head);
/* Adds a record per page and free span to the walk, with the lengths of the free lists. `segment` is already a record
 * of the walk. MI_E_TORN when its slices do not lead to their end. */
mi_error mi_segment_pages_read(mi_mimalloc_walk *walk, const mi_target *target, mi_mimalloc_segment *segment,
                               const mi_segment_head *head);
/* The numbers of the page whose header lies at `header` inside the view. */
void mi_segment_page_fill(const mi_layout *layout, const mi_segment_head *head, const mi_view *view, uintptr_t header,
                          mi_mimalloc_page *page);
/* A view of a page's blocks, as far as free lists can lead; a copy goes to `scratch` (MI_MIMALLOC_SCRATCH bytes). */
mi_error mi_segment_page_view(const mi_target *target, const mi_mimalloc_page *page, void *scratch, mi_view *view);

static inline uintptr_t mi_load_word(const mi_view *view, uintptr_t address) {
    return *(const uintptr_t *)mi_view_at(view, address);
}

#endif
