# What shares a pool and an arena with a block: the list that a census makes of every live block (census.h: mi_census_seen).

cdef struct neighbour_range:
    uintptr_t start, end


cdef list seen_in(bytes seen, neighbour_range within, dict names, bytes addresses):
    """[((module, type) or "buffer" or "unknown", blocks, bytes), ...]"""
    cdef const mi_census_seen *items = <const mi_census_seen *><const char *>seen
    cdef const uint64_t *types = <const uint64_t *><const char *>addresses
    cdef size_t i, count = len(seen) // sizeof(mi_census_seen)
    counts = {}
    for i in range(count):
        if not within.start <= items[i].address < within.end:
            continue
        if items[i].type >= 0:
            key = names.get(types[items[i].type], (None, None))
        else:
            key = "buffer" if items[i].type == MI_SEEN_CLAIMED else "unknown"
        blocks, size = counts.get(key, (0, 0))
        counts[key] = blocks + 1, size + items[i].size
    return [(key, blocks, size) for key, (blocks, size) in counts.items()]


def neighbours_capture(uintptr_t pool, uintptr_t arena, max_pause=1.0):
    """What lies in this pool and in this arena, by a census of the heap: {"pool", "arena": rows as in seen_in, "reasons",
    "pause_s"}."""
    cdef const mi_layout *layout = the_layout()
    raw = census_capture(max_pause=max_pause, blocks=True)
    names = {id(item): type_text(item) for item in all_types()}
    seen, addresses = raw["seen"], raw["type_addresses"]
    return {
        "pool": seen_in(seen, neighbour_range(pool, pool + <uintptr_t>layout.pool_size), names, addresses),
        "arena": seen_in(seen, neighbour_range(arena, arena + <uintptr_t>layout.arena_size), names, addresses),
        "reasons": raw["reasons"], "pause_s": raw["pause_s"],
    }
