/* gil_digest.c - see gil_digest.h. */
#include "gil_digest.h"

#include <string.h>

#include "os.h"

enum { SLAB = 64, SLABS = MI_GIL_THREADS_MOST / SLAB, FIRST_PAIRS = 64, SLOTS = MI_GIL_PAIRS_MOST * 2 };
#define FIRST_TILE_NS 16384u

typedef struct tile_row {
    uint32_t thread;
    uint64_t tiles[MI_GIL_TILES][2];
} tile_row;

struct mi_gil_digest {
    mi_gil_spans *spans;
    mi_gil_sites *sites;
    mi_gil_thread_digest *threads[SLABS];
    uint8_t there[MI_GIL_THREADS_MOST];
    uint16_t tile_rows[MI_GIL_THREADS_MOST]; /* row + 1 of a thread's tiles */
    mi_gil_lengths holds, waits;
    mi_gil_pair *pairs;
    size_t pair_count, pair_room;
    uint32_t slots[SLOTS]; /* index of a pair + 1 */
    mi_gil_span longest[MI_GIL_LONGEST];
    size_t longest_count, collection_count, kept_count;
    uint64_t pairs_left_out, collections_left_out, kept_left_out;
    mi_gil_span collections[MI_GIL_COLLECTIONS_MOST];
    mi_gil_span kept[MI_GIL_KEPT_MOST];
    uint64_t waiters_since, waiters, waiting_ns[MI_GIL_WAITERS_MOST], main_held;
    uint64_t tile_ns;
    uint32_t tiled;
    tile_row rows[MI_GIL_TILED_MOST + 1];
};

mi_gil_digest *mi_gil_digest_make(void) {
    mi_gil_digest *digest = mi_os_alloc(sizeof *digest);
    if (!digest) return NULL;
    digest->spans = mi_gil_spans_make();
    digest->sites = mi_gil_sites_make();
    digest->tile_ns = FIRST_TILE_NS;
    if (digest->spans && digest->sites) return digest;
    mi_gil_digest_free(digest);
    return NULL;
}

void mi_gil_digest_free(mi_gil_digest *digest) {
    if (!digest) return;
    for (size_t at = 0; at < SLABS; at++)
        if (digest->threads[at]) mi_os_free(digest->threads[at], SLAB * sizeof(mi_gil_thread_digest));
    if (digest->pairs) mi_os_free(digest->pairs, digest->pair_room * sizeof(mi_gil_pair));
    mi_gil_spans_free(digest->spans);
    mi_gil_sites_free(digest->sites);
    mi_os_free(digest, sizeof *digest);
}

/* ---- lengths ---------------------------------------------------------------------------------------------------------- */

/* Below 2^bits each length has its own bucket; above, so many share one as the power of two says. */
static size_t bucket_of(uint64_t length, unsigned bits, size_t most) {
    if (length >> bits == 0) return (size_t)length;
    unsigned shift = 63u - (unsigned)__builtin_clzll(length) - bits;
    size_t bucket = ((size_t)(shift + 1) << bits) + (size_t)(length >> shift) - ((size_t)1 << bits);
    return bucket < most ? bucket : most - 1;
}

uint64_t mi_gil_bucket_low(size_t bucket) {
    if (bucket >> MI_GIL_BITS == 0) return bucket;
    unsigned shift = (unsigned)(bucket >> MI_GIL_BITS) - 1;
    return ((bucket & ((1u << MI_GIL_BITS) - 1)) + ((uint64_t)1 << MI_GIL_BITS)) << shift;
}

static void add_length(mi_gil_lengths *lengths, uint64_t length) {
    lengths->count++;
    lengths->total += length;
    if (length > lengths->max) lengths->max = length;
    uint32_t *bucket = &lengths->buckets[bucket_of(length, MI_GIL_BITS, MI_GIL_BUCKETS)];
    if (*bucket != UINT32_MAX) ++*bucket;
}

uint64_t mi_gil_lengths_at(const mi_gil_lengths *lengths, double share) {
    uint64_t wanted = (uint64_t)(share * (double)lengths->count + 0.5), seen = 0;
    if (wanted < 1) wanted = 1;
    for (size_t at = 0; at < MI_GIL_BUCKETS; at++) {
        seen += lengths->buckets[at];
        if (seen < wanted) continue;
        uint64_t middle = (mi_gil_bucket_low(at) + mi_gil_bucket_low(at + 1)) / 2;
        return middle < lengths->max ? middle : lengths->max;
    }
    return lengths->max;
}

/* ---- threads and pairs ------------------------------------------------------------------------------------------------ */

static mi_gil_thread_digest *thread_of(mi_gil_digest *digest, uint32_t row) {
    mi_gil_thread_digest **slab = &digest->threads[row / SLAB];
    if (!*slab) *slab = mi_os_alloc(SLAB * sizeof(mi_gil_thread_digest));
    if (!*slab) return NULL;
    digest->there[row] = 1;
    return &(*slab)[row % SLAB];
}

const mi_gil_thread_digest *mi_gil_digest_thread(const mi_gil_digest *digest, uint32_t row) {
    return row < MI_GIL_THREADS_MOST && digest->there[row] ? &digest->threads[row / SLAB][row % SLAB] : NULL;
}

