# Names that the program gave its threads, without running a line of it.

cdef extern from *:
    """
    /* An attribute's value in the class or a base of it, where it would have code of its own: no lookup of the class'. */
    static int mi_class_defines(PyObject *object, PyObject *name) {
        PyObject *classes = Py_TYPE(object)->tp_mro;
        if (!classes) return 1;
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(classes); i++) {
            PyObject *names = ((PyTypeObject *)PyTuple_GET_ITEM(classes, i))->tp_dict;
            if (names && PyDict_Contains(names, name)) return 1; /* NULL: a static type of CPython's from 3.12 on */
        }
        return 0;
    }
    """
    int mi_class_defines(object thing, str name)

cdef extern from *:
    """
    #define MI_WEAK_REFERENCE ((PyObject *)&_PyWeakref_RefType)
    """
    PyObject *MI_WEAK_REFERENCE

cdef extern from "Python.h":
    object PyObject_GenericGetAttr(object thing, str name)


def thread_names():
    """{threading.get_ident(): name} of the threads that the threading module knows; {} when it was never imported.

    Read from `threading._active` and the threads' own `_name`; a thread whose class has code of its own for that
    attribute, or whose name is no plain str, is left out. At most 512 characters of each name.
    """
    cdef dict names = {}
    cdef PyObject *found = sys_object("modules")
    modules = <object>found if found != NULL else None
    threading = modules.get("threading") if type(modules) is dict else None
    active = vars_of_module(threading).get("_active")
    if type(active) is not dict:
        return names
    for ident, thread in list(active.items()):
        if type(ident) is not int or mi_class_defines(thread, "_name"):
            continue
        try:
            name = PyObject_GenericGetAttr(thread, "_name")
        except AttributeError:
            continue
        if type(name) is str:
            names[ident] = name[:512]
    return names


def thread_names_by_native_id():
    """{the kernel's id: name} of threads that the threading module knows, those included that have ended and whose
    Thread object is still alive (`threading._dangling`); read with the same care as thread_names()."""
    cdef dict names = {}
    cdef PyObject *found = sys_object("modules")
    modules = <object>found if found != NULL else None
    threading = modules.get("threading") if type(modules) is dict else None
    if threading is None:
        return names
    variables = vars_of_module(threading)
    threads = []
    weak_reference = <object>MI_WEAK_REFERENCE
    references = attribute_or_none(variables.get("_dangling"), "data")  # a WeakSet: a set of weak references
    if type(references) is set:
        for reference in list(references):
            if type(reference) is weak_reference:
                threads.append(reference())
    active = variables.get("_active")
    if type(active) is dict:
        threads.extend(active.values())
    for thread in threads:
        name, native_id = attribute_or_none(thread, "_name"), attribute_or_none(thread, "_native_id")
        if type(name) is str and type(native_id) is int:
            names[native_id] = name[:512]
    return names


cdef object attribute_or_none(object thing, str name):
    """An instance's attribute where its class has no code of its own for it; else None."""
    if thing is None or mi_class_defines(thing, name):
        return None
    try:
        return PyObject_GenericGetAttr(thing, name)
    except AttributeError:
        return None
