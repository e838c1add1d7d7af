/* mimalloc.h - the heaps of free-threaded builds: segments, pages and blocks per thread and heap tag.
 *
 * A thread state owns four heaps (PyMem memory, objects, GC objects, GC objects with a pre-header). A heap owns pages of
 * blocks of one size; pages are cut from segments of 32 MiB in slices of 64 KiB. Of a page
 *     capacity == used + free + local_free,   live == used - thread_free - delayed
 * (internal/mimalloc/mimalloc/types.h): thread_free are blocks that other threads freed and the owner has not collected,
 * delayed those of them that wait in the heap's own list. Segments of ended threads hang off the interpreter's abandoned
 * pool. What other interpreters own, and PyMem_RawMalloc() from 3.15 on, is found by the cookie that every segment bears.
 *
 * The caller holds the world still for mi_mimalloc_walk_stopped() and lets it go before mi_mimalloc_find_others(). */
#ifndef MI_MIMALLOC_H
#define MI_MIMALLOC_H

#include "layout.h"
#include "obmalloc.h"
#include "stop_the_world.h"
#include "target.h"

enum {
    MI_MIMALLOC_TAGS = 4,
    MI_MIMALLOC_RESERVES = 128,   /* Objects/mimalloc/arena.c has room for 112 */
    MI_MIMALLOC_SCRATCH = 1 << 20 /* room for the blocks of any page that holds more than one */
};

/* One thread state of the interpreter that was walked. */
typedef struct mi_mimalloc_owner {
    uintptr_t address;
    uint64_t ident, native_id;
    uintptr_t id;  /* _Py_ThreadId(), mimalloc's name of the thread */
    int32_t state; /* before the stop: 0 detached (asleep or in C code), 1 attached, 2 suspended; -1 not seen then */
    int32_t initialized;
    uint64_t delayed_count, delayed_bytes; /* frees that wait until no reader can be left (QSBR) */
    uint64_t merge_count,
        merge_bytes; /* objects that other threads dropped, to be released by this one (merge queue) */
} mi_mimalloc_owner;

/* Owners that are no thread state. */
enum { MI_OWNER_ABANDONED = -1, MI_OWNER_OTHER = -2 };

typedef struct mi_mimalloc_segment {
    uintptr_t address;
    uint64_t size;
    uint64_t header_bytes;           /* its own structure, whole slices */
    uint64_t purge_bytes;            /* in free slices, waiting to be given back to the kernel */
    uintptr_t thread;                /* mimalloc's thread id, 0 when abandoned */
    int32_t owner;                   /* index of the owner, or MI_OWNER_... */
    uint32_t first_page, page_count; /* its records, free spans included, in order of address */
    uint32_t used_pages;
    uint32_t huge;
    uintptr_t reserve; /* where the reserve begins that it lies in, 0: none */
} mi_mimalloc_segment;

/* A page, or a span of free slices (block_size 0). */
typedef struct mi_mimalloc_page {
    uintptr_t area; /* its first slice */
    uint64_t area_size;
    uintptr_t first; /* its first block */
    uint64_t block_size;
    uintptr_t heap;     /* mi_heap_t *, 0 when abandoned */
    uintptr_t lists[3]; /* heads of free, local_free and thread_free */
    uint32_t segment;
    uint32_t capacity, reserved, used;
    uint32_t free, local_free, thread_free, delayed;
    int32_t owner;
    uint8_t tag;
    uint8_t waits;      /* empty, kept until no reader can be left (QSBR) */
    uint8_t consistent; /* the sums hold and every list stayed within the page */
    uint8_t large;      /* one block alone in its page */
} mi_mimalloc_page;

typedef struct mi_mimalloc_walk {
    const mi_layout *layout;
    uintptr_t interpreter;
    uint64_t deadline_ns;              /* of mi_os_now_ns(); beyond it the walk ends with MI_E_LIMIT */
    mi_mimalloc_owner *owners, *noted; /* noted: before the stop */
    mi_mimalloc_segment *segments;
    mi_mimalloc_page *pages;
    void *scratch;
    uint32_t *slots; /* hash table over the segments, `slot_count` entries, a power of two */
    size_t owner_capacity, segment_capacity, page_capacity, slot_count;
    /* found */
    size_t owner_count, noted_count, segment_count, page_count;
    uintptr_t cookie;                      /* address ^ cookie of every segment, 0 before the first */
    uint64_t inconsistent;                 /* pages of the stopped interpreter whose sums did not hold */
    uint64_t miscounted;                   /* heaps whose pages are not as many as mimalloc says */
    uint64_t lost_delayed;                 /* delayed blocks in no page that was walked */
    uint64_t delayed_count, delayed_bytes; /* frees of ended threads that wait (QSBR) */
    int timed_out;
    uintptr_t reserves[MI_MIMALLOC_RESERVES]; /* of segments found by mi_mimalloc_scan, those given back included */
    size_t reserve_count;
} mi_mimalloc_walk;

