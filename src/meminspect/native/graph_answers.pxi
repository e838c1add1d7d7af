# What is asked of a graph that is there: holders, what would go, the largest retained sizes.

cdef enum:
    MOST_HOLDERS = 200


NO_ARENAS = ("what keeps memory from going back is told of pymalloc's arenas: mimalloc, the allocator of free-threaded "
             "builds, gives single pages back")


def arenas_reason():
    """Why nothing is told of arenas in this build; None: it is."""
    return NO_ARENAS if the_layout().free_threaded else None


cdef class _Tree:
    """The dominator tree of a graph."""
    cdef mi_dominators found
    cdef double seconds

    def __dealloc__(self):
        mi_dominators_free(&self.found)


cdef int add_type(_Graph whole, str wanted, _Numbers nodes) except -1:
    """The objects of the types with this name, with or without their module."""
    cdef uint32_t node
    kinds = bytearray(len(whole.names))
    cdef unsigned char *is_wanted = kinds
    for index, (module, name) in enumerate(whole.names):
        text = (name or b"").decode("utf-8", "replace")
        if wanted == text or wanted == (module or b"").decode("utf-8", "replace") + "." + text:
            is_wanted[index] = 1
    for node in range(whole.graph.objects):
        if is_wanted[whole.graph.types[node]]:
            nodes.add(node)
    return 0


cdef dict holders_of(_Graph whole, uint32_t node):
    cdef uint32_t[MOST_HOLDERS] found
    cdef size_t count = 0, i
    mi_graph_holders(&whole.graph, node, found, MOST_HOLDERS, &count)
    return {"count": count, "unexplained": whole.graph.unexplained[node],
            "rows": [(node_text(whole, found[i]), edge_now(whole, found[i], node), 1)
                     for i in range(min(count, <size_t>MOST_HOLDERS))]}


cdef dict holders_of_many(_Graph whole, _Numbers nodes):
    """Who refers to any of them, by the holder's type: a sample of each, with how many references there are."""
    cdef uint32_t i, holder
    cdef uint64_t count = 0, unexplained = 0
    cdef size_t at
    cdef _Table marks = _Table()
    marks.clear(mi_graph_nodes(&whole.graph))
    cdef char *inside = marks.data
    for at in range(nodes.count):
        inside[nodes.items[at]] = 1
        unexplained += whole.graph.unexplained[nodes.items[at]]
    groups = {}
    for holder in range(mi_graph_nodes(&whole.graph)):
        for i in range(whole.graph.offsets[holder], whole.graph.offsets[holder + 1]):
            if inside[whole.graph.edges[i]]:
                count += 1
                key = (whole.graph.types[holder] if holder < whole.graph.objects else -1 - <int64_t>holder)
                group = groups.get(key)
                if group is None:
                    groups[key] = [holder, whole.graph.edges[i], 1]
                else:
                    group[2] += 1
    rows = sorted(groups.values(), key=_third, reverse=True)[:MOST_HOLDERS]
    return {"count": count, "unexplained": unexplained,
            "rows": [(node_text(whole, holder), edge_now(whole, holder, node), times) for holder, node, times in rows]}


cdef dict loss_of(_Graph whole, _Numbers nodes, bint arenas):
    """What would go with them; `arenas`: (touched, that would be empty, all, empty already), and `marks` of each. Behind
    leave_out()."""
    cdef mi_loss loss
    cdef _Numbers going
    check(mi_graph_without(&whole.graph, nodes.items, nodes.count, &loss))
    try:
        result = {"objects": loss.objects, "bytes": loss.bytes, "arenas": None, "marks": None, "fixed": 0}
        if arenas:
            going = that_can_go(whole, nodes)
            if going.count != nodes.count:  # what cannot go stays where it is, and with it its arena
                result["fixed"] = nodes.count - going.count
                mi_loss_free(&loss)
                check(mi_graph_without(&whole.graph, going.items, going.count, &loss))
            marks = bytearray(whole.graph.arena_count + 1)
            mi_graph_arenas_touched(&whole.graph, &loss, &whole.own, marks)
            del marks[-1]
            result["marks"] = marks
            result["arenas"] = (sum([mark & 1 for mark in marks]), sum([mark == 3 for mark in marks]), len(marks),
                                sum([mark == 4 for mark in marks]))
        return result
    finally:
        mi_loss_free(&loss)


