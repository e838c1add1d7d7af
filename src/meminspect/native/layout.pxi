# Which layout is true of this interpreter: csrc/layout/layout.h.

from cpython.object cimport PyObject

cdef extern from *:
    """
    #define MI_LIST_TYPE ((uintptr_t)&PyList_Type)
    #define MI_LIST_FLAGS ((uint64_t)PyType_GetFlags(&PyList_Type))
    #define MI_GIL_BUILD_TEXT "free-threading build" /* Python/getversion.c; absent in builds with a GIL */
    """
    uintptr_t MI_LIST_TYPE
    uint64_t MI_LIST_FLAGS
    const char *MI_GIL_BUILD_TEXT

cdef extern from "Python.h":
    const unsigned long running_version "Py_Version"
    const char *running_version_text "Py_GetVersion"()
    ctypedef struct PyInterpreterState
    ctypedef struct PyThreadState
    PyInterpreterState *PyInterpreterState_Get()
    PyInterpreterState *PyInterpreterState_Main()
    int64_t PyInterpreterState_GetID(PyInterpreterState *interpreter)
    PyThreadState *PyThreadState_Get()
    unsigned long PyThread_get_thread_ident()
    unsigned long PyThread_get_thread_native_id()
    int PyGC_IsEnabled()
    PyObject *sys_object "PySys_GetObject"(const char *name)
    int PyCFunction_Check(object function)
    PyObject *PyModule_GetDict(object module)  # borrowed
    int PyModule_Check(object module)

cdef extern from "string.h":
    const char *strstr(const char *text, const char *part)
    void *memset(void *block, int byte, size_t size) nogil

cdef extern from "layout.h":
    enum: MI_ABSENT
    enum: MI_MAX_TRIALS
    ctypedef struct mi_layout:
        uint32_t version
        int32_t interpreter_size, free_lists, free_memory_errors
        int32_t free_threaded, debug
        int32_t thread_mimalloc, mimalloc_heaps, mimalloc_heap_size, mimalloc_heap_count, mimalloc_slice_size
        int32_t interpreter_obmalloc
        int32_t arena_size, pool_size, pool_header_size, alignment, size_classes
        int32_t object_type, object_size, object_refcount, type_flags, gc_head_size, runtime_main
        int32_t thread_eval_breaker, interpreter_drop_request
    ctypedef enum mi_verdict:
        MI_FALSE
        MI_TRUE
        MI_NOT_CHECKED
    ctypedef struct mi_facts:
        uint32_t version
        int free_threaded, debug, gil_held
        uintptr_t interpreter, main_interpreter, thread
        int64_t interpreter_id
        uint64_t thread_ident, thread_native_id, switch_interval_us
        int gc_enabled, gc_thresholds_known
        int[3] gc_thresholds
        uintptr_t list, list_type, item
        uint64_t list_length, type_flags, type_basicsize, type_itemsize
    ctypedef struct mi_fact:
        const char *name
        mi_verdict verdict
    ctypedef struct mi_trial:
        const mi_layout *layout
        int native, verified, count
        mi_fact[32] facts
    const mi_layout mi_layout_native
    mi_error mi_layout_verify(const mi_layout *layout, const mi_facts *facts, mi_trial *trial)
    mi_error mi_layout_choose(const mi_facts *facts, mi_trial *trials, int *count)
    const mi_layout *mi_layout_current() nogil


cdef object interpreter_function(const char *name):
    """A function of the sys module when it is still CPython's own: a replaced one is the program's code."""
    cdef PyObject *found = sys_object(name)
    return <object>found if found != NULL and PyCFunction_Check(<object>found) else None


