# Dominators of a graph: csrc/graph/dominators.h.

cdef extern from "dominators.h":
    ctypedef struct mi_references:
        uint32_t nodes
        const uint32_t *offsets
        const uint32_t *edges
    ctypedef struct mi_dominators:
        uint32_t nodes, unreachable
        uint32_t *number
        uint32_t *node
        uint32_t *dominator
        uint64_t *retained
        uint64_t peak_bytes
    mi_error mi_dominators_find(const mi_references *graph, const uint32_t *sizes, const uint32_t *roots,
                                uint32_t root_count, mi_dominators *result) nogil
    void mi_dominators_free(mi_dominators *result) nogil


cdef bint rows_are_whole(const mi_references *graph, const uint32_t *roots, uint32_t root_count):
    cdef uint32_t i
    for i in range(graph.nodes):
        if graph.offsets[i] > graph.offsets[i + 1]:
            return False
    for i in range(graph.offsets[graph.nodes]):
        if graph.edges[i] >= graph.nodes:
            return False
    for i in range(root_count):
        if roots[i] >= graph.nodes:
            return False
    return True


def _dominators(bytes offsets, bytes edges, bytes sizes, bytes roots):
    """For snapshots (store/retained.py), tests and benchmarks: the dominators of a graph given as arrays of uint32 (csrc/graph/dominators.h).

    {"number", "node", "dominator": bytes of uint32, "retained": bytes of uint64, "unreachable", "peak_bytes",
    "seconds"}
    """
    cdef mi_references graph
    cdef mi_dominators found
    cdef mi_error error
    cdef size_t size
    cdef const uint32_t *size_of = <const uint32_t *><const char *>sizes
    cdef const uint32_t *root_of = <const uint32_t *><const char *>roots
    cdef uint32_t root_count = len(roots) // 4
    cdef uint64_t begun
    graph.nodes = len(offsets) // 4 - 1
    graph.offsets = <const uint32_t *><const char *>offsets
    graph.edges = <const uint32_t *><const char *>edges
    if (len(offsets) < 4 or len(sizes) != graph.nodes * 4 or graph.offsets[graph.nodes] * 4 != len(edges)
            or not rows_are_whole(&graph, root_of, root_count)):
        raise ValueError("these arrays are no graph")
    begun = mi_os_now_ns()
    with nogil:
        error = mi_dominators_find(&graph, size_of, root_of, root_count, &found)
    check(error)
    try:
        size = (<size_t>graph.nodes + 2) * sizeof(uint32_t)
        return {
            "number": (<char *>found.number)[:graph.nodes * sizeof(uint32_t)], "node": (<char *>found.node)[:size],
            "dominator": (<char *>found.dominator)[:size], "retained": (<char *>found.retained)[:size * 2],
            "unreachable": found.unreachable, "peak_bytes": found.peak_bytes,
            "seconds": (mi_os_now_ns() - begun) * 1e-9,
        }
    finally:
        mi_dominators_free(&found)
