# Which path an allocation takes, and where an object lies: csrc/allocators/alloc_probe.h.

cdef extern from "alloc_probe.h":
    enum: MI_DEBUG_BEFORE
    enum: MI_DEBUG_AROUND
    ctypedef enum mi_function:
        MI_OBJECT_MALLOC
        MI_MEM_MALLOC
        MI_RAW_MALLOC
    ctypedef enum mi_path:
        MI_PATH_PYMALLOC
        MI_PATH_MIMALLOC
        MI_PATH_HEAP
        MI_PATH_MMAPPED
        MI_PATH_OTHER
    ctypedef struct mi_probe:
        mi_path path
        uintptr_t address, block
        size_t usable, chunk_size
        uint32_t debug
        mi_block_place place
    mi_error mi_probe_take(const mi_target *target, const mi_layout *layout, const mi_arena_table *table,
                           mi_function function, size_t size, int throw_away, mi_probe *probe)
    int mi_chunk_at(const mi_target *target, uintptr_t block, size_t at_least, size_t *usable, size_t *size,
                    int *mmapped)
    ctypedef struct mi_allocator:
        const char *name
        int pymalloc, debug, hook_is_own
        uintptr_t hook
    mi_error mi_allocator_look(const mi_target *target, const mi_layout *layout, const mi_arena_table *table,
                               mi_allocator *allocator)


cdef extern from "mimalloc.h":
    mi_error mi_mimalloc_place(const mi_target *target, const mi_layout *layout, uintptr_t thread, uintptr_t address,
                               mi_block_place *place)


cdef str mapping_name(_Target guard, uintptr_t address):
    cdef const mi_mapping *mapping = guard.mapping(address)
    return mapping.name.decode("utf-8", "replace") if mapping != NULL else ""


cdef dict allocator_to_raw(_Target guard, const mi_allocator *allocator):
    """What serves PyObject_Malloc: "allocator", "hook" (None, or what stands before it) and "padding_bytes"."""
    hook = None
    if allocator.name != NULL:
        name = allocator.name.decode()
    else:
        name = ("pymalloc" if allocator.pymalloc else "unknown") + ("_debug" if allocator.debug else "")
        # Modules/_tracemalloc.c is the one hook of CPython's own besides the debug hooks
        hook = "tracemalloc" if allocator.hook_is_own else mapping_name(guard, allocator.hook).rpartition("/")[2]
    return {"allocator": name, "hook": hook, "padding_bytes": MI_DEBUG_AROUND if allocator.debug else 0}


cdef dict place_to_raw(const mi_block_place *place):
    return {"pool": place.pool, "arena": place.arena, "block": place.block, "arena_index": place.arena_index,
            "size_class": place.size_class, "index_in_pool": place.index_in_pool, "used": place.used,
            "free": place.free, "size": place.size}


cdef dict page_to_raw(const mi_block_place *place):
    """A place in mimalloc's page ("pool") and segment ("arena"): these have no size class and no index."""
    raw = place_to_raw(place)
    raw["arena_index"] = raw["size_class"] = None
    return raw


def allocator_capture():
    """{"allocator": name, "hook": what stands before it or None, "padding_bytes": of the debug hooks}."""
    cdef _Target guard = _Target()
    cdef mi_arena_table table
    cdef mi_allocator allocator
    cdef bint hidden
    guard.open(MI_TARGET_COPY, 0)
    own_table(&guard.target, the_layout(), &table, &hidden)
    check(mi_allocator_look(&guard.target, the_layout(), &table, &allocator))
    return allocator_to_raw(guard, &allocator)


def allocation_capture(size_t size, allocator=None, bint throw_away=False):
    """Allocates `size` bytes through each of CPython's functions, looks where the block lies, and frees it.

    A list of {"function", "path": "pymalloc", "glibc heap", "glibc mmapped" or "other", "address", "usable": bytes or
    None, "place": dict in pymalloc or None, "allocator": name}. `allocator` is what allocator_capture() returned before.
    throw_away -- for a process that ends soon: trims glibc's heap before large sizes, for what the heap has room for is
                  never mmapped, and leaves mmapped chunks allocated, for freeing one raises the threshold for good
    """
    cdef _Target guard = _Target()
    cdef const mi_layout *layout = the_layout()
    cdef mi_arena_table table
    cdef mi_probe probe
    cdef bint hidden
    paths = {MI_PATH_PYMALLOC: "pymalloc", MI_PATH_MIMALLOC: "mimalloc", MI_PATH_HEAP: "glibc heap",
             MI_PATH_MMAPPED: "glibc mmapped", MI_PATH_OTHER: "other"}
    if allocator is None:
        allocator = allocator_capture()
    guard.open(MI_TARGET_COPY, 0)
    result = []
    for name, function in (("PyObject_Malloc", MI_OBJECT_MALLOC), ("PyMem_Malloc", MI_MEM_MALLOC),
                           ("PyMem_RawMalloc", MI_RAW_MALLOC)):
        own_table(&guard.target, layout, &table, &hidden)
        if mi_probe_take(&guard.target, layout, &table, function, size, throw_away, &probe) != MI_OK:
            result.append({"function": name, "path": None, "address": 0, "usable": None, "place": None,
                           "allocator": allocator["allocator"]})
            continue
        result.append({"function": name, "path": paths[probe.path], "address": probe.address,
                       "usable": probe.usable if probe.path != MI_PATH_OTHER else None,
                       "place": place_to_raw(&probe.place) if probe.path == MI_PATH_PYMALLOC
                       else page_to_raw(&probe.place) if probe.path == MI_PATH_MIMALLOC else None,
                       "allocator": allocator["allocator"]})
    return result


