/* gil_digest.h - what a trace of the GIL comes to, gathered span by span in bounded memory.
 *
 * Lengths go into histograms of buckets that grow with the length (HdrHistogram's: 256 to each power of two, so what is
 * read back is off by 0.2 % at most); count, sum and maximum are exact. Two pictures of the timeline are kept: the first
 * spans whole, and for all of the trace tiles of time by thread, whose width doubles as the trace grows. */
#ifndef MI_GIL_DIGEST_H
#define MI_GIL_DIGEST_H

#include "error.h"
#include "gil_sites.h"
#include "gil_spans.h"

enum {
    MI_GIL_BITS = 8,                                    /* 256 buckets to a power of two */
    MI_GIL_BUCKETS = (44 - MI_GIL_BITS) << MI_GIL_BITS, /* up to 2.4 hours; longer ones count as that */
    MI_GIL_PAIR_BUCKETS = 64 * 8,                       /* 8 to a power of two */
    MI_GIL_LONGEST = 20,
    MI_GIL_PAIRS_MOST = 1 << 16,
    MI_GIL_COLLECTIONS_MOST = 1 << 16,
    MI_GIL_KEPT_MOST = 1 << 17, /* spans kept whole */
    MI_GIL_TILES = 4096,
    MI_GIL_TILED_MOST = 256, /* threads with tiles of their own; the others share the last row */
    MI_GIL_WAITERS_MOST = 64
};

typedef struct mi_gil_lengths {
    uint64_t count, total, max;
    uint32_t buckets[MI_GIL_BUCKETS]; /* pages are used as far as lengths are there */
} mi_gil_lengths;

typedef struct mi_gil_thread_digest {
    uint64_t forced, voluntary; /* releases */
    uint64_t blocked_ns;        /* of its waits: those in which it slept */
    mi_gil_lengths holds, waits;
} mi_gil_thread_digest;

typedef struct mi_gil_pair {
    uint32_t from, to;
    uint64_t forced, voluntary;               /* hand-offs */
    uint64_t waited_ns;                       /* for them */
    uint32_t long_waits[MI_GIL_PAIR_BUCKETS]; /* of waits that ended with a forced release */
    uint64_t long_totals[MI_GIL_PAIR_BUCKETS];
} mi_gil_pair;

typedef struct mi_gil_digest mi_gil_digest;

mi_gil_digest *mi_gil_digest_make(void); /* NULL: no memory */
void mi_gil_digest_free(mi_gil_digest *digest);
mi_error mi_gil_digest_events(mi_gil_digest *digest, const mi_gil_event *events, size_t count);
mi_error mi_gil_digest_finish(mi_gil_digest *digest, uint64_t end);

/* What has come of it. A thread that had no span: NULL. */
const mi_gil_thread_digest *mi_gil_digest_thread(const mi_gil_digest *digest, uint32_t row);
const mi_gil_lengths *mi_gil_digest_holds(const mi_gil_digest *digest);
const mi_gil_lengths *mi_gil_digest_waits(const mi_gil_digest *digest);
const mi_gil_pair *mi_gil_digest_pairs(const mi_gil_digest *digest, size_t *count, uint64_t *left_out);
const mi_gil_span *mi_gil_digest_longest(const mi_gil_digest *digest, size_t *count);
const mi_gil_span *mi_gil_digest_collections(const mi_gil_digest *digest, size_t *count, uint64_t *left_out);
const mi_gil_span *mi_gil_digest_kept(const mi_gil_digest *digest, size_t *count, uint64_t *left_out);
/* Where the GIL was let go; empty without attribution. */
const mi_gil_sites *mi_gil_digest_sites(const mi_gil_digest *digest);
/* Nanoseconds in which 0, 1, ... threads waited for the main GIL. */
const uint64_t *mi_gil_digest_waiters(const mi_gil_digest *digest);
uint64_t mi_gil_digest_main_held(const mi_gil_digest *digest);
/* Width of a tile in nanoseconds; the MI_GIL_TILES pairs (held, waited), in nanoseconds, of the `row`th thread that has
 * some, and which thread that is (UINT32_MAX: all others); NULL: there are no more. */
uint64_t mi_gil_digest_tile_ns(const mi_gil_digest *digest);
const uint64_t *mi_gil_digest_tiles(const mi_gil_digest *digest, uint32_t row, uint32_t *thread);

/* The length that a share of all lengths, 0 to 1, does not exceed; of at least one. */
uint64_t mi_gil_lengths_at(const mi_gil_lengths *lengths, double share);
/* The shortest length of a bucket. */
uint64_t mi_gil_bucket_low(size_t bucket);

#endif
