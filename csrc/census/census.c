/* census.c - the census of census.h: its walk among threads, and again without the false objects that it found. */
#include "census_parts.h"

#include <pthread.h>
#include <string.h>

typedef struct round_state {
    mi_census_shared all;
    mi_census_ahead *ahead;
    mi_claims *workers[MI_CENSUS_MAX_THREADS];
    int threads;
} round_state;

/* What is freed and waits may still look like an object, which then was counted: a claim takes it back. */
static void claim_waiting(void *claims, uintptr_t address) { mi_census_claim(claims, address, MI_OWNER_WAITING, 0); }

/* ---- malloc's chunks --------------------------------------------------------------------------------------------------- */

void mi_census_await_large(const mi_census_shared *all) {
    mi_os_await_change(&((mi_census_shared *)all)->large_known, 0);
}

static void keep_large(mi_census_shared *all, mi_large *large, mi_census *census) {
    all->large = large;
    census->large = large->totals;
    census->bitmap_bytes += large->map_words * sizeof(uint64_t);
    census->live.large_blocks = large->totals.live_chunks + large->alone_blocks;
    census->live.large_bytes = large->totals.live_bytes + large->alone_bytes;
    if (!large->size_count) return;
    census->large_error = large->malloc_error;
    all->classes = census->size_count = large->size_count;
    memcpy(census->sizes, large->sizes, sizeof census->sizes);
    memcpy(census->live.blocks, large->live_of_size, sizeof large->live_of_size);
}

/* Finds them, unless they are known. */
static void find_large(round_state *round, const mi_census_request *request, mi_census *census) {
    mi_census_shared *all = &round->all;
    if (atomic_load(&all->large_known)) return;
    mi_large *large = &round->ahead->large;
    mi_error begun = mi_census_ahead_large(round->ahead);
    census->large_error =
        mi_large_finish(large, begun, request->heap, (size_t)request->layout->arena_size, request->mimalloc);
    if (!census->large_error) keep_large(all, large, census);
    atomic_store_explicit(&all->large_known, 1, memory_order_release);
    mi_os_wake_word(&all->large_known);
}

/* ---- rounds -------------------------------------------------------------------------------------------------------------- */

/* What another thread than the first does. */
static void *help(void *argument) {
    mi_claims *mine = argument;
    mi_census_shared *all = mine->all;
    mi_census_walk(mine);
    atomic_fetch_sub(&all->walking, 1);
    mi_os_wake_word(&all->walking);
    mi_os_await_change(&all->roots_open, 0);
    mi_census_claim_root_words(mine);
    return NULL;
}

/* Where the words of the roots are, which are claimed last. */
static void set_roots(round_state *round, const mi_census_request *request) {
    mi_census_shared *all = &round->all;
    all->roots = request->roots;
    all->root_count = request->root_count;
    all->data = (mi_census_roots){0};
    if (!all->large) return;
    all->data.address = all->large->data_start;
    all->data.size = all->large->data_end - all->large->data_start;
}

/* While malloc's chunks are looked for, and what types own is claimed, other threads walk pools already. */
static void walk_once(round_state *round, const mi_census_request *request, mi_census *census) {
    pthread_t started[MI_CENSUS_MAX_THREADS];
    int running[MI_CENSUS_MAX_THREADS] = {0};
    mi_census_shared *all = &round->all;
    mi_claims *first = round->workers[0];
    for (int i = 1; i < round->threads; i++) {
        atomic_fetch_add(&all->walking, 1);
        if (mi_census_ahead_help(round->ahead, help, round->workers[i])) continue;
        if (!all->large_known) mi_census_ahead_large(round->ahead); /* making a thread takes memory from malloc */
        running[i] = !pthread_create(&started[i], NULL, help, round->workers[i]);
        if (!running[i]) atomic_fetch_sub(&all->walking, 1);
    }
    find_large(round, request, census);
    set_roots(round, request);
    mi_census_claim_types(first);
    mi_census_walk(first);
    for (uint32_t walking; (walking = atomic_load(&all->walking));) mi_os_await_change(&all->walking, walking);
    for (int i = 0; i < round->threads; i++) mi_census_claim_opaque(round->workers[i]);
    mi_census_claim_lent(first, request->lent, request->lent_count);
    /* Last: structures of C may hold words that were pointers once, to what belongs to an object now. */
    if (request->mimalloc) mi_mimalloc_each_waiting(request->mimalloc, request->target, claim_waiting, first);
    mi_census_claim_kept(first);
    atomic_store_explicit(&all->roots_open, 1, memory_order_release);
    mi_os_wake_word(&all->roots_open);
    mi_census_claim_root_words(first);
    for (int i = 1; i < round->threads; i++)
        if (running[i]) pthread_join(started[i], NULL);
    mi_census_ahead_await(round->ahead);
}

static size_t lookalikes_of(round_state *round, mi_lookalike *all) {
    size_t count = 0;
    for (int i = 0; i < round->threads; i++) {
        const mi_claims *mine = round->workers[i];
        for (size_t j = 0; j < mine->lookalike_count && count < MI_LOOKALIKES_MOST; j++)
            all[count++] = mine->lookalikes[j];
    }
    return count;
}

