/* glibc_heap.c - finding glibc's arenas without symbols, and walking their chunks. */
#include "glibc_heap.h"

#include <string.h>

#include "sort.h"

#define IMAGE_MOST ((size_t)32 << 20)
#define FAST_MOST ((size_t)1 << 22)
#define RESYNC_CHUNKS 8

/* Members of malloc_state behind the bins: bins[254], binmap[4], next, next_free, attached_threads, system_mem,
 * max_system_mem; before them: top and last_remainder, and before those the ten fast bins where there are any. */
enum { BIN_SLOTS = 127, AT_NEXT = 2048, AT_SYSTEM = 2072, AT_MAX_SYSTEM = 2080, AT_END = 2088 };
enum { BEFORE_TOP = 16, BEFORE_FAST = 96, FAST_BINS = 10, STATE_BEFORE_BINS_MOST = 256 };
enum { PREV_INUSE = 1, IS_MMAPPED = 2, FLAGS = 7, CHUNK_LEAST = 32, FENCE_SIZE = 16 };

/* libc's writable data and .bss, copied: what is searched. */
typedef struct image {
    unsigned char *bytes;
    uintptr_t start;
    size_t size;
} image;

static uintptr_t word_in(const image *in, uintptr_t address) {
    uintptr_t word = 0;
    if (address >= in->start && address - in->start + sizeof word <= in->size && !(address % sizeof word))
        memcpy(&word, in->bytes + (address - in->start), sizeof word);
    return word;
}

static uint32_t half_in(const image *in, uintptr_t address) {
    uintptr_t word = word_in(in, address / 8 * 8);
    return (uint32_t)(address % 8 ? word >> 32 : word);
}

static mi_error image_open(mi_window *window, const mi_maps *maps, const mi_object *object, image *out) {
    uintptr_t start = 0, end = object->bss_end > object->bss_start ? object->bss_end : 0;
    size_t page = mi_os_page_size();
    for (size_t at = 0; at < maps->count; at++) {
        const mi_mapping *mapping = &maps->items[at];
        if (mapping->inode != object->inode || mapping->device != object->device || !(mapping->flags & MI_MAP_WRITE))
            continue;
        if (!start) start = mapping->start;
        if (mapping->end > end) end = mapping->end;
    }
    memset(out, 0, sizeof *out);
    if (!start || end - start > IMAGE_MOST) return MI_E_ABSENT;
    out->start = start;
    out->size = end - start;
    out->bytes = mi_os_alloc(out->size);
    if (!out->bytes) return MI_E_MEMORY;
    for (uintptr_t at = start; at < end; at += page) {
        const void *bytes = mi_window_at(window, at, page);
        if (bytes) memcpy(out->bytes + (at - start), bytes, page);
    }
    return MI_OK;
}

/* ---- main_arena --------------------------------------------------------------------------------------------------------- */

static int is_empty_bin(const image *in, uintptr_t slot) {
    return word_in(in, slot) == slot - 16 && word_in(in, slot + 8) == slot - 16;
}

/* Whether malloc_state.bins lies here. */
static int are_bins(const image *in, uintptr_t bins) {
    size_t page = mi_os_page_size();
    uintptr_t top = word_in(in, bins - BEFORE_TOP), next = word_in(in, bins + AT_NEXT);
    uintptr_t system = word_in(in, bins + AT_SYSTEM), most = word_in(in, bins + AT_MAX_SYSTEM);
    if (!top || top % 16 || !next || next % 8 || !system || system % page || most < system || most % page) return 0;
    for (uintptr_t slot = bins; slot < bins + 16 * BIN_SLOTS; slot += 16) {
        uintptr_t first = word_in(in, slot), last = word_in(in, slot + 8);
        if (!first || !last || first % 8 || last % 8) return 0;
    }
    return 1;
}

static uintptr_t find_main_bins(const image *in) {
    for (uintptr_t slot = in->start; slot + AT_END < in->start + in->size; slot += 8) {
        if (!is_empty_bin(in, slot)) continue;
        for (uintptr_t back = 0; back < BIN_SLOTS; back++)
            if (slot - 16 * back >= in->start + BEFORE_TOP && are_bins(in, slot - 16 * back)) return slot - 16 * back;
    }
    return 0;
}