static mi_error pair_of(mi_gil_digest *digest, uint32_t from, uint32_t to, mi_gil_pair **found) {
    uint64_t key = (uint64_t)from << 32 | to;
    size_t slot = (size_t)(key * 0x9e3779b97f4a7c15u >> 40) & (SLOTS - 1);
    for (; digest->slots[slot]; slot = (slot + 1) & (SLOTS - 1)) {
        *found = &digest->pairs[digest->slots[slot] - 1];
        if ((*found)->from == from && (*found)->to == to) return MI_OK;
    }
    *found = NULL;
    if (digest->pair_count == MI_GIL_PAIRS_MOST) {
        digest->pairs_left_out++;
        return MI_OK;
    }
    if (digest->pair_count == digest->pair_room) {
        size_t room = digest->pair_room ? digest->pair_room * 2 : FIRST_PAIRS;
        mi_gil_pair *grown = digest->pairs
                                 ? mi_os_realloc(digest->pairs, digest->pair_room * sizeof *grown, room * sizeof *grown)
                                 : mi_os_alloc(room * sizeof *grown);
        if (!grown) return MI_E_MEMORY;
        digest->pairs = grown;
        digest->pair_room = room;
    }
    *found = &digest->pairs[digest->pair_count++];
    (*found)->from = from;
    (*found)->to = to;
    digest->slots[slot] = (uint32_t)digest->pair_count;
    return MI_OK;
}

static void keep_longest(mi_gil_digest *digest, const mi_gil_span *hold) {
    uint64_t length = hold->end - hold->begin;
    size_t at = digest->longest_count;
    if (at == MI_GIL_LONGEST) {
        const mi_gil_span *least = &digest->longest[at - 1];
        if (length <= least->end - least->begin) return;
        at--;
    } else {
        digest->longest_count++;
    }
    for (; at && length > digest->longest[at - 1].end - digest->longest[at - 1].begin; at--)
        digest->longest[at] = digest->longest[at - 1];
    digest->longest[at] = *hold;
}

/* ---- the timeline ----------------------------------------------------------------------------------------------------- */

static void widen(mi_gil_digest *digest) {
    for (uint32_t row = 0; row <= MI_GIL_TILED_MOST; row++) {
        uint64_t(*tiles)[2] = digest->rows[row].tiles;
        if (row >= digest->tiled && row != MI_GIL_TILED_MOST) continue;
        for (size_t at = 0; at < MI_GIL_TILES; at++)
            for (size_t kind = 0; kind < 2; kind++)
                tiles[at][kind] = at < MI_GIL_TILES / 2 ? tiles[2 * at][kind] + tiles[2 * at + 1][kind] : 0;
    }
    digest->tile_ns *= 2;
}

static void add_tiles(mi_gil_digest *digest, uint32_t thread, size_t kind, uint64_t begin, uint64_t end) {
    while (end / digest->tile_ns >= MI_GIL_TILES) widen(digest);
    if (!digest->tile_rows[thread]) {
        uint32_t row = digest->tiled < MI_GIL_TILED_MOST ? digest->tiled++ : MI_GIL_TILED_MOST;
        digest->rows[row].thread = row == MI_GIL_TILED_MOST ? UINT32_MAX : thread;
        digest->tile_rows[thread] = (uint16_t)(row + 1);
    }
    uint64_t(*tiles)[2] = digest->rows[digest->tile_rows[thread] - 1].tiles;
    while (begin < end) {
        uint64_t at = begin / digest->tile_ns, until = (at + 1) * digest->tile_ns;
        if (until > end) until = end;
        tiles[at][kind] += until - begin;
        begin = until;
    }
}

static void count_waiters(mi_gil_digest *digest, uint64_t time, uint64_t waiters) {
    uint64_t before = digest->waiters < MI_GIL_WAITERS_MOST ? digest->waiters : MI_GIL_WAITERS_MOST - 1;
    if (time > digest->waiters_since) {
        digest->waiting_ns[before] += time - digest->waiters_since;
        digest->waiters_since = time;
    }
    digest->waiters = waiters;
}

/* ---- spans ------------------------------------------------------------------------------------------------------------ */

static mi_error take_hold(mi_gil_digest *digest, const mi_gil_span *span) {
    mi_gil_thread_digest *thread = thread_of(digest, span->thread);
    uint64_t length = span->end - span->begin;
    if (!thread) return MI_E_MEMORY;
    if (!(span->flags & MI_GIL_OPEN)) ++*(span->flags & MI_GIL_FORCED ? &thread->forced : &thread->voluntary);
    if (span->flags & MI_GIL_EARLIER && !length) return MI_OK; /* its beginning was not seen */
    add_length(&thread->holds, length);
    add_length(&digest->holds, length);
    add_tiles(digest, span->thread, 0, span->begin, span->end);
    keep_longest(digest, span);
    if (span->gil == 0) digest->main_held += length;
    return MI_OK;
}

