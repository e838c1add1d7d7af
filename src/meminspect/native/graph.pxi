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


def graph_capture(max_pause=1.0):
    """All objects of this process, their sizes and the references between them: columns of packed numbers.

    Nodes are objects in order of address, then the roots. {"objects", "roots": names, "names": [(module, name), ...] of
    types, "addresses": uint64 of each object, "types": uint32 (place in names) and "unexplained": uint32 of each object,
    "sizes": uint32 of each node in `unit` bytes, "offsets": uint32, one more than nodes, into "edges": uint32, the nodes
    that a node refers to, "unit", "small_bytes", "references", "guesses", "dropped", "pause_s"}

    max_pause -- seconds for which the GIL may be held; NativeError("late") when it was not enough
    """
    cdef _Graph whole = _Graph()
    cdef const mi_graph *graph = &whole.graph
    cdef size_t nodes
    whole.make(ceiling_of(max_pause))
    nodes = mi_graph_nodes(graph)
    return {
        "objects": graph.objects, "roots": list(ROOT_NAMES), "names": whole.names, "unit": graph.unit,
        "addresses": addresses_of_graph(graph),
        "types": (<char *>graph.types)[:graph.objects * sizeof(uint32_t)],
        "unexplained": (<char *>graph.unexplained)[:graph.objects * sizeof(uint32_t)],
        "sizes": (<char *>graph.sizes)[:nodes * sizeof(uint32_t)],
        "offsets": (<char *>graph.offsets)[:(nodes + 1) * sizeof(uint32_t)],
        "edges": (<char *>graph.edges)[:<size_t>graph.offsets[nodes] * sizeof(uint32_t)],
        "small_bytes": graph.small_bytes, "references": graph.references, "guesses": graph.guesses,
        "dropped": graph.dropped, "pause_s": whole.pause,
    }
