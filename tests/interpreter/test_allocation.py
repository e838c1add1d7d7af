"""Which path an allocation takes, held against sizes that CPython and glibc document, and where objects lie."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
import sysconfig

import pytest

from meminspect import _native
from meminspect.probes.allocation import block, probe_allocation, probe_allocations

ALLOCATOR = _native.allocator_capture()
PLAIN = ALLOCATOR == {"allocator": "pymalloc", "hook": None, "padding_bytes": 0}
plain = pytest.mark.skipif(not PLAIN, reason="needs pymalloc without debug hooks")
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")


@plain
@glibc
def test_the_edge_at_512_bytes() -> None:
    found = probe_allocations(range(505, 521))
    assert len(found) == 16 * 3
    for item in found:
        small = item.requested <= 512 and item.function != "PyMem_RawMalloc"
        assert item.path == ("pymalloc" if small else "glibc heap")
        assert item.usable is not None
        assert item.waste == item.usable - item.requested >= 0
        assert (item.size_class is not None) is small
        if small:
            assert item.usable == -(-item.requested // 16) * 16
            assert item.size_class == (item.requested - 1) // 16
        else:
            assert item.usable % 16 == 8  # a chunk less its size word


# A chunk is the request and 8 bytes of its header, rounded up to 16 (malloc/malloc.c: request2size); that size is what
# sysmalloc() compares with the threshold, when neither a bin nor the top of the heap had a chunk for it (_int_malloc).
THRESHOLD = 128 * 1024
FIRST_MMAPPED = THRESHOLD - 8 - 15
MINSIZE = 32  # what has to be left of top


@plain
@glibc
def test_the_mmap_threshold_is_met_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, the threshold no longer moves.

    Else it may have moved before the first line of a program runs: files of CPython 3.14 have buffers of 128 KiB, which
    are mmapped, and the first that is freed raises the threshold to its chunk's size.
    """
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", str(THRESHOLD))
    for item in probe_allocations([100_000, *range(FIRST_MMAPPED - 40, FIRST_MMAPPED + 40), 140_000]):
        expected = "glibc mmapped" if item.requested >= FIRST_MMAPPED else "glibc heap"
        assert item.path == expected, item


@plain
@glibc
def test_the_threshold_that_a_new_process_has_is_met() -> None:
    """Without a word to glibc: the edge is where the threshold of such a process is, which glibc's own state tells."""
    started = run_here("from meminspect import _native; print(_native.memory_capture()['mmap_threshold_bytes'])")
    threshold = int(started)
    assert threshold >= THRESHOLD
    edge = threshold - 8 - 15
    for item in probe_allocations([THRESHOLD - 1000, edge - 17, edge - 1, edge, edge + 1, edge + 17, 2 * edge]):
        assert item.path == ("glibc mmapped" if item.requested >= edge else "glibc heap"), item


ROOM = """
import ctypes
from meminspect import _native
from meminspect.probes.allocation import probe_allocation

class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo2
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
for chunk in [libc.malloc(100_000) for _ in range(15)][::-1]:  # all become one with the top
    libc.free(chunk)
print(libc.mallinfo2().keepcost, probe_allocation(600_000, here=True)[2].path)
_native.malloc_trim()
print(libc.mallinfo2().fordblks, probe_allocation(600_000, here=True)[2].path)
"""


@plain
@glibc
def test_what_the_top_of_the_heap_has_room_for_is_not_mmapped() -> None:
    """Above the threshold: from the heap while its top has room, mmapped as soon as it was trimmed."""
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):
        pytest.skip("needs mallinfo2 (glibc 2.33)")
    settings = {"MALLOC_MMAP_THRESHOLD_": str(THRESHOLD), "MALLOC_TRIM_THRESHOLD_": str(1 << 24)}
    (top, roomy), (free, trimmed) = (line.split(maxsplit=1) for line in run_here(ROOM, **settings).splitlines())
    assert int(top) >= 600_000 + 8 + 16 + MINSIZE
    assert roomy == "glibc heap"
    assert int(free) < 600_000
    assert trimmed == "glibc mmapped"


