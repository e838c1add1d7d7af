/* mimalloc.c - from thread states to their mimalloc heaps, segments and pages (pycore_mimalloc.h, mimalloc/types.h). */
#include "mimalloc.h"

#include <string.h>

#include "mimalloc_segment.h"

enum {
    MAX_BINS = 128,
    MAX_THREADS = 65536,
    MAX_CHUNKS = 1 << 20,
    /* struct _mem_work_chunk, private to Objects/obmalloc.c: two links, read and write index, then pairs of a pointer
     * (low bit set for an object) and the goal at which it is freed */
    WORK_READ = 16,
    WORK_WRITE = 24,
    WORK_ITEMS = 32,
    WORK_CHUNK = 254,
    /* _PyObjectStackChunk (pycore_object_stack.h): previous, count, objects */
    STACK_OBJECTS = 16,
    DEBUG_PREFIX = 16
};

/* ---- thread states ------------------------------------------------------------------------------------------------- */

typedef struct thread_words {
    uintptr_t next, ident, native_id, id;
    int32_t state;
} thread_words;

static mi_error thread_read(const mi_layout *layout, const mi_target *target, uintptr_t thread, thread_words *words) {
    mi_error error = mi_target_word(target, thread + (uintptr_t)layout->thread_next, &words->next);
    if (!error) error = mi_target_word(target, thread + (uintptr_t)layout->thread_ident, &words->ident);
    if (!error) error = mi_target_word(target, thread + (uintptr_t)layout->thread_native_id, &words->native_id);
    if (!error) error = mi_target_word(target, thread + (uintptr_t)layout->thread_merge_id, &words->id);
    if (!error) error = mi_target_read(target, thread + (uintptr_t)layout->thread_state, &words->state, 4);
    return error;
}

/* Fills the owners from the list of thread states. `noted` rows hold what was seen before the stop: a thread's state
 * then is kept, since inside the stop every thread is suspended. */
static mi_error owners_list(mi_mimalloc_walk *walk, const mi_target *target, size_t noted) {
    uintptr_t thread;
    mi_error error = mi_target_word(target, walk->interpreter + (uintptr_t)walk->layout->interpreter_threads, &thread);
    for (walk->owner_count = 0; !error && thread;) {
        thread_words words;
        if (walk->owner_count == walk->owner_capacity) return MI_E_LIMIT;
        error = thread_read(walk->layout, target, thread, &words);
        if (error) break;
        mi_mimalloc_owner *owner = &walk->owners[walk->owner_count++];
        memset(owner, 0, sizeof *owner);
        owner->address = thread;
        owner->ident = words.ident;
        owner->native_id = words.native_id;
        owner->id = words.id;
        owner->state = noted ? -1 : words.state;
        for (size_t i = 0; i < noted; i++)
            if (walk->noted[i].address == thread && walk->noted[i].native_id == words.native_id)
                owner->state = walk->noted[i].state;
        thread = words.next;
    }
    return error;
}

static size_t threads_count(const mi_mimalloc_walk *walk, const mi_target *target) {
    size_t count = 0;
    uintptr_t thread;
    mi_error error = mi_target_word(target, walk->interpreter + (uintptr_t)walk->layout->interpreter_threads, &thread);
    while (!error && thread && count < MAX_THREADS) {
        count++;
        error = mi_target_word(target, thread + (uintptr_t)walk->layout->thread_next, &thread);
    }
    return count;
}

/* ---- tables -------------------------------------------------------------------------------------------------------- */

enum { SPARE = 64 }; /* rows of the tables for what comes between their making and the stop */

static int may_hold_segments(const mi_mapping *mapping) {
    return *mapping->name != '/' && mapping->flags & MI_MAP_WRITE && !(mapping->flags & MI_MAP_SHARED);
}