static mi_error take_wait(mi_gil_digest *digest, const mi_gil_span *span) {
    mi_gil_thread_digest *thread = thread_of(digest, span->thread);
    uint64_t length = span->end - span->begin;
    if (!thread) return MI_E_MEMORY;
    if (span->flags & MI_GIL_BLOCKED) {
        thread->blocked_ns += length;
        add_tiles(digest, span->thread, 1, span->begin, span->end);
    }
    if (span->flags & MI_GIL_IN_VAIN) return MI_OK;
    add_length(&thread->waits, length);
    add_length(&digest->waits, length);
    if (!span->other) return MI_OK;
    mi_gil_pair *pair;
    mi_error error = pair_of(digest, span->other, span->thread, &pair);
    if (error != MI_OK || !pair) return error;
    pair->waited_ns += length;
    if (!(span->flags & MI_GIL_FORCED)) {
        pair->voluntary++;
        return MI_OK;
    }
    pair->forced++;
    size_t bucket = bucket_of(length, 3, MI_GIL_PAIR_BUCKETS);
    if (pair->long_waits[bucket] != UINT32_MAX) pair->long_waits[bucket]++;
    pair->long_totals[bucket] += length;
    return MI_OK;
}

static mi_error take(mi_gil_digest *digest, const mi_gil_span *span) {
    if (span->kind == MI_GIL_SPAN_WAITERS) {
        if (span->gil == 0) count_waiters(digest, span->begin, span->detail);
        return MI_OK;
    }
    if (span->kind == MI_GIL_SPAN_COLLECTION) {
        if (digest->collection_count == MI_GIL_COLLECTIONS_MOST)
            digest->collections_left_out++;
        else
            digest->collections[digest->collection_count++] = *span;
        return MI_OK;
    }
    if (span->kind == MI_GIL_SPAN_HOLD || span->flags & MI_GIL_BLOCKED) {
        if (digest->kept_count == MI_GIL_KEPT_MOST)
            digest->kept_left_out++;
        else
            digest->kept[digest->kept_count++] = *span;
    }
    return span->kind == MI_GIL_SPAN_HOLD ? take_hold(digest, span) : take_wait(digest, span);
}

mi_error mi_gil_digest_events(mi_gil_digest *digest, const mi_gil_event *events, size_t count) {
    mi_gil_span spans[MI_GIL_SPANS_MOST];
    for (size_t at = 0; at < count; at++) {
        size_t made = mi_gil_spans_feed(digest->spans, &events[at], spans);
        mi_gil_sites_feed(digest->sites, &events[at]);
        for (size_t one = 0; one < made; one++) {
            mi_error error = take(digest, &spans[one]);
            if (error != MI_OK) return error;
        }
    }
    return MI_OK;
}

mi_error mi_gil_digest_finish(mi_gil_digest *digest, uint64_t end) {
    mi_gil_span span;
    while (mi_gil_spans_finish(digest->spans, end, &span)) {
        mi_error error = take(digest, &span);
        if (error != MI_OK) return error;
    }
    count_waiters(digest, end, 0);
    return MI_OK;
}

/* ---- what has come of it ---------------------------------------------------------------------------------------------- */

const mi_gil_lengths *mi_gil_digest_holds(const mi_gil_digest *digest) { return &digest->holds; }

const mi_gil_lengths *mi_gil_digest_waits(const mi_gil_digest *digest) { return &digest->waits; }

const mi_gil_pair *mi_gil_digest_pairs(const mi_gil_digest *digest, size_t *count, uint64_t *left_out) {
    *count = digest->pair_count;
    *left_out = digest->pairs_left_out;
    return digest->pairs;
}

const mi_gil_span *mi_gil_digest_longest(const mi_gil_digest *digest, size_t *count) {
    *count = digest->longest_count;
    return digest->longest;
}

const mi_gil_span *mi_gil_digest_collections(const mi_gil_digest *digest, size_t *count, uint64_t *left_out) {
    *count = digest->collection_count;
    *left_out = digest->collections_left_out;
    return digest->collections;
}

const mi_gil_span *mi_gil_digest_kept(const mi_gil_digest *digest, size_t *count, uint64_t *left_out) {
    *count = digest->kept_count;
    *left_out = digest->kept_left_out;
    return digest->kept;
}

const mi_gil_sites *mi_gil_digest_sites(const mi_gil_digest *digest) { return digest->sites; }

const uint64_t *mi_gil_digest_waiters(const mi_gil_digest *digest) { return digest->waiting_ns; }

uint64_t mi_gil_digest_main_held(const mi_gil_digest *digest) { return digest->main_held; }

uint64_t mi_gil_digest_tile_ns(const mi_gil_digest *digest) { return digest->tile_ns; }

const uint64_t *mi_gil_digest_tiles(const mi_gil_digest *digest, uint32_t row, uint32_t *thread) {
    uint32_t last = digest->rows[MI_GIL_TILED_MOST].thread == UINT32_MAX;
    if (row >= digest->tiled + last) return NULL;
    const tile_row *found = &digest->rows[row < digest->tiled ? row : MI_GIL_TILED_MOST];
    *thread = found->thread;
    return &found->tiles[0][0];
}
