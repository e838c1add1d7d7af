# What is in every block: csrc/census/census.h. The raw format is documented in probes/census.py.

cdef extern from "types.h":
    ctypedef struct mi_type:
        uintptr_t address
        uint32_t basicsize, itemsize
        uint16_t kind
    ctypedef struct mi_types:
        mi_type *items
        size_t count
    mi_error mi_types_read(mi_types *types, const mi_target *target, const mi_layout *layout,
                           const uintptr_t *addresses, size_t count)
    void mi_types_free(mi_types *types)

cdef extern from "owners.h":
    ctypedef enum mi_owner:
        pass
    enum:
        MI_OWNERS
        MI_OWNER_FREE_OBJECTS
    const char *mi_owner_name(mi_owner owner)

cdef extern from "census.h":
    enum: MI_CENSUS_GUESSES
    ctypedef struct mi_census_row:
        uint64_t[64] blocks
        uint64_t large_blocks, large_bytes, requested_bytes, unasked
    ctypedef struct mi_census_guess:
        int32_t type, owner
        uint32_t offset, count
    ctypedef struct mi_census_roots:
        uintptr_t address
        size_t size
        uintptr_t free_lists, memory_errors
    ctypedef struct mi_census:
        mi_census_row *objects
        size_t types
        mi_census_row *buffers
        mi_census_row unknown, live
        mi_census_guess[65][8] guesses
        uint64_t claims_outside, claims_misplaced, claims_free, claims_small, claims_again
        uint64_t looked_like_objects, bitmap_bytes, table_bytes, pools_left, walk_ns
        int threads, rounds
    ctypedef struct mi_census_request:
        const mi_target *target
        const mi_layout *layout
        const mi_heap *heap
        const mi_types *types
        uint32_t padding
        int threads, guesses
        const mi_census_roots *roots
        size_t root_count
    mi_error mi_census_take(const mi_census_request *request, mi_census *census) nogil
    void mi_census_free(mi_census *census)


cdef list all_types():
    """Every type that `object` leads to by its subclasses; type.__subclasses__ is C and asks no metaclass."""
    found, todo = {}, [object]
    while todo:
        item = todo.pop()
        if id(item) in found:
            continue
        found[id(item)] = item
        todo.extend(type.__subclasses__(item))
    return list(found.values())


_type_module = type.__dict__["__module__"].__get__
_type_qualname = type.__dict__["__qualname__"].__get__


cdef object plain_text(object text):
    """A bounded copy of a str, None of anything else (a class body may have put any object there)."""
    return str.encode(text[:256], "utf-8", "surrogatepass") if type(text) is str else None


cdef tuple type_text(object item):
    """(module, qualified name) of a type: `type`'s own getters, which read its structure and dict and call nothing."""
    try:
        module = plain_text(_type_module(item))
    except AttributeError:
        module = None
    return module, plain_text(_type_qualname(item))


cdef bytes row_bytes(const mi_census_row *row, const mi_layout *layout):
    return (<char *>row.blocks)[:layout.size_classes * sizeof(uint64_t)] + (<char *>&row.large_blocks)[:4 * sizeof(uint64_t)]


cdef bint row_is_empty(const mi_census_row *row):
    cdef int i
    for i in range(64):
        if row.blocks[i]:
            return False
    return not row.large_blocks


cdef list guesses_of(const mi_types *types, const mi_census_guess *guesses):
    """[(kind, (module, qualified name) or None, offset of the word, how many)]; kind: "type", "object", "buffer" or
    "unknown"."""
    cdef int i
    cdef const mi_census_guess *guess
    found = []
    for i in range(MI_CENSUS_GUESSES):
        guess = &guesses[i]
        if not guess.count:
            break
        if guess.type >= 0:
            name = type_text(<object><PyObject *>types.items[guess.type].address)
        else:
            name = None
        kind = "object" if guess.type >= 0 else {-1: "buffer", -2: "unknown", -3: "type"}[guess.type]
        found.append((kind, name, guess.offset, guess.count))
    return found


cdef dict census_to_raw(const mi_layout *layout, const mi_types *types, const mi_census *census):
    cdef size_t i
    cdef int owner
    guesses = {i: guesses_of(types, census.guesses[i]) for i in range(<size_t>layout.size_classes)
               if census.guesses[i][0].count}
    rows = [(mi_owner_name(<mi_owner>owner).decode(), row_bytes(&census.buffers[owner], layout))
            for owner in range(MI_OWNERS)]
    reasons = []
    if census.pools_left:
        reasons.append(f"max_pause was reached: {census.pools_left} pools were left out, and what their objects own is "
                       "unknown")
    return {
        "alignment": layout.alignment, "size_class_count": layout.size_classes,
        "types": [(*type_text(<object><PyObject *>types.items[i].address), row_bytes(&census.objects[i], layout))
                  for i in range(types.count) if not row_is_empty(&census.objects[i])],
        "buffers": rows[:MI_OWNER_FREE_OBJECTS], "free_lists": rows[MI_OWNER_FREE_OBJECTS:],
        "guesses": guesses, "large": False, "large_reason": "malloc's heaps are not walked yet",
        "unknown": row_bytes(&census.unknown, layout), "live": row_bytes(&census.live, layout),
        "claims": {"outside": census.claims_outside, "misplaced": census.claims_misplaced,
                   "free": census.claims_free, "small": census.claims_small, "again": census.claims_again},
        "looked_like_objects": census.looked_like_objects, "rounds": census.rounds,
        "bitmap_bytes": census.bitmap_bytes, "table_bytes": census.table_bytes,
        "threads": census.threads, "consistent": False, "reasons": reasons,
    }