/* A segment starts at a multiple of its alignment inside a private mapping, and its pages are at least a slice. */
static mi_error tables_make(mi_mimalloc_walk *walk, const mi_maps *maps, size_t owners) {
    size_t segments = SPARE, align = (size_t)walk->layout->mimalloc_segment_align;
    for (size_t i = 0; i < maps->count; i++)
        if (may_hold_segments(&maps->items[i])) segments += (maps->items[i].end - maps->items[i].start) / align + 1;
    walk->owner_capacity = owners;
    walk->segment_capacity = segments;
    walk->page_capacity = segments * (align / (size_t)walk->layout->mimalloc_slice_size);
    walk->slot_count = 64;
    while (walk->slot_count < 2 * segments) walk->slot_count *= 2;
    walk->owners = mi_os_alloc(owners * sizeof *walk->owners);
    walk->noted = mi_os_alloc(owners * sizeof *walk->noted);
    walk->segments = mi_os_alloc(walk->segment_capacity * sizeof *walk->segments);
    walk->pages = mi_os_alloc(walk->page_capacity * sizeof *walk->pages);
    walk->slots = mi_os_alloc(walk->slot_count * sizeof *walk->slots);
    walk->scratch = mi_os_alloc(MI_MIMALLOC_SCRATCH);
    if (walk->owners && walk->noted && walk->segments && walk->pages && walk->slots && walk->scratch) return MI_OK;
    mi_mimalloc_close(walk);
    return MI_E_MEMORY;
}

static mi_error layout_fits(const mi_layout *layout) {
    if (layout->thread_mimalloc == MI_ABSENT) return MI_E_ABSENT;
    return layout->mimalloc_encoded || layout->mimalloc_heap_count != MI_MIMALLOC_TAGS ? MI_E_LAYOUT : MI_OK;
}

mi_error mi_mimalloc_open(mi_mimalloc_walk *walk, const mi_layout *layout, uintptr_t interpreter) {
    memset(walk, 0, sizeof *walk);
    walk->layout = layout;
    walk->interpreter = interpreter;
    mi_error error = layout_fits(layout);
    if (error) return error;
    mi_target target;
    error = mi_target_open(&target, MI_TARGET_SELF, 0);
    if (!error) error = tables_make(walk, &target.maps, threads_count(walk, &target) + SPARE);
    /* threads come and go while the list is read: what does not match inside the stop is not used */
    if (!error) {
        owners_list(walk, &target, 0);
        memcpy(walk->noted, walk->owners, walk->owner_count * sizeof *walk->noted);
        walk->noted_count = walk->owner_count;
    }
    mi_target_close(&target);
    return error;
}

void mi_mimalloc_close(mi_mimalloc_walk *walk) {
    mi_os_free(walk->owners, walk->owner_capacity * sizeof *walk->owners);
    mi_os_free(walk->noted, walk->owner_capacity * sizeof *walk->noted);
    mi_os_free(walk->segments, walk->segment_capacity * sizeof *walk->segments);
    mi_os_free(walk->pages, walk->page_capacity * sizeof *walk->pages);
    mi_os_free(walk->slots, walk->slot_count * sizeof *walk->slots);
    mi_os_free(walk->scratch, walk->scratch ? MI_MIMALLOC_SCRATCH : 0);
    memset(walk, 0, sizeof *walk);
}

static uintptr_t segment_base(const mi_mimalloc_walk *walk, uintptr_t address) {
    return address & ~((uintptr_t)walk->layout->mimalloc_segment_align - 1);
}

/* The slot of a segment's address: its index + 1, or 0 where it is to be put. */
static uint32_t *slot_of(const mi_mimalloc_walk *walk, uintptr_t address) {
    uint64_t key = address / (uint64_t)walk->layout->mimalloc_segment_align * 0x9E3779B97F4A7C15ull;
    size_t place = (size_t)(key >> 32) & (walk->slot_count - 1);
    while (walk->slots[place] && walk->segments[walk->slots[place] - 1].address != address)
        place = (place + 1) & (walk->slot_count - 1);
    return &walk->slots[place];
}

const mi_mimalloc_page *mi_mimalloc_page_of(const mi_mimalloc_walk *walk, uintptr_t address) {
    uint32_t slot = *slot_of(walk, segment_base(walk, address));
    if (!slot) return NULL;
    const mi_mimalloc_segment *segment = &walk->segments[slot - 1];
    size_t low = segment->first_page, high = low + segment->page_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        const mi_mimalloc_page *page = &walk->pages[middle];
        if (address < page->area)
            high = middle;
        else if (address - page->area >= page->area_size)
            low = middle + 1;
        else
            return page->block_size ? page : NULL;
    }
    return NULL;
}