/* Before the stop: makes the tables, as large as what is mapped now could need, and notes which threads are asleep. */
mi_error mi_mimalloc_open(mi_mimalloc_walk *walk, const mi_layout *layout, uintptr_t interpreter);
void mi_mimalloc_close(mi_mimalloc_walk *walk);

/* Inside the stop: every thread state's heaps and the abandoned pool of walk->interpreter. MI_E_LIMIT when the time is
 * up (timed_out: the result is partial) or the process grew beyond the tables in the meantime (open them again),
 * MI_E_LAYOUT when this build encodes its lists or a segment does not bear the cookie. */
mi_error mi_mimalloc_walk_stopped(mi_mimalloc_walk *walk);
/* Stop, walk, start; the calling thread is attached to walk->interpreter. MI_E_ABSENT where it cannot be stopped. */
mi_error mi_mimalloc_walk_world(mi_mimalloc_walk *walk, uint64_t max_pause_ns, mi_pause *pause);
/* After it: what else bears the cookie, from copies, as it changes: nothing of it is exact. */
mi_error mi_mimalloc_find_others(mi_mimalloc_walk *walk);

/* Another way to all segments, of any target and without a stop: every place where a segment may begin is asked for the
 * cookie, and those found are read as they change; no owner is told. `resident` (may be NULL) says of an address whether
 * its page is worth reading. Makes the tables itself; mi_mimalloc_close gives them back. */
typedef int (*mi_mimalloc_resident)(void *context, uintptr_t address);
mi_error mi_mimalloc_scan(mi_mimalloc_walk *walk, const mi_layout *layout, const mi_target *target, uintptr_t cookie,
                          mi_mimalloc_resident resident, void *context);
/* The cookie of a target's segments, from the first heap with a page of an interpreter's thread states. MI_E_ABSENT when
 * there is none. */
mi_error mi_mimalloc_cookie_find(const mi_layout *layout, const mi_target *target, uintptr_t first_thread,
                                 uintptr_t *cookie);

/* The page that holds `address`, or NULL; free spans and segment headers are no pages. */
const mi_mimalloc_page *mi_mimalloc_page_of(const mi_mimalloc_walk *walk, uintptr_t address);

/* Where one address lies, read as it is now, without a walk. `page` gets its numbers without the lengths of its lists.
 * MI_E_ABSENT when it is in no segment: `cookie` is that of a segment known to be one. */
mi_error mi_mimalloc_locate(const mi_layout *layout, const mi_target *target, uintptr_t cookie, uintptr_t address,
                            mi_mimalloc_segment *segment, mi_mimalloc_page *page);
/* The same in the words of a pymalloc block: the page stands for the pool, the segment for the arena. `thread` is a
 * thread state that has allocated. */
mi_error mi_mimalloc_place(const mi_target *target, const mi_layout *layout, uintptr_t thread, uintptr_t address,
                           mi_block_place *place);
/* The cookie by a block that was just allocated with room for `size` bytes under a heap tag: fails with MI_E_LAYOUT
 * when the layout does not say the same of it (its tag, a block size of at least `size`, an address on a block). */
mi_error mi_mimalloc_verify(const mi_layout *layout, const mi_target *target, uintptr_t block, size_t size, int tag,
                            uintptr_t *cookie);

/* Calls `visit` for every free that waits until no reader can be left (QSBR), of all threads and of ended ones. */
typedef void (*mi_mimalloc_waiting)(void *context, uintptr_t address);
void mi_mimalloc_each_waiting(const mi_mimalloc_walk *walk, const mi_target *target, mi_mimalloc_waiting visit,
                              void *context);
/* The same for blocks that other threads freed to a heap and its thread has not collected. */
void mi_mimalloc_each_delayed(const mi_mimalloc_walk *walk, const mi_target *target, mi_mimalloc_waiting visit,
                              void *context);

/* Clears the bit of each block that is free (bit 0 is the first block), sets that of each live one; `bits` has room for
 * page->capacity bits. Only of a page walked while the world is still stopped, or by copies as it changes. */
mi_error mi_mimalloc_page_bitmap(const mi_mimalloc_walk *walk, const mi_target *target, const mi_mimalloc_page *page,
                                 uint64_t *bits);

#endif
