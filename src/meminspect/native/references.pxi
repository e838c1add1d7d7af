# Owners and references: csrc/graph/graph.h. The raw format is documented in probes/references.py.

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.string cimport memset

cdef extern from "os.h":
    void *mi_os_alloc(size_t size) nogil

cdef extern from "layout.h":
    ctypedef struct mi_graph_layout "mi_layout":
        int32_t code_local_names, code_qualname, iframe_code, frame_frame, generator_frame, object_type, frame_locals

cdef extern from "shapes.h":
    enum: MI_RULE_FRAME
    enum: MI_RULE_GENERATOR
    ctypedef struct mi_shape:
        unsigned char rule, foreign
    ctypedef struct mi_shapes:
        mi_shape *items
        size_t count
    int mi_types_find(const mi_types *types, uintptr_t word)
    mi_error mi_shapes_read(mi_shapes *shapes, const mi_target *target, const mi_layout *layout, const mi_types *types)
    void mi_shapes_free(mi_shapes *shapes)

cdef extern from "references.h":
    ctypedef enum mi_role:
        MI_ROLE_ITEM
        MI_ROLE_KEY
        MI_ROLE_VALUE
        MI_ROLE_ATTRIBUTE
        MI_ROLE_FIELD
        MI_ROLE_LOCAL
        MI_ROLE_STACK
        MI_ROLE_TYPE
        MI_ROLE_CALLED
        MI_ROLE_GUESS
        MI_ROLE_BORROWED
    ctypedef void (*mi_visit)(void *context, uintptr_t to, unsigned role, uint64_t detail) noexcept
    ctypedef struct mi_foreign:
        int32_t traverse, is_gc
    ctypedef struct mi_reader:
        const mi_target *target
        const mi_layout *layout
        const mi_types *types
        const mi_shapes *shapes
        const void *last
        mi_visit visit
        void *context
        mi_foreign foreign
    int mi_reader_covers(mi_reader *reader, uintptr_t address, size_t size)
    void mi_references_of(mi_reader *reader, uintptr_t address, int type)
    void mi_references_of_frame(mi_reader *reader, uintptr_t frame)

cdef extern from "object_proof.h":
    int mi_object_type(const mi_layout *layout, const mi_types *types, const unsigned char *object)

cdef extern from "address_index.h":
    ctypedef struct mi_address_index:
        uint32_t count
    int64_t mi_address_index_find(const mi_address_index *index, uintptr_t address)
    uintptr_t mi_address_index_address(const mi_address_index *index, uint32_t number)

cdef extern from "graph.h":
    enum: MI_GRAPH_UNIT
    enum: MI_ROOTS
    enum: MI_ROOT_MODULES
    enum: MI_ROOT_FRAMES
    enum: MI_ROOT_STATIC
    enum: MI_ROOT_C
    enum: MI_ROOT_MEMORY
    ctypedef struct mi_elsewhere:
        uint32_t node, arena
    ctypedef struct mi_graph:
        mi_address_index index
        uint32_t objects
        uint32_t *types
        uint32_t *sizes
        uint32_t *offsets
        uint32_t *edges
        uint32_t *unexplained
        mi_elsewhere *elsewhere
        size_t elsewhere_count, arena_count, arena_size
        uint64_t *arenas
        uint64_t *arena_bytes
        uint32_t *arena_blocks
        uint32_t *arena_unknown
        uint32_t *arena_first
        uint32_t *arena_end
        uint64_t called, references, guesses, dropped, mistaken, small_bytes, build_ns
    void mi_graph_free(mi_graph *graph)
    uint32_t mi_graph_nodes(const mi_graph *graph)
    uint64_t mi_graph_bytes(const mi_graph *graph)
    void mi_graph_tell_modules(mi_reader *reader, uintptr_t interpreter)
    ctypedef void (*mi_frame_seen)(void *context, uintptr_t thread, uintptr_t frame) noexcept
    void mi_graph_frames(mi_reader *reader, const mi_runtime *runtime, uintptr_t interpreter, mi_frame_seen seen,
                         void *context)

cdef extern from "graph_job.h":
    ctypedef struct mi_graph_job:
        const mi_layout *layout
        const mi_types *types
        const mi_shapes *shapes
        uintptr_t self
        const mi_arena_table *hidden
        uint32_t padding
        mi_foreign foreign
        void *room
        size_t room_size
        mi_graph *graph
    mi_error mi_graph_job_run(const mi_target *target, void *job) noexcept nogil

