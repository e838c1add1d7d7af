# The core's errors as Python sees them.

cdef extern from "error.h":
    ctypedef enum mi_error:
        MI_OK
        MI_E_UNMAPPED
        MI_E_PERMISSION
        MI_E_GONE
        MI_E_LAYOUT
        MI_E_TORN
        MI_E_ABSENT
        MI_E_LIMIT
        MI_E_MEMORY
        MI_E_LATE
        MI_E_OS
    const char *mi_error_text(mi_error error)


class NativeError(OSError):
    """The core could not do what it was asked; `code` is the name of its error, the text says it in words."""

    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


cdef str reason_of(mi_error error):
    return mi_error_text(error).decode()


cdef int check(mi_error error) except -1:
    if error == MI_OK:
        return 0
    names = {MI_E_UNMAPPED: "unmapped", MI_E_PERMISSION: "permission", MI_E_GONE: "gone", MI_E_LAYOUT: "layout",
             MI_E_TORN: "torn", MI_E_ABSENT: "absent", MI_E_LIMIT: "limit", MI_E_MEMORY: "memory", MI_E_LATE: "late",
             MI_E_OS: "os"}
    raise NativeError(names[error], reason_of(error))
