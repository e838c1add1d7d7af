# The header of one object: csrc/interpreter/object_header.h.

cdef extern from *:
    """
    #define MI_BYTEARRAY_TYPE ((uintptr_t)&PyByteArray_Type)
    """
    uintptr_t MI_BYTEARRAY_TYPE

cdef extern from "layout.h":
    ctypedef struct mi_header_layout "mi_layout":
        int32_t free_threaded, frame_locals
        int32_t gc_head_size, gc_next, gc_prev, gc_visited_space
        int32_t object_size, object_refcount, object_refcount_size, object_immortal_bit, object_overflow, object_flags
        int32_t object_mutex, object_managed_dict, object_managed_values, object_managed_values_tag
        int32_t object_managed_weakrefs, object_type, object_var_size, object_tid, object_gc_bits, object_ref_local
        int32_t object_ref_shared, long_tag_shift

cdef extern from "object_header.h":
    ctypedef struct mi_object_header:
        uintptr_t address
        uintptr_t start
        uint32_t size
        unsigned char memory[128]
        uintptr_t type
        uint64_t type_flags
        int32_t gc
        int32_t var_sized
        char type_name[256]
    mi_error mi_object_header_read(const mi_target *target, const mi_layout *layout, uintptr_t address,
                                   uintptr_t var_base, mi_object_header *header) nogil
    mi_error mi_frame_holds_argument(const mi_target *target, const mi_layout *layout, uintptr_t thread,
                                     uintptr_t address, int *holds) nogil

cdef enum:
    # hops along the collector's lists in either direction before the generation is given up: a few milliseconds
    GENERATION_STEPS = 100000


def header_capture(obj, /):
    """The bytes of an object's header and what decodes them; see probes/header.py.

    To be called from a Python function whose first argument is `obj`: whether that frame counts as a reference to the
    object is read from the frame. The one argument is taken as it is (METH_O): no reference to it is made here.
    """
    cdef mi_target target
    cdef mi_object_header header
    cdef const mi_layout *layout = the_layout()
    cdef const mi_header_layout *numbers = <const mi_header_layout *>layout
    cdef uintptr_t address = <uintptr_t><void *>obj
    cdef int holds = 1, generation = -1
    cdef mi_error error
    target_without_map(&target)
    check(mi_object_header_read(&target, layout, address, MI_BYTEARRAY_TYPE, &header))
    error = mi_frame_holds_argument(&target, layout, <uintptr_t>PyThreadState_Get(), address, &holds)
    raw = {
        "address": header.address, "start": header.start, "memory": (<char *>header.memory)[:header.size],
        "type_address": header.type, "type_name": <bytes>header.type_name, "type_flags": header.type_flags,
        "gc": None if header.gc < 0 else bool(header.gc), "var_sized": bool(header.var_sized),
        "frame_holds": bool(holds) if error == MI_OK or error == MI_E_ABSENT else None,
        "frames_borrow": numbers.frame_locals != MI_ABSENT,
        "layout": header_layout(numbers), "generation": None, "generation_reason": None,
    }
    if header.gc == 1 and numbers.gc_head_size != MI_ABSENT:
        error = mi_target_open(&target, MI_TARGET_SELF, 0)
        if error == MI_OK:
            error = mi_gc_generation_find(&target, layout, <uintptr_t>PyInterpreterState_Get(),
                                          address - numbers.gc_head_size, GENERATION_STEPS, &generation)
            mi_target_close(&target)
        if error == MI_OK:
            raw["generation"] = generation
        else:
            raw["generation_reason"] = {
                MI_E_LIMIT: f"further than {GENERATION_STEPS} objects from either end of its generation's list",
                MI_E_ABSENT: "in none of this interpreter's lists (a collection is under way, or it is another's)",
            }.get(error, reason_of(error))
    return raw


cdef dict header_layout(const mi_header_layout *layout):
    return {
        "free_threaded": layout.free_threaded,
        "gc_head_size": layout.gc_head_size, "gc_next": layout.gc_next, "gc_prev": layout.gc_prev,
        "gc_visited_space": layout.gc_visited_space, "object_size": layout.object_size,
        "object_refcount": layout.object_refcount, "object_refcount_size": layout.object_refcount_size,
        "object_immortal_bit": layout.object_immortal_bit, "object_overflow": layout.object_overflow,
        "object_flags": layout.object_flags, "object_mutex": layout.object_mutex,
        "object_managed_dict": layout.object_managed_dict, "object_managed_values": layout.object_managed_values,
        "object_managed_values_tag": layout.object_managed_values_tag,
        "object_managed_weakrefs": layout.object_managed_weakrefs, "object_type": layout.object_type,
        "object_var_size": layout.object_var_size, "object_tid": layout.object_tid,
        "object_gc_bits": layout.object_gc_bits, "object_ref_local": layout.object_ref_local,
        "object_ref_shared": layout.object_ref_shared, "long_tag_shift": layout.long_tag_shift,
    }
