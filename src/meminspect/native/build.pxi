# What this was built with and for.

cdef extern from *:
    """
    #if defined(__clang__) || defined(__GNUC__)
    #define MI_COMPILER __VERSION__
    #else
    #define MI_COMPILER "unknown"
    #endif
    """
    const char *MI_COMPILER
    const char *BUILD_PYTHON "PY_VERSION"
    const unsigned long CYTHON_HEX_VERSION


def build_info():
    """{"python": version of the headers, "cython": version, "compiler": its own description}."""
    cdef unsigned long cython = CYTHON_HEX_VERSION
    return {
        "python": BUILD_PYTHON.decode(),
        "cython": f"{cython >> 24}.{cython >> 16 & 255}.{cython >> 8 & 255}",
        "compiler": MI_COMPILER.decode("utf-8", "replace"),
    }