/* ---- other arenas --------------------------------------------------------------------------------------------------------- */

/* Where the bins of the malloc_state at `state` are, 0 when it is none. */
static uintptr_t find_bins(mi_window *window, uintptr_t state) {
    unsigned char copy[STATE_BEFORE_BINS_MOST + AT_END];
    image in = {copy, state, sizeof copy};
    for (size_t at = 0; at < sizeof copy; at += sizeof(uintptr_t)) {
        uintptr_t word = mi_window_word(window, state + at);
        memcpy(copy + at, &word, sizeof word);
    }
    for (uintptr_t bins = state + BEFORE_TOP; bins < state + STATE_BEFORE_BINS_MOST; bins += 8)
        if (are_bins(&in, bins)) return bins;
    return 0;
}

/* HEAP_MAX_SIZE is 64 MiB, more with huge pages (glibc.malloc.hugetlb): the aligned heap_info names its arena. */
static uintptr_t find_heap_size(mi_window *window, uintptr_t state) {
    static const uintptr_t tried[] = {64, 32, 128, 256, 512, 1024, 2048, 4096, 16, 8, 4, 2, 1};
    for (size_t at = 0; at < sizeof tried / sizeof *tried; at++) {
        uintptr_t size = tried[at] << 20, heap = state & ~(size - 1);
        if (state - heap <= 128 && mi_window_word(window, heap) == state) return size;
    }
    return 0;
}

static void add_heaps(mi_window *window, mi_glibc *glibc, uintptr_t state, uintptr_t bins, size_t arena) {
    uintptr_t most = find_heap_size(window, state), top = glibc->arenas[arena].top;
    if (!most) {
        glibc->complete = 0;
        return;
    }
    uintptr_t first = state & ~(most - 1), heap = top & ~(most - 1);
    while (heap) {
        uintptr_t size = mi_window_word(window, heap + 16);
        if (mi_window_word(window, heap) != state || !size || size > most || glibc->heap_count == MI_GLIBC_HEAPS_MOST) {
            glibc->complete = 0;
            return;
        }
        /* the first heap holds malloc_state behind heap_info; chunks begin at the next multiple of 16 */
        uintptr_t chunks = heap == first ? (bins + AT_END + 15) / 16 * 16 : heap + (state - first);
        glibc->heaps[glibc->heap_count++] = (mi_glibc_heap){heap, heap + size, chunks, arena};
        heap = mi_window_word(window, heap + 8);
    }
}

/* Follows the circle of arenas from the main one; returns malloc_state's address of the main one, which closes it. */
static uintptr_t add_arenas(mi_window *window, mi_glibc *glibc) {
    uintptr_t main_bins = glibc->arenas[0].bins;
    uintptr_t state = mi_window_word(window, main_bins + AT_NEXT);
    while (state && !(state <= main_bins && main_bins - state <= STATE_BEFORE_BINS_MOST)) {
        uintptr_t bins = find_bins(window, state);
        if (!bins || glibc->arena_count == MI_GLIBC_ARENAS_MOST) break;
        size_t arena = glibc->arena_count++;
        glibc->arenas[arena] = (mi_glibc_arena){bins, mi_window_word(window, bins - BEFORE_TOP),
                                                (size_t)mi_window_word(window, bins + AT_SYSTEM)};
        add_heaps(window, glibc, state, bins, arena);
        state = mi_window_word(window, bins + AT_NEXT);
    }
    if (state && state <= main_bins && main_bins - state <= STATE_BEFORE_BINS_MOST) return state;
    glibc->complete = 0;
    return 0;
}

/* ---- fast bins -------------------------------------------------------------------------------------------------------------- */

static int add_fast(mi_glibc *glibc, uintptr_t chunk) {
    if (glibc->fast_count == glibc->fast_capacity || !glibc->fast) {
        size_t capacity = glibc->fast ? glibc->fast_capacity * 2 : 4096;
        if (capacity > FAST_MOST) return 0;
        void *grown =
            mi_os_realloc(glibc->fast, glibc->fast_capacity * sizeof *glibc->fast, capacity * sizeof *glibc->fast);
        if (!grown) return 0;
        glibc->fast = grown;
        glibc->fast_capacity = capacity;
    }
    glibc->fast[glibc->fast_count++] = chunk;
    return 1;
}

