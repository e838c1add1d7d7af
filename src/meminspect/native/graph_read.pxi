# The graph of all objects, read in this process or in a frozen copy of it: csrc/graph/graph.h, graph_job.h.

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.string cimport memset

cdef extern from "os.h":
    void *mi_os_alloc(size_t size) nogil

cdef extern from "shapes.h":
    ctypedef struct mi_shape:
        unsigned char rule, foreign
    ctypedef struct mi_shapes:
        mi_shape *items
        size_t count
    mi_error mi_shapes_read(mi_shapes *shapes, const mi_target *target, const mi_layout *layout, const mi_types *types)
    void mi_shapes_free(mi_shapes *shapes)

cdef extern from "references.h":
    ctypedef struct mi_foreign:
        int32_t traverse, is_gc
    ctypedef struct mi_reader:
        const mi_target *target
        const mi_layout *layout
        const mi_types *types
        const mi_shapes *shapes
        const void *last
        mi_foreign foreign

cdef extern from "object_proof.h":
    int mi_object_type(const mi_layout *layout, const mi_types *types, const unsigned char *object)

cdef extern from "address_index.h":
    ctypedef struct mi_address_index:
        uint32_t count
    int64_t mi_address_index_find(const mi_address_index *index, uintptr_t address)
    uintptr_t mi_address_index_address(const mi_address_index *index, uint32_t number)

cdef extern from "graph.h":
    enum: MI_STILL_SHARED
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
        uint32_t unit
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
        uint64_t called, references, guesses, overcounted, dropped, mistaken, small_bytes, torn_pages, build_ns
    void mi_graph_free(mi_graph *graph)
    uint32_t mi_graph_nodes(const mi_graph *graph)
    uint64_t mi_graph_bytes(const mi_graph *graph)

cdef extern from "graph_labels.h":
    enum: MI_ROLES
    ctypedef enum mi_label_kind:
        MI_LABEL_NOTHING
        MI_LABEL_TEXT_OF
        MI_LABEL_NUMBER
    ctypedef struct mi_label:
        unsigned char role, kind, has_frame
        int64_t number
        const char *text
        const char *frame
    ctypedef struct mi_labels:
        const mi_graph *graph
        const mi_runtime *runtime
        const mi_types *types
        const mi_shapes *shapes
        uintptr_t interpreter, str, integer, tuple
        int still
        mi_reader *reader
    ctypedef enum mi_root:
        pass
    void mi_labels_of_path(const mi_labels *labels, const uint32_t *path, size_t length, int trusted, mi_label *found) nogil
    uintptr_t mi_labels_reach(const mi_labels *labels, mi_root root, const uintptr_t *addresses, size_t count) nogil

cdef extern from "clone_desk.h":
    ctypedef struct mi_clone_desk:
        pass
    int mi_clone_ask(mi_clone *clone, mi_clone_desk *desk) nogil
    void mi_clone_dismiss(mi_clone_desk *desk) nogil

cdef extern from "stop_the_world.h":
    mi_error mi_world_stop(void *interpreter, mi_pause *pause)
    void mi_world_start(void *interpreter, mi_pause *pause)

cdef extern from "graph_job.h":
    enum: MI_LONGEST_PATH
    ctypedef struct mi_label_desk:
        mi_clone_desk desk
        uint32_t length
        uint32_t *path
        mi_label *labels
    ctypedef struct mi_graph_others:
        size_t omitted_count, count, cut
        mi_omitted *omitted
        mi_type *types
        mi_type_name *names
    ctypedef struct mi_graph_job:
        const mi_layout *layout
        mi_types *types
        mi_shapes *shapes
        mi_graph_others *others
        int types_held
        uintptr_t self
        const mi_arena_table *hidden
        uint32_t padding
        mi_foreign foreign
        void *room
        size_t room_size
        mi_graph *graph
        uintptr_t str, integer, tuple
        mi_label_desk *desk
    mi_error mi_graph_job_run(const mi_target *target, void *job) noexcept nogil
    ctypedef struct mi_moment_job:
        mi_census_job *census
        mi_graph_job *graph
        mi_error *graph_error
    mi_error mi_moment_run(const mi_target *target, void *job) noexcept nogil

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
    void mi_graph_references_to(const mi_graph *graph, uint32_t node, uint64_t *count, uint64_t *of_frames)
    void mi_graph_arenas_touched(const mi_graph *graph, const mi_loss *loss, const mi_loss *own, unsigned char *arenas)

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


