# What references are by, and ways from roots as text: csrc/graph/graph_labels.h.

ROLE_NAMES = ("item", "key", "value", "attribute", "field", "local", "stack", "type", "traverse", "guess")


cdef void labels_open(_Graph whole, mi_labels *labels):
    labels.graph, labels.runtime, labels.types, labels.shapes = &whole.graph, &whole.runtime, &whole.types, &whole.shapes
    labels.interpreter, labels.still = whole.interpreter, MI_STILL_SHARED
    labels.str, labels.integer, labels.tuple = MI_UNICODE_TYPE, MI_LONG_TYPE, MI_TUPLE_TYPE
    labels.reader = &whole.reader


cdef int world_held(_Graph whole, mi_pause *pause) except -1:
    """Where there is no GIL, all threads stand still from here on, and nothing may be allocated; False: they do not."""
    if not whole.stops:
        return False
    check(mi_world_stop(<void *>whole.interpreter, pause))
    whole.reader.last = NULL
    if mi_target_refresh(&whole.guard.target) != MI_OK:
        mi_world_start(<void *>whole.interpreter, pause)
        return -1 if check(MI_E_UNMAPPED) else -1
    return True


cdef int labels_read(_Graph whole, const uint32_t *path, size_t length, mi_label *found) except -1:
    """The labels of a way; those of all are MI_ROLES where nothing can be read any more."""
    cdef mi_labels labels
    cdef mi_pause pause
    cdef bint held
    cdef size_t i
    if whole.desk is not None:
        whole.desk.desk.length = length
        for i in range(length):
            whole.desk.desk.path[i] = path[i]
        if whole.desk.ask():
            for i in range(length):
                found[i] = whole.desk.desk.labels[i]
            return 0
    if whole.desk is not None or whole.outside:
        for i in range(length):
            found[i].role = MI_ROLES
        return 0
    labels_open(whole, &labels)
    held = world_held(whole, &pause)
    mi_labels_of_path(&labels, path, length, whole.frozen, found)
    if held:
        mi_world_start(<void *>whole.interpreter, &pause)
    return 0


cdef object label_text(const mi_label *label):
    """(role, its text or number or None, frame's function or None) of a reference; None where it is not known."""
    if label.role == MI_ROLES:
        return None
    value = None
    if label.kind == MI_LABEL_TEXT_OF:
        value = (<const char *>label.text).decode("utf-8", "replace")
    elif label.kind == MI_LABEL_NUMBER:
        value = label.number
    return ROLE_NAMES[label.role], value, (<const char *>label.frame).decode("utf-8", "replace") if label.has_frame else None


cdef class _Labels:
    """Room for the labels of the longest way."""
    cdef mi_label *items

    def __cinit__(self):
        self.items = <mi_label *>mi_os_alloc((MI_LONGEST_PATH + 1) * sizeof(mi_label))
        if self.items == NULL:
            check(MI_E_MEMORY)

    def __dealloc__(self):
        mi_os_free(self.items, (MI_LONGEST_PATH + 1) * sizeof(mi_label))


cdef int ways_open(_Graph whole) except -1:
    if whole.ways.from_ == NULL:
        check(mi_graph_ways(&whole.graph, &whole.ways))
    return 0


cdef tuple node_text(_Graph whole, uint32_t node):
    """(address or None, module of the type, name of the type or of the root, bytes of its own)."""
    size = <uint64_t>whole.graph.sizes[node] * whole.graph.unit
    if node >= whole.graph.objects:
        return None, None, ROOT_NAMES[node - whole.graph.objects], size
    module, name = whole.names[whole.graph.types[node]]
    return mi_address_index_address(&whole.graph.index, node), module, name, size


cdef object edge_now(_Graph whole, uint32_t holder, uint32_t node):
    """What the reference is by; None where it is there no more, or references that are there now do not lead to its
    holder from a root."""
    cdef uint32_t[MI_LONGEST_PATH + 1] path
    cdef _Labels labels = _Labels()
    cdef size_t length = 1
    path[0] = holder
    if not (whole.frozen or whole.desk is not None) and holder < whole.graph.objects:
        ways_open(whole)
        length = mi_ways_to(&whole.ways, holder, path, MI_LONGEST_PATH)
        if not length:
            return None
    path[length] = node
    labels_read(whole, path, length + 1, labels.items)
    return label_text(&labels.items[length])


cdef list path_to(_Graph whole, uint32_t node):
    """[(node's text, reference from the one before it or None), ...], the root first; [] when there is no way.

    Unless nothing ran since the graph was made, each object is read only when a reference of the one before, which is alive,
    leads to it now.
    """
    cdef uint32_t[MI_LONGEST_PATH + 1] path
    cdef _Labels labels = _Labels()
    cdef size_t length, i
    ways_open(whole)
    length = mi_ways_to(&whole.ways, node, path, MI_LONGEST_PATH)
    labels_read(whole, path, length, labels.items)
    return [(node_text(whole, path[i]), label_text(&labels.items[i])) for i in range(length)]


cdef object reached(_Graph whole, str root, addresses):
    """The last object of a path of addresses, each of which the one before refers to now; None when one does not."""
    cdef mi_labels labels
    cdef mi_pause pause
    cdef bint held
    cdef uintptr_t last
    cdef object found = None
    cdef bytes wanted = b"".join([(<uint64_t>address).to_bytes(8, "little") for address in addresses])
    cdef mi_root first = <mi_root><int>ROOT_NAMES.index(root) if root in ROOT_NAMES else <mi_root><int>MI_ROOTS
    labels_open(whole, &labels)
    held = world_held(whole, &pause)
    last = mi_labels_reach(&labels, first, <const uintptr_t *><const char *>wanted, len(wanted) // 8)
    if last:
        found = <object><PyObject *>last
    if held:
        mi_world_start(<void *>whole.interpreter, &pause)
    return found
