# What a trace of the GIL comes to, and its events as a file's records: csrc/gil/gil_digest.h, csrc/gil/gil_encode.h.

from libc.stdint cimport uint8_t, uint16_t

cdef extern from "gil_spans.h":
    ctypedef struct mi_gil_span:
        uint64_t begin, end, detail, came, went
        uint32_t thread, other
        uint16_t gil
        uint8_t kind, flags
        uint32_t next

cdef extern from "gil_sites.h":
    ctypedef struct mi_gil_site:
        uint64_t place
        uint32_t thread
        uint64_t forced, voluntary, held, longest
    ctypedef struct mi_gil_placed:
        uint64_t gil, begin, length, place
    ctypedef struct mi_gil_sites:
        pass
    const mi_gil_site *mi_gil_sites_all(const mi_gil_sites *sites, size_t *count, uint64_t *left_out)
    const mi_gil_placed *mi_gil_sites_longest(const mi_gil_sites *sites, size_t *count)

cdef extern from "gil_digest.h":
    enum: MI_GIL_BUCKETS
    enum: MI_GIL_PAIR_BUCKETS
    enum: MI_GIL_THREADS_MOST
    enum: MI_GIL_TILES
    enum: MI_GIL_WAITERS_MOST
    ctypedef struct mi_gil_lengths:
        uint64_t count, total, max
        uint32_t *buckets
    ctypedef struct mi_gil_thread_digest:
        uint64_t forced, voluntary, blocked_ns
        mi_gil_lengths holds, waits
    ctypedef struct mi_gil_pair:
        uint32_t giver "from", to
        uint64_t forced, voluntary, waited_ns
        uint32_t *long_waits
        uint64_t *long_totals
    ctypedef struct mi_gil_digest:
        pass
    mi_gil_digest *mi_gil_digest_make()
    void mi_gil_digest_free(mi_gil_digest *digest)
    mi_error mi_gil_digest_events(mi_gil_digest *digest, const mi_gil_event *events, size_t count) nogil
    mi_error mi_gil_digest_finish(mi_gil_digest *digest, uint64_t end) nogil
    const mi_gil_thread_digest *mi_gil_digest_thread(const mi_gil_digest *digest, uint32_t row)
    const mi_gil_lengths *mi_gil_digest_holds(const mi_gil_digest *digest)
    const mi_gil_lengths *mi_gil_digest_waits(const mi_gil_digest *digest)
    const mi_gil_pair *mi_gil_digest_pairs(const mi_gil_digest *digest, size_t *count, uint64_t *left_out)
    const mi_gil_span *mi_gil_digest_longest(const mi_gil_digest *digest, size_t *count)
    const mi_gil_span *mi_gil_digest_collections(const mi_gil_digest *digest, size_t *count, uint64_t *left_out)
    const mi_gil_span *mi_gil_digest_kept(const mi_gil_digest *digest, size_t *count, uint64_t *left_out)
    const mi_gil_sites *mi_gil_digest_sites(const mi_gil_digest *digest)
    const uint64_t *mi_gil_digest_waiters(const mi_gil_digest *digest)
    uint64_t mi_gil_digest_main_held(const mi_gil_digest *digest)
    uint64_t mi_gil_digest_tile_ns(const mi_gil_digest *digest)
    const uint64_t *mi_gil_digest_tiles(const mi_gil_digest *digest, uint32_t row, uint32_t *thread)
    uint64_t mi_gil_lengths_at(const mi_gil_lengths *lengths, double share)
    uint64_t mi_gil_bucket_low(size_t bucket)

cdef extern from "gil_encode.h":
    enum: MI_GIL_NEED_NOTHING
    enum: MI_GIL_NEED_GIL
    ctypedef enum mi_gil_format:
        MI_GIL_PERFETTO
        MI_GIL_CHROME
    ctypedef struct mi_gil_encoder_plan:
        mi_gil_format format
        int32_t pid
        uint64_t base_ns, begin "from", to
    ctypedef struct mi_gil_encoder:
        pass
    mi_gil_encoder *mi_gil_encoder_make(const mi_gil_encoder_plan *plan)
    void mi_gil_encoder_free(mi_gil_encoder *encoder)
    void mi_gil_encoder_know(mi_gil_encoder *encoder, int needed, int32_t native_id)
    size_t mi_gil_encode(mi_gil_encoder *encoder, const mi_gil_event *events, size_t count, size_t *taken, char *out,
                         size_t room, int *needed) nogil
    size_t mi_gil_encode_end(mi_gil_encoder *encoder, uint64_t end, char *out, size_t room, int *needed, int *more) nogil


cdef enum:
    SPAN_BUFFER = 1 << 18  # bytes of records that leave at a time