/* ---- segments ------------------------------------------------------------------------------------------------------ */

/* Notes a segment once and reads its pages. */
static mi_error segment_add(mi_mimalloc_walk *walk, const mi_target *target, uintptr_t address, int32_t owner,
                            mi_segment_head *head) {
    mi_error error = mi_segment_head_read(walk->layout, target, address, walk->cookie, head);
    if (error) return error == MI_E_ABSENT ? MI_E_LAYOUT : error;
    walk->cookie = head->cookie;
    if (walk->segment_count == walk->segment_capacity) return MI_E_LIMIT;
    uint32_t *slot = slot_of(walk, address);
    mi_mimalloc_segment *segment = &walk->segments[walk->segment_count++];
    memset(segment, 0, sizeof *segment);
    segment->address = address;
    segment->size = head->size;
    segment->thread = head->thread;
    segment->owner = owner;
    segment->huge = head->kind != 0;
    *slot = (uint32_t)walk->segment_count;
    error = mi_segment_pages_read(walk, target, segment, head);
    if (!error && segment->used_pages != head->used) error = MI_E_TORN;
    return error;
}

/* ---- one thread state ---------------------------------------------------------------------------------------------- */

/* Follows every page queue of one heap, and holds the number of pages against the heap's own. */
static mi_error heap_walk(mi_mimalloc_walk *walk, const mi_target *target, uintptr_t heap, int32_t owner) {
    const mi_layout *layout = walk->layout;
    unsigned char queues[MAX_BINS * 64];
    size_t stride = (size_t)layout->mimalloc_queue_size, size = stride * (size_t)layout->mimalloc_bins;
    uintptr_t stated;
    if (size > sizeof queues) return MI_E_LAYOUT;
    mi_error error = mi_target_read(target, heap + (uintptr_t)layout->mimalloc_heap_queues, queues, size);
    if (!error) error = mi_target_word(target, heap + (uintptr_t)layout->mimalloc_heap_page_count, &stated);
    uint64_t pages = 0;
    for (int32_t bin = 0; !error && bin < layout->mimalloc_bins; bin++) {
        uintptr_t page;
        memcpy(&page, queues + (size_t)bin * stride, sizeof page);
        for (; !error && page && pages <= stated; pages++) {
            uintptr_t base = segment_base(walk, page);
            mi_segment_head head;
            if (!*slot_of(walk, base)) error = segment_add(walk, target, base, owner, &head);
            if (!error) error = mi_target_word(target, page + (uintptr_t)layout->mimalloc_page_next, &page);
        }
    }
    if (!error && pages != stated) walk->miscounted++;
    return error;
}

static mi_error owner_walk(mi_mimalloc_walk *walk, const mi_target *target, int32_t index) {
    const mi_layout *layout = walk->layout;
    uintptr_t mimalloc = walk->owners[index].address + (uintptr_t)layout->thread_mimalloc;
    int32_t initialized;
    mi_error error =
        mi_target_read(target, mimalloc + (uintptr_t)layout->mimalloc_initialized, &initialized, sizeof initialized);
    walk->owners[index].initialized = !error && initialized;
    for (int32_t tag = 0; !error && initialized && tag < layout->mimalloc_heap_count; tag++) {
        uintptr_t heap = mimalloc + (uintptr_t)(layout->mimalloc_heaps + tag * layout->mimalloc_heap_size);
        error = heap_walk(walk, target, heap, index);
    }
    return error;
}

static mi_error abandoned_walk(mi_mimalloc_walk *walk, const mi_target *target) {
    const mi_layout *layout = walk->layout;
    const int32_t lists[] = {layout->interpreter_abandoned, layout->interpreter_abandoned_visited};
    mi_error error = MI_OK;
    for (size_t i = 0; !error && i < sizeof lists / sizeof *lists; i++) {
        uintptr_t address;
        error = mi_target_word(target, walk->interpreter + (uintptr_t)lists[i], &address);
        if (error) break;
        address = segment_base(walk, address); /* the pool keeps a tag in the low bits */
        while (!error && address && !*slot_of(walk, address)) {
            mi_segment_head head;
            error = segment_add(walk, target, address, MI_OWNER_ABANDONED, &head);
            address = error ? 0 : head.next;
        }
    }
    return error;
}