cdef void gather_facts(mi_facts *facts, list references, object item):
    cdef PyInterpreterState *interpreter = PyInterpreterState_Get()
    cdef object function
    memset(facts, 0, sizeof(mi_facts))
    facts.version = <uint32_t>running_version
    facts.free_threaded = strstr(running_version_text(), MI_GIL_BUILD_TEXT) != NULL
    facts.debug = sys_object("gettotalrefcount") != NULL
    facts.gil_held = not facts.free_threaded
    facts.interpreter = <uintptr_t>interpreter
    facts.main_interpreter = <uintptr_t>PyInterpreterState_Main()
    facts.interpreter_id = PyInterpreterState_GetID(interpreter)
    facts.thread = <uintptr_t>PyThreadState_Get()
    facts.thread_ident = PyThread_get_thread_ident()
    facts.thread_native_id = PyThread_get_thread_native_id()
    function = interpreter_function("getswitchinterval")
    if function is not None:
        facts.switch_interval_us = <uint64_t>(<double>function() * 1e6 + 0.5)
    facts.gc_enabled = PyGC_IsEnabled()
    modules = <object>sys_object("modules")
    gc = modules.get("gc") if type(modules) is dict else None
    function = vars_of_module(gc).get("get_threshold") if gc is not None else None
    if function is not None and PyCFunction_Check(function):
        thresholds = function()
        facts.gc_thresholds_known = len(thresholds) == 3
        for i in range(min(3, len(thresholds))):
            facts.gc_thresholds[i] = thresholds[i]
    facts.list = <uintptr_t><PyObject *>references
    facts.list_type = MI_LIST_TYPE
    facts.list_length = len(references)
    facts.item = <uintptr_t><PyObject *>item
    facts.type_flags = MI_LIST_FLAGS
    facts.type_basicsize = list.__basicsize__
    facts.type_itemsize = list.__itemsize__


cdef dict vars_of_module(object module):
    """A module's namespace without asking the module, which may have code of its own to answer; {} if it is no module."""
    return <object>PyModule_GetDict(module) if PyModule_Check(module) else {}


cdef dict trial_to_dict(const mi_trial *trial):
    verdicts = {MI_FALSE: False, MI_TRUE: True, MI_NOT_CHECKED: None}
    return {"version": trial.layout.version, "free_threaded": bool(trial.layout.free_threaded),
            "debug": bool(trial.layout.debug), "native": bool(trial.native), "verified": bool(trial.verified),
            "facts": [(trial.facts[i].name.decode(), verdicts[trial.facts[i].verdict]) for i in range(trial.count)]}


def layout_capture():
    """Holds the candidate layouts against the running interpreter.

    {"version": Py_Version, "chosen": index in "tried" or None, "reason": text or None, "tried": [{"version",
    "free_threaded", "debug", "native", "verified", "facts": [(text, True, False or None if not checked), ...]}, ...]}
    """
    cdef mi_facts facts
    cdef mi_trial[MI_MAX_TRIALS] trials
    cdef int count = 0
    item = object()
    references = [item] * 4096
    gather_facts(&facts, references, item)
    cdef mi_error error = mi_layout_choose(&facts, trials, &count)
    tried = [trial_to_dict(&trials[i]) for i in range(count)]
    reason = None
    if error != MI_OK:
        reason = reason_of(error) if count else "there is no layout of this version and kind"
    return {"version": facts.version, "chosen": count - 1 if error == MI_OK else None, "reason": reason, "tried": tried}


def _layout_verify_shifted(int field, int by=8):
    """For tests: verifies a copy of the chosen layout in which the number of one member (by its place) is `by` more."""
    cdef mi_facts facts
    cdef mi_trial trial
    cdef mi_layout shifted = the_layout()[0]
    item = object()
    references = [item] * 4096
    gather_facts(&facts, references, item)
    cdef int32_t *members = <int32_t *>&shifted
    if not 3 <= field < <int>(sizeof(mi_layout) // sizeof(int32_t)):
        raise IndexError(field)
    members[field] += by
    mi_layout_verify(&shifted, &facts, &trial)
    return trial_to_dict(&trial)


cdef const mi_layout *the_layout() except NULL:
    """The verified layout; chosen at the first use, NativeError("layout") when none is true of this interpreter."""
    cdef const mi_layout *layout = mi_layout_current()
    if layout == NULL:
        layout_capture()
        layout = mi_layout_current()
        if layout == NULL:
            # In 3.11 a thread may come back from another interpreter without taking the GIL: then its last holder is the
            # thread state there. Once let go and taken again, it is ours.
            with nogil:
                pass
            layout_capture()
            layout = mi_layout_current()
        if layout == NULL:
            check(MI_E_LAYOUT)
    return layout
