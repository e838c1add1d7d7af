# What keeps arenas, and what would have to go: csrc/graph/pinning.h. The raw format is in probes/pinning.py.

cdef extern from "pinning.h":
    enum: MI_PIN_NOTHING
    enum: MI_PIN_KEYS
    enum: MI_PIN_NO_KEY
    ctypedef struct mi_pinning:
        size_t arenas
        unsigned char *pins
        uint32_t *first
        uint32_t *keys
        uint32_t *highest
    mi_error mi_pinning_find(const mi_graph *graph, const mi_dominators *tree, const mi_types *types, const mi_loss *own,
                             uint32_t most, mi_pinning *result)
    void mi_pinning_free(mi_pinning *result)
    mi_error mi_retained_by_type(const mi_graph *graph, const mi_dominators *tree, size_t types, uint64_t *retained,
                                 uint64_t *objects)

PIN_NAMES = ("empty", "objects", "many", "garbage", "fixed", "unknown")

cdef enum:
    MOST_STEPS = 8    # objects or sets of objects that are told, the one that frees the most arenas first
    MOST_ABOVE = 64   # dominators of a key that are looked at
    MOST_GROUPS = 500  # different sets of keys
    MOST_SAMPLES = 3  # objects told of an arena
    MOST_TYPES = 8


cdef class _Pinning:
    """The keys of each arena, and the greedy choice among them."""
    cdef mi_pinning found
    cdef _Graph whole
    cdef _Tree tree
    cdef dict above  # of a key: itself and what dominates it, up to the highest that is not fixed
    cdef set chosen

    def __dealloc__(self):
        mi_pinning_free(&self.found)

    cdef tuple chain(self, uint32_t key):
        cdef uint32_t number = key, highest = self.found.highest[key]
        found = self.above.get(key)
        if found is None:
            numbers = [key]
            while number != highest and len(numbers) < MOST_ABOVE:
                number = self.tree.found.dominator[number]
                numbers.append(number)
            if number != highest:
                numbers.append(highest)
            found = self.above[key] = tuple(numbers)
        return found

    cdef dict groups(self):
        """How many arenas need each set of keys, beside what is chosen already."""
        cdef size_t arena
        cdef uint32_t i
        counts = {}
        for arena in range(self.found.arenas):
            if self.found.pins[arena] != MI_PIN_KEYS:
                continue
            need = frozenset([
                self.found.keys[i] for i in range(self.found.first[arena], self.found.first[arena + 1])
                if self.chosen.isdisjoint(self.chain(self.found.keys[i]))])
            if need:
                counts[need] = counts.get(need, 0) + 1
        return counts

    cdef tuple best_one(self, dict counts):
        """(the object with which the most arenas would be empty, how many)

        What lies below it in the tree is taken instead when it frees nine tenths as many: not a whole program for its
        cache.
        """
        gains, depth = {}, {}
        for need, count in counts.items():
            if len(need) == 1:
                [key] = need
                line = self.chain(key)
                for at, number in enumerate(line):
                    gains[number] = gains.get(number, 0) + count
                    depth[number] = len(line) - at
        if not gains:
            return None, 0
        enough = max(gains.values()) * 0.9
        best = max([(depth[number], gain, number) for number, gain in gains.items() if gain >= enough])
        return best[2], best[1]

    cdef tuple best_set(self, dict counts):
        """(the set of keys that empties the most arenas for each object in it, how many)"""
        ranked = sorted(counts.items(), key=_second, reverse=True)[:MOST_GROUPS]
        best, gain = None, 0
        for need, _ in ranked:
            total = sum([count for other, count in ranked if other <= need])
            if best is None or total * len(best) > gain * len(need):
                best, gain = need, total
        return best, gain

    cdef list steps(self):
        """[([(NODE, bytes retained, path), ...], arenas empty by then, bytes gone by then), ...]

        Steps after the last that emptied an arena are left out: what they hold keeps none alone.
        """
        cdef _Numbers nodes = _Numbers()
        result = []
        emptied = useful = 0
        while len(result) < MOST_STEPS:
            counts = self.groups()
            one, gain = self.best_one(counts)
            many, gain_of_many = self.best_set(counts)
            if many is None:
                break
            step = [one] if one is not None and gain * len(many) >= gain_of_many else sorted(many)
            self.chosen.update(step)
            rows = []
            for number in step:
                node = self.tree.found.node[number]
                nodes.add(node)
                rows.append((node_text(self.whole, node), self.tree.found.retained[number] * self.whole.graph.unit,
                             path_to(self.whole, node)))
            loss = loss_of(self.whole, nodes, True)
            result.append((rows, loss["arenas"][1], loss["bytes"]))
            if loss["arenas"][1] > emptied:
                emptied, useful = loss["arenas"][1], len(result)
        return result[:useful]