cdef extern from "graph_query.h":
    ctypedef struct mi_loss:
        uint64_t objects, bytes
        uint64_t *gone
    void mi_graph_holders(const mi_graph *graph, uint32_t node, uint32_t *holders, size_t room, size_t *count)
    ctypedef struct mi_ways:
        uint32_t *from_ "from"
    mi_error mi_graph_ways(const mi_graph *graph, mi_ways *ways)
    void mi_ways_free(mi_ways *ways)
    size_t mi_ways_to(const mi_ways *ways, uint32_t node, uint32_t *path, size_t room)
    mi_error mi_graph_without(const mi_graph *graph, const uint32_t *nodes, size_t count, mi_loss *loss)
    void mi_loss_free(mi_loss *loss)
    void mi_graph_arenas_touched(const mi_graph *graph, const mi_loss *loss, unsigned char *arenas)

cdef extern from *:
    """
    #define MI_UNICODE_TYPE ((uintptr_t)&PyUnicode_Type)
    #define MI_LONG_TYPE ((uintptr_t)&PyLong_Type)
    #define MI_TUPLE_TYPE ((uintptr_t)&PyTuple_Type)
    #define MI_TYPE_TRAVERSE ((int32_t)offsetof(PyTypeObject, tp_traverse))
    #define MI_TYPE_IS_GC ((int32_t)offsetof(PyTypeObject, tp_is_gc))
    """
    uintptr_t MI_UNICODE_TYPE, MI_LONG_TYPE, MI_TUPLE_TYPE
    int32_t MI_TYPE_TRAVERSE, MI_TYPE_IS_GC

ROOT_NAMES = ("modules", "frames", "interpreter", "static", "C", "memory")
ROLE_NAMES = ("item", "key", "value", "attribute", "field", "local", "stack", "type", "traverse", "guess")

cdef enum:
    LONGEST_PATH = 64
    MOST_HOLDERS = 200
    LONGEST_NAME = 128


cdef class _Numbers:
    """Numbers of nodes, in memory of our own: there may be millions."""
    cdef uint32_t *items
    cdef size_t count, room

    cdef int add(self, uint32_t number) except -1:
        cdef size_t room = self.room * 2 + 1024
        cdef void *grown
        if self.count == self.room:
            grown = mi_os_realloc(self.items, self.room * sizeof(uint32_t), room * sizeof(uint32_t))
            if grown == NULL:
                raise MemoryError("no room for the objects that are asked about")
            self.items, self.room = <uint32_t *>grown, room
        self.items[self.count] = number
        self.count += 1
        return 0

    def __dealloc__(self):
        mi_os_free(self.items, self.room * sizeof(uint32_t))


cdef class _Tree:
    """The dominator tree of a graph."""
    cdef mi_dominators found
    cdef double seconds

    def __dealloc__(self):
        mi_dominators_free(&self.found)


cdef struct edge_query:
    uintptr_t wanted, frame
    bint found
    unsigned role
    uint64_t detail
    mi_reader *reader


cdef void edge_seen(void *context, uintptr_t to, unsigned role, uint64_t detail) noexcept:
    cdef edge_query *query = <edge_query *>context
    if not query.found and to == query.wanted:
        query.found = True
        query.role = role & ~<unsigned>MI_ROLE_BORROWED
        query.detail = detail


cdef void frame_asked(void *context, uintptr_t thread, uintptr_t frame) noexcept:
    cdef edge_query *query = <edge_query *>context
    if not query.found:
        mi_references_of_frame(query.reader, frame)
        if query.found:
            query.frame = frame


cdef class _Shared:
    """Memory that a frozen copy puts its arrays into; only what is written takes memory."""
    cdef void *room
    cdef size_t size

    cdef int open(self, size_t size) except -1:
        self.room = mi_os_alloc_shared(size)
        if self.room == NULL:
            raise MemoryError(f"no room for {size} bytes of address space for the graph")
        self.size = size
        return 0

    def __dealloc__(self):
        if self.room != NULL:
            mi_os_free(self.room, self.size)


cdef object arrays_of(kilobytes):
    """The most that the arrays of a graph can take, by the resident memory that its objects lie in: an object of 16 bytes
    has 16 bytes in the arrays, each of its words may be a reference of 4, and the index takes a 32nd."""
    return (kilobytes or 1 << 24) * 1024 * 2 + (64 << 20)


cdef object graph_error(mi_error error, dict told):
    names = {MI_E_MEMORY: "memory", MI_E_PERMISSION: "permission", MI_E_LAYOUT: "layout", MI_E_ABSENT: "absent"}
    return NativeError("late" if told["end"] == "late" else names.get(error, "torn"), told["reason"])


