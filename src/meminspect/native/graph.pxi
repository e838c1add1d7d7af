# The graph of all objects as columns, for a snapshot: csrc/graph/graph.h.

cdef bytes addresses_of_graph(const mi_graph *graph):
    """The address of each object, uint64."""
    cdef size_t size = graph.objects * sizeof(uint64_t)
    cdef uint64_t *to = <uint64_t *>mi_os_alloc(size)
    cdef uint32_t i
    if to == NULL:
        check(MI_E_MEMORY)
    try:
        for i in range(graph.objects):
            to[i] = mi_address_index_address(&graph.index, i)
        return (<char *>to)[:size]
    finally:
        mi_os_free(to, size)


def graph_capture(max_pause=1.0, bint consistent=False, deadline=60.0, room_bytes=None):
    """All objects of this process, their sizes and the references between them: columns of packed numbers.

    Nodes are objects in order of address, then the roots. {"objects", "roots": names, "names": [(module, name), ...] of
    types, "addresses": uint64 of each object, "types": uint32 (place in names) and "unexplained": uint32 of each object,
    "sizes": uint32 of each node in `unit` bytes, "offsets": uint32, one more than nodes, into "edges": uint32, the nodes
    that a node refers to, "unit", "small_bytes", "references", "guesses", "dropped", "pause_s", "reasons": what is left out,
    "consistent": it was read in a frozen copy, "with_census": which the census of the same snapshot was read in, too}

    max_pause -- seconds for which the GIL may be held; NativeError("late") when it was not enough
    consistent, deadline, room_bytes -- as in references_capture()
    """
    cdef _Graph whole = graph_read(max_pause, consistent, deadline, room_bytes, "scan")
    whole.leave()
    return graph_columns(whole, False)


cdef dict graph_columns(_Graph whole, bint with_census):
    cdef const mi_graph *graph = &whole.graph
    cdef size_t nodes = mi_graph_nodes(graph)
    return {
        "objects": graph.objects, "roots": list(ROOT_NAMES), "names": whole.names, "unit": graph.unit,
        "addresses": addresses_of_graph(graph),
        "types": (<char *>graph.types)[:graph.objects * sizeof(uint32_t)],
        "unexplained": (<char *>graph.unexplained)[:graph.objects * sizeof(uint32_t)],
        "sizes": (<char *>graph.sizes)[:nodes * sizeof(uint32_t)],
        "offsets": (<char *>graph.offsets)[:(nodes + 1) * sizeof(uint32_t)],
        "edges": (<char *>graph.edges)[:<size_t>graph.offsets[nodes] * sizeof(uint32_t)],
        "small_bytes": graph.small_bytes, "references": graph.references, "guesses": graph.guesses,
        "dropped": graph.dropped, "pause_s": whole.pause, "reasons": whole.reasons(),
        "consistent": whole.copied is not None, "with_census": with_census,
    }


cdef dict graph_beside(_Graph whole):
    """The graph that a census' copy has made (raw.pxi), or why it has not."""
    if whole.failure is not None:
        return whole.failure
    whole.name_types()
    return graph_columns(whole, True)