cdef bytes addresses_of(list held):
    return b"".join([id(item).to_bytes(8, "little") for item in held])


cdef mi_census_roots roots_of(const mi_layout *layout, uintptr_t interpreter):
    cdef mi_census_roots roots
    roots.address, roots.size = interpreter, layout.interpreter_size
    roots.free_lists = interpreter + layout.free_lists
    roots.memory_errors = interpreter + layout.free_memory_errors
    return roots


def census_capture(max_pause=1.0, int threads=0, bint guesses=False):
    """Every live block of this process' heaps as an object of a type, an owner's buffer, or unknown; see
    probes/census.py for the format.

    max_pause -- seconds for which the GIL may be held (other threads stopped); None: no ceiling
    threads   -- native threads that walk, 0: as many as help
    guesses   -- look for what points to unknown blocks
    """
    cdef const mi_layout *layout = the_layout()
    cdef _Target guard = _Target()
    cdef mi_runtime runtime
    cdef mi_arena_table table
    cdef mi_allocator allocator
    cdef mi_heap_walk walk
    cdef mi_types types
    cdef mi_census census
    cdef mi_census_roots roots
    cdef mi_census_request request
    cdef mi_error error
    cdef uintptr_t self = <uintptr_t>PyInterpreterState_Get()
    cdef bint hidden = False
    cdef uint64_t begun = mi_os_now_ns(), held_from
    held = all_types()
    cdef bytes addresses = addresses_of(held)
    guard.open(MI_TARGET_SELF, 0)
    check(mi_runtime_open(&runtime, &guard.target, layout))
    own_table(&guard.target, layout, &table, &hidden)
    check(mi_allocator_look(&guard.target, layout, &table, &allocator))
    raw_allocator = allocator_to_raw(guard, &allocator)
    check(mi_types_read(&types, &guard.target, layout, <const uintptr_t *><const char *>addresses, len(held)))
    roots = roots_of(layout, self)
    request.target, request.layout, request.heap, request.types = &guard.target, layout, &walk.heap, &types
    request.padding = 16 if raw_allocator["padding_bytes"] else 0
    request.threads, request.guesses = threads, guesses
    request.roots, request.root_count = &roots, 1
    check(mi_target_refresh(&guard.target))
    own_table(&guard.target, layout, &table, &hidden)
    held_from = mi_os_now_ns()
    (<mi_timed_target *>&guard.target).until_ns = ceiling_of(max_pause)
    # Nothing is allocated from pymalloc from here to the end of the walk.
    error = mi_heap_walk_all(&runtime, self, &table if hidden else NULL, MI_WALK_POOLS, &walk)
    if error == MI_OK:
        error = mi_census_take(&request, &census)
    pause = (mi_os_now_ns() - held_from) * 1e-9
    try:
        check(error)
        raw = census_to_raw(layout, &types, &census)
        raw.update(raw_allocator)
        raw["reasons"] += heap_reasons(&walk)
        raw["pause_s"] = pause
        raw["seconds"] = (mi_os_now_ns() - begun) * 1e-9
        return raw
    finally:
        mi_heap_walk_free(&walk)
        mi_types_free(&types)
        if error == MI_OK:
            mi_census_free(&census)


def census_record(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """census_capture() with guesses as a record of the launcher's file; what csrc/launch/preload.c calls."""
    record_write(fd, kind, {"census": census_capture(max_pause, 0, True),
                            "own_blocks": None if own_blocks < 0 else own_blocks})


cdef list heap_reasons(const mi_heap_walk *walk):
    """Why the walk of the pools was not whole: texts."""
    cdef size_t i
    reasons = [f"interpreter {walk.omitted[i].interpreter} was left out: {omission_text(&walk.omitted[i])}"
               for i in range(walk.omitted_count)]
    if walk.heap.torn_pools or walk.heap.torn_arenas:
        reasons.append(f"{walk.heap.torn_pools} pools and {walk.heap.torn_arenas} arenas contradict themselves")
    if walk.heap.arenas_left:
        reasons.append(f"max_pause was reached: {walk.heap.arenas_left} arenas were left out")
    return reasons