static mi_error round_open(round_state *round, mi_census *census) {
    for (int i = 0; i < round->threads; i++) {
        round->workers[i] = mi_census_claims_open(&round->all);
        if (!round->workers[i]) return MI_E_MEMORY;
        census->table_bytes += mi_census_claims_size(&round->all);
    }
    return MI_OK;
}

static void round_close(round_state *round) {
    for (int i = 0; i < round->threads; i++) {
        mi_census_claims_close(round->workers[i]);
        round->workers[i] = NULL;
    }
}

/* Walks until no false object has claimed anything. */
static mi_error walk_all(round_state *round, const mi_census_request *request, mi_census *census) {
    enum { MOST_ROUNDS = 4 };
    size_t excluded_size = MI_LOOKALIKES_MOST * sizeof(uintptr_t), room = MI_LOOKALIKES_MOST * sizeof(mi_lookalike);
    mi_lookalike *looks = mi_os_alloc(room);
    uintptr_t *excluded = mi_os_alloc(excluded_size);
    mi_error error = looks && excluded ? MI_OK : MI_E_MEMORY;
    for (census->rounds = 1; !error; census->rounds++) {
        error = round_open(round, census);
        if (error) break;
        walk_once(round, request, census);
        size_t count = lookalikes_of(round, looks);
        if (!count || census->rounds >= MOST_ROUNDS || mi_target_is_late(request->target)) break;
        size_t found = mi_census_exclude(&round->all, looks, count, excluded);
        if (!found || (found == round->all.excluded_count)) break;
        round->all.excluded = excluded;
        round->all.excluded_count = found;
        round_close(round);
        mi_census_shared_reset(&round->all);
    }
    if (!error) {
        for (int i = 0; i < round->threads; i++) mi_census_gather(census, round->workers[i]);
        census->pools_left = atomic_load(&round->all.pools_left);
        census->large.left_bytes += atomic_load(&round->all.words_left) * MI_LARGE_PER_WORD * MI_LARGE_GRANULE;
        mi_census_rest(census);
        if (request->guesses) error = mi_census_guess_take(round->workers[0], census);
        if (request->guesses && round->all.large && !error) error = mi_census_guess_large(round->workers[0], census);
        if (request->list && !error) error = mi_census_list(round->workers[0], census);
        if (request->apart && !error) error = mi_census_apart_take(round->workers[0], request->apart);
        if (request->frames && !error) error = mi_census_frames_take(round->workers[0], request->frames);
        if (request->contents && !error) error = mi_census_contents_take(round->workers[0], request->contents);
    }
    round->all.excluded = NULL;
    mi_os_free(looks, room);
    mi_os_free(excluded, excluded_size);
    return error;
}

static int threads_for(const mi_census_request *request, const mi_large *large) {
    enum { POOLS = 8192, WORDS = 1 << 17 }; /* words of the map: 64 MiB of chunks */
    int threads = request->threads;
    if (!threads) threads = request->heap->pool_count > POOLS || (large && large->map_words > WORDS) ? 2 : 1;
    return threads < MI_CENSUS_MAX_THREADS ? threads : MI_CENSUS_MAX_THREADS;
}

mi_error mi_census_take(const mi_census_request *request, mi_census *census) {
    round_state round = {.ahead = request->ahead};
    memset(census, 0, sizeof *census);
    const mi_layout *layout = request->layout;
    if (layout->object_refcount == MI_ABSENT && layout->object_ref_local == MI_ABSENT) return MI_E_ABSENT;
    if (layout->alignment != MI_UNIT) return MI_E_ABSENT;
    census->types = request->types->count;
    census->objects = mi_os_alloc(census->types * sizeof *census->objects);
    if (!census->objects) return MI_E_MEMORY;
    mi_error error = mi_census_shared_open(&round.all, request, census);
    if (!error && request->contents) error = mi_census_contents_open(&round.all);
    uint64_t begun = mi_os_now_ns();
    census->large_error = MI_E_ABSENT;
    round.all.classes = (size_t)layout->size_classes;
    round.all.pages = &request->ahead->large.pages;
    round.all.large_known = request->ahead->small_only && !request->mimalloc;
    round.threads = threads_for(request, NULL);
    /* the pools alone may ask for several threads, which need not wait then; mimalloc's blocks are in the same map */
    if (!error && (round.threads == 1 || request->mimalloc)) {
        find_large(&round, request, census);
        round.threads = threads_for(request, round.all.large);
    }
    if (request->mimalloc && !error) error = census->large_error;
    census->threads = round.threads;
    round.all.alone = round.threads == 1;
    if (!error) error = walk_all(&round, request, census);
    census->walk_ns = mi_os_now_ns() - begun;
    round_close(&round);
    mi_census_contents_close(&round.all);
    mi_census_shared_close(&round.all);
    if (error) mi_census_free(census);
    return error;
}

void mi_census_free(mi_census *census) {
    mi_os_free(census->objects, census->types * sizeof *census->objects);
    mi_os_free(census->seen, census->seen_bytes);
    memset(census, 0, sizeof *census);
}