def _second(item):
    return item[1]


cdef dict pinning_of(_Graph whole, _Tree tree, uint32_t most):
    cdef _Pinning pinning = _Pinning()
    cdef size_t i
    pinning.whole, pinning.tree, pinning.above, pinning.chosen = whole, tree, {}, set()
    check(mi_pinning_find(&whole.graph, &tree.found, &whole.types, &whole.own, most, &pinning.found))
    counts = [0] * len(PIN_NAMES)
    for i in range(pinning.found.arenas):
        counts[pinning.found.pins[i]] += 1
    return {"most": most, "arenas": dict(zip(PIN_NAMES, counts)), "steps": pinning.steps()}


cdef list retained_by_type(_Graph whole, _Tree tree, size_t most):
    """[(module, type, objects, bytes that hang under them), ...] of the types under which the most hangs."""
    cdef _Table retained = _Table(), objects = _Table()
    cdef uint64_t *bytes_of
    cdef uint64_t *count_of
    cdef size_t i, count = whole.types.count
    retained.clear(count * sizeof(uint64_t))
    objects.clear(count * sizeof(uint64_t))
    bytes_of, count_of = <uint64_t *>retained.data, <uint64_t *>objects.data
    check(mi_retained_by_type(&whole.graph, &tree.found, count, bytes_of, count_of))
    order = sorted([(bytes_of[i], i) for i in range(count) if count_of[i]], reverse=True)[:most]
    return [(*whole.names[i], count_of[i], size * whole.graph.unit) for size, i in order]


cdef list samples(_Graph whole, size_t arena, dict buffers):
    """Some of the objects in an arena, with a path to each."""
    cdef uint32_t node, first = whole.graph.arena_first[arena], end = whole.graph.arena_end[arena]
    found = [node for node in range(first, min(end, first + MOST_SAMPLES))]
    found += buffers.get(arena, [])[:MOST_SAMPLES - len(found)]
    return [(node_text(whole, number), path_to(whole, number)) for number in found]


cdef list pinned_arenas(_Graph whole, marks, uint32_t most, bint objects):
    """[(address, bytes in use, blocks, of no known object, [((module, type), objects and buffers), ...],
    [(NODE, path), ...] or None), ...]"""
    cdef size_t i, arena
    cdef uint32_t node
    cdef mi_graph *graph = &whole.graph
    order = sorted([(graph.arena_bytes[i], i) for i in range(graph.arena_count)
                    if graph.arena_blocks[i] and (marks is None or marks[i] & 1)])[:most]
    shown = {place: {} for _, place in order}
    buffers = {}
    for i in range(graph.elsewhere_count):
        counts = shown.get(graph.elsewhere[i].arena)
        if counts is not None:
            kind = graph.types[graph.elsewhere[i].node]
            counts[kind] = counts.get(kind, 0) + 1
            buffers.setdefault(graph.elsewhere[i].arena, []).append(graph.elsewhere[i].node)
    rows = []
    for size, arena in order:
        counts = shown[arena]
        for node in range(graph.arena_first[arena], graph.arena_end[arena]):
            kind = graph.types[node]
            counts[kind] = counts.get(kind, 0) + 1
        kinds = sorted(counts.items(), key=_second, reverse=True)[:MOST_TYPES]
        rows.append((graph.arenas[arena], size, graph.arena_blocks[arena], graph.arena_unknown[arena],
                     [(whole.names[kind], count) for kind, count in kinds],
                     samples(whole, arena, buffers) if objects else None))
    return rows


