# Plain values as bytes in marshal's format (Python/marshal.c), written to memory of our own and from there to a file.
#
# marshal itself would put all of it into Python's heap once more, and announces itself to audit hooks of the program.

from cpython.object cimport PyObject
from libc.string cimport memcmp, memcpy

cdef extern from "os.h":
    void *mi_os_realloc(void *block, size_t old_size, size_t new_size)
    void mi_os_free(void *block, size_t size)

cdef struct plain_buffer:
    char *data
    size_t used
    size_t room


cdef int plain_put(plain_buffer *to, const void *data, size_t size) except -1:
    cdef size_t room
    cdef void *data_now
    if to.used + size > to.room:
        room = max(to.room * 2, to.used + size + 65536)
        data_now = mi_os_realloc(to.data, to.room, room)
        if data_now == NULL:
            raise MemoryError("no room for the result")
        to.data = <char *>data_now
        to.room = room
    memcpy(to.data + to.used, data, size)
    to.used += size
    return 0


cdef int plain_put_code(plain_buffer *to, char code, int32_t number) except -1:
    plain_put(to, &code, 1)
    return plain_put(to, &number, 4)


cdef int plain_put_int(plain_buffer *to, object value) except -1:
    """TYPE_LONG: a signed count of digits of 15 bits, then the digits."""
    cdef bint negative = value < 0
    cdef uint64_t rest = -value if negative else value
    cdef uint16_t digits[5]
    cdef int32_t count = 0
    while rest:
        digits[count] = rest & 0x7fff
        rest >>= 15
        count += 1
    plain_put_code(to, b"l", -count if negative else count)
    return plain_put(to, digits, 2 * count)


cdef int plain_put_value(plain_buffer *to, object value) except -1:
    cdef double number
    cdef bytes data
    cdef type kind = type(value)
    if value is None:
        return plain_put(to, b"N", 1)
    if kind is bool:
        return plain_put(to, b"T" if value else b"F", 1)
    if kind is int:
        return plain_put_int(to, value)
    if kind is float:
        number = value
        plain_put(to, b"g", 1)
        return plain_put(to, &number, 8)
    if kind is bytes or kind is str:
        data = value if kind is bytes else (<str>value).encode("utf-8", "surrogatepass")
        plain_put_code(to, b"s" if kind is bytes else b"u", len(data))
        return plain_put(to, <char *>data, len(data))
    if kind is tuple or kind is list:
        plain_put_code(to, b"(" if kind is tuple else b"[", len(value))
        for item in value:
            plain_put_value(to, item)
        return 0
    if kind is dict:
        plain_put(to, b"{", 1)
        for key, item in (<dict>value).items():
            plain_put_value(to, key)
            plain_put_value(to, item)
        return plain_put(to, b"0", 1)
    raise TypeError("a capture returned a value that is not plain")


def plain_bytes(value):
    """The bytes that marshal.loads() turns into `value` again."""
    cdef plain_buffer buffer = plain_buffer(NULL, 0, 0)
    try:
        plain_put_value(&buffer, value)
        return buffer.data[:buffer.used]
    finally:
        mi_os_free(buffer.data, buffer.room)
