# cython: freethreading_compatible=True
"""The only door to the native core (csrc/): numbers, bytes and plain tuples and dicts in and out, none of our classes.

Each file of native/ opens one subject of the core. What a function returns can be marshalled: a measured process hands
it to the process that shows it (see probes/).
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uintptr_t

include "native/errors.pxi"
include "native/target.pxi"
include "native/ceiling.pxi"
include "native/build.pxi"
include "native/layout.pxi"
include "native/runtime.pxi"
include "native/threads.pxi"
include "native/process.pxi"
include "native/plain.pxi"
include "native/raw.pxi"
include "native/tracemalloc.pxi"
include "native/gc.pxi"
include "native/header.pxi"
include "native/gil.pxi"
include "native/gc_log.pxi"
include "native/gil_trace.pxi"
include "native/gil_sampler.pxi"
include "native/waits.pxi"
include "native/gil_digest.pxi"
include "native/mimalloc.pxi"
include "native/remote.pxi"
include "native/heap.pxi"
include "native/allocation.pxi"
include "native/cgroup.pxi"
include "native/memory.pxi"
include "native/signal.pxi"
include "native/clone.pxi"
include "native/census.pxi"
include "native/census_sites.pxi"
include "native/census_outside.pxi"
include "native/dominators.pxi"
include "native/references.pxi"
include "native/pinning.pxi"
include "native/neighbours.pxi"
include "native/graph.pxi"
