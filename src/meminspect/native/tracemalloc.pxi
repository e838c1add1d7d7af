# What tracemalloc has traced, summed up per traceback, in the process that traces.
#
# The module is fetched before the program's first line, so that at its end nothing is imported.

cdef extern from "record.h":
    enum: MI_RECORD_START

cdef object tracemalloc_module = None


cdef tracemalloc_sums(object traces):
    """(frames, sums) of what _tracemalloc._get_traces() returned.

    frames -- every frame once: (filename, line number)
    sums   -- (domain, blocks, bytes, blocks of up to 512 bytes rounded up to pymalloc's 16, frames that were dropped,
              indices of frames with the most recent first)
    """
    cdef dict numbers = {}
    cdef dict sums = {}
    cdef list sum_
    cdef Py_ssize_t size
    for domain, traced, traceback, depth in traces:
        key = (domain, <uintptr_t><void *>traceback)
        found = sums.get(key)
        if found is None:
            indices = []
            for frame in traceback:
                indices.append(numbers.setdefault(frame, len(numbers)))
            sum_ = [domain, 0, 0, 0, (depth or 0) - len(traceback), tuple(indices)]
            sums[key] = sum_
        else:
            sum_ = <list>found
        size = traced
        sum_[1] += 1
        sum_[2] += size
        if size <= 512:
            sum_[3] += (max(size, 1) + 15) // 16 * 16
    return list(numbers), [tuple(sum_) for sum_ in sums.values()]


def tracemalloc_capture():
    """Traced bytes now and at the peak, what tracemalloc itself takes, and the sums per traceback."""
    global tracemalloc_module
    if tracemalloc_module is None:
        import _tracemalloc
        tracemalloc_module = _tracemalloc
    if not tracemalloc_module.is_tracing():
        return {"error": "absent", "reason": "tracemalloc is not tracing: the program stopped it"}
    traces = tracemalloc_module._get_traces()  # is itself not traced, so that both tell the same
    traced, peak = tracemalloc_module.get_traced_memory()
    overhead = tracemalloc_module.get_tracemalloc_memory()
    frames, sums = tracemalloc_sums(traces)
    return {
        "traced_bytes": traced,
        "peak_bytes": peak,
        "overhead_bytes": overhead,
        "frame_limit": tracemalloc_module.get_traceback_limit(),
        "frames": frames,
        "sums": sums,
    }


def tracemalloc_record(int fd, int kind, int64_t own_blocks, bint gc_enabled, double max_pause=1.0):
    """raw_take() and then tracemalloc_capture() as a record of the launcher's file; at the start the latter alone."""
    raw = {} if kind == MI_RECORD_START else raw_take(None if own_blocks < 0 else own_blocks, bool(gc_enabled), max_pause)
    raw["tracemalloc"] = tracemalloc_capture()
    record_write(fd, kind, raw)