/* Links are mangled with the place that they stand in (PROTECT_PTR, since 2.32). */
static void collect_fast(mi_window *window, mi_glibc *glibc) {
    for (size_t arena = 0; arena < glibc->arena_count; arena++) {
        for (uintptr_t bin = 0; bin < FAST_BINS; bin++) {
            uintptr_t chunk = mi_window_word(window, glibc->arenas[arena].bins - BEFORE_FAST + 8 * bin);
            for (size_t bound = 0; chunk && !(chunk % 16) && bound < FAST_MOST; bound++) {
                uintptr_t link = chunk + 16, size = mi_window_word(window, chunk + 8) & ~(uintptr_t)FLAGS;
                if (size != CHUNK_LEAST + 16 * bin || !add_fast(glibc, chunk)) break;
                chunk = mi_window_word(window, link) ^ (link >> 12);
            }
        }
    }
    mi_sort(glibc->fast, glibc->fast_count, sizeof *glibc->fast);
    size_t kept = 0; /* a list that changed under us may have been followed in a circle */
    for (size_t at = 0; at < glibc->fast_count; at++)
        if (!kept || glibc->fast[kept - 1] != glibc->fast[at]) glibc->fast[kept++] = glibc->fast[at];
    glibc->fast_count = kept;
}

static int is_among(const uintptr_t *ascending, size_t count, uintptr_t word) {
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ascending[middle] < word)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && ascending[low] == word;
}

/* ---- tcache_key and mp_ --------------------------------------------------------------------------------------------------- */

/* tcache_key is a random word of libc's data; a chunk in tcache repeats it as its second user word. Mangled pointers are
 * as random and do no harm: no chunk repeats them. */
static void collect_keys(const image *in, const mi_maps *maps, mi_glibc *glibc) {
    for (uintptr_t at = in->start; at < in->start + in->size && glibc->key_count < MI_GLIBC_KEYS_MOST; at += 8) {
        uintptr_t word = word_in(in, at);
        int ones = 0;
        for (uintptr_t bits = word; bits; bits &= bits - 1) ones++;
        if (ones >= 12 && ones <= 52 && word >> 48 && word >> 48 != 0xffff && !mi_os_maps_find(maps, word))
            glibc->keys[glibc->key_count++] = word;
    }
    mi_sort(glibc->keys, glibc->key_count, sizeof *glibc->keys);
}

/* mp_: ..., n_mmaps, n_mmaps_max, max_n_mmaps, no_dyn_threshold, mmapped_mem, max_mmapped_mem, sbrk_base; it begins with
 * trim_threshold, top_pad, mmap_threshold, arena_test (8 on 64 bits), arena_max. */
static void find_parameters(const image *in, const mi_maps *maps, mi_glibc *glibc) {
    const mi_mapping *heap = NULL;
    size_t page = mi_os_page_size();
    for (size_t at = 0; at < maps->count && !heap; at++)
        if (!strcmp(maps->items[at].name, "[heap]")) heap = &maps->items[at];
    for (uintptr_t base = in->start + 160; heap && base < in->start + in->size; base += 8) {
        uintptr_t first = word_in(in, base), now = word_in(in, base - 16), most = word_in(in, base - 8);
        if (first < heap->start || first > heap->start + 65536 || first >= heap->end) continue;
        uint32_t count = half_in(in, base - 36), bound = half_in(in, base - 32), peak = half_in(in, base - 28);
        if (most < now || now % page || most % page || count > peak || (!count != !now) || !bound) continue;
        for (uintptr_t back = 56; back <= 144; back += 8) {
            uintptr_t threshold = word_in(in, base - back), pad = word_in(in, base - back - 8);
            if (word_in(in, base - back + 8) != 8 || !threshold || pad % page || threshold >> 40) continue;
            glibc->has_parameters = 1;
            glibc->mmap_threshold = (size_t)threshold;
            glibc->mmapped_count = count;
            glibc->mmapped_bytes = (size_t)now;
            glibc->sbrk_base = first;
            return;
        }
    }
}