cdef const mi_gil_event *events_in(bytes events, size_t *count) except NULL:
    if len(events) % sizeof(mi_gil_event):
        raise ValueError("events are cut off")
    count[0] = <size_t>len(events) // sizeof(mi_gil_event)
    return <const mi_gil_event *>PyBytes_AS_STRING(events)


cdef class GilDigest:
    """Gathers packed events (as gil_region_to_dict() has them), in parts of any size, in bounded memory."""

    cdef mi_gil_digest *digest

    def __cinit__(self):
        self.digest = mi_gil_digest_make()
        if self.digest == NULL:
            raise MemoryError("no room for the digest of a trace")

    def __dealloc__(self):
        mi_gil_digest_free(self.digest)

    def feed(self, bytes events):
        """Takes events; MemoryError when there is no room."""
        cdef size_t count
        cdef const mi_gil_event *first = events_in(events, &count)
        cdef mi_error error
        with nogil:
            error = mi_gil_digest_events(self.digest, first, count)
        check(error)

    def finish(self, uint64_t end_ns):
        """What has come of it; nothing can be fed afterwards. All times in nanoseconds since the beginning.

        {"threads": {row: {"forced", "voluntary", "blocked_ns", "holds", "waits"}}, "holds", "waits": {"count", "total_ns",
        "max_ns", "p50_ns", "p90_ns", "p99_ns", "p999_ns", "buckets": [(from, count)] of all}, "pairs": [(from, to,
        forced, voluntary, waited_ns, [(count, total_ns)] of waits behind forced releases by length)], "longest",
        "collections", "kept": packed mi_gil_span (struct "=QQQQQIIHBBI": begin, end, detail, came, went, thread, other,
        gil, kind, flags, next), "..._left_out", "waiters_ns": for 0, 1, ... waiting, "main_held_ns", "tile_ns", "tiles":
        [(thread or None, packed pairs "QQ" of held and waited in each tile)], "sites": [(thread, place, forced,
        voluntary, held_ns, longest_ns)], "places": {(gil, begin): place} of the longest holds: csrc/gil/gil_sites.h}
        """
        cdef size_t count = 0
        cdef uint64_t left_out = 0
        cdef uint32_t row, thread = 0
        cdef mi_error error
        cdef const mi_gil_span *spans
        cdef const mi_gil_site *sites
        cdef const mi_gil_placed *placed
        cdef const uint64_t *tiles
        cdef size_t at
        with nogil:
            error = mi_gil_digest_finish(self.digest, end_ns)
        check(error)
        result = {"holds": lengths_of(mi_gil_digest_holds(self.digest), True),
                  "waits": lengths_of(mi_gil_digest_waits(self.digest), True),
                  "main_held_ns": mi_gil_digest_main_held(self.digest),
                  "tile_ns": mi_gil_digest_tile_ns(self.digest)}
        result["threads"] = threads = {}
        for row in range(<uint32_t>MI_GIL_THREADS_MOST):
            found = thread_digest(mi_gil_digest_thread(self.digest, row))
            if found is not None:
                threads[row] = found
        result["pairs"] = pairs_of(self.digest, &left_out)
        result["pairs_left_out"] = left_out
        spans = mi_gil_digest_longest(self.digest, &count)
        result["longest"] = PyBytes_FromStringAndSize(<const char *>spans, count * sizeof(mi_gil_span))
        spans = mi_gil_digest_collections(self.digest, &count, &left_out)
        result["collections"] = PyBytes_FromStringAndSize(<const char *>spans, count * sizeof(mi_gil_span))
        result["collections_left_out"] = left_out
        spans = mi_gil_digest_kept(self.digest, &count, &left_out)
        result["kept"] = PyBytes_FromStringAndSize(<const char *>spans, count * sizeof(mi_gil_span))
        result["kept_left_out"] = left_out
        sites = mi_gil_sites_all(mi_gil_digest_sites(self.digest), &count, &left_out)
        result["sites"] = [(sites[at].thread, sites[at].place, sites[at].forced, sites[at].voluntary, sites[at].held,
                            sites[at].longest) for at in range(count)]
        result["sites_left_out"] = left_out
        placed = mi_gil_sites_longest(mi_gil_digest_sites(self.digest), &count)
        result["places"] = {(placed[at].gil, placed[at].begin): placed[at].place for at in range(count)}
        result["waiters_ns"] = [mi_gil_digest_waiters(self.digest)[row] for row in range(<uint32_t>MI_GIL_WAITERS_MOST)]
        result["tiles"] = rows = []
        row = 0
        while True:
            tiles = mi_gil_digest_tiles(self.digest, row, &thread)
            if tiles == NULL:
                break
            packed = PyBytes_FromStringAndSize(<const char *>tiles, MI_GIL_TILES * 2 * sizeof(uint64_t))
            rows.append((None if thread == <uint32_t>0xFFFFFFFF else thread, packed))
            row += 1
        return result