cdef class _Desk:
    """Where a frozen copy answers (csrc/interpreter/clone_desk.h), and the copy."""
    cdef _Shared memory
    cdef mi_label_desk *desk
    cdef mi_clone clone
    cdef mi_error error  # of its making
    cdef tuple room
    cdef bint runs, silent

    cdef int open(self) except -1:
        self.memory = _Shared()
        self.memory.open(sizeof(mi_label_desk))
        self.desk = <mi_label_desk *>self.memory.room
        return 0

    cdef bint ask(self):
        """Waits for the next answer, without the GIL; False when there is none any more."""
        cdef int answered = 0
        if self.runs and not self.silent:
            with nogil:
                answered = mi_clone_ask(&self.clone, &self.desk.desk)
        self.silent = not answered
        return answered != 0

    cdef int close(self) except -1:
        if self.runs:
            self.runs = False
            mi_clone_dismiss(&self.desk.desk)
            with nogil:
                mi_clone_wait(&self.clone)
        return 0

    def __dealloc__(self):
        if self.runs:
            mi_clone_dismiss(&self.desk.desk)
            mi_clone_wait(&self.clone)


cdef tuple room_beside(room, kilobytes):
    """What is left of the room for copies of pages when the arrays of a graph are there, in the copy and in memory that is
    shared: as many bytes as its objects lie in, which is more than was seen."""
    arrays = (kilobytes or 0) * 1024
    if room[0] is None:
        return room
    return max(0, room[0] - arrays), f"{room[1]}, less {arrays} bytes for the graph's arrays,"


cdef object graph_error(mi_error error, dict told):
    names = {MI_E_MEMORY: "memory", MI_E_PERMISSION: "permission", MI_E_LAYOUT: "layout", MI_E_ABSENT: "absent"}
    return NativeError("late" if told["end"] == "late" else names.get(error, "torn"), told["reason"])


