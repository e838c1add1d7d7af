"""Which fields of CPython's structures the core reads: the one place where versions differ.

Each row names a number the core wants to know and where the C compiler finds it. `generate.py` turns the rows into C:
the struct `mi_layout` (one member a row), the table of the interpreter that is being built for (taken from its installed
headers by the compiler), and, run under other interpreters, the checked-in tables of `tables.inc`.

A number that a version does not have is -1 (MI_ABSENT); walkers ask for the number, never for the version.
"""

from __future__ import annotations

from typing import NamedTuple

Version = tuple[int, int]


class Field(NamedTuple):
    """One number of a layout.

    expression -- C that gives the number: an `offsetof`, a `sizeof` or a constant
    doc        -- what it is, for the comment in the generated struct
    since, until -- versions that have it (until is the first that has it no more)
    build      -- "any", "gil" or "free_threaded"
    fixed      -- numbers for versions whose headers do not show them, with the source file they were read from
    """

    name: str
    expression: str
    doc: str
    since: Version = (3, 11)
    until: Version = (9, 0)
    build: str = "any"
    fixed: dict[Version, int] = {}


def offset(struct: str, member: str) -> str:
    return f"offsetof({struct}, {member})"


# 3.11 keeps pymalloc's structures inside Objects/obmalloc.c, where no header shows them: read there, verified at run time.
FIELDS = [
    # -- the runtime and its interpreters (pycore_runtime.h, pycore_interp.h) --
    Field("runtime_interpreters", offset("_PyRuntimeState", "interpreters.head"), "first PyInterpreterState"),
    Field("runtime_main", offset("_PyRuntimeState", "interpreters.main"), "the main PyInterpreterState"),
    Field("runtime_gil", offset("_PyRuntimeState", "ceval.gil"), "the one GIL, embedded", until=(3, 12)),
    Field("interpreter_size", "sizeof(PyInterpreterState)", "of the whole structure"),
    Field("interpreter_next", offset("PyInterpreterState", "next"), "next PyInterpreterState"),
    Field("interpreter_id", offset("PyInterpreterState", "id"), "int64_t"),
    Field("interpreter_threads", offset("PyInterpreterState", "threads.head"), "first PyThreadState"),
    Field("interpreter_gc", offset("PyInterpreterState", "gc"), "struct _gc_runtime_state, embedded"),
    Field("interpreter_gil", offset("PyInterpreterState", "ceval.gil"), "pointer to its GIL", since=(3, 12)),
    Field(
        "interpreter_own_gil", offset("PyInterpreterState", "ceval.own_gil"), "int: the GIL is its own", since=(3, 12)
    ),
    Field("interpreter_feature_flags", offset("PyInterpreterState", "feature_flags"), "unsigned long", since=(3, 12)),
    Field(
        "interpreter_obmalloc",
        offset("PyInterpreterState", "obmalloc"),
        "pymalloc's state or a pointer to it",
        since=(3, 12),
    ),
    Field(
        "interpreter_obmalloc_is_pointer", "(PY_VERSION_HEX >= 0x030D0000)", "0: embedded, 1: a pointer", since=(3, 12)
    ),
    Field(
        "flag_use_main_obmalloc",
        "Py_RTFLAGS_USE_MAIN_OBMALLOC",
        "in feature_flags: shares the main pymalloc",
        since=(3, 12),
    ),
    # -- thread states (pystate.h) --
    Field("thread_next", offset("PyThreadState", "next"), "next PyThreadState of the interpreter"),
    Field("thread_interpreter", offset("PyThreadState", "interp"), "its PyInterpreterState"),
    Field("thread_ident", offset("PyThreadState", "thread_id"), "unsigned long: threading.get_ident()"),
    Field("thread_native_id", offset("PyThreadState", "native_thread_id"), "unsigned long: the kernel's id"),
    Field("thread_data_stack", offset("PyThreadState", "datastack_chunk"), "newest _PyStackChunk"),
    Field("stack_chunk_previous", offset("_PyStackChunk", "previous"), "older _PyStackChunk"),
    Field("stack_chunk_size", offset("_PyStackChunk", "size"), "size_t, bytes of the whole chunk"),
    Field("stack_chunk_top", offset("_PyStackChunk", "top"), "size_t, words in use (of older chunks)"),
    Field("thread_current_frame", offset("PyThreadState", "current_frame"), "_PyInterpreterFrame *", since=(3, 14)),
    # from 3.14 on a stack reference that counts nothing has its lowest bit set (pycore_stackref.h, Py_TAG_REFCNT)
    Field("frame_locals", offset("_PyInterpreterFrame", "localsplus"), "_PyStackRef[]", since=(3, 14)),
    # -- the GIL (pycore_gil.h) --
    Field("gil_interval", offset("struct _gil_runtime_state", "interval"), "unsigned long, microseconds"),
    Field("gil_last_holder", offset("struct _gil_runtime_state", "last_holder"), "PyThreadState *, may dangle"),
    Field("gil_locked", offset("struct _gil_runtime_state", "locked"), "int"),
    Field("gil_switch_number", offset("struct _gil_runtime_state", "switch_number"), "unsigned long"),
    Field("gil_enabled", offset("struct _gil_runtime_state", "enabled"), "int", since=(3, 13), build="free_threaded"),
    Field("gil_mutex", offset("struct _gil_runtime_state", "mutex"), "pthread_mutex_t, guards all of the above"),
    Field("gil_cond", offset("struct _gil_runtime_state", "cond"), "pthread_cond_t, waited on for the GIL"),
    Field("interpreter_gil_storage", offset("PyInterpreterState", "_gil"), "a GIL of its own, embedded", since=(3, 12)),
    # a request to drop the GIL (ceval_gil.h, ceval_gil.c: SET_GIL_DROP_REQUEST; _PY_GIL_DROP_REQUEST_BIT is bit 0)
    Field(
        "interpreter_drop_request",
        offset("PyInterpreterState", "ceval.gil_drop_request"),
        "int, not 0: pending",
        until=(3, 13),
    ),
    Field("thread_eval_breaker", offset("PyThreadState", "eval_breaker"), "uintptr_t, bit 0: pending", since=(3, 13)),
    # -- pymalloc (pycore_obmalloc.h; Objects/obmalloc.c in 3.11) --
    Field("pymalloc_arenas", offset("struct _obmalloc_state", "mgmt.arenas"), "struct arena_object *", since=(3, 12)),
    Field("pymalloc_maxarenas", offset("struct _obmalloc_state", "mgmt.maxarenas"), "unsigned int", since=(3, 12)),
    Field("arena_object_size", "sizeof(struct arena_object)", "bytes", fixed={(3, 11): 48}),
    Field(
        "arena_address", offset("struct arena_object", "address"), "uintptr_t, 0 when not allocated", fixed={(3, 11): 0}
    ),
    Field(
        "arena_pool_address",
        offset("struct arena_object", "pool_address"),
        "end of the pools carved off",
        fixed={(3, 11): 8},
    ),
    Field(
        "arena_nfreepools",
        offset("struct arena_object", "nfreepools"),
        "unsigned int, never used ones included",
        fixed={(3, 11): 16},
    ),
    Field("arena_ntotalpools", offset("struct arena_object", "ntotalpools"), "unsigned int", fixed={(3, 11): 20}),
    Field(
        "pool_header_size",
        "_Py_SIZE_ROUND_UP(sizeof(struct pool_header), ALIGNMENT)",
        "POOL_OVERHEAD",
        fixed={(3, 11): 48},
    ),
    Field("pool_count", offset("struct pool_header", "ref.count"), "unsigned int, blocks in use", fixed={(3, 11): 0}),
    Field("pool_freeblock", offset("struct pool_header", "freeblock"), "head of the free list", fixed={(3, 11): 8}),
    Field("pool_arenaindex", offset("struct pool_header", "arenaindex"), "unsigned int", fixed={(3, 11): 32}),
    Field("pool_szidx", offset("struct pool_header", "szidx"), "unsigned int, size class", fixed={(3, 11): 36}),
    Field(
        "pool_nextoffset",
        offset("struct pool_header", "nextoffset"),
        "unsigned int, first untouched block",
        fixed={(3, 11): 40},
    ),
    Field("pool_maxnextoffset", offset("struct pool_header", "maxnextoffset"), "unsigned int", fixed={(3, 11): 44}),
    Field("pool_size", "POOL_SIZE", "bytes", fixed={(3, 11): 16384}),
    Field("arena_size", "ARENA_SIZE", "bytes (2 MiB in builds with huge pages)", fixed={(3, 11): 1 << 20}),
    Field("size_classes", "NB_SMALL_SIZE_CLASSES", "how many", fixed={(3, 11): 32}),
    Field("alignment", "ALIGNMENT", "bytes between two size classes", fixed={(3, 11): 16}),
    # -- the collector (pycore_gc.h, pycore_interp_structs.h) --
    Field("gc_enabled", offset("struct _gc_runtime_state", "enabled"), "int"),
    Field("gc_collecting", offset("struct _gc_runtime_state", "collecting"), "int"),
    # 3.14.0 to 3.14.4 keep `young` and `old[2]` at the place where all others keep `generations[3]`
    Field("gc_generations", "MI_GC_GENERATIONS", "struct gc_generation[3], heads of lists", build="gil"),
    Field("gc_counters", "MI_GC_GENERATIONS", "the same; free-threaded builds use only count and threshold of it"),
    Field("gc_permanent", offset("struct _gc_runtime_state", "permanent_generation"), "struct gc_generation"),
    Field("gc_generation_size", "sizeof(struct gc_generation)", "bytes"),
    Field("gc_generation_threshold", offset("struct gc_generation", "threshold"), "int"),
    Field("gc_generation_count", offset("struct gc_generation", "count"), "int"),
    Field("gc_long_lived_total", "MI_GC_LONG_LIVED(total)", "Py_ssize_t"),
    Field("gc_long_lived_pending", "MI_GC_LONG_LIVED(pending)", "Py_ssize_t"),
    Field("gc_head_size", "sizeof(PyGC_Head)", "bytes before a tracked object", build="gil"),
    Field("gc_next", offset("PyGC_Head", "_gc_next"), "uintptr_t, 0 when not tracked", build="gil"),
    Field("gc_prev", offset("PyGC_Head", "_gc_prev"), "uintptr_t, the two lowest bits are flags", build="gil"),
    Field(
        "gc_visited_space",
        "MI_GC_VISITED_SPACE",
        "int: which old[] is visited; only incremental collectors have it",
        since=(3, 14),
        build="gil",
    ),
    # statistics: three structs in a row up to 3.14, a pointer to three rings with an index of the newest from 3.15 on
    Field(
        "gc_stats",
        offset("struct _gc_runtime_state", "generation_stats"),
        "struct gc_generation_stats[3], or a pointer",
    ),
    Field("gc_stats_size", "sizeof(struct gc_generation_stats)", "bytes"),
    Field("gc_stats_rings", "sizeof(struct gc_stats)", "bytes of all rings", since=(3, 15)),
    Field("gc_stats_ring0", offset("struct gc_stats", "young.items"), "ring of generation 0", since=(3, 15)),
    Field("gc_stats_ring1", offset("struct gc_stats", "old[0].items"), "ring of generation 1", since=(3, 15)),
    Field("gc_stats_ring2", offset("struct gc_stats", "old[1].items"), "ring of generation 2", since=(3, 15)),
    Field("gc_stats_index0", offset("struct gc_stats", "young.index"), "int8_t", since=(3, 15)),
    Field("gc_stats_index1", offset("struct gc_stats", "old[0].index"), "int8_t", since=(3, 15)),
    Field("gc_stats_index2", offset("struct gc_stats", "old[1].index"), "int8_t", since=(3, 15)),
    Field("gc_stats_collections", offset("struct gc_generation_stats", "collections"), "Py_ssize_t"),
    Field("gc_stats_collected", offset("struct gc_generation_stats", "collected"), "Py_ssize_t"),
    Field("gc_stats_uncollectable", offset("struct gc_generation_stats", "uncollectable"), "Py_ssize_t"),
    Field("gc_stats_candidates", offset("struct gc_generation_stats", "candidates"), "Py_ssize_t", since=(3, 15)),
    Field("gc_stats_duration", offset("struct gc_generation_stats", "duration"), "double, seconds", since=(3, 15)),
    Field(
        "gc_deferred_count",
        offset("struct _gc_runtime_state", "deferred_count"),
        "Py_ssize_t: put off by the RSS rule",
        since=(3, 14),
        until=(3, 15),
        build="free_threaded",
    ),
    # -- object headers (object.h) --
    Field("object_size", "sizeof(PyObject)", "bytes of the header"),
    Field("object_refcount", offset("PyObject", "ob_refcnt"), "Py_ssize_t; 32 bits of it from 3.14 on", build="gil"),
    Field("object_refcount_size", "sizeof(((PyObject *)0)->ob_refcnt)", "bytes", build="gil"),
    Field(
        "object_immortal_bit", "31", "of the refcount: the object is immortal (refcount.h)", since=(3, 12), build="gil"
    ),
    Field("object_overflow", offset("PyObject", "ob_overflow"), "uint16_t", since=(3, 14), build="gil"),
    Field("object_flags", offset("PyObject", "ob_flags"), "uint16_t", since=(3, 14)),
    Field("object_mutex", offset("PyObject", "ob_mutex"), "PyMutex, one byte", since=(3, 13), build="free_threaded"),
    # the pre-header (pycore_object.h): in 3.12 the dict's word may be a tagged pointer to the values
    Field("object_managed_dict", "MANAGED_DICT_OFFSET", "PyDictObject *", fixed={(3, 12): -24}),
    Field("object_managed_values", "-32", "PyDictValues *", until=(3, 12)),
    Field(
        "object_managed_values_tag", "1", "bit of the dict's word: it points to values", since=(3, 12), until=(3, 13)
    ),
    Field("object_managed_weakrefs", "MANAGED_WEAKREF_OFFSET", "list of weak references", since=(3, 12)),
    Field("object_type", offset("PyObject", "ob_type"), "PyTypeObject *"),
    Field("object_var_size", offset("PyVarObject", "ob_size"), "Py_ssize_t"),
    Field("object_tid", offset("PyObject", "ob_tid"), "owning thread", since=(3, 13), build="free_threaded"),
    Field("object_gc_bits", offset("PyObject", "ob_gc_bits"), "uint8_t", since=(3, 13), build="free_threaded"),
    Field("object_ref_local", offset("PyObject", "ob_ref_local"), "uint32_t", since=(3, 13), build="free_threaded"),
    Field("object_ref_shared", offset("PyObject", "ob_ref_shared"), "Py_ssize_t", since=(3, 13), build="free_threaded"),
    Field("type_name", offset("PyTypeObject", "tp_name"), "const char *"),
    Field("type_basicsize", offset("PyTypeObject", "tp_basicsize"), "Py_ssize_t"),
    Field("type_itemsize", offset("PyTypeObject", "tp_itemsize"), "Py_ssize_t"),
    Field("type_flags", offset("PyTypeObject", "tp_flags"), "unsigned long"),
    Field("type_base", offset("PyTypeObject", "tp_base"), "PyTypeObject *"),
    Field("type_is_gc", offset("PyTypeObject", "tp_is_gc"), "inquiry, NULL where the flag alone tells"),
    # int keeps its number of digits above sign and flag bits from 3.12 on (pycore_long.h)
    Field("long_tag_shift", "3", "NON_SIZE_BITS of lv_tag", since=(3, 12)),
    # -- mimalloc (internal/mimalloc/mimalloc/types.h, pycore_mimalloc.h; the geometry is in mimalloc_segment.c) --
    *(
        Field(name, expression, doc, since=(3, 13), build="free_threaded")
        for name, expression, doc in (
            ("thread_state", offset("PyThreadState", "state"), "int: 0 detached, 1 attached, 2 suspended"),
            ("thread_mimalloc", offset("_PyThreadStateImpl", "mimalloc"), "struct _mimalloc_thread_state, embedded"),
            (
                "thread_delayed_frees",
                offset("_PyThreadStateImpl", "mem_free_queue"),
                "llist_node: waiting frees (QSBR)",
            ),
            ("thread_merge_id", offset("_PyThreadStateImpl", "brc.tid"), "uintptr_t: _Py_ThreadId(), or 0"),
            ("thread_merge_queue", offset("_PyThreadStateImpl", "brc.objects_to_merge"), "_PyObjectStack"),
            ("thread_merge_local", offset("_PyThreadStateImpl", "brc.local_objects_to_merge"), "_PyObjectStack"),
            ("interpreter_delayed_frees", offset("PyInterpreterState", "mem_free_queue.head"), "llist_node"),
            (
                "interpreter_abandoned",
                offset("PyInterpreterState", "mimalloc.abandoned_pool.abandoned"),
                "first abandoned segment, tagged in its low bits",
            ),
            (
                "interpreter_abandoned_visited",
                offset("PyInterpreterState", "mimalloc.abandoned_pool.abandoned_visited"),
                "first abandoned segment that was looked at",
            ),
            ("object_stack_chunk_size", "sizeof(_PyObjectStackChunk)", "bytes; the words are previous, count, objects"),
            ("mimalloc_heaps", offset("struct _mimalloc_thread_state", "heaps"), "mi_heap_t[mimalloc_heap_count]"),
            ("mimalloc_heap_count", "_Py_MIMALLOC_HEAP_COUNT", "heap tags: mem, object, gc, gc with pre-header"),
            ("mimalloc_initialized", offset("struct _mimalloc_thread_state", "initialized"), "int"),
            ("mimalloc_heap_size", "sizeof(mi_heap_t)", "bytes"),
            ("mimalloc_heap_queues", offset("mi_heap_t", "pages"), "mi_page_queue_t[mimalloc_bins]"),
            ("mimalloc_heap_delayed", offset("mi_heap_t", "thread_delayed_free"), "blocks freed by other threads"),
            ("mimalloc_heap_page_count", offset("mi_heap_t", "page_count"), "size_t"),
            ("mimalloc_heap_tag", offset("mi_heap_t", "tag"), "uint8_t"),
            ("mimalloc_bins", "MI_BIN_FULL + 1", "page queues of a heap, the full pages' one last"),
            ("mimalloc_queue_size", "sizeof(mi_page_queue_t)", "bytes; the first page is its first word"),
            ("mimalloc_queue_block_size", offset("mi_page_queue_t", "block_size"), "size_t"),
            ("mimalloc_page_size", "sizeof(mi_page_t)", "bytes of a page's header, which is an entry of slices"),
            ("mimalloc_page_slices", offset("mi_page_t", "slice_count"), "uint32_t, 0 inside a page"),
            ("mimalloc_page_slice_offset", offset("mi_page_t", "slice_offset"), "uint32_t, bytes back to the header"),
            ("mimalloc_page_bits", offset("mi_page_t", "debug_offset") + " - 1", "uint8_t: tag in bits 3-6"),
            ("mimalloc_page_capacity", offset("mi_page_t", "capacity"), "uint16_t, blocks made so far"),
            ("mimalloc_page_reserved", offset("mi_page_t", "reserved"), "uint16_t, blocks that fit"),
            ("mimalloc_page_free", offset("mi_page_t", "free"), "list of free blocks"),
            ("mimalloc_page_used", offset("mi_page_t", "used"), "uint32_t, thread_free blocks included"),
            ("mimalloc_page_block_size", offset("mi_page_t", "xblock_size"), "uint32_t, 0 of a free span"),
            ("mimalloc_page_local_free", offset("mi_page_t", "local_free"), "list of free blocks"),
            ("mimalloc_page_thread_free", offset("mi_page_t", "xthread_free"), "the same, tagged in its low two bits"),
            ("mimalloc_page_heap", offset("mi_page_t", "xheap"), "mi_heap_t *, 0 when abandoned"),
            ("mimalloc_page_next", offset("mi_page_t", "next"), "mi_page_t *"),
            ("mimalloc_page_goal", offset("mi_page_t", "qsbr_goal"), "uint64_t, not 0: an empty page waits"),
            ("mimalloc_segment_memory_kind", offset("mi_segment_t", "memid.memkind"), "int, see mimalloc_in_reserve"),
            (
                "mimalloc_segment_block",
                offset("mi_segment_t", "memid.mem.arena.block_index"),
                "size_t: its place in the reserve, in segments",
            ),
            ("mimalloc_in_reserve", "MI_MEM_ARENA", "kind of a segment in a reserve (mimalloc's arenas)"),
            ("mimalloc_segment_bytes", offset("mi_segment_t", "segment_size"), "size_t"),
            (
                "mimalloc_segment_purge_mask",
                offset("mi_segment_t", "purge_mask"),
                "bits, each for an equal share of the segment",
            ),
            ("mimalloc_segment_mask_words", "MI_COMMIT_MASK_FIELD_COUNT", "size_t words of a mask"),
            ("mimalloc_segment_next", offset("mi_segment_t", "abandoned_next"), "mi_segment_t *"),
            ("mimalloc_segment_used", offset("mi_segment_t", "used"), "size_t, pages in use"),
            ("mimalloc_segment_cookie", offset("mi_segment_t", "cookie"), "its address ^ a secret of the process"),
            ("mimalloc_segment_info_slices", offset("mi_segment_t", "segment_info_slices"), "size_t"),
            ("mimalloc_segment_kind", offset("mi_segment_t", "kind"), "int: 0 normal, 1 huge"),
            ("mimalloc_segment_entries", offset("mi_segment_t", "slice_entries"), "size_t, slices in use of the array"),
            ("mimalloc_segment_thread", offset("mi_segment_t", "thread_id"), "size_t, 0 when abandoned or given back"),
            ("mimalloc_segment_slices", offset("mi_segment_t", "slices"), "mi_page_t[]"),
            ("mimalloc_segment_align", "MI_SEGMENT_SIZE", "bytes: segments start at multiples"),
            ("mimalloc_slice_size", "MI_SEGMENT_SLICE_SIZE", "bytes"),
            ("mimalloc_medium_max", "MI_MEDIUM_OBJ_SIZE_MAX", "larger blocks have a page of their own"),
            ("mimalloc_encoded", "MI_ENCODED_LISTS", "1: free lists are encoded (debug builds)"),
        )
    ),
    # -- buffers that objects own (cpython/*.h, pycore_*.h) --
    Field("type_preheader_flags", "MI_TYPE_PREHEADER_FLAGS", "flags of types whose instances have a pre-header"),
    Field("type_managed_dict", "Py_TPFLAGS_MANAGED_DICT", "flag: instances have a managed dict"),
    Field("type_size", "sizeof(PyTypeObject)", "bytes"),
    Field("type_doc", offset("PyTypeObject", "tp_doc"), "const char *"),
    Field("heap_type_size", "sizeof(PyHeapTypeObject)", "bytes"),
    Field("heap_type_name", offset("PyHeapTypeObject", "_ht_tpname"), "char *"),
    Field("heap_type_cached_keys", offset("PyHeapTypeObject", "ht_cached_keys"), "struct _dictkeysobject *"),
    Field(
        "managed_values",
        "0",
        "where the pre-header names an instance's values, from the object on",
        until=(3, 13),
        fixed={(3, 11): -32, (3, 12): -24},
    ),  # pycore_object.h: _PyObject_ValuesPointer, _PyObject_DictOrValuesPointer
    Field(
        "managed_values_tag",
        "0",
        "1: that word is a dict unless its lowest bit is set",
        until=(3, 13),
        fixed={(3, 11): 0, (3, 12): 1},
    ),
    Field("list_items", offset("PyListObject", "ob_item"), "PyObject **"),
    Field("list_allocated", offset("PyListObject", "allocated"), "Py_ssize_t"),
    Field("dict_size", "sizeof(PyDictObject)", "bytes"),
    Field("dict_used", offset("PyDictObject", "ma_used"), "Py_ssize_t"),
    Field("dict_keys", offset("PyDictObject", "ma_keys"), "PyDictKeysObject *"),
    Field("dict_values", offset("PyDictObject", "ma_values"), "PyDictValues *"),
    Field("dict_values_embedded", offset("struct _dictvalues", "embedded"), "uint8_t", since=(3, 13)),
    Field("set_table", offset("PySetObject", "table"), "setentry *"),
    Field("set_smalltable", offset("PySetObject", "smalltable"), "setentry[8]"),
    Field("bytearray_bytes", offset("PyByteArrayObject", "ob_bytes"), "char *", until=(3, 15)),
    Field("str_ascii_size", "sizeof(PyASCIIObject)", "bytes of the smallest str"),
    Field("str_state", offset("PyASCIIObject", "state"), "bit fields; bit 5 compact, bit 6 ascii in GIL builds"),
    Field("str_utf8", offset("PyCompactUnicodeObject", "utf8"), "char *"),
    Field("str_data", offset("PyUnicodeObject", "data.any"), "void *"),
    Field("code_cached", offset("PyCodeObject", "_co_cached"), "_PyCoCached *", since=(3, 12)),
    Field("code_extra", offset("PyCodeObject", "co_extra"), "void *"),
    Field("code_executors", offset("PyCodeObject", "co_executors"), "_PyExecutorArray *", since=(3, 13)),
    Field("code_monitoring", offset("PyCodeObject", "_co_monitoring"), "_PyCoMonitoringData *", since=(3, 12)),
    Field("monitoring_tools", offset("_PyCoMonitoringData", "tools"), "uint8_t *", since=(3, 12)),
    Field("monitoring_lines", offset("_PyCoMonitoringData", "lines"), "line data *", since=(3, 12)),
    Field("monitoring_line_tools", offset("_PyCoMonitoringData", "line_tools"), "uint8_t *", since=(3, 12)),
    Field("monitoring_opcodes", offset("_PyCoMonitoringData", "per_instruction_opcodes"), "uint8_t *", since=(3, 12)),
    Field(
        "monitoring_opcode_tools", offset("_PyCoMonitoringData", "per_instruction_tools"), "uint8_t *", since=(3, 12)
    ),
    # what a block was asked for (cpython/unicodeobject.h, pycore_long.h, pycore_dict.h, Objects/dictobject.c)
    Field("str_compact_size", "sizeof(PyCompactUnicodeObject)", "bytes before the characters that are not ASCII"),
    Field("str_length", offset("PyASCIIObject", "length"), "Py_ssize_t, characters"),
    Field("str_utf8_length", offset("PyCompactUnicodeObject", "utf8_length"), "Py_ssize_t, bytes"),
    Field("str_kind_shift", "MI_STR_KIND_SHIFT", "of the state: 3 bits kind, then a bit each compact and ascii"),
    Field("long_digits", "MI_LONG_DIGITS", "digit[]"),
    Field("long_tag", "sizeof(PyObject)", "uintptr_t: number of digits above long_tag_shift", since=(3, 12)),
    Field("type_inline_values", "Py_TPFLAGS_INLINE_VALUES", "flag: values follow the instance", since=(3, 13)),
    Field("values_capacity", offset("struct _dictvalues", "capacity"), "uint8_t", since=(3, 13)),
    Field("keys_size", "sizeof(PyDictKeysObject)", "bytes before the indices"),
    Field("keys_log2_size", offset("PyDictKeysObject", "dk_log2_size"), "uint8_t"),
    Field("keys_log2_index", offset("PyDictKeysObject", "dk_log2_index_bytes"), "uint8_t"),
    Field("keys_kind", offset("PyDictKeysObject", "dk_kind"), "uint8_t, 0: entries with a hash"),
    Field("set_mask", offset("PySetObject", "mask"), "Py_ssize_t, entries - 1"),
    Field("bytearray_alloc", offset("PyByteArrayObject", "ob_alloc"), "Py_ssize_t, bytes"),
    # objects that are kept for later (pycore_freelist_state.h and, up to 3.12, members of the interpreter in a row)
    Field("free_lists", "MI_FREE_LISTS", "of the interpreter (its thread states in free-threaded builds)"),
    Field("free_lists_size", "MI_FREE_LISTS_SIZE", "bytes"),
    Field("free_link", "0", "where an object kept says which is next", since=(3, 14)),
    Field(
        "free_memory_errors", offset("PyInterpreterState", "exc_state.memerrors_freelist"), "PyBaseExceptionObject *"
    ),
    Field("exception_dict", offset("PyBaseExceptionObject", "dict"), "PyObject *"),
    Field("module_state", offset("PyModuleObject", "md_state"), "void *"),
    # -- references between objects: where an object keeps the addresses of others (cpython/*.h, pycore_*.h) --
    Field("tuple_items", offset("PyTupleObject", "ob_item"), "PyObject *[ob_size]"),
    Field("set_entry_size", "sizeof(setentry)", "bytes; the key is its first word"),
    Field("keys_log2_index_bytes", offset("struct _dictkeysobject", "dk_log2_index_bytes"), "uint8_t"),
    Field("keys_entries", offset("struct _dictkeysobject", "dk_nentries"), "Py_ssize_t, entries in use"),
    Field("keys_indices", offset("struct _dictkeysobject", "dk_indices"), "char[]; the entries follow"),
    Field("values_first", offset("struct _dictvalues", "values"), "PyObject *[]"),
    Field("values_valid", offset("struct _dictvalues", "valid"), "uint8_t", since=(3, 13)),
    Field("cell_contents", offset("PyCellObject", "ob_ref"), "PyObject *"),
    Field("weakref_callback", offset("PyWeakReference", "wr_callback"), "PyObject *"),
    *(
        Field("function_" + name, offset("PyFunctionObject", "func_" + name), "PyObject *", since=since)
        for name, since in (
            ("globals", (3, 11)),
            ("builtins", (3, 11)),
            ("name", (3, 11)),
            ("qualname", (3, 11)),
            ("code", (3, 11)),
            ("defaults", (3, 11)),
            ("kwdefaults", (3, 11)),
            ("closure", (3, 11)),
            ("doc", (3, 11)),
            ("dict", (3, 11)),
            ("module", (3, 11)),
            ("annotations", (3, 11)),
            ("typeparams", (3, 12)),
            ("annotate", (3, 14)),
        )
    ),
    Field("method_function", offset("PyMethodObject", "im_func"), "PyObject *"),
    Field("method_self", offset("PyMethodObject", "im_self"), "PyObject *"),
    Field("builtin_self", offset("PyCFunctionObject", "m_self"), "PyObject *"),
    Field("builtin_module", offset("PyCFunctionObject", "m_module"), "PyObject *"),
    Field("builtin_class", offset("PyCMethodObject", "mm_class"), "PyTypeObject *"),
    Field("module_dict", offset("PyModuleObject", "md_dict"), "PyObject *"),
    Field("module_name", offset("PyModuleObject", "md_name"), "PyObject *"),
    Field("code_local_names", offset("PyCodeObject", "co_localsplusnames"), "tuple of str"),
    Field("code_local_kinds", offset("PyCodeObject", "co_localspluskinds"), "bytes"),
    Field("code_locals", offset("PyCodeObject", "co_nlocalsplus"), "int: local, cell and free variables"),
    Field("code_stack", offset("PyCodeObject", "co_stacksize"), "int: most words of the evaluation stack"),
    Field("code_qualname", offset("PyCodeObject", "co_qualname"), "str"),
    Field("generator_code", offset("PyGenObject", "gi_code"), "PyCodeObject *", until=(3, 12)),
    Field("generator_name", offset("PyGenObject", "gi_name"), "PyObject *"),
    Field("generator_qualname", offset("PyGenObject", "gi_qualname"), "PyObject *"),
    Field("generator_exception", offset("PyGenObject", "gi_exc_state.exc_value"), "PyObject *"),
    Field("generator_origin", offset("PyGenObject", "gi_origin_or_finalizer"), "PyObject *"),
    Field("generator_state", offset("PyGenObject", "gi_frame_state"), "int8_t"),
    Field("generator_cleared", "FRAME_CLEARED", "state: there is no frame any more"),
    Field("generator_frame", offset("PyGenObject", "gi_iframe"), "_PyInterpreterFrame, embedded"),
    Field("frame_back", offset("PyFrameObject", "f_back"), "PyFrameObject *"),
    Field("frame_frame", offset("PyFrameObject", "f_frame"), "_PyInterpreterFrame *"),
    Field("frame_trace", offset("PyFrameObject", "f_trace"), "PyObject *"),
    Field("frame_extra_locals", offset("PyFrameObject", "f_extra_locals"), "PyObject *", since=(3, 13)),
    Field("frame_locals_cache", offset("PyFrameObject", "f_locals_cache"), "PyObject *", since=(3, 13)),
    Field("frame_overwritten", offset("PyFrameObject", "f_overwritten_fast_locals"), "PyObject *", since=(3, 14)),
    Field("frame_data", offset("PyFrameObject", "_f_frame_data"), "_PyInterpreterFrame that the frame object owns"),
    Field("iframe_code", offset("_PyInterpreterFrame", "MI_FRAME_CODE"), "code object, or None"),
    Field("iframe_function", offset("_PyInterpreterFrame", "MI_FRAME_FUNCTION"), "function"),
    Field("iframe_locals", offset("_PyInterpreterFrame", "f_locals"), "PyObject *"),
    Field("iframe_object", offset("_PyInterpreterFrame", "frame_obj"), "PyFrameObject *"),
    Field("iframe_previous", offset("_PyInterpreterFrame", "previous"), "_PyInterpreterFrame *"),
    Field("iframe_owner", offset("_PyInterpreterFrame", "owner"), "char"),
    Field("iframe_stacktop", offset("_PyInterpreterFrame", "stacktop"), "int, -1 while it runs", until=(3, 14)),
    Field("iframe_stackpointer", offset("_PyInterpreterFrame", "stackpointer"), "0 while it runs", since=(3, 14)),
    Field("iframe_slots", offset("_PyInterpreterFrame", "localsplus"), "local variables, then the evaluation stack"),
    Field("thread_size", "sizeof(PyThreadState)", "of the public structure"),
    Field("thread_frame", offset("PyThreadState", "current_frame"), "_PyInterpreterFrame *", since=(3, 13)),
    Field("thread_cframe", offset("PyThreadState", "cframe"), "_PyCFrame *", until=(3, 13)),
    Field("cframe_frame", offset("_PyCFrame", "current_frame"), "_PyInterpreterFrame *", until=(3, 13)),
    # counts that each thread keeps for itself (pycore_tstate.h, pycore_uniqueid.h)
    *(
        Field(name, expression, doc, since=(3, 14), build="free_threaded")
        for name, expression, doc in (
            ("thread_counts", offset("_PyThreadStateImpl", "refcounts.values"), "Py_ssize_t *"),
            ("thread_counts_size", offset("_PyThreadStateImpl", "refcounts.size"), "Py_ssize_t, numbers in it"),
            ("heap_type_unique_id", offset("PyHeapTypeObject", "unique_id"), "Py_ssize_t: place in it + 1, or 0"),
            ("code_unique_id", offset("PyCodeObject", "_co_unique_id"), "Py_ssize_t, the same"),
            ("dict_watcher_tag", offset("PyDictObject", "_ma_watcher_tag"), "uint64_t: the same from bit 32 on"),
        )
    ),
    # stopping the world (pycore_interp_structs.h, struct _stoptheworld_state)
    Field(
        "interpreter_world_event",
        offset("PyInterpreterState", "stoptheworld.stop_event"),
        "PyEvent: all stand still",
        since=(3, 13),
        build="free_threaded",
    ),
    Field(
        "interpreter_world_requester",
        offset("PyInterpreterState", "stoptheworld.requester"),
        "PyThreadState *",
        since=(3, 13),
        build="free_threaded",
    ),
    Field(
        "runtime_world_event",
        offset("_PyRuntimeState", "stoptheworld.stop_event"),
        "the same of all interpreters",
        since=(3, 13),
        build="free_threaded",
    ),
    Field(
        "runtime_world_requester",
        offset("_PyRuntimeState", "stoptheworld.requester"),
        "PyThreadState *",
        since=(3, 13),
        build="free_threaded",
    ),
    # what a frame is at, for the attribution of the GIL's trace
    Field(
        "iframe_instruction",
        offset("_PyInterpreterFrame", "MI_FRAME_INSTRUCTION"),
        "_Py_CODEUNIT *, that it executes",
        build="gil",
    ),
    Field("code_instructions", offset("PyCodeObject", "co_code_adaptive"), "_Py_CODEUNIT[]", build="gil"),
    Field("code_filename", offset("PyCodeObject", "co_filename"), "str", build="gil"),
    Field("code_linetable", offset("PyCodeObject", "co_linetable"), "bytes", build="gil"),
    Field("code_firstlineno", offset("PyCodeObject", "co_firstlineno"), "int", build="gil"),
    Field("bytes_data", offset("PyBytesObject", "ob_sval"), "char[]", build="gil"),
    Field("interpreter_modules", offset("PyInterpreterState", "MI_MODULES"), "sys.modules"),
    Field("type_dict", offset("PyTypeObject", "tp_dict"), "PyObject *"),
    Field("type_bases", offset("PyTypeObject", "tp_bases"), "PyObject *"),
    Field("type_mro", offset("PyTypeObject", "tp_mro"), "PyObject *"),
    Field("type_cache", offset("PyTypeObject", "tp_cache"), "PyObject *"),
    Field("type_subclasses", offset("PyTypeObject", "tp_subclasses"), "dict of weak references, of heap types"),
    Field("type_members", offset("PyTypeObject", "tp_members"), "PyMemberDef[]"),
    Field("type_dict_offset", offset("PyTypeObject", "tp_dictoffset"), "Py_ssize_t"),
    Field("type_weaklist_offset", offset("PyTypeObject", "tp_weaklistoffset"), "Py_ssize_t"),
    Field("heap_type_short_name", offset("PyHeapTypeObject", "ht_name"), "PyObject *"),
    Field("heap_type_qualname", offset("PyHeapTypeObject", "ht_qualname"), "PyObject *"),
    Field("heap_type_slots", offset("PyHeapTypeObject", "ht_slots"), "PyObject *"),
    Field("heap_type_module", offset("PyHeapTypeObject", "ht_module"), "PyObject *"),
    *(
        Field("exception_" + name, offset("PyBaseExceptionObject", name), "PyObject *")
        for name in ("args", "notes", "traceback", "context", "cause")
    ),
    Field("traceback_next", offset("PyTracebackObject", "tb_next"), "PyTracebackObject *"),
    Field("traceback_frame", offset("PyTracebackObject", "tb_frame"), "PyFrameObject *"),
    Field("memoryview_buffer", offset("PyMemoryViewObject", "mbuf"), "_PyManagedBufferObject *"),
    Field("managed_buffer_object", offset("_PyManagedBufferObject", "master.obj"), "PyObject *"),
]
