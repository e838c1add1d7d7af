# All captures of a report, and the records of a program that the launcher started (csrc/launch/record.h).

from libc.errno cimport errno
from libc.stdint cimport uint16_t

cdef extern from "record.h":
    enum: MI_RECORD_MAGIC
    enum: MI_RECORD_EVERY
    ctypedef struct mi_record:
        uint32_t magic
        uint32_t kind
        int32_t pid
        uint64_t size
        int64_t monotonic_ns
        int64_t realtime_ns

cdef extern from "unistd.h":
    ssize_t write(int fd, const void *data, size_t size) nogil

# in the order in which they are taken: first what later ones would change, the whole process last
RAW_SECTIONS = ("heap", "gc", "gil", "python", "process", "memory")
# those that walk what grows with the program, while it waits
RAW_PAUSING = ("heap", "gc", "memory")
RAW_CONTENTS = 1500000  # blocks whose content is told for a page that draws them
RAW_KEYS = 16  # objects at most which together keep an arena (probes/pinning.py)
RAW_RETAINED = 60  # objects with the largest retained sizes: what a page shows, and what may be suspect


cdef dict failed(error):
    """What stands for a capture that failed."""
    return {"error": getattr(error, "code", type(error).__name__), "reason": str(error)}


cdef _Table census_aside(max_pause, consistent, _Graph beside):
    """A census in marshal's format, in memory of our own: what is measured after it does not find its values. So are the
    arrays of `beside`, a graph that is read in the same frozen copy, or None."""
    cdef plain_buffer buffer = plain_buffer(NULL, 0, 0)
    cdef _Table table = _Table()
    try:
        census = census_take(beside, max_pause, 0, False, consistent)
    except Exception as error:
        census = failed(error)
        if beside is not None:
            beside.failure = census
    try:
        plain_put_value(&buffer, census)
        table.fill(buffer.data, buffer.used)
    finally:
        mi_os_free(buffer.data, buffer.room)
    return table


def raw_take(own_blocks=None, gc_enabled=None, max_pause=1.0, drawn=False, stored=False, consistent=False,
             retained=False, objects=False):
    """Every capture that a report needs: {section: what its function returned}.

    A capture that fails leaves {"error": code, "reason": text} as its section and does not keep the others from coming.
    own_blocks -- what loading this module added to sys.getallocatedblocks(), where it was loaded only to measure: those
                  blocks are in the heap that is measured, and are not the program's
    gc_enabled -- whether the collector was on before it was told to rest for the measurement
    max_pause -- seconds for which each of the long captures may keep the program waiting; None: no ceiling
    drawn -- with a record of each pool and a bitmap of the live blocks, to draw them; until all is measured they lie in
                  memory of our own, which the survey of the process names as such. And with a census.
    stored -- with a record of each pool and a census, for a snapshot. The census is taken right behind the heap, and
                  is bytes in marshal's format: its values must not lie in what is measured after it
    consistent -- with `stored`: the census walks in a frozen copy, made right behind the heap, and so are the references
                  read that `objects` asks for
    retained -- and the objects with the largest retained sizes, and those that keep arenas
    objects -- with `stored`: and every object and reference, read last where no copy is made
    """
    cdef _Graph beside = _Graph() if stored and objects and consistent else None
    functions = globals()
    raw = {"own_blocks": own_blocks}
    for section in RAW_SECTIONS:
        capture = functions.get(section + "_capture")
        if capture is None:
            raw[section] = {"error": "absent", "reason": "this build of meminspect has no capture of it"}
            continue
        try:
            if section == "heap" and drawn:
                raw[section] = capture(max_pause=max_pause, pools=True, blocks=True, aside=True)
            elif section == "heap" and stored:
                raw[section] = capture(max_pause=max_pause, pools=True, aside=True)
            else:
                raw[section] = capture(max_pause=max_pause) if section in RAW_PAUSING else capture()
        except Exception as error:
            raw[section] = failed(error)
        if stored and section == "heap":
            raw["census"] = census_aside(max_pause, consistent, beside)
        if section == "gc" and gc_enabled is not None and "enabled" in raw[section]:
            raw[section]["enabled"] = gc_enabled
    if drawn and not stored:  # last: nothing that it leaves behind is in another figure
        try:
            raw["census"] = census_capture(max_pause=max_pause, contents=RAW_CONTENTS)
        except Exception as error:
            raw["census"] = failed(error)
    if retained:
        try:
            raw["references"] = references_capture(top=RAW_RETAINED, keys=RAW_KEYS, max_pause=max_pause)
        except Exception as error:
            raw["references"] = failed(error)
    if objects:
        try:
            raw["graph"] = graph_capture(max_pause) if beside is None else graph_beside(beside)
        except Exception as error:
            raw["graph"] = failed(error)
    for name in ("pools", "blocks"):
        table = raw["heap"].get(name)
        if type(table) is _Table:
            raw["heap"][name] = (<_Table>table).take()
    if stored:
        raw["census"] = (<_Table>raw["census"]).take()
    return raw