cdef dict lengths_of(const mi_gil_lengths *lengths, bint buckets):
    cdef size_t at
    result = {"count": lengths.count, "total_ns": lengths.total, "max_ns": lengths.max}
    for name, share in (("p50_ns", 0.5), ("p90_ns", 0.9), ("p99_ns", 0.99), ("p999_ns", 0.999)):
        result[name] = mi_gil_lengths_at(lengths, share) if lengths.count else None
    if buckets:
        result["buckets"] = [(mi_gil_bucket_low(at), lengths.buckets[at])
                             for at in range(<size_t>MI_GIL_BUCKETS) if lengths.buckets[at]]
    return result


cdef dict thread_digest(const mi_gil_thread_digest *thread):
    if thread == NULL:
        return None
    return {"forced": thread.forced, "voluntary": thread.voluntary, "blocked_ns": thread.blocked_ns,
            "holds": lengths_of(&thread.holds, False), "waits": lengths_of(&thread.waits, False)}


cdef list pairs_of(const mi_gil_digest *digest, uint64_t *left_out):
    cdef size_t count = 0, at, bucket
    cdef const mi_gil_pair *pair = mi_gil_digest_pairs(digest, &count, left_out)
    result = []
    for at in range(count):
        waits = [(pair[at].long_waits[bucket], pair[at].long_totals[bucket])
                 for bucket in range(<size_t>MI_GIL_PAIR_BUCKETS) if pair[at].long_waits[bucket]] if pair[at].forced else []
        result.append((pair[at].giver, pair[at].to, pair[at].forced, pair[at].voluntary, pair[at].waited_ns, waits))
    return result


cdef class GilEncoder:
    """Packed events as records of a trace file.

    chrome -- Chrome's trace events, else Perfetto's protobuf
    base_ns -- added to times in Perfetto's: CLOCK_MONOTONIC at the trace's beginning
    begin_ns, end_ns -- since then: the window; what lies outside is left out
    """

    cdef mi_gil_encoder *encoder

    def __cinit__(self, bint chrome, int32_t pid, uint64_t base_ns, uint64_t begin_ns=0,
                  uint64_t end_ns=0xFFFFFFFFFFFFFFFF):
        cdef mi_gil_encoder_plan plan
        plan.format = MI_GIL_CHROME if chrome else MI_GIL_PERFETTO
        plan.pid = pid
        plan.base_ns = base_ns
        plan.begin = begin_ns
        plan.to = end_ns
        self.encoder = mi_gil_encoder_make(&plan)
        if self.encoder == NULL:
            raise MemoryError("no room for a trace file's records")

    def __dealloc__(self):
        mi_gil_encoder_free(self.encoder)

    def know_thread(self, int row, int32_t native_id):
        """The names of a thread have been written."""
        mi_gil_encoder_know(self.encoder, row, native_id)

    def know_gil(self, int gil):
        """The names of a GIL's tracks have been written."""
        mi_gil_encoder_know(self.encoder, MI_GIL_NEED_GIL + gil, 0)

    def encode(self, bytes events, size_t done=0):
        """(events done, records, thread whose names must be written next or None, GIL or None); `done` of them before."""
        cdef size_t count, taken = 0, size
        cdef int needed
        cdef const mi_gil_event *first = events_in(events, &count)
        cdef bytes out = PyBytes_FromStringAndSize(NULL, SPAN_BUFFER)
        cdef char *to = PyBytes_AS_STRING(out)
        if done > count:
            raise ValueError("there are not so many events")
        with nogil:
            size = mi_gil_encode(self.encoder, first + done, count - done, &taken, to, SPAN_BUFFER, &needed)
        return done + taken, out[:size], *needs(needed)

    def end(self, uint64_t end_ns):
        """The same for what had not ended: (whether more is to come, records, thread, GIL)."""
        cdef size_t size
        cdef int needed, more
        cdef bytes out = PyBytes_FromStringAndSize(NULL, SPAN_BUFFER)
        cdef char *to = PyBytes_AS_STRING(out)
        with nogil:
            size = mi_gil_encode_end(self.encoder, end_ns, to, SPAN_BUFFER, &needed, &more)
        return bool(more), out[:size], *needs(needed)


cdef tuple needs(int needed):
    if needed == MI_GIL_NEED_NOTHING:
        return None, None
    return (None, needed - MI_GIL_NEED_GIL) if needed >= MI_GIL_NEED_GIL else (needed, None)