cdef class _Graph:
    """The graph of this process with what is needed to read its objects again; to be made with the GIL held."""
    cdef _Target guard
    cdef mi_runtime runtime
    cdef mi_types types
    cdef mi_shapes shapes
    cdef mi_graph graph
    cdef mi_ways ways
    cdef mi_reader reader
    cdef uintptr_t interpreter
    cdef const mi_graph_layout *layout
    cdef list held, names
    cdef dict copied  # of a graph that a frozen copy made: what became of that
    cdef _Shared shared
    cdef double pause
    cdef bint frozen  # nothing ran since it was made: every object of it is alive
    cdef bint outside  # of another process: nothing of its objects can be read here

    def __dealloc__(self):
        mi_ways_free(&self.ways)
        mi_graph_free(&self.graph)
        mi_shapes_free(&self.shapes)
        if not self.outside:
            mi_types_free(&self.types)

    cdef int prepare(self) except -1:
        """What reading one object needs: types and their shapes. Holds no reference to any of them."""
        cdef const mi_layout *layout = the_layout()
        self.layout = <const mi_graph_layout *>layout
        if layout.free_threaded:
            raise NativeError("absent", "references are not read in free-threaded builds yet: the heap is mimalloc's")
        self.guard = _Target()
        self.interpreter = <uintptr_t>PyInterpreterState_Get()
        found = all_types()
        cdef bytes addresses = addresses_of(found)
        self.guard.open(MI_TARGET_SELF, 0)
        check(mi_runtime_open(&self.runtime, &self.guard.target, layout))
        check(mi_types_read(&self.types, &self.guard.target, layout, <const uintptr_t *><const char *>addresses,
                            len(found)))
        # A list of all types would be a holder of all types: nothing of ours may be in the way of the walk.
        found = None
        check(mi_shapes_read(&self.shapes, &self.guard.target, layout, &self.types))
        self.reader.target, self.reader.layout = &self.guard.target, layout
        self.reader.types, self.reader.shapes = &self.types, &self.shapes
        return 0

    cdef int call_foreign(self, foreign) except -1:
        if foreign not in ("scan", "call"):
            raise ValueError(f"foreign is 'scan' or 'call', not {foreign!r}")
        if foreign == "call":
            self.reader.foreign.traverse, self.reader.foreign.is_gc = MI_TYPE_TRAVERSE, MI_TYPE_IS_GC
        return 0

    cdef int order(self, mi_graph_job *job, mi_arena_table *table) except -1:
        """What is asked of mi_graph_job_run; nothing is to be allocated from pymalloc behind it."""
        cdef const mi_layout *layout = the_layout()
        cdef mi_allocator allocator
        cdef bint hidden = False
        self.prepare()
        own_table(&self.guard.target, layout, table, &hidden)
        check(mi_allocator_look(&self.guard.target, layout, table, &allocator))
        memset(job, 0, sizeof(job[0]))
        job.foreign = self.reader.foreign
        job.layout, job.types, job.shapes, job.self = layout, &self.types, &self.shapes, self.interpreter
        job.padding = 16 if allocator_to_raw(self.guard, &allocator)["padding_bytes"] else 0
        check(mi_target_refresh(&self.guard.target))
        own_table(&self.guard.target, layout, table, &hidden)
        job.hidden = table if hidden else NULL
        return 0

    cdef int make(self, uint64_t until) except -1:
        """Reads it with the GIL held."""
        cdef mi_graph_job job
        cdef mi_arena_table table
        cdef mi_error error
        cdef uint64_t begun
        self.order(&job, &table)
        job.graph = &self.graph
        begun = mi_os_now_ns()
        (<mi_timed_target *>&self.guard.target).until_ns = until
        error = mi_graph_job_run(&self.guard.target, &job)
        self.pause = (mi_os_now_ns() - begun) * 1e-9
        if error == MI_E_LATE:
            raise NativeError("late", "max_pause was reached before every object was read: there is no graph of a part "
                              "of the heap. Give a larger max_pause, or None, or read it in a frozen copy (consistent)")
        check(error)
        self.frozen = True
        self.name_types()
        return 0

    cdef int copy(self, deadline, room_bytes) except -1:
        """Reads it in a frozen copy of the process, which ends when the arrays are in memory that it shares."""
        cdef mi_graph_job job
        cdef mi_arena_table table
        cdef mi_clone_order order
        cdef mi_clone clone
        cdef mi_error error
        cdef uint64_t begun, copied
        cdef size_t i
        if not 0 < deadline <= 1e9:
            raise ValueError(f"deadline must be a number of seconds above 0, not {deadline!r}")
        room = clone_room() if room_bytes is None else (room_bytes, "room_bytes")
        self.shared = _Shared()
        self.shared.open(arrays_of(number_in(slurp_path(b"/proc/self/status"), b"RssAnon")))
        clone_order_fill(&order, mi_graph_job_run, &job, deadline, room)
        self.order(&job, &table)
        job.room, job.room_size = self.shared.room, self.shared.size
        begun = mi_os_now_ns()
        error = mi_clone_start(&clone, &order)
        copied = mi_os_now_ns()
        if error == MI_OK:
            for i in range(self.types.count):  # they are to live on when the GIL is let go
                Py_INCREF(<object><PyObject *>self.types.items[i].address)
            with nogil:
                mi_clone_wait(&clone)
        told = clone_to_raw(&clone, error, room)
        told["held_s"] = self.pause = told["world_s"] or (copied - begun) * 1e-9
        if error == MI_OK:
            self.name_types()
            for i in range(self.types.count):
                Py_DECREF(<object><PyObject *>self.types.items[i].address)
        if told["reason"] is not None:
            raise graph_error(error if error != MI_OK else clone.result.error, told)
        self.graph = (<mi_graph *>self.shared.room)[0]
        self.copied = told
        check(mi_target_refresh(&self.guard.target))
        self.reader.last = NULL
        return 0

    cdef int name_types(self) except -1:
        self.held = [<object><PyObject *>self.types.items[i].address for i in range(self.types.count)]
        self.names = [type_text(item) for item in self.held]
        return 0

    # ---- text of what was found

    cdef object short_text(self, uintptr_t address, uintptr_t type_wanted):
        """The bounded text or number of an exact str or int of the graph, else None."""
        if mi_address_index_find(&self.graph.index, address) < 0 or not mi_reader_covers(&self.reader, address, 16):
            return None
        if (<uintptr_t *>(address + self.layout.object_type))[0] != type_wanted:
            return None
        if type_wanted == MI_UNICODE_TYPE:
            text = <object><PyObject *>address
            return text[:LONGEST_NAME].encode("utf-8", "surrogatepass").decode("utf-8", "replace")
        number = <object><PyObject *>address
        return number if -2**63 <= number < 2**63 else None

    cdef object c_text(self, uintptr_t address):
        cdef char[16] part
        cdef bytes result = b""
        while len(result) < LONGEST_NAME:
            size = 16 - (address + len(result)) % 16
            if mi_target_read(&self.guard.target, address + len(result), part, size) != MI_OK:
                return None
            piece = (<char *>part)[:size]
            end = piece.find(b"\0")
            if end >= 0:
                return (result + piece[:end]).decode("utf-8", "replace")
            result += piece
        return result.decode("utf-8", "replace")

    cdef object code_of(self, uintptr_t frame):
        cdef uintptr_t code
        if not frame or mi_target_word(&self.guard.target, frame + self.layout.iframe_code, &code) != MI_OK:
            return 0
        if self.layout.frame_locals != MI_ABSENT:
            code &= ~<uintptr_t>3
        return code

    cdef object local_name(self, uintptr_t frame, uint64_t index):
        cdef uintptr_t names
        code = self.code_of(frame)
        if not code or mi_target_word(&self.guard.target, code + self.layout.code_local_names, &names) != MI_OK:
            return None
        if (mi_address_index_find(&self.graph.index, names) < 0
                or (<uintptr_t *>(names + self.layout.object_type))[0] != MI_TUPLE_TYPE):
            return None
        found = <object><PyObject *>names
        return self.short_text(<uintptr_t><PyObject *>found[index], MI_UNICODE_TYPE) if index < <uint64_t>len(found) else None

    cdef object frame_name(self, uintptr_t frame):
        cdef uintptr_t name
        code = self.code_of(frame)
        if not code or mi_target_word(&self.guard.target, code + self.layout.code_qualname, &name) != MI_OK:
            return None
        return self.short_text(name, MI_UNICODE_TYPE)

    cdef tuple label(self, edge_query *query):
        """(role, its text or number or None)."""
        cdef uint64_t detail = query.detail
        if query.role == MI_ROLE_VALUE or query.role == MI_ROLE_ATTRIBUTE:
            value = self.short_text(detail, MI_UNICODE_TYPE)
            if value is None:
                value = self.short_text(detail, MI_LONG_TYPE)
        elif query.role == MI_ROLE_FIELD:
            value = self.c_text(detail)
        elif query.role == MI_ROLE_LOCAL:
            value = self.local_name(query.frame, detail) if query.frame else None
        else:
            value = None if query.role == MI_ROLE_TYPE else detail
        return ROLE_NAMES[query.role], value

    cdef tuple edge(self, uint32_t holder, uint32_t node):
        """(role, value, frame's function or None) of the reference, None when it cannot be read or is there no more.

        `holder` is a root, or an object that is known to be alive.
        """
        cdef edge_query query
        cdef uintptr_t address
        cdef unsigned char rule
        memset(&query, 0, sizeof(query))
        query.wanted = mi_address_index_address(&self.graph.index, node)
        query.reader = &self.reader
        self.reader.visit = edge_seen
        self.reader.context = &query
        if holder == self.graph.objects + MI_ROOT_MODULES:
            mi_graph_tell_modules(&self.reader, self.interpreter)
        elif holder == self.graph.objects + MI_ROOT_FRAMES:
            mi_graph_frames(&self.reader, &self.runtime, self.interpreter, frame_asked, &query)
        elif holder < self.graph.objects:
            address = mi_address_index_address(&self.graph.index, holder)
            rule = self.shapes.items[self.graph.types[holder]].rule
            if rule == MI_RULE_GENERATOR:
                query.frame = address + self.layout.generator_frame
            elif rule == MI_RULE_FRAME:
                query.frame = (<uintptr_t *>(address + self.layout.frame_frame))[0]
            mi_references_of(&self.reader, address, self.graph.types[holder])
        self.reader.context = NULL
        if not query.found:
            return None
        role, value = self.label(&query)
        return role, value, self.frame_name(query.frame) if query.frame else None

    cdef tuple edge_now(self, uint32_t holder, uint32_t node):
        """The same of a holder that may be gone: it is read when references that are there now lead to it from a root."""
        if self.outside or not (self.frozen or self.is_reached(holder)):
            return None
        return self.edge(holder, node)

    cdef bint is_reached(self, uint32_t node):
        cdef uint32_t[LONGEST_PATH] path
        cdef size_t length, i
        if node >= self.graph.objects:
            return True
        if self.ways.from_ == NULL:
            check(mi_graph_ways(&self.graph, &self.ways))
        length = mi_ways_to(&self.ways, node, path, LONGEST_PATH)
        if not length or path[0] < self.graph.objects:
            return False
        for i in range(1, length):
            if self.edge(path[i - 1], path[i]) is None or not self.is_as_recorded(path[i]):
                return False
        return True

    cdef bint is_as_recorded(self, uint32_t node):
        cdef uintptr_t address = mi_address_index_address(&self.graph.index, node)
        cdef uintptr_t kind
        return (mi_target_word(&self.guard.target, address + self.layout.object_type, &kind) == MI_OK
                and kind == self.types.items[self.graph.types[node]].address)

    cdef tuple node_text(self, uint32_t node):
        """(address or None, module of the type, name of the type or of the root, bytes of its own)."""
        if node >= self.graph.objects:
            return None, None, ROOT_NAMES[node - self.graph.objects], <uint64_t>self.graph.sizes[node] * MI_GRAPH_UNIT
        module, name = self.names[self.graph.types[node]]
        return (mi_address_index_address(&self.graph.index, node), module, name,
                <uint64_t>self.graph.sizes[node] * MI_GRAPH_UNIT)

    cdef list path_to(self, uint32_t node):
        """[(node's text, reference from the one before it or None), ...], the root first; [] when there is no way.

        Unless nothing ran since the graph was made, each object is read only when a reference of the one before, which
        is alive, leads to it now.
        """
        cdef uint32_t[LONGEST_PATH] path
        cdef size_t length, i
        cdef bint alive = not self.outside
        if self.ways.from_ == NULL:
            check(mi_graph_ways(&self.graph, &self.ways))
        length = mi_ways_to(&self.ways, node, path, LONGEST_PATH)
        if length and path[0] < self.graph.objects and not self.frozen:
            alive = False  # cut in front: its first object was not reached from a root
        result = []
        for i in range(length):
            reference = None
            if i and alive:
                reference = self.edge(path[i - 1], path[i])
                if not self.frozen and (reference is None or not self.is_as_recorded(path[i])):
                    alive, reference = False, None
            result.append((self.node_text(path[i]), reference))
        return result

    cdef object reach(self, str root, addresses):
        """The last object of a path of addresses, each of which the one before refers to now; None when one does not."""
        cdef edge_query query
        check(mi_target_refresh(&self.guard.target))
        self.reader.visit = edge_seen
        self.reader.context = &query
        try:
            return self.follow(&query, root, addresses)
        finally:
            self.reader.context = NULL

    cdef object follow(self, edge_query *query, str root, addresses):
        cdef uintptr_t before = 0
        cdef int kind = -1
        for address in addresses:
            memset(query, 0, sizeof(query[0]))
            query.wanted, query.reader = address, &self.reader
            if before:
                mi_references_of(&self.reader, before, kind)
            elif root == ROOT_NAMES[MI_ROOT_MODULES]:
                mi_graph_tell_modules(&self.reader, self.interpreter)
            elif root == ROOT_NAMES[MI_ROOT_FRAMES]:
                mi_graph_frames(&self.reader, &self.runtime, self.interpreter, frame_asked, query)
            if not query.found or query.role == MI_ROLE_GUESS or not mi_reader_covers(&self.reader, address, 16):
                return None
            kind = mi_types_find(&self.types, (<uintptr_t *>(<uintptr_t>address + self.layout.object_type))[0])
            if kind < 0:
                return None
            before = address
        return <object><PyObject *>before if before else None

    # ---- what is asked

    cdef int add_type(self, str wanted, _Numbers nodes) except -1:
        """The objects of the types with this name, with or without their module."""
        cdef uint32_t node
        kinds = bytearray(len(self.names))
        cdef unsigned char *is_wanted = kinds
        for index, (module, name) in enumerate(self.names):
            text = (name or b"").decode("utf-8", "replace")
            if wanted == text or wanted == (module or b"").decode("utf-8", "replace") + "." + text:
                is_wanted[index] = 1
        for node in range(self.graph.objects):
            if is_wanted[self.graph.types[node]]:
                nodes.add(node)
        return 0

    cdef dict holders_of(self, uint32_t node):
        cdef uint32_t[MOST_HOLDERS] found
        cdef size_t count = 0, i
        mi_graph_holders(&self.graph, node, found, MOST_HOLDERS, &count)
        return {"count": count, "unexplained": self.graph.unexplained[node],
                "rows": [(self.node_text(found[i]), self.edge_now(found[i], node), 1)
                         for i in range(min(count, <size_t>MOST_HOLDERS))]}

    cdef dict holders_of_many(self, _Numbers nodes):
        """Who refers to any of them, by the holder's type: a sample of each, with how many references there are."""
        cdef uint32_t i, holder
        cdef uint64_t count = 0, unexplained = 0
        cdef size_t at
        cdef _Table marks = _Table()
        marks.clear(mi_graph_nodes(&self.graph))
        cdef char *inside = marks.data
        for at in range(nodes.count):
            inside[nodes.items[at]] = 1
            unexplained += self.graph.unexplained[nodes.items[at]]
        groups = {}
        for holder in range(mi_graph_nodes(&self.graph)):
            for i in range(self.graph.offsets[holder], self.graph.offsets[holder + 1]):
                if inside[self.graph.edges[i]]:
                    count += 1
                    key = (self.graph.types[holder] if holder < self.graph.objects else -1 - <int64_t>holder)
                    group = groups.get(key)
                    if group is None:
                        groups[key] = [holder, self.graph.edges[i], 1]
                    else:
                        group[2] += 1
        rows = sorted(groups.values(), key=_third, reverse=True)[:MOST_HOLDERS]
        return {"count": count, "unexplained": unexplained,
                "rows": [(self.node_text(holder), self.edge_now(holder, node), times) for holder, node, times in rows]}

    cdef dict loss_of(self, _Numbers nodes, bint arenas):
        """What would go with them; `arenas`: (touched, that would be empty, all, empty already), and `marks` of each."""
        cdef mi_loss loss
        cdef _Numbers going
        cdef size_t i
        check(mi_graph_without(&self.graph, nodes.items, nodes.count, &loss))
        try:
            result = {"objects": loss.objects, "bytes": loss.bytes, "arenas": None, "marks": None, "fixed": 0}
            if arenas:
                going = self.that_can_go(nodes)
                if going.count != nodes.count:  # what cannot go stays where it is, and with it its arena
                    result["fixed"] = nodes.count - going.count
                    mi_loss_free(&loss)
                    check(mi_graph_without(&self.graph, going.items, going.count, &loss))
                marks = bytearray(self.graph.arena_count + 1)
                mi_graph_arenas_touched(&self.graph, &loss, marks)
                del marks[-1]
                result["marks"] = marks
                result["arenas"] = (sum([mark & 1 for mark in marks]), sum([mark == 3 for mark in marks]), len(marks),
                                    sum([self.graph.arena_blocks[i] == 0 for i in range(self.graph.arena_count)]))
            return result
        finally:
            mi_loss_free(&loss)

    cdef _Numbers that_can_go(self, _Numbers nodes):
        """Those of them that are neither immortal nor static."""
        cdef uint32_t i, root = self.graph.objects + MI_ROOT_STATIC
        cdef size_t at
        cdef _Numbers result = _Numbers()
        cdef _Table marks = _Table()
        marks.clear(mi_graph_nodes(&self.graph))
        for i in range(self.graph.offsets[root], self.graph.offsets[root + 1]):
            marks.data[self.graph.edges[i]] = 1
        for at in range(nodes.count):
            if not marks.data[nodes.items[at]]:
                result.add(nodes.items[at])
        return result

    cdef _Tree tree(self):
        """The dominator tree; the GIL is let go while it is made."""
        cdef _Tree tree = _Tree()
        cdef mi_references references
        cdef mi_error error
        cdef uint32_t[MI_ROOTS] roots
        cdef uint32_t i
        cdef uint64_t begun = mi_os_now_ns()
        references.nodes = mi_graph_nodes(&self.graph)
        references.offsets, references.edges = self.graph.offsets, self.graph.edges
        for i in range(<uint32_t>MI_ROOTS):
            roots[i] = self.graph.objects + i
        self.frozen = False
        with nogil:
            error = mi_dominators_find(&references, self.graph.sizes, roots, MI_ROOTS, &tree.found)
        check(error)
        tree.seconds = (mi_os_now_ns() - begun) * 1e-9
        check(mi_target_refresh(&self.guard.target))
        self.reader.last = NULL
        return tree

    cdef list root_rows(self, mi_dominators *tree):
        cdef uint32_t root, number
        return [(ROOT_NAMES[root], self.graph.offsets[self.graph.objects + root + 1]
                 - self.graph.offsets[self.graph.objects + root],
                 tree.retained[tree.number[self.graph.objects + root]] * MI_GRAPH_UNIT) for root in range(<uint32_t>MI_ROOTS)]

    cdef dict top(self, _Tree planted, uint32_t wanted):
        """The objects with the largest retained sizes."""
        cdef mi_dominators *tree = &planted.found
        cdef uint32_t node, number
        cdef uint64_t least = 0, size
        from _heapq import heappush, heapreplace
        best = []
        for number in range(tree.nodes + 2):  # in this order all is read as it lies
            size = tree.retained[number]
            if len(best) == wanted and size <= least:
                continue
            node = tree.node[number]
            if node >= self.graph.objects:
                continue
            if len(best) < wanted:
                heappush(best, (size, node))
                least = best[0][0]
            else:
                heapreplace(best, (size, node))
                least = best[0][0]
        rows = []
        for size, node in sorted(best, reverse=True):
            number = tree.dominator[tree.number[node]]
            above = None if number == 0 else ("garbage" if number == tree.unreachable else
                                              self.node_text(tree.node[number]))
            rows.append((self.node_text(node), size * MI_GRAPH_UNIT, above, self.path_to(node)))
        return {"rows": rows, "roots": self.root_rows(tree), "total": tree.retained[0] * MI_GRAPH_UNIT,
                "garbage": tree.retained[tree.unreachable] * MI_GRAPH_UNIT,
                "garbage_objects": tree.nodes + 1 - tree.unreachable,
                "peak_bytes": tree.peak_bytes, "seconds": planted.seconds}

    cdef list held_by_c(self):
        """[(module, name of the type, objects of it that C code or an evaluation stack holds), ...]"""
        cdef uint32_t i, root = self.graph.objects + MI_ROOT_C
        counts = {}
        for i in range(self.graph.offsets[root], self.graph.offsets[root + 1]):
            kind = self.graph.types[self.graph.edges[i]]
            counts[kind] = counts.get(kind, 0) + 1
        return [(*self.names[kind], count) for kind, count in counts.items()]

    cdef dict summary(self):
        return {"held_by_c": self.held_by_c(), "objects": self.graph.objects, "references": self.graph.references, "guesses": self.graph.guesses, "called": self.graph.called,
                "dropped": self.graph.dropped, "looked_like_objects": self.graph.mistaken,
                "small_bytes": self.graph.small_bytes,
                "unknown_bytes": <uint64_t>self.graph.sizes[self.graph.objects + MI_ROOT_MEMORY] * MI_GRAPH_UNIT,
                "graph_bytes": mi_graph_bytes(&self.graph), "arena_count": self.graph.arena_count,
                "arena_bytes": self.graph.arena_size, "pause_s": self.pause,
                "consistent": self.copied is not None and not self.outside, "frozen": self.copied}