/* ---- what waits to be freed ---------------------------------------------------------------------------------------- */

/* Blocks that other threads freed to a heap and its thread has not collected: still in their page's `used`. */
static void delayed_blocks(mi_mimalloc_walk *walk, const mi_target *target, uintptr_t heap) {
    uintptr_t block;
    if (mi_target_word(target, heap + (uintptr_t)walk->layout->mimalloc_heap_delayed, &block)) return;
    for (uint64_t count = 0; block && count < (uint64_t)1 << 32; count++) {
        mi_mimalloc_page *page = (mi_mimalloc_page *)mi_mimalloc_page_of(walk, block);
        if (!page || page->delayed == page->used) {
            walk->lost_delayed++;
            return;
        }
        page->delayed++;
        if (mi_target_word(target, block, &block)) return;
    }
}

static void add_block(const mi_mimalloc_walk *walk, uintptr_t address, uint64_t *count, uint64_t *bytes) {
    const mi_mimalloc_page *page = mi_mimalloc_page_of(walk, address);
    ++*count;
    if (page) *bytes += page->block_size;
}

typedef struct waiting_sum {
    const mi_mimalloc_walk *walk;
    uint64_t *count, *bytes;
} waiting_sum;

static void add_waiting(void *context, uintptr_t address) {
    const waiting_sum *sum = context;
    add_block(sum->walk, address, sum->count, sum->bytes);
}

/* A queue of frees that wait until no reader can hold the pointer (QSBR; free_delayed() in Objects/obmalloc.c). */
static void delayed_frees(const mi_target *target, uintptr_t head, mi_mimalloc_waiting visit, void *context) {
    uintptr_t chunk, words[WORK_ITEMS / 8 + 2 * WORK_CHUNK];
    if (mi_target_word(target, head, &chunk)) return;
    for (int chunks = 0; chunk && chunk != head && chunks < MAX_CHUNKS; chunks++) {
        if (mi_target_read(target, chunk, words, sizeof words)) return;
        uintptr_t from = words[WORK_READ / 8], to = words[WORK_WRITE / 8];
        if (from > to || to > WORK_CHUNK) return;
        for (; from < to; from++) visit(context, words[WORK_ITEMS / 8 + 2 * from] & ~(uintptr_t)1);
        chunk = words[0];
    }
}

/* Objects of this thread that another thread dropped the last reference to (Python/brc.c): released when it runs. */
static void merge_queue(const mi_mimalloc_walk *walk, const mi_target *target, uintptr_t stack, uint64_t *count,
                        uint64_t *bytes) {
    uintptr_t chunk, words[512];
    size_t size = (size_t)walk->layout->object_stack_chunk_size;
    if (size > sizeof words || mi_target_word(target, stack, &chunk)) return;
    for (int chunks = 0; chunk && chunks < MAX_CHUNKS; chunks++) {
        if (mi_target_read(target, chunk, words, size)) return;
        uintptr_t objects = words[1];
        if (objects > (size - STACK_OBJECTS) / 8) return;
        for (uintptr_t i = 0; i < objects; i++) add_block(walk, words[STACK_OBJECTS / 8 + i], count, bytes);
        chunk = words[0];
    }
}

static void waiting_measure(mi_mimalloc_walk *walk, const mi_target *target) {
    const mi_layout *layout = walk->layout;
    for (size_t i = 0; i < walk->owner_count; i++) {
        mi_mimalloc_owner *owner = &walk->owners[i];
        uintptr_t heaps = owner->address + (uintptr_t)(layout->thread_mimalloc + layout->mimalloc_heaps);
        for (int32_t tag = 0; owner->initialized && tag < layout->mimalloc_heap_count; tag++)
            delayed_blocks(walk, target, heaps + (uintptr_t)(tag * layout->mimalloc_heap_size));
    }
    for (size_t i = 0; i < walk->owner_count; i++) {
        mi_mimalloc_owner *owner = &walk->owners[i];
        uintptr_t thread = owner->address;
        waiting_sum sum = {walk, &owner->delayed_count, &owner->delayed_bytes};
        delayed_frees(target, thread + (uintptr_t)layout->thread_delayed_frees, add_waiting, &sum);
        merge_queue(walk, target, thread + (uintptr_t)layout->thread_merge_queue, &owner->merge_count,
                    &owner->merge_bytes);
        merge_queue(walk, target, thread + (uintptr_t)layout->thread_merge_local, &owner->merge_count,
                    &owner->merge_bytes);
    }
    waiting_sum sum = {walk, &walk->delayed_count, &walk->delayed_bytes};
    delayed_frees(target, walk->interpreter + (uintptr_t)layout->interpreter_delayed_frees, add_waiting, &sum);
}

