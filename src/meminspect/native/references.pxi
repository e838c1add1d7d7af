# Owners and references: what is asked of this process. The raw format is documented in probes/references.py.

def references_capture(addresses=(), type_names=(), bint holders=False, bint path=False, bint retained=False,
                       bint arenas=False, uint32_t top=0, uint32_t keys=0, uint32_t pinned=0, bint objects=False,
                       max_pause=1.0, bint consistent=False, deadline=60.0, room_bytes=None, foreign="scan"):
    """The objects of this process and the references between them, and what was asked of them; see
    probes/references.py and probes/pinning.py for the format.

    addresses, type_names -- whom it is about: objects by address, and all objects of the types of these names
    holders, path, retained -- who refers to them, a way from a root, what would go with them
    arenas    -- which arenas they keep
    top       -- so many objects with the largest retained sizes
    keys      -- what would have to go for arenas to be empty: at most so many objects an arena, 0: not asked
    pinned    -- what lies in so many arenas, those with the fewest bytes in use: of all, or that the objects keep
    objects   -- with some of the objects in each of these
    max_pause -- seconds for which the GIL may be held to read the graph; NativeError("late") when it was not enough
    consistent -- read it in a frozen copy of the process: only making that is waited for, so max_pause does not apply
    deadline  -- seconds after which the copy is ended, and NativeError raised
    room_bytes -- how much the copies of pages may take; None: what the control groups and the machine leave
    foreign   -- "scan": words of structures that are not known, if they are addresses of objects that count more references
                 than are known, labelled as guesses;
                 "call": the tp_traverse of such types, of tracked objects alone
    """
    cdef uint64_t begun = mi_os_now_ns()
    cdef _Graph whole = graph_read(max_pause, consistent, deadline, room_bytes, foreign)
    try:
        raw = answer_of(whole, None, addresses, type_names, holders, path, retained, arenas, top, keys, pinned, objects)
    finally:
        whole.leave()
    return graph_told(whole, raw, begun)


cdef _Graph graph_read(max_pause, bint consistent, deadline, room_bytes, foreign):
    """The graph as it is now, of this process or a copy of it, which leave() ends."""
    cdef _Graph whole = _Graph()
    whole.call_foreign(foreign)
    if consistent:
        whole.copy(deadline, room_bytes)
    else:
        whole.make(ceiling_of(max_pause))
    return whole


cdef dict graph_told(_Graph whole, dict raw, uint64_t begun):
    raw["frozen"], raw["pause_s"] = whole.copied, whole.pause
    raw["seconds"] = (mi_os_now_ns() - begun) * 1e-9
    return raw


cdef dict answer_of(_Graph whole, asked, addresses, type_names, bint holders, bint path, bint retained, bint arenas,
                    uint32_t top, uint32_t keys, uint32_t pinned, bint objects):
    """What references_capture() was asked, of a graph that is there; `asked`: what the question was asked with."""
    cdef _Numbers nodes = _Numbers()
    cdef _Tree tree = None
    cdef uint64_t own_bytes = 0
    cdef int64_t node
    cdef size_t i
    raw = summary(whole)
    unknown = []
    for address in addresses:
        node = mi_address_index_find(&whole.graph.index, address)
        if node < 0:
            unknown.append(address)
        else:
            nodes.add(<uint32_t>node)
    for name in type_names:
        add_type(whole, name, nodes)
    for i in range(nodes.count):
        own_bytes += <uint64_t>whole.graph.sizes[nodes.items[i]] * whole.graph.unit
    raw["targets"], raw["unknown_addresses"] = nodes.count, unknown
    raw["target"] = node_text(whole, nodes.items[0]) if nodes.count else None
    raw["target_bytes"] = own_bytes
    raw["holders"] = raw["path"] = raw["loss"] = raw["arenas"] = raw["top"] = raw["keys"] = None
    if holders and nodes.count:
        raw["holders"] = holders_of(whole, nodes.items[0]) if nodes.count == 1 else holders_of_many(whole, nodes)
    if path and nodes.count:
        raw["path"] = path_to(whole, nodes.items[0])
    marks = None
    if raw["arenas_reason"] is not None:
        keys = pinned = arenas = 0
    if keys or arenas:
        whole.leave_out(asked)
    if (retained or arenas) and nodes.count:
        raw["loss"] = loss_of(whole, nodes, arenas)
        marks = raw["loss"].pop("marks")
    if top or keys:
        tree = tree_of(whole)
    if keys:
        raw["keys"] = pinning_of(whole, tree, keys)
    if pinned:
        raw["arenas"] = pinned_arenas(whole, marks, pinned, objects)
    if top:
        raw["top"] = top_of(whole, tree, top)
        raw["top"]["types"] = retained_by_type(whole, tree, 20)
    return raw


def references_reach(str root, addresses):
    """The object at the end of a path that references_capture() found: reached from its root once more, each object by a
    reference of the one before. None when it does not lead there any more. Not a plain value: for use in this process.
    """
    cdef _Graph reader = _Graph()
    reader.prepare()
    return reached(reader, root, addresses)