/* ---- the door --------------------------------------------------------------------------------------------------------------- */

mi_error mi_glibc_find(mi_window *window, const mi_maps *maps, const mi_object *libc, mi_glibc *glibc) {
    image in;
    memset(glibc, 0, sizeof *glibc);
    if (!libc) return MI_E_ABSENT;
    mi_error error = image_open(window, maps, libc, &in);
    if (error) return error;
    uintptr_t bins = find_main_bins(&in);
    if (bins) {
        glibc->arenas = mi_os_alloc(MI_GLIBC_ARENAS_MOST * sizeof *glibc->arenas);
        glibc->heaps = mi_os_alloc(MI_GLIBC_HEAPS_MOST * sizeof *glibc->heaps);
        if (!glibc->arenas || !glibc->heaps) error = MI_E_MEMORY;
    } else {
        error = MI_E_ABSENT;
    }
    if (!error) {
        glibc->complete = 1;
        glibc->arenas[0] =
            (mi_glibc_arena){bins, word_in(&in, bins - BEFORE_TOP), (size_t)word_in(&in, bins + AT_SYSTEM)};
        glibc->arena_count = 1;
        collect_keys(&in, maps, glibc);
        find_parameters(&in, maps, glibc);
        uintptr_t state = add_arenas(window, glibc);
        /* without fast bins (2.43) there is no room for them in front of the bins */
        if (state && bins - state >= BEFORE_FAST + 8) collect_fast(window, glibc);
    }
    mi_os_free(in.bytes, in.size);
    if (error) mi_glibc_free(glibc);
    return error;
}

void mi_glibc_free(mi_glibc *glibc) {
    mi_os_free(glibc->arenas, MI_GLIBC_ARENAS_MOST * sizeof *glibc->arenas);
    mi_os_free(glibc->heaps, MI_GLIBC_HEAPS_MOST * sizeof *glibc->heaps);
    mi_os_free(glibc->fast, glibc->fast_capacity * sizeof *glibc->fast);
    memset(glibc, 0, sizeof *glibc);
}

/* ---- chunks ----------------------------------------------------------------------------------------------------------------- */

/* The size of the chunk at `chunk` with its flags; 0 when no chunk that fits below `end` is there. */
static uintptr_t chunk_head(mi_window *window, uintptr_t chunk, uintptr_t end) {
    if (end - chunk < FENCE_SIZE) return 0;
    uintptr_t head = mi_window_word(window, chunk + 8), size = head & ~(uintptr_t)FLAGS;
    if (size < FENCE_SIZE || size % 16 || size > end - chunk || head & IS_MMAPPED) return 0;
    return head;
}

/* True when a chain of chunks starts here that is too long for chance. */
static int is_chain(mi_window *window, uintptr_t chunk, uintptr_t end) {
    for (int links = 0; links < RESYNC_CHUNKS; links++) {
        uintptr_t head = chunk_head(window, chunk, end), size = head & ~(uintptr_t)FLAGS;
        if (size < CHUNK_LEAST) return 0;
        if (chunk + size == end) return links > 0;
        uintptr_t next = mi_window_word(window, chunk + size + 8);
        if (!(next & PREV_INUSE) && mi_window_word(window, chunk + size) != size) return 0; /* its footer is wrong */
        chunk += size;
    }
    return 1;
}

static uintptr_t resync(mi_window *window, uintptr_t from, uintptr_t end) {
    size_t hint = 0, page = mi_os_page_size();
    for (uintptr_t at = from; at < end;) {
        size_t run = mi_pages_seek(window->pages, &hint, at);
        if (run >= window->pages->count) return end;
        if (window->pages->runs[run].start > at) at = window->pages->runs[run].start;
        for (uintptr_t stop = at / page * page + page; at < stop && at < end; at += 16)
            if (is_chain(window, at, end)) return at;
    }
    return end;
}