cdef record_write(int fd, uint32_t kind, object value):
    """Appends one record by one write; a record that does not fit raises OSError and is not read."""
    cdef plain_buffer buffer = plain_buffer(NULL, 0, 0)
    cdef mi_record record
    cdef timespec now
    cdef ssize_t written
    record = mi_record(magic=MI_RECORD_MAGIC, kind=kind, pid=getpid(), size=0, monotonic_ns=mi_os_now_ns(),
                       realtime_ns=0)
    clock_gettime(CLOCK_REALTIME, &now)
    record.realtime_ns = now.tv_sec * <int64_t>1000000000 + now.tv_nsec
    try:
        plain_put(&buffer, &record, sizeof(record))
        plain_put_value(&buffer, value)
        (<mi_record *>buffer.data).size = buffer.used - sizeof(record)
        with nogil:
            written = write(fd, buffer.data, buffer.used)
        if <size_t>written != buffer.used:
            raise OSError(errno, "the result could not be handed over")
    finally:
        mi_os_free(buffer.data, buffer.room)


def raw_record(
    int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0, bint drawn=False, bint stored=False,
    bint consistent=False, bint retained=False, bint objects=False,
):
    """raw_take() as a record of the launcher's file; what csrc/launch/preload.c calls."""
    raw = raw_take(None if own_blocks < 0 else own_blocks, bool(gc_enabled), max_pause, bool(drawn), bool(stored),
                   bool(consistent), bool(retained), bool(objects))
    process = raw["process"]
    if process.get("open_files") is not None:
        process["open_files"] -= 1  # the launcher's file
    if process.get("threads") is not None and kind == MI_RECORD_EVERY:
        process["threads"] -= 1  # the one that measures on the way
    record_write(fd, kind, raw)


def raw_record_drawn(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """The same with each pool and block, for a page that draws them."""
    raw_record(fd, kind, own_blocks, gc_enabled, max_pause, True)


def raw_record_page(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """The same with what retains most, for the whole page."""
    raw_record(fd, kind, own_blocks, gc_enabled, max_pause, True, False, False, True)


def raw_record_retained(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """raw_record() with what retains most, and nothing drawn."""
    raw_record(fd, kind, own_blocks, gc_enabled, max_pause, False, False, False, True)


def raw_record_stored(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """The same with each pool and a census, for a snapshot."""
    raw_record(fd, kind, own_blocks, gc_enabled, max_pause, False, True)


def raw_record_stored_consistent(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """The same with the census walked in a frozen copy."""
    raw_record(fd, kind, own_blocks, gc_enabled, max_pause, False, True, True)


def raw_record_objects(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """A snapshot's record with every object and reference."""
    raw_record(fd, kind, own_blocks, gc_enabled, max_pause, False, True, False, False, True)


def raw_record_objects_consistent(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """The same with census and references read in one frozen copy."""
    raw_record(fd, kind, own_blocks, gc_enabled, max_pause, False, True, True, False, True)


def growth_record(int fd, max_pause=None, bint begin=False, bint end=False):
    """The heap and a census of it as a record, for `growth()`; nothing of it stays in the heap.

    begin -- the body comes next: note from now on which blocks other threads are given. Returns whether it does.
    end   -- the body is over, and they were noted: tell what they hold.
    """
    if end:
        thread_blocks_end() # before the allocator is looked at
    try:
        census = census_capture(max_pause=max_pause, may_copy=False, apart=end)
    except Exception as error:
        census = failed(error)
    if end:
        thread_blocks_drop()
    record = {"heap": heap_capture(statistics=False, max_pause=max_pause), "census": census}
    noted = thread_blocks_begin() if begin else False
    try:
        record_write(fd, 0, record)
    except Exception:
        if noted:
            thread_blocks_end()
            thread_blocks_drop()
        raise
    return noted


cdef str launch_order(int fd):
    """What the launcher left for the capture (MI_RECORD_ORDER, the first record of its file)."""
    cdef mi_record record
    cdef char[1024] text
    if pread(fd, &record, sizeof(record), 0) != sizeof(record) or record.kind != MI_RECORD_ORDER:
        raise NativeError("absent", "the launcher has left no order")
    if record.size >= sizeof(text) or pread(fd, text, record.size, sizeof(record)) != <ssize_t>record.size:
        raise NativeError("absent", "the launcher's order cannot be read")
    return text[:record.size].decode()