void mi_mimalloc_each_waiting(const mi_mimalloc_walk *walk, const mi_target *target, mi_mimalloc_waiting visit,
                              void *context) {
    const mi_layout *layout = walk->layout;
    for (size_t i = 0; i < walk->owner_count; i++)
        delayed_frees(target, walk->owners[i].address + (uintptr_t)layout->thread_delayed_frees, visit, context);
    delayed_frees(target, walk->interpreter + (uintptr_t)layout->interpreter_delayed_frees, visit, context);
}

void mi_mimalloc_each_delayed(const mi_mimalloc_walk *walk, const mi_target *target, mi_mimalloc_waiting visit,
                              void *context) {
    const mi_layout *layout = walk->layout;
    for (size_t i = 0; i < walk->owner_count; i++)
        for (int32_t tag = 0; walk->owners[i].initialized && tag < layout->mimalloc_heap_count; tag++) {
            uintptr_t heap = walk->owners[i].address + (uintptr_t)(layout->thread_mimalloc + layout->mimalloc_heaps +
                                                                   tag * layout->mimalloc_heap_size);
            uintptr_t block;
            if (mi_target_word(target, heap + (uintptr_t)layout->mimalloc_heap_delayed, &block)) continue;
            for (uint64_t left = (uint64_t)1 << 32; block && left; left--) {
                visit(context, block);
                if (mi_target_word(target, block, &block)) break;
            }
        }
}

/* ---- the walk ------------------------------------------------------------------------------------------------------ */

/* A page belongs to the heap of its tag of the thread that owns its segment, an abandoned one to none. */
static int page_in_place(const mi_mimalloc_walk *walk, const mi_mimalloc_page *page) {
    const mi_layout *layout = walk->layout;
    if (page->owner == MI_OWNER_ABANDONED) return !page->heap;
    return page->heap ==
           walk->owners[page->owner].address +
               (uintptr_t)(layout->thread_mimalloc + layout->mimalloc_heaps + page->tag * layout->mimalloc_heap_size);
}

mi_error mi_mimalloc_walk_stopped(mi_mimalloc_walk *walk) {
    mi_target target;
    mi_error error = mi_target_open(&target, MI_TARGET_SELF, 0);
    if (!error) error = owners_list(walk, &target, walk->noted_count);
    for (size_t i = 0; !error && i < walk->owner_count; i++) error = owner_walk(walk, &target, (int32_t)i);
    if (!error) error = abandoned_walk(walk, &target);
    if (!error) waiting_measure(walk, &target);
    for (size_t i = 0; i < walk->page_count; i++) {
        mi_mimalloc_page *page = &walk->pages[i];
        if (!page->block_size) continue;
        if (!page_in_place(walk, page) || page->delayed + page->thread_free > page->used) page->consistent = 0;
        walk->inconsistent += !page->consistent;
    }
    mi_target_close(&target);
    return error;
}

mi_error mi_mimalloc_walk_world(mi_mimalloc_walk *walk, uint64_t max_pause_ns, mi_pause *pause) {
    mi_error error = mi_world_stop((void *)walk->interpreter, pause);
    if (error) return error;
    walk->deadline_ns = pause->stopped_ns + max_pause_ns;
    error = mi_mimalloc_walk_stopped(walk);
    mi_world_start((void *)walk->interpreter, pause);
    return error;
}

static void reserve_note(mi_mimalloc_walk *walk, uintptr_t reserve) {
    for (size_t i = 0; i < walk->reserve_count; i++)
        if (walk->reserves[i] == reserve) return;
    if (reserve && walk->reserve_count < MI_MIMALLOC_RESERVES) walk->reserves[walk->reserve_count++] = reserve;
}