cdef class _Graph:
    """A graph with what is needed to read its objects again; to be made with the GIL held, or attached."""
    cdef _Target guard
    cdef mi_runtime runtime
    cdef mi_types types
    cdef mi_shapes shapes
    cdef mi_graph graph
    cdef mi_ways ways
    cdef mi_reader reader
    cdef uintptr_t interpreter
    cdef list held, names
    cdef size_t own_types  # what stands behind them in `types` is of other interpreters
    cdef _Shared others  # a mi_graph_others; None: there is no other interpreter
    cdef list unknown  # what is not known of them: texts
    cdef dict copied  # of a graph that a frozen copy made: what became of that
    cdef dict failure  # of one that was to be read beside a census: why it was not
    cdef _Shared shared
    cdef _Desk desk  # of a copy that stays to say what references are by
    cdef mi_loss own  # what goes when the question is answered: see leave_out
    cdef double pause
    cdef bint frozen  # nothing ran since it was made: every object of it is alive
    cdef bint outside  # of another process: nothing of its objects can be read here
    cdef bint stops  # there is no GIL: to read an object the world has to stand still
    cdef bint pinned  # a reference to each of the types is held

    def __dealloc__(self):
        self.let_go_of_types()
        mi_ways_free(&self.ways)
        mi_loss_free(&self.own)
        mi_graph_free(&self.graph)
        mi_shapes_free(&self.shapes)
        if not self.outside:
            mi_types_free(&self.types)

    cdef int prepare(self) except -1:
        """What reading one object needs: types and their shapes. With a GIL it holds no reference to any of them."""
        cdef const mi_layout *layout = the_layout()
        self.stops = layout.free_threaded
        if self.stops and not mi_world_can_stop():
            raise NativeError("absent", "references are not read here: this interpreter cannot be stopped meanwhile")
        self.guard = _Target()
        self.interpreter = <uintptr_t>PyInterpreterState_Get()
        found = all_types()
        cdef bytes addresses = addresses_of(found)
        self.guard.open(MI_TARGET_SELF, 0)
        check(mi_runtime_open(&self.runtime, &self.guard.target, layout))
        check(mi_types_read(&self.types, &self.guard.target, layout, <const uintptr_t *><const char *>addresses,
                            len(found)))
        self.own_types = self.types.count
        if self.stops:
            self.hold_types()  # other threads could end one before the world stands still
        # A list of all types would be a holder of all types: nothing of ours may be in the way of the walk.
        found = None
        check(mi_shapes_read(&self.shapes, &self.guard.target, layout, &self.types))
        self.reader.target, self.reader.layout = &self.guard.target, layout
        self.reader.types, self.reader.shapes = &self.types, &self.shapes
        return 0

    cdef int hold_types(self) except -1:
        cdef size_t i
        for i in range(self.own_types):
            Py_INCREF(<object><PyObject *>self.types.items[i].address)
        self.pinned = True
        return 0

    cdef int let_go_of_types(self) except -1:
        cdef size_t i
        if self.pinned:
            self.pinned = False
            for i in range(self.own_types):
                Py_DECREF(<object><PyObject *>self.types.items[i].address)
        return 0

    cdef int call_foreign(self, foreign) except -1:
        if foreign not in ("scan", "call"):
            raise ValueError(f"foreign is 'scan' or 'call', not {foreign!r}")
        if foreign == "call":
            if the_layout().free_threaded:
                raise NativeError("absent", "foreign='call' is for builds with a GIL: without one, no code of an extension "
                                  "may run while its threads stand still")
            self.reader.foreign.traverse, self.reader.foreign.is_gc = MI_TYPE_TRAVERSE, MI_TYPE_IS_GC
        return 0

    cdef int order(self, mi_graph_job *job, mi_arena_table *table) except -1:
        """What is asked of mi_graph_job_run; nothing is to be allocated from pymalloc behind it."""
        cdef const mi_layout *layout = the_layout()
        cdef mi_allocator allocator
        cdef bint hidden = False
        cdef size_t others = 0, apart = 0
        self.prepare()
        own_table(&self.guard.target, layout, table, &hidden)
        check(mi_allocator_look(&self.guard.target, layout, table, &allocator))
        memset(job, 0, sizeof(job[0]))
        job.foreign = self.reader.foreign
        job.layout, job.types, job.shapes, job.self = layout, &self.types, &self.shapes, self.interpreter
        job.tuple = MI_TUPLE_TYPE
        job.types_held = self.pinned
        raw_allocator = allocator_to_raw(self.guard, &allocator)
        check(mi_others_count(&self.runtime, self.interpreter, &others, &apart))
        self.unknown = others_unknown(layout, others, raw_allocator["allocator"])
        if others and not layout.free_threaded:
            self.others = _Shared()
            self.others.open(sizeof(mi_graph_others))
            job.others = <mi_graph_others *>self.others.room
        job.padding = 16 if raw_allocator["padding_bytes"] else 0
        check(mi_target_refresh(&self.guard.target))
        own_table(&self.guard.target, layout, table, &hidden)
        job.hidden = table if hidden else NULL
        return 0

    cdef int order_copy(self, mi_graph_job *job, mi_arena_table *table, resident) except -1:
        """The same of a copy, which puts the arrays into memory that it shares."""
        self.shared = _Shared()
        self.shared.open(arrays_of(resident))
        self.order(job, table)
        job.room, job.room_size = self.shared.room, self.shared.size
        job.str, job.integer = MI_UNICODE_TYPE, MI_LONG_TYPE
        return 0

    cdef int take_copied(self, mi_error error, dict told) except -1:
        """What a copy left that made a census as well, and has ended. The types are held until they are named."""
        self.copied, self.pause = told, told["held_s"]
        if error != MI_OK:
            self.failure = failed(graph_error(error, {"end": "done", "reason": reason_of(error)}))
        else:
            self.graph = (<mi_graph *>self.shared.room)[0]
        return 0

    cdef int make(self, uint64_t until) except -1:
        """Reads it with the GIL held, or the world stopped."""
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
        self.frozen = not self.stops
        self.name_types()
        return 0

    cdef int copy(self, deadline, room_bytes) except -1:
        """Reads it in a frozen copy of the process, whose arrays are in memory that it shares, and which stays to say what
        references are by until leave() is called: it must be, also after an error."""
        cdef mi_graph_job job
        cdef mi_arena_table table
        cdef mi_clone_order order
        cdef uint64_t begun
        if not 0 < deadline <= 1e9:
            raise ValueError(f"deadline must be a number of seconds above 0, not {deadline!r}")
        room = clone_room() if room_bytes is None else (room_bytes, "room_bytes")
        resident = number_in(slurp_path(b"/proc/self/status"), b"RssAnon")
        self.desk = _Desk()
        self.desk.open()
        self.desk.room = room_beside(room, resident)
        clone_order_fill(&order, mi_graph_job_run, &job, deadline, self.desk.room)
        self.order_copy(&job, &table, resident)
        job.desk = self.desk.desk
        begun = mi_os_now_ns()
        self.desk.error = mi_clone_start(&self.desk.clone, &order)
        self.pause = (mi_os_now_ns() - begun) * 1e-9
        if self.desk.error == MI_OK:
            self.desk.runs = True
            if not self.pinned:
                self.hold_types()  # they are to live on when the GIL is let go
            if self.desk.ask():
                self.name_types()
                self.graph = (<mi_graph *>self.shared.room)[0]
                return 0
        self.leave()
        raise graph_error(self.desk.error if self.desk.error != MI_OK else self.desk.clone.result.error, self.copied)

    cdef int leave(self) except -1:
        """Ends the copy and keeps what became of it."""
        if self.desk is None or self.copied is not None:
            return 0
        self.desk.close()
        told = clone_to_raw(&self.desk.clone, self.desk.error, self.desk.room)
        if self.desk.error == MI_OK and self.graph.objects:
            told["reason"] = None if told["end"] == "late" else told["reason"]  # the arrays were there by then
        told["held_s"] = self.pause = told["world_s"] or self.pause
        self.copied = told
        return 0

    cdef int name_types(self) except -1:
        """Types of other interpreters are not held: they have names alone, and go with their interpreter."""
        cdef mi_graph_others *others
        cdef size_t i
        self.held = [<object><PyObject *>self.types.items[i].address for i in range(self.own_types)]
        self.names = [type_text(item) for item in self.held]
        self.let_go_of_types()
        if self.others is not None:
            others = <mi_graph_others *>self.others.room
            self.names += [type_name(&others.names[i]) for i in range(others.count)]
            if self.types.count == self.own_types:  # a copy found them: what was found here is there already
                check(mi_types_add(&self.types, others.types, others.count))
        return 0

    cdef int64_t node_of(self, item):
        """The object in the graph, -1: it is not there."""
        if item is None or self.outside:
            return -1
        return mi_address_index_find(&self.graph.index, <uintptr_t><PyObject *>item)

    cdef int leave_out(self, asked) except -1:
        """What the question itself put into the heap before the graph was read keeps no arena: these objects of ours, and the
        one that it was asked with, when only the call has it. In another process there is none of it."""
        cdef _Numbers own = _Numbers()
        cdef int64_t node
        cdef uint64_t count, of_frames
        if self.own.gone != NULL:
            return 0
        memory = self.desk.memory if self.desk is not None else None
        for item in (self, self.guard, self.others, self.shared, self.desk, memory):
            node = self.node_of(item)
            if node >= 0:
                own.add(<uint32_t>node)
        node = self.node_of(asked)
        if node >= 0:
            mi_graph_references_to(&self.graph, <uint32_t>node, &count, &of_frames)
            # a variable of the function that was called, and what that passes on
            if count == of_frames and count + self.graph.unexplained[node] <= 2:
                own.add(<uint32_t>node)
        check(mi_graph_without(&self.graph, own.items, own.count, &self.own))
        return 0

    cdef list reasons(self):
        """What is not in it of other interpreters: texts."""
        cdef mi_graph_others *others
        cdef size_t i
        if self.others is None:
            return self.unknown or []
        others = <mi_graph_others *>self.others.room
        return self.unknown + omitted_reasons(others.omitted, others.omitted_count) + cut_reasons(others.cut)
