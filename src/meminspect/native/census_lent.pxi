# Memory that objects of unknown structure lend by the buffer protocol, asked for on request before a census.

cdef extern from "Python.h":
    ctypedef struct lending_slots "PyBufferProcs":
        void *bf_getbuffer
    ctypedef struct lending_type "PyTypeObject":
        lending_slots *tp_as_buffer
    int PyBUF_SIMPLE
    int PyObject_GetBuffer(object exporter, Py_buffer *view, int flags) except -1
    void PyBuffer_Release(Py_buffer *view)
    int PyGC_Disable()
    int PyGC_Enable()


cdef extern from "types.h":
    enum: MI_KIND_PLAIN

cdef extern from "shapes.h":
    enum: MI_RULE_NONE


cdef class _Lent:
    """What the exporters of unknown structure said when they were asked."""
    cdef mi_census_lent *items
    cdef size_t count, size
    cdef uint32_t refused  # exporters that lend nothing in one piece now

    def __dealloc__(self):
        mi_os_free(self.items, self.size)

    cdef int ask(self, max_pause) except -1:
        """Asks each of them. Foreign code runs; references to the objects are held only meanwhile."""
        cdef _Graph whole = _Graph()
        cdef bint collects = PyGC_Disable()  # nothing may die between the reading of the graph and the first reference
        cdef Py_buffer view
        try:
            whole.call_foreign("call")
            whole.make(ceiling_of(max_pause))
            exporters = exporters_of(whole)
        finally:
            if collects:
                PyGC_Enable()
        self.size = (len(exporters) + 1) * sizeof(mi_census_lent)
        self.items = <mi_census_lent *>mi_os_alloc(self.size)
        if self.items == NULL:
            check(MI_E_MEMORY)
        for item in exporters:
            try:
                PyObject_GetBuffer(item, &view, PyBUF_SIMPLE)
            except Exception:
                self.refused += 1
                continue
            self.items[self.count] = mi_census_lent(<uintptr_t>view.buf, <size_t>view.len)
            self.count += 1
            PyBuffer_Release(&view)
        return 0


def census_record_foreign(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """census_record() of which exporters were asked."""
    record_write(fd, kind, {"census": census_capture(max_pause, 0, True, foreign="call"),
                            "own_blocks": None if own_blocks < 0 else own_blocks})


cdef bint lends(const mi_type *type, const mi_shape *shape):
    """Whether objects of the type are exporters of a structure that is not known."""
    cdef lending_slots *slots = (<lending_type *>type.address).tp_as_buffer
    return type.kind == MI_KIND_PLAIN and shape.rule == MI_RULE_NONE and slots != NULL and slots.bf_getbuffer != NULL


cdef list exporters_of(_Graph whole):
    """The objects of the graph that lend memory. Only those that an object of known structure refers to: what merely looks
    like an object, in memory that is no longer in use, is not called."""
    cdef const mi_graph *graph = &whole.graph
    cdef _Table lending = _Table(), held = _Table()
    cdef uint32_t node
    cdef size_t i
    lending.clear(whole.types.count + 1)
    held.clear(mi_graph_nodes(graph))
    for i in range(whole.types.count):
        lending.data[i] = lends(&whole.types.items[i], &whole.shapes.items[i])
    for node in range(graph.objects):
        if whole.shapes.items[graph.types[node]].foreign:
            continue
        for i in range(graph.offsets[node], graph.offsets[node + 1]):
            held.data[graph.edges[i]] = 1
    result = []
    for node in range(graph.objects):
        if held.data[node] and lending.data[graph.types[node]]:
            result.append(<object><PyObject *>mi_address_index_address(&graph.index, node))
    return result