cdef uintptr_t bytes_before(object value, const mi_layout *layout):
    """How far into its block an object begins (_PyType_PreHeaderSize in pycore_object.h): GC head and pre-header."""
    cdef uintptr_t type_address = 0, flags = 0
    cdef uintptr_t before = 0
    mi_os_read(0, <uintptr_t><PyObject *>value + layout.object_type, &type_address, sizeof(type_address))
    mi_os_read(0, type_address + layout.type_flags, &flags, sizeof(flags))
    if flags & MI_FLAG_GC and layout.gc_head_size > 0:
        before += layout.gc_head_size
    if flags & MI_FLAGS_PREHEADER:
        before += 2 * sizeof(void *)
    return before


cdef extern from *:
    """
    #define MI_FLAG_GC ((uintptr_t)Py_TPFLAGS_HAVE_GC)
    #ifdef Py_TPFLAGS_MANAGED_WEAKREF
    #define MI_FLAGS_PREHEADER ((uintptr_t)(Py_TPFLAGS_MANAGED_DICT | Py_TPFLAGS_MANAGED_WEAKREF))
    #else
    #define MI_FLAGS_PREHEADER ((uintptr_t)Py_TPFLAGS_MANAGED_DICT)
    #endif
    """
    uintptr_t MI_FLAG_GC
    uintptr_t MI_FLAGS_PREHEADER


def block_capture(value):
    """Where an object lies: {"domain", "object", "block", "usable", "place", "reason", "file"}; see models.heap.Block."""
    cdef const mi_layout *layout = the_layout()
    cdef _Target guard = _Target()
    cdef uintptr_t address = <uintptr_t><PyObject *>value
    cdef mi_arena_table table
    cdef mi_block_place place
    cdef const mi_mapping *mapping
    cdef size_t usable = 0, size = 0
    cdef int mmapped = 0
    cdef bint hidden
    cdef uintptr_t before
    raw = {"domain": "unknown", "object": address, "block": address, "usable": None, "place": None, "reason": None,
           "interpreter": PyInterpreterState_GetID(PyInterpreterState_Get())}
    guard.open(MI_TARGET_COPY, 0)
    own_table(&guard.target, layout, &table, &hidden)
    if mi_obmalloc_place(&guard.target, layout, &table, address, &place) == MI_OK:
        raw.update(domain="pymalloc", block=place.block, usable=place.size, place=place_to_raw(&place))
        return raw
    if mi_mimalloc_place(&guard.target, layout, <uintptr_t>PyThreadState_Get(), address, &place) == MI_OK:
        raw.update(domain="mimalloc", block=place.block, usable=place.size, place=page_to_raw(&place))
        return raw
    mapping = guard.mapping(address)
    if mapping == NULL:
        raw["reason"] = "its memory is not in the map of the process"
    elif mapping_is_of_file(guard, mapping):
        raw["domain"] = "static"
    else:
        before = bytes_before(value, layout)
        for frame in (0, MI_DEBUG_BEFORE, 2 * MI_DEBUG_BEFORE):  # pymalloc's hooks, and those of the raw domain that it asks
            if mi_chunk_at(&guard.target, address - before - frame, before + frame + layout.object_size, &usable, &size,
                           &mmapped):
                raw.update(domain="glibc mmapped" if mmapped else "glibc heap", block=address - before - frame,
                           usable=usable)
                break
        else:
            raw["reason"] = "neither in an arena of this interpreter nor at the start of a chunk of glibc's"
    return raw


cdef bint mapping_is_of_file(_Target guard, const mi_mapping *mapping):
    """A mapped file, or the .bss behind one: unnamed memory that goes on where a file's ends."""
    if mapping.inode:
        return True
    cdef const mi_mapping *before = guard.mapping(mapping.start - 1)
    return not mapping.name[0] and before != NULL and before.inode != 0
