# Owners and references of another process, read from outside: csrc/graph/graph_job.h.

cdef extern from "graph_job.h":
    ctypedef struct mi_graph_outside_job:
        mi_outside_job outside
        mi_graph_job graph
        size_t *type_count
        mi_type *types
    mi_error mi_graph_outside_run(const mi_target *self, void *job) noexcept nogil


cdef struct graph_outside_result:
    mi_replica replica
    size_t types_cut, type_count
    mi_type_name[65536] names
    mi_type[65536] types


def references_outside_capture(pid_t pid, addresses=(), type_names=(), bint holders=False, bint path=False,
                               bint retained=False, bint arenas=False, uint32_t top=0, uint32_t keys=0,
                               uint32_t pinned=0, bint objects=False, deadline=60.0):
    """references_capture() of another process of the same build, which runs on; see probes/references.py.

    Its memory is copied into a frozen copy of this process, where its objects are read; the tree and all answers are
    computed here, and the copy, which keeps that memory, says which attribute or key a reference is. NativeError as
    census_outside_capture().
    """
    cdef const mi_layout *layout = the_layout()
    cdef _Target own = _Target()
    cdef _Target there = _Target()
    cdef _Pages pages = _Pages()
    cdef _ClassTotals before = _ClassTotals()
    cdef _ClassTotals after = _ClassTotals()
    cdef _Shared shared = _Shared()
    cdef _Graph whole = _Graph()
    cdef graph_outside_result *result
    cdef mi_runtime runtime
    cdef mi_arena_table table
    cdef mi_graph_outside_job job
    cdef mi_clone_order order
    cdef _Desk desk = _Desk()
    cdef bint hidden = layout.interpreter_obmalloc == MI_ABSENT
    cdef uint64_t begun = mi_os_now_ns()
    cdef size_t i
    if layout.free_threaded:
        raise NativeError("absent", "references of another free-threaded process are not read: its threads cannot be held "
                          "still, and mimalloc's heap is not read without that")
    whole.outside = True
    shared.open(sizeof(graph_outside_result))
    result = <graph_outside_result *>shared.room
    own.open(MI_TARGET_SELF, 0)
    there.open(MI_TARGET_PROCESS, pid)
    check(runtime_of(&runtime, &there.target, layout))
    memset(&table, 0, sizeof(table))
    if hidden:
        check(mi_obmalloc_find_in(&there.target, layout, &table))
    before.read(&runtime, &table if hidden else NULL)
    check(mi_target_refresh(&there.target))
    pages.open(pid, &(<mi_mapped_target *>&there.target).maps)
    needed, room = pages.pages.sums[pages.pages.count], clone_room()
    if room[0] is not None and 2 * needed > room[0]:
        raise NativeError("memory", f"a copy of the {needed} resident bytes of process {pid} is needed, and as much for the "
                                    f"arrays of the graph; {room[1]} leaves {room[0]}")
    whole.shared = _Shared()
    whole.shared.open(arrays_of(needed // 1024))
    whole.desk = desk
    desk.open()
    desk.room = room
    memset(&job, 0, sizeof(job))
    job.outside.from_, job.outside.pages, job.outside.runtime = &there.target, &pages.pages, runtime.address
    job.outside.tuple_type = outside_of(own, there, <uintptr_t><PyObject *>tuple)
    job.outside.census.self = main_interpreter(&runtime)
    job.outside.census.hidden = &table if hidden else NULL
    job.outside.census.request.layout = layout
    job.outside.census.request.padding = 16 if before.debug else 0
    job.outside.names, job.outside.replica, job.outside.types_cut = result.names, &result.replica, &result.types_cut
    job.graph.layout, job.graph.self, job.graph.hidden = layout, job.outside.census.self, job.outside.census.hidden
    job.graph.padding = job.outside.census.request.padding
    job.graph.room, job.graph.room_size = whole.shared.room, whole.shared.size
    job.graph.desk = desk.desk
    job.graph.str = outside_of(own, there, MI_UNICODE_TYPE)
    job.graph.integer = outside_of(own, there, MI_LONG_TYPE)
    job.graph.tuple = job.outside.tuple_type
    job.type_count, job.types = &result.type_count, result.types
    clone_order_fill(&order, mi_graph_outside_run, &job, deadline, desk.room)
    desk.error = mi_clone_start(&desk.clone, &order)
    try:
        desk.runs = desk.error == MI_OK
        if not desk.ask():
            whole.leave()
            raise outside_error(pid, desk.error if desk.error != MI_OK else desk.clone.result.error, whole.copied)
        after.read(&runtime, &table if hidden else NULL)
        whole.graph = (<mi_graph *>whole.shared.room)[0]
        whole.types.items, whole.types.count = result.types, result.type_count
        whole.names = [type_name(&result.names[i]) for i in range(result.type_count)]
        whole.guard = own
        raw = answer_of(whole, None, addresses, type_names, holders, path, retained, arenas, top, keys, pinned, objects)
    finally:
        whole.leave()
    raw["frozen"] = whole.copied
    reasons = []
    if not (before.steady and after.steady and before.used == after.used):
        reasons.append("it ran while it was read: the figures are of more than one moment")
    if result.replica.lost_bytes:
        reasons.append(f"{result.replica.lost_bytes} bytes were given back before they could be read")
    raw.update({"pid": pid, "reasons": reasons, "seconds": (mi_os_now_ns() - begun) * 1e-9, "pause_s": 0.0})
    return raw
