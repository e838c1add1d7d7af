/* target.h - a process whose memory is read.
 *
 * Everything that walks is written against a target and asks it for views of ranges, a whole arena or heap at a time.
 * Three kinds exist:
 *   MI_TARGET_SELF    this process, held still by the caller (the GIL is held, or the world is stopped): a view is the
 *                     memory itself once the range is proven mapped, so nothing is copied;
 *   MI_TARGET_COPY    this process, not held still: a view is a copy made by a call that fails instead of faulting;
 *   MI_TARGET_PROCESS another process of the same build: a view is a copy as well.
 * One algorithm serves all three. A lone word at an unproven address goes through mi_target_read. */
#ifndef MI_TARGET_H
#define MI_TARGET_H

#include "os.h"

typedef enum mi_target_kind { MI_TARGET_SELF, MI_TARGET_COPY, MI_TARGET_PROCESS } mi_target_kind;

struct mi_pages;

typedef struct mi_target {
    mi_target_kind kind;
    pid_t pid;    /* 0 for this process */
    mi_maps maps; /* as of mi_target_open or the last mi_target_refresh */
    /* When set, a view that is a copy takes resident pages alone, the others read as zeros: reading them would map zero
     * pages in the target, or bring pages back from swap. */
    const struct mi_pages *pages;
    uint64_t until_ns; /* by mi_os_now_ns: when a walk stops that keeps the program waiting; 0: never */
} mi_target;

typedef struct mi_view {
    const unsigned char *bytes; /* bytes[0] is the target's byte at `address` */
    uintptr_t address;
    size_t size;
    void *copy; /* ours, when the view is a copy */
} mi_view;

mi_error mi_target_open(mi_target *target, mi_target_kind kind, pid_t pid);
mi_error mi_target_refresh(mi_target *target); /* reads the map again */
void mi_target_close(mi_target *target);

/* True when max_pause was reached. */
static inline int mi_target_is_late(const mi_target *target) {
    return target->until_ns && mi_os_now_ns() >= target->until_ns;
}

/* Copies; fails where the memory is not mapped. */
mi_error mi_target_read(const mi_target *target, uintptr_t address, void *to, size_t size);
mi_error mi_target_word(const mi_target *target, uintptr_t address, uintptr_t *word);

mi_error mi_target_view(const mi_target *target, uintptr_t address, size_t size, mi_view *view);
void mi_view_free(mi_view *view);

/* True when [address, address + size) lies inside the view. */
static inline int mi_view_has(const mi_view *view, uintptr_t address, size_t size) {
    return address >= view->address && size <= view->size && address - view->address <= view->size - size;
}
/* The view's bytes at a target address that mi_view_has accepted. */
static inline const void *mi_view_at(const mi_view *view, uintptr_t address) {
    return view->bytes + (address - view->address);
}

#endif