def run_here(code: str, **settings: str) -> str:
    """What a new interpreter prints that finds the package where this one does."""
    environment = {**os.environ, **settings, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.strip()


THRESHOLD_AFTER = """
from meminspect.probes.allocation import probe_allocation, probe_allocations
probe_allocations(range(100_000, 3_000_000, 100_000))
print(probe_allocation(1_500_000, here=True)[0].path)  # raises the threshold: the first one meets what was left
"""


@glibc
def test_the_process_that_asked_keeps_its_threshold() -> None:
    """A sweep over 3 MB leaves the asking process as it was: 1.5 MB are still mmapped in it."""
    if not PLAIN:
        pytest.skip("needs pymalloc without debug hooks")
    assert run_here(THRESHOLD_AFTER) == "glibc mmapped"


@glibc
def test_usable_is_what_malloc_usable_size_tells() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = libc.malloc_usable_size.restype = ctypes.c_size_t
    libc.free.argtypes = [ctypes.c_void_p]
    libc.malloc_usable_size.argtypes = [ctypes.c_void_p]
    if ALLOCATOR["padding_bytes"] or ALLOCATOR["allocator"].startswith("mimalloc"):
        pytest.skip("needs the raw domain on malloc itself")
    raw = probe_allocation(5000)[2]
    address = libc.malloc(5000)
    usable = libc.malloc_usable_size(address)
    libc.free(address)
    assert raw.function == "PyMem_RawMalloc"
    assert raw.usable is not None
    assert usable <= raw.usable <= usable + 32 or raw.usable <= usable <= raw.usable + 32


@pytest.mark.parametrize("size", [-1, sys.maxsize])
def test_sizes_that_make_no_sense(size: int) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        probe_allocation(size)


def test_a_sweep_has_a_bound() -> None:
    with pytest.raises(ValueError, match="larger step"):
        probe_allocations(range(1_000_000))


@plain
@pytest.mark.parametrize("size", [1, 16, 17, 256, 512])
def test_probes_leave_no_block(size: int) -> None:
    """Of the native call: models fill CPython's tuple free list, whose blocks count as allocated."""
    _native.allocation_capture(size, ALLOCATOR)
    before = sys.getallocatedblocks()
    for _ in range(200):
        _native.allocation_capture(size, ALLOCATOR)
    assert sys.getallocatedblocks() - before < 20


class Plain:
    pass


class Slotted:
    __slots__ = ("a", "b")


@plain
def test_objects_in_pymalloc() -> None:
    cases = {"no GC": (bytes(100), 0), "GC head": ([], 16), "slots": (Slotted(), 16), "pre-header": (Plain(), 32)}
    for name, (value, offset) in cases.items():
        found = block(value)
        assert found.domain == "pymalloc", name
        assert found.offset == offset, name
        assert found.address + found.offset == id(value)
        assert found.size is not None
        assert found.size >= sys.getsizeof(value) or name == "pre-header"
        assert found.pool is not None
        assert found.arena is not None
        assert found.size_class == found.size // 16 - 1
        assert found.address == found.pool + 48 + (found.index_in_pool or 0) * found.size
        assert found.pool_used


@plain
@glibc
def test_objects_elsewhere() -> None:
    heap, large = bytes(2000), bytes(64 << 20)
    assert block(heap).domain == "glibc heap"
    assert block(heap).size is not None
    assert sys.getsizeof(heap) <= (block(heap).size or 0) <= sys.getsizeof(heap) + 64
    assert block(large).domain == "glibc mmapped"
    assert sys.getsizeof(large) <= (block(large).size or 0) <= sys.getsizeof(large) + (4 << 20)
    assert block(None).domain == "static"
    assert block(int).domain == "static"


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="needs a free-threaded build")
def test_free_threaded_objects_lie_in_mimalloc() -> None:
    found = block(bytes(100))
    assert found.domain == "mimalloc"
    assert found.offset in (0, 16)