/* Asks every place where a segment may begin and that is not known yet. */
static mi_error places_ask(mi_mimalloc_walk *walk, const mi_target *target, mi_mimalloc_resident resident,
                           void *context) {
    uintptr_t align = (uintptr_t)walk->layout->mimalloc_segment_align;
    mi_error error = MI_OK;
    for (size_t i = 0; error != MI_E_LIMIT && i < target->maps.count; i++) {
        const mi_mapping *mapping = &target->maps.items[i];
        if (!may_hold_segments(mapping)) continue;
        uintptr_t address = (mapping->start + align - 1) & ~(align - 1);
        for (; error != MI_E_LIMIT && address >= mapping->start && address < mapping->end; address += align) {
            mi_segment_head head;
            if (*slot_of(walk, address) || (resident && !resident(context, address)) ||
                mi_segment_head_read(walk->layout, target, address, walk->cookie, &head))
                continue;
            reserve_note(walk, head.reserve);
            if (!head.used) continue; /* given back: its header stays until the memory is used anew or purged */
            error = segment_add(walk, target, address, MI_OWNER_OTHER, &head);
        }
    }
    return error == MI_E_LIMIT ? error : MI_OK; /* what is torn changed while it was read */
}

mi_error mi_mimalloc_find_others(mi_mimalloc_walk *walk) {
    mi_target target;
    mi_error error = walk->cookie ? mi_target_open(&target, MI_TARGET_COPY, 0) : MI_E_LAYOUT;
    if (error) return error;
    walk->deadline_ns = UINT64_MAX; /* nobody waits for it */
    error = places_ask(walk, &target, NULL, NULL);
    mi_target_close(&target);
    return error;
}

mi_error mi_mimalloc_scan(mi_mimalloc_walk *walk, const mi_layout *layout, const mi_target *target, uintptr_t cookie,
                          mi_mimalloc_resident resident, void *context) {
    memset(walk, 0, sizeof *walk);
    walk->layout = layout;
    walk->cookie = cookie;
    walk->deadline_ns = UINT64_MAX;
    mi_error error = layout_fits(layout);
    if (!error) error = tables_make(walk, &target->maps, 1);
    return error ? error : places_ask(walk, target, resident, context);
}

mi_error mi_mimalloc_cookie_find(const mi_layout *layout, const mi_target *target, uintptr_t first_thread,
                                 uintptr_t *cookie) {
    mi_error error = layout_fits(layout);
    uintptr_t thread = first_thread, align = (uintptr_t)layout->mimalloc_segment_align;
    for (size_t threads = 0; !error && thread && threads < MAX_THREADS; threads++) {
        uintptr_t heaps = thread + (uintptr_t)(layout->thread_mimalloc + layout->mimalloc_heaps);
        for (int32_t queue = 0; queue < layout->mimalloc_heap_count * layout->mimalloc_bins; queue++) {
            int32_t tag = queue / layout->mimalloc_bins, bin = queue % layout->mimalloc_bins;
            uintptr_t page, at = heaps + (uintptr_t)(tag * layout->mimalloc_heap_size + layout->mimalloc_heap_queues +
                                                     bin * layout->mimalloc_queue_size);
            mi_segment_head head;
            if (mi_target_word(target, at, &page) || !page ||
                mi_segment_head_read(layout, target, page & ~(align - 1), 0, &head) || !head.used)
                continue;
            *cookie = head.cookie;
            return MI_OK;
        }
        error = mi_target_word(target, thread + (uintptr_t)layout->thread_next, &thread);
    }
    return error ? error : MI_E_ABSENT;
}

/* ---- one address --------------------------------------------------------------------------------------------------- */