cdef _Numbers that_can_go(_Graph whole, _Numbers nodes):
    """Those of them that are neither immortal nor static."""
    cdef uint32_t i, root = whole.graph.objects + MI_ROOT_STATIC
    cdef size_t at
    cdef _Numbers result = _Numbers()
    cdef _Table marks = _Table()
    marks.clear(mi_graph_nodes(&whole.graph))
    for i in range(whole.graph.offsets[root], whole.graph.offsets[root + 1]):
        marks.data[whole.graph.edges[i]] = 1
    for at in range(nodes.count):
        if not marks.data[nodes.items[at]]:
            result.add(nodes.items[at])
    return result


cdef _Tree tree_of(_Graph whole):
    """The dominator tree; the GIL is let go while it is made."""
    cdef _Tree tree = _Tree()
    cdef mi_references references
    cdef mi_error error
    cdef uint32_t[MI_ROOTS] roots
    cdef uint32_t i
    cdef uint64_t begun = mi_os_now_ns()
    references.nodes = mi_graph_nodes(&whole.graph)
    references.offsets, references.edges = whole.graph.offsets, whole.graph.edges
    for i in range(<uint32_t>MI_ROOTS):
        roots[i] = whole.graph.objects + i
    whole.frozen = False
    with nogil:
        error = mi_dominators_find(&references, whole.graph.sizes, roots, MI_ROOTS, &tree.found)
    check(error)
    tree.seconds = (mi_os_now_ns() - begun) * 1e-9
    check(mi_target_refresh(&whole.guard.target))
    whole.reader.last = NULL
    return tree


cdef list root_rows(_Graph whole, mi_dominators *tree):
    cdef uint32_t root, number
    return [(ROOT_NAMES[root], whole.graph.offsets[whole.graph.objects + root + 1]
             - whole.graph.offsets[whole.graph.objects + root],
             tree.retained[tree.number[whole.graph.objects + root]] * whole.graph.unit) for root in range(<uint32_t>MI_ROOTS)]


cdef dict top_of(_Graph whole, _Tree planted, uint32_t wanted):
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
        if node >= whole.graph.objects:
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
                                          node_text(whole, tree.node[number]))
        rows.append((node_text(whole, node), size * whole.graph.unit, above, path_to(whole, node)))
    return {"rows": rows, "roots": root_rows(whole, tree), "total": tree.retained[0] * whole.graph.unit,
            "garbage": tree.retained[tree.unreachable] * whole.graph.unit,
            "garbage_objects": tree.nodes + 1 - tree.unreachable,
            "peak_bytes": tree.peak_bytes, "seconds": planted.seconds}


cdef list held_by_c(_Graph whole):
    """[(module, name of the type, objects of it that C code or an evaluation stack holds), ...]"""
    cdef uint32_t i, root = whole.graph.objects + MI_ROOT_C
    counts = {}
    for i in range(whole.graph.offsets[root], whole.graph.offsets[root + 1]):
        kind = whole.graph.types[whole.graph.edges[i]]
        counts[kind] = counts.get(kind, 0) + 1
    return [(*whole.names[kind], count) for kind, count in counts.items()]


cdef dict summary(_Graph whole):
    return {"held_by_c": held_by_c(whole), "objects": whole.graph.objects, "references": whole.graph.references,
            "guesses": whole.graph.guesses, "overcounted": whole.graph.overcounted, "called": whole.graph.called,
            "dropped": whole.graph.dropped, "looked_like_objects": whole.graph.mistaken,
            "small_bytes": whole.graph.small_bytes,
            "unknown_bytes": <uint64_t>whole.graph.sizes[whole.graph.objects + MI_ROOT_MEMORY] * whole.graph.unit,
            "graph_bytes": mi_graph_bytes(&whole.graph), "arena_count": whole.graph.arena_count,
            "arena_bytes": whole.graph.arena_size, "pause_s": whole.pause,
            "consistent": whole.desk is not None and not whole.outside,
            "arenas_reason": arenas_reason(), "reasons": whole.reasons()}


def _third(row):
    return row[2]