cdef tuple target_of(str target):
    """(addresses, names of types) that a target on a command line stands for: "0x7f.." or a number, or a name."""
    try:
        return [int(target, 0)], []
    except ValueError:
        return [], [target]


cdef tuple targets_of(freed):
    """(addresses, names of types) of what is to be let go: probes/pinning.py, what_if."""
    addresses, names = [], []
    for item in freed if isinstance(freed, (list, tuple, set, frozenset)) else (freed,):
        if isinstance(item, str):
            names.append(item)
        elif isinstance(item, type):
            module, name = type_text(item)
            names.append((module or b"").decode("utf-8", "replace") + "." + (name or b"").decode("utf-8", "replace"))
        elif isinstance(item, int) and not isinstance(item, bool):
            addresses.append(item)
        else:
            addresses.append(id(item))
    return addresses, names


# The graph is read before anything else is made of these questions, which are about arenas: what they are asked with is in
# nobody's list, and no call here has arguments by name, for which a dict is made.

def what_if_capture(freed, max_pause=1.0, bint consistent=False, deadline=60.0):
    """references_capture() of what would go with `freed`, and of the arenas that this would empty."""
    cdef uint64_t begun = mi_os_now_ns()
    cdef _Graph whole = graph_read(max_pause, consistent, deadline, None, "scan")
    try:
        addresses, names = targets_of(freed)
        raw = answer_of(whole, freed, addresses, names, False, False, True, True, 0, 0, 0, False)
    finally:
        whole.leave()
    return graph_told(whole, raw, begun)


def pinning_capture(uint32_t keys=16, uint32_t pinned=20, bint objects=False, max_pause=1.0, bint consistent=False,
                    deadline=60.0):
    """references_capture() of what keeps arenas."""
    cdef uint64_t begun = mi_os_now_ns()
    cdef _Graph whole = graph_read(max_pause, consistent, deadline, None, "scan")
    try:
        raw = answer_of(whole, None, (), (), False, False, False, False, 0, keys, pinned, objects)
    finally:
        whole.leave()
    return graph_told(whole, raw, begun)


def why_capture(target, max_pause=1.0, uint32_t keys=16, uint32_t pinned=20, bint consistent=False, deadline=60.0):
    """references_capture() of all that is to be said of an address ("0x7f..", a number or an int), or of a type by its
    name."""
    cdef uint64_t begun = mi_os_now_ns()
    cdef _Graph whole = graph_read(max_pause, consistent, deadline, None, "scan")
    try:
        addresses, names = target_of(target) if isinstance(target, str) else ([target], [])
        raw = answer_of(whole, target, addresses, names, True, True, True, True, 0, keys, pinned, False)
    finally:
        whole.leave()
    return graph_told(whole, raw, begun)


def why_outside_capture(pid_t pid, str target, uint32_t keys=16, uint32_t pinned=20, deadline=60.0):
    """The same of another process of the same build; see references_outside_capture()."""
    addresses, names = target_of(target)
    return references_outside_capture(pid, addresses, names, True, True, True, True, 0, keys, pinned, False, deadline)


def why_record(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """why_capture() of the target that the launcher ordered, as a record; what csrc/launch/preload.c calls."""
    record_write(fd, kind, {"why": why_capture(launch_order(fd), max_pause)})


def why_record_consistent(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """The same, read in a frozen copy."""
    record_write(fd, kind, {"why": why_capture(launch_order(fd), max_pause, consistent=True)})