def _third(row):
    return row[2]


cdef list types_at(list blocks):
    """Of each address of a block of malloc's the type of the object that begins there: (module, name); None when it is
    none, or 0. Debug hooks put their words before it, once or, where pymalloc asks malloc, twice."""
    cdef _Graph reader = _Graph()
    cdef mi_arena_table table
    cdef mi_allocator allocator
    cdef bint hidden = False
    cdef unsigned char[64] header
    cdef uintptr_t object_at
    cdef int place
    reader.prepare()
    own_table(&reader.guard.target, the_layout(), &table, &hidden)
    check(mi_allocator_look(&reader.guard.target, the_layout(), &table, &allocator))
    hooks = [0, 16, 32] if allocator.debug else [0]
    found = []
    for block in blocks:
        name = None
        for before, hook in [(before, hook) for hook in hooks for before in (0, 16, 32)] if block else ():
            object_at = <uintptr_t>block + <uintptr_t>(before + hook)
            if mi_target_read(&reader.guard.target, object_at, header, <size_t>the_layout().object_size) != MI_OK:
                continue
            place = mi_object_type(the_layout(), &reader.types, header)
            if place >= 0 and reader.types.items[place].preheader == before:
                name = type_text(<object><PyObject *>reader.types.items[place].address)
                break
        found.append(name)
    return found


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
    foreign   -- "scan": words of structures that are not known, if they are addresses of objects, labelled as guesses;
                 "call": the tp_traverse of such types, of tracked objects alone
    """
    cdef _Graph whole = _Graph()
    cdef uint64_t begun = mi_os_now_ns()
    whole.call_foreign(foreign)
    if consistent:
        whole.copy(deadline, room_bytes)
    else:
        whole.make(ceiling_of(max_pause))
    raw = answer_of(whole, addresses, type_names, holders, path, retained, arenas, top, keys, pinned, objects)
    raw["seconds"] = (mi_os_now_ns() - begun) * 1e-9
    return raw


cdef dict answer_of(_Graph whole, addresses, type_names, bint holders, bint path, bint retained, bint arenas,
                    uint32_t top, uint32_t keys, uint32_t pinned, bint objects):
    """What references_capture() was asked, of a graph that is there."""
    cdef _Numbers nodes = _Numbers()
    cdef _Tree tree = None
    cdef uint64_t own_bytes = 0
    cdef int64_t node
    cdef size_t i
    raw = whole.summary()
    unknown = []
    for address in addresses:
        node = mi_address_index_find(&whole.graph.index, address)
        if node < 0:
            unknown.append(address)
        else:
            nodes.add(<uint32_t>node)
    for name in type_names:
        whole.add_type(name, nodes)
    for i in range(nodes.count):
        own_bytes += <uint64_t>whole.graph.sizes[nodes.items[i]] * MI_GRAPH_UNIT
    raw["targets"], raw["unknown_addresses"] = nodes.count, unknown
    raw["target"] = whole.node_text(nodes.items[0]) if nodes.count else None
    raw["target_bytes"] = own_bytes
    raw["holders"] = raw["path"] = raw["loss"] = raw["arenas"] = raw["top"] = raw["keys"] = None
    if holders and nodes.count:
        raw["holders"] = whole.holders_of(nodes.items[0]) if nodes.count == 1 else whole.holders_of_many(nodes)
    if path and nodes.count:
        raw["path"] = whole.path_to(nodes.items[0])
    marks = None
    if (retained or arenas) and nodes.count:
        raw["loss"] = whole.loss_of(nodes, arenas)
        marks = raw["loss"].pop("marks")
    if top or keys:
        tree = whole.tree()
    if keys:
        raw["keys"] = pinning_of(whole, tree, keys)
    if pinned:
        raw["arenas"] = pinned_arenas(whole, marks, pinned, objects)
    if top:
        raw["top"] = whole.top(tree, top)
        raw["top"]["types"] = retained_by_type(whole, tree, 20)
    return raw


def references_reach(str root, addresses):
    """The object at the end of a path that references_capture() found: reached from its root once more, each object by a
    reference of the one before. None when it does not lead there any more. Not a plain value: for use in this process.
    """
    cdef _Graph reader = _Graph()
    reader.prepare()
    return reader.reach(root, addresses)