static mi_chunk_kind kind_of(mi_window *window, const mi_glibc *glibc, uintptr_t chunk, uintptr_t size,
                             uintptr_t next) {
    if (size == FENCE_SIZE) return MI_CHUNK_FENCE;
    if (!(next & PREV_INUSE)) return MI_CHUNK_FREE;
    if (is_among(glibc->keys, glibc->key_count, mi_window_word(window, chunk + 24))) return MI_CHUNK_TCACHE;
    return is_among(glibc->fast, glibc->fast_count, chunk) ? MI_CHUNK_FAST : MI_CHUNK_LIVE;
}

void mi_glibc_walk(mi_window *window, const mi_glibc *glibc, uintptr_t start, uintptr_t end, uintptr_t top,
                   mi_chunk_visit visit, void *context) {
    uintptr_t chunk = start;
    while (chunk < end) {
        uintptr_t head = chunk_head(window, chunk, end), size = head & ~(uintptr_t)FLAGS;
        if (!head && end - chunk <= 2 * FENCE_SIZE) {
            visit(context, MI_CHUNK_FENCE, chunk, end);
            return;
        }
        if (!head) {
            uintptr_t found = resync(window, chunk + 16, end);
            if (visit(context, MI_CHUNK_TORN, chunk, found)) return;
            chunk = found;
            continue;
        }
        if (chunk == top || chunk + size == end) {
            if (visit(context, MI_CHUNK_TOP, chunk, chunk + size)) return;
        } else {
            /* what follows the last chunk of a piece is no chunk: what it says is in use is believed */
            uintptr_t next = chunk + size + 16 <= end ? mi_window_word(window, chunk + size + 8) : PREV_INUSE;
            if (visit(context, kind_of(window, glibc, chunk, size, next), chunk, chunk + size)) return;
        }
        chunk += size;
    }
}

int mi_glibc_is_segment(mi_window *window, uintptr_t start, uintptr_t end, uintptr_t top) {
    uintptr_t chunk = start;
    for (size_t count = 0; chunk < end; count++) {
        uintptr_t head = chunk_head(window, chunk, end), size = head & ~(uintptr_t)FLAGS;
        if (!head) return 0;
        if (chunk == top) return chunk + size == end;
        if (size == FENCE_SIZE && count >= 3) return end - chunk <= 4 * FENCE_SIZE;
        chunk += size;
    }
    return 0;
}

/* ---- mmapped chunks ------------------------------------------------------------------------------------------------------- */

/* The length of the mapping whose chunk has its header `offset` bytes behind the start. On 2.36 the chunk goes to the
 * mapping's end; on 2.43 it ends 16 bytes before, and bit 0 of prev_size tells huge pages. */
static size_t mmapped_length(const uintptr_t header[2], uintptr_t offset) {
    uintptr_t before = header[0] & ~(uintptr_t)1, size = header[1] & ~(uintptr_t)FLAGS, page = mi_os_page_size();
    if ((header[1] & FLAGS) != IS_MMAPPED || before != offset || size < CHUNK_LEAST || size >> 46) return 0;
    if (!((offset + size) % page)) return (size_t)(offset + size);
    if (!((offset + size + 16) % page)) return (size_t)(offset + size + 16);
    return 0;
}

size_t mi_glibc_mmapped(mi_window *window, uintptr_t start, uintptr_t end, int aligned) {
    size_t page = mi_os_page_size(), length;
    uintptr_t header[2];
    const void *at = mi_window_at(window, start, sizeof header);
    if (!at) return 0;
    memcpy(header, at, sizeof header);
    length = mmapped_length(header, 0);
    if (length) return length <= end - start ? length : 0;
    if (!aligned) return 0;
    /* memalign moves the header up to the alignment: anywhere in the first page, later at the end of a page */
    for (uintptr_t offset = 16; offset < (uintptr_t)4 << 20 && start + offset < end;) {
        at = mi_window_at(window, start + offset, sizeof header);
        if (at) {
            memcpy(header, at, sizeof header);
            length = mmapped_length(header, offset);
            if (length && length <= end - start) return length;
        }
        offset += offset + 16 < page ? 16 : page - (offset + 16) % page;
    }
    return 0;
}