mi_error mi_mimalloc_locate(const mi_layout *layout, const mi_target *target, uintptr_t cookie, uintptr_t address,
                            mi_mimalloc_segment *segment, mi_mimalloc_page *page) {
    uintptr_t base = address & ~((uintptr_t)layout->mimalloc_segment_align - 1);
    uint64_t slice = (uint64_t)layout->mimalloc_slice_size, stride = (uint64_t)layout->mimalloc_page_size;
    mi_segment_head head;
    mi_error error = mi_segment_head_read(layout, target, base, cookie, &head);
    if (error == MI_E_UNMAPPED) return MI_E_ABSENT;
    if (error) return error;
    if (address - base < head.info_slices * slice || address - base >= head.size) return MI_E_ABSENT;
    mi_view view;
    error = mi_target_view(target, base, (size_t)(head.info_slices * slice), &view);
    if (error) return error;
    uintptr_t slices = base + (uintptr_t)layout->mimalloc_segment_slices;
    uintptr_t header = slices + (address - base) / slice * stride;
    uint32_t back = 0;
    error = MI_E_TORN;
    if (mi_view_has(&view, header, (size_t)stride)) {
        memcpy(&back, mi_view_at(&view, header + (uintptr_t)layout->mimalloc_page_slice_offset), sizeof back);
        if (back % stride == 0 && back <= header - slices) {
            memset(segment, 0, sizeof *segment);
            segment->address = base;
            segment->size = head.size;
            segment->thread = head.thread;
            segment->huge = head.kind != 0;
            mi_segment_page_fill(layout, &head, &view, header - back, page);
            error = page->block_size && page->consistent ? MI_OK : MI_E_ABSENT;
        }
    }
    mi_view_free(&view);
    return error;
}

mi_error mi_mimalloc_place(const mi_target *target, const mi_layout *layout, uintptr_t thread, uintptr_t address,
                           mi_block_place *place) {
    mi_mimalloc_segment segment;
    mi_mimalloc_page page;
    uintptr_t cookie = 0;
    mi_error error = mi_mimalloc_cookie_find(layout, target, thread, &cookie);
    if (!error) error = mi_mimalloc_locate(layout, target, cookie, address, &segment, &page);
    if (error) return error;
    if (address < page.first || (address - page.first) / page.block_size >= page.capacity) return MI_E_ABSENT;
    memset(place, 0, sizeof *place);
    place->index_in_pool = (uint32_t)((address - page.first) / page.block_size);
    place->block = page.first + place->index_in_pool * page.block_size;
    place->pool = page.area;
    place->arena = segment.address;
    place->used = page.used;
    place->free = page.reserved - page.used;
    place->size = (size_t)page.block_size;
    return MI_OK;
}

mi_error mi_mimalloc_verify(const mi_layout *layout, const mi_target *target, uintptr_t block, size_t size, int tag,
                            uintptr_t *cookie) {
    mi_mimalloc_segment segment;
    mi_mimalloc_page page;
    mi_segment_head head;
    if (layout->thread_mimalloc == MI_ABSENT) return MI_E_ABSENT;
    mi_error error = mi_mimalloc_locate(layout, target, 0, block, &segment, &page);
    if (!error) error = mi_segment_head_read(layout, target, segment.address, 0, &head);
    if (error) return MI_E_LAYOUT;
    /* the debug allocator's hooks (Objects/obmalloc.c: _PyMem_DebugRawAlloc) hand out what lies two words into a block */
    uint64_t offset = (block - page.first) % page.block_size;
    if (page.tag != tag || page.block_size < size || (offset && offset != DEBUG_PREFIX) || !page.used)
        return MI_E_LAYOUT;
    *cookie = head.cookie;
    return MI_OK;
}

mi_error mi_mimalloc_page_bitmap(const mi_mimalloc_walk *walk, const mi_target *target, const mi_mimalloc_page *page,
                                 uint64_t *bits) {
    mi_view view;
    for (uint32_t word = 0; word < (page->capacity + 63) / 64; word++) bits[word] = ~0ull;
    if (page->capacity % 64) bits[page->capacity / 64] = (1ull << page->capacity % 64) - 1;
    if (!page->lists[0] && !page->lists[1] && !page->lists[2]) return MI_OK;
    mi_error error = mi_segment_page_view(target, page, walk->scratch, &view);
    if (error) return error;
    for (int list = 0; list < 3; list++) {
        uint32_t length = 0;
        for (uintptr_t block = page->lists[list]; block; block = mi_load_word(&view, block)) {
            if (length++ == page->capacity || !mi_view_has(&view, block, sizeof block)) {
                error = MI_E_TORN;
                break;
            }
            uint64_t index = (block - page->first) / page->block_size;
            bits[index / 64] &= ~(1ull << index % 64);
        }
    }
    mi_view_free(&view);
    return error;
}
