"""memory() against the kernel's Rss, mallinfo2 and things planted in a process of its own.

The process that is measured prints a line and waits: what it holds does not change while it is read from outside. Its
mallinfo2 is read by ctypes in it, and Rss by the test from smaps_rollup: neither goes through our code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import meminspect
from meminspect import _native
from meminspect.models.memory import MemoryBreakdown, MemoryNode

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc and pagemap are Linux'")
PROGRAMS = Path(__file__).parent.parent / "programs"
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
MIB, KIB = 1 << 20, 1 << 10
LIBRARIES = Path("/usr/lib/x86_64-linux-gnu")
needs_glibc = pytest.mark.skipif(
    not _native.memory_capture()["malloc"].startswith("glibc"), reason="another malloc than glibc's is in force"
)
PRELUDE = """
import ctypes, json, mmap, os, sys, threading, time
MIB = 1 << 20
libc = ctypes.CDLL(None)
for name in ("malloc", "mmap", "memalign"):
    getattr(libc, name).restype = ctypes.c_void_p
libc.malloc.argtypes = (ctypes.c_size_t,)
libc.memalign.argtypes = (ctypes.c_size_t, ctypes.c_size_t)
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
libc.free.argtypes = (ctypes.c_void_p,)

def say(**facts):
    print(json.dumps(facts), flush=True)
    if not sys.stdin.readline():
        sys.exit()
"""


class Target:
    """A process that prints a line of JSON at each stage and waits for a line."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | env,
        )

    @property
    def pid(self) -> int:
        return self.process.pid

    def next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the target ended with {self.process.wait()}"
        facts: dict[str, Any] = json.loads(line)
        return facts

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


@contextmanager
def running(code: str, **env: str) -> Iterator[Target]:
    target = Target(["-c", PRELUDE + textwrap.dedent(code)], env)
    try:
        yield target
    finally:
        target.process.kill()
        target.process.communicate()


def kernel_rss(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * KIB for line in lines if line.startswith("Rss:"))


def leaf_sum(tree: MemoryNode) -> int:
    return sum(leaf.bytes for leaf in tree.leaves())


def assert_adds_up(memory: MemoryBreakdown, rss: int) -> None:
    assert leaf_sum(memory.tree) == memory.tree.bytes
    assert memory.tree.bytes == pytest.approx(rss, rel=0.005)
    if not FREE_THREADED:  # whose heaps are mimalloc's
        assert memory.unattributed_bytes <= 0.002 * rss, memory.reason


def resident(memory: MemoryBreakdown, *path: str) -> int:
    node = memory.tree.find(*path)
    return node.bytes if node else 0


def test_of_this_process() -> None:
    before = kernel_rss(os.getpid())
    memory = meminspect.memory()
    after = kernel_rss(os.getpid())
    assert memory.pid == os.getpid()
    assert before - MIB <= memory.rss_bytes <= after + MIB
    assert_adds_up(memory, memory.rss_bytes)
    assert memory.tree.find("files")
    assert memory.tree.find("meminspect")
    assert json.loads(json.dumps(memory.to_dict()))["tree"]["bytes"] == memory.tree.bytes


def test_nothing_is_left_behind() -> None:
    meminspect.memory()
    before = len(Path("/proc/self/maps").read_text().splitlines()), os.listdir("/proc/self/fd")
    for _ in range(3):
        _native.memory_capture()
    assert len(Path("/proc/self/maps").read_text().splitlines()) <= before[0] + 2
    assert len(os.listdir("/proc/self/fd")) == len(before[1])


@needs_glibc
def test_a_mixed_heap_grown_freed_and_trimmed() -> None:
    """Each stage sums to Rss; free bytes and mmapped chunks are mallinfo2's; the trim returns what was predicted."""
    target = Target([str(PROGRAMS / "mixed.py"), "40"], {})
    predicted = before = 0
    try:
        for stage in ("bare", "grown", "freed", "trimmed", "joined"):
            facts = target.next()
            assert facts["stage"] == stage
            rss = kernel_rss(target.pid)
            memory = meminspect.memory(target.pid)
            # reading it maps nothing in it, but for a few file pages of headers; and it was still going to wait for us
            assert kernel_rss(target.pid) == pytest.approx(rss, abs=128 * KIB)
            assert memory.rss_bytes == pytest.approx(rss, abs=128 * KIB)
            assert_adds_up(memory, rss)
            info = facts["mallinfo2"]
            free = sum(arena.free_bytes + arena.top_bytes for arena in memory.malloc_arenas)
            # the line that told the figures was formatted after they were taken
            assert free == pytest.approx(info["fordblks"], abs=32 * KIB)
            assert (memory.mmapped_chunks, memory.mmapped_bytes) == (info["hblks"], info["hblkhd"])
            assert sum(arena.size_bytes for arena in memory.malloc_arenas) == info["arena"]
            for arena in memory.malloc_arenas:
                chunks = arena.live_bytes + arena.free_bytes + arena.tcache_bytes + arena.top_bytes
                assert 0 <= arena.size_bytes - chunks <= 8 * KIB  # heap_info, malloc_state, fences
            if stage == "freed":
                predicted, before = memory.trim_would_return_bytes or 0, rss
                assert predicted > MIB or FREE_THREADED  # whose objects are mimalloc's
            if stage == "trimmed":
                assert before - rss == pytest.approx(predicted, abs=256 * KIB)
                assert (memory.trim_would_return_bytes or 0) < 256 * KIB
            target.go_on()
    finally:
        target.process.kill()
        target.process.communicate()


@needs_glibc
def test_without_pagemap_scan() -> None:
    """The entries of pagemap tell the same, but for zero pages, which they cannot tell: then the sum says so."""
    with running("held = [bytearray(3000) for _ in range(2000)]; say()") as target:
        target.next()
        _native.memory_capture(target.pid)  # the target has come to rest, and headers have been read
        by_entries, by_scan = _native.memory_capture(target.pid, True), _native.memory_capture(target.pid)
        assert by_scan["tree_bytes"] == by_scan["rss_bytes"]
        assert by_entries["tree_bytes"] - by_entries["rss_bytes"] == by_scan["zero_bytes"]
        assert by_entries["exact"] == (by_scan["zero_bytes"] == 0)
        assert by_entries["malloc_arenas"] == by_scan["malloc_arenas"]


def test_stacks_of_native_python_and_ended_threads() -> None:
    """A thread without Python is named by the kernel, ended ones' stacks are one leaf, all with what they touched."""
    code = """
    libc.pthread_create.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    native = ctypes.c_ulong()
    sleeping = threading.Event()
    libc.pthread_create(ctypes.byref(native), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)
    gate = threading.Barrier(5)
    ended = [threading.Thread(target=gate.wait) for _ in range(4)]
    for thread in ended: thread.start()
    gate.wait()
    for thread in ended: thread.join()
    live = threading.Thread(target=sleeping.wait); live.start()
    while len(os.listdir("/proc/self/task")) > 3: time.sleep(0.01)  # join() returns before the kernel's thread is gone
    say(tids=sorted(int(t) for t in os.listdir("/proc/self/task")))
    os._exit(0)
    """
    with running(code) as target:
        tids = target.next()["tids"]
        memory = meminspect.memory(target.pid)
        stacks = memory.tree.find("thread stacks")
        assert stacks
        names = [node.name for node in stacks.children]
        for tid in tids:
            (name,) = [name for name in names if name.endswith(f"({tid})")]
            node = stacks.find(name)
            assert node
            assert node.bytes >= 4 * KIB
        cached = stacks.find("cached stacks of ended threads")
        assert cached
        assert cached.count
        assert cached.count >= 2
        assert cached.virtual_bytes >= 2 * MIB
        assert_adds_up(memory, kernel_rss(target.pid))


def test_thread_names_of_this_process() -> None:
    import threading

    gate = threading.Event()
    thread = threading.Thread(target=gate.wait, name="a name of ours")
    thread.start()
    try:
        assert meminspect.memory().tree.find("thread stacks", f"a name of ours ({thread.native_id})")
    finally:
        gate.set()
        thread.join()


def test_files_shared_memory_and_zero_pages(tmp_path: Path) -> None:
    """Pages of a mapped file, of a memfd and of shared anonymous memory have names; zero pages are no memory."""
    code = f"""
    with open({str(tmp_path / "planted-file")!r}, "w+b") as file:
        file.write(bytes(4 * MIB)); file.flush()
        shared = mmap.mmap(file.fileno(), 4 * MIB)
        private = mmap.mmap(file.fileno(), 4 * MIB, mmap.MAP_PRIVATE)
    for at in range(0, 4 * MIB, 4096): shared[at]
    for at in range(0, 2 * MIB, 4096): private[at] = 1
    memfd = os.memfd_create("planted-memfd"); os.ftruncate(memfd, MIB)
    memory = mmap.mmap(memfd, MIB)
    memory[:] = bytes([1]) * MIB
    anonymous = mmap.mmap(-1, 3 * MIB)
    anonymous[:] = bytes([1]) * (3 * MIB)
    zeros = libc.mmap(None, 8 * MIB, 3, 34, -1, 0)
    sum(ctypes.string_at(zeros, 8 * MIB)[::4096])
    say()
    """
    with running(code) as target:
        target.next()
        memory = meminspect.memory(target.pid)
        assert resident(memory, "files", "planted-file", "private changed pages") == 2 * MIB
        assert resident(memory, "files", "planted-file", "unchanged pages") >= 4 * MIB
        assert resident(memory, "shared memory") == pytest.approx(4 * MIB, abs=64 * KIB)
        assert any("planted-memfd" in node.name for node in memory.tree.find("shared memory").children)  # type: ignore[union-attr]
        assert_adds_up(memory, kernel_rss(target.pid))
        assert memory.zero_bytes is not None
        assert memory.zero_bytes >= 8 * MIB


@needs_glibc
def test_aligned_chunks_and_dropped_pages() -> None:
    """Mmapped chunks with an alignment are found, and pages that were given back inside a live chunk do not count."""
    code = """
    held = [libc.memalign(alignment, 2 * MIB) for alignment in (32, 4096, 65536, 1 << 20)]
    for address in held: ctypes.memset(address, 1, 2 * MIB)
    hollow = libc.malloc(16 * MIB)
    ctypes.memset(hollow, 1, 16 * MIB)
    page = (hollow + 4095) & -4096
    libc.madvise(page, 12 * MIB, 4)
    say()
    """
    with running(code) as target:
        target.next()
        memory = meminspect.memory(target.pid)
        assert memory.mmapped_chunks is not None
        assert memory.mmapped_chunks >= 5
        chunks = memory.tree.find("glibc malloc", "mmapped chunks")
        assert chunks
        assert 11.9 * MIB <= chunks.bytes <= 12 * MIB + 2 * MIB
        assert chunks.virtual_bytes >= 24 * MIB
        assert_adds_up(memory, kernel_rss(target.pid))


@needs_glibc
def test_a_main_arena_that_is_not_contiguous() -> None:
    """A mapping behind brk makes malloc go on elsewhere: its pieces are found, or the report says what is missing."""
    code = """
    libc.sbrk.restype = ctypes.c_void_p
    brk = libc.sbrk(ctypes.c_long(0))
    libc.mmap((brk + 4095) & -4096, 4096, 0, 50, -1, 0)
    libc.malloc.restype = ctypes.c_void_p
    held = [libc.memset(ctypes.c_void_p(libc.malloc(100_000)), 1, 100_000) for _ in range(100)]
    say(held=len(held))
    """
    with running(code) as target:
        target.next()
        memory = meminspect.memory(target.pid)
        assert memory.malloc_arenas[0].live_bytes >= 9_000_000 or not memory.exact
        assert memory.exact or "main arena" in (memory.reason or "")
        assert leaf_sum(memory.tree) == pytest.approx(kernel_rss(target.pid), rel=0.005)


@pytest.mark.parametrize(
    ("library", "name"),
    [("libjemalloc.so.2", "jemalloc"), ("libtcmalloc_minimal.so.4", "tcmalloc"), ("libmimalloc.so.2", "mimalloc")],
)
def test_another_malloc_is_named(library: str, name: str) -> None:
    path = LIBRARIES / library
    if not path.exists():
        pytest.skip(f"{path} is not installed")
    code = """
    libc.malloc.restype = ctypes.c_void_p
    held = [libc.memset(ctypes.c_void_p(libc.malloc(5000)), 1, 5000) for _ in range(4000)]
    say()
    """
    with running(code, LD_PRELOAD=str(path)) as target:
        target.next()
        memory = meminspect.memory(target.pid)
        assert memory.malloc == name
        assert not memory.exact
        assert name in (memory.reason or "")
        own = next(node for node in memory.tree.children if node.name.startswith(name))
        assert own.bytes >= 20_000_000
        assert_adds_up(memory, kernel_rss(target.pid))


def test_jemalloc_tells_its_own_figures() -> None:
    path = LIBRARIES / "libjemalloc.so.2"
    if not path.exists():
        pytest.skip(f"{path} is not installed")
    code = """
    import meminspect
    libc.malloc.restype = ctypes.c_void_p
    held = [libc.memset(ctypes.c_void_p(libc.malloc(5000)), 1, 5000) for _ in range(4000)]
    memory = meminspect.memory()
    own = memory.tree.find("jemalloc")
    say(malloc=memory.malloc, leaf=own.bytes, allocated=memory.malloc_allocated_bytes,
        resident=memory.malloc_resident_bytes)
    """
    with running(textwrap.dedent(code), LD_PRELOAD=str(path)) as target:
        facts = target.next()
    assert facts["malloc"] == "jemalloc"
    assert 4000 * 5000 <= facts["allocated"] <= facts["resident"]
    assert facts["leaf"] == pytest.approx(facts["resident"], rel=0.5)
    memory = meminspect.memory()
    assert memory.malloc == "jemalloc" or memory.malloc_allocated_bytes is None


@pytest.mark.skipif(FREE_THREADED, reason="free-threaded builds have no pymalloc")
def test_pymalloc_is_split_by_blocks() -> None:
    """Half a million floats of 24 bytes; the half of them that is freed is free blocks now, and no live ones."""
    code = """
    held = [float(i) for i in range(500_000)]
    say()
    del held[::2]
    say()
    """
    with running(code, PYTHONMALLOC="pymalloc") as target:
        target.next()
        full = meminspect.memory(target.pid)
        target.go_on()
        target.next()
        half = meminspect.memory(target.pid)
        freed = resident(half, "pymalloc", "free blocks") - resident(full, "pymalloc", "free blocks")
        gone = resident(full, "pymalloc", "live blocks") - resident(half, "pymalloc", "live blocks")
        assert freed == pytest.approx(gone, rel=0.02)
        assert freed >= 250_000 * 24 * 0.98


def test_a_process_that_is_not_dumpable() -> None:
    """Its own page map is refused to it (unless it is root's): then the tree is by mappings and says so."""
    code = """
    os.setgid(65534) if os.getuid() == 0 else None
    os.setuid(65534) if os.getuid() == 0 else None
    libc.prctl(4, 0, 0, 0, 0)
    raw = _native.memory_capture()
    say(exact=raw["exact"], reason=raw["reason"], tree=raw["tree_bytes"], rss=raw["rss_bytes"],
        names=[leaf[0][0] for leaf in raw["leaves"]])
    """
    head = f"sys.path[:] = {sys.path!r}\nfrom meminspect import _native\n"
    with running(head + textwrap.dedent(code)) as target:
        facts = target.next()
        assert facts["exact"] is False
        assert "dumpable" in facts["reason"]
        assert facts["tree"] == pytest.approx(facts["rss"], rel=0.02)
        assert "files" in facts["names"]


def test_a_pid_that_is_not_there() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(_native.NativeError):
        meminspect.memory(process.pid)


def test_trim_returns_memory() -> None:
    before, after = _native.malloc_trim()
    assert before is not None
    assert after is not None
    assert before > MIB
    assert after > MIB


@pytest.mark.required
def test_the_dynamic_threshold_keeps_what_a_trim_returns() -> None:
    """Thousands of buffers just under 4 MiB, made and dropped: what is kept is named as malloc_info() counts it, what a
    trim would return is what it returned, and the chunk at the end is the object that was planted."""
    if not _native.memory_capture()["malloc"].startswith("glibc"):
        pytest.skip("needs glibc's malloc")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / "threshold_trap.py"), "60", "40"],
        capture_output=True, text=True, env=env, check=True, timeout=300,
    )  # fmt: skip
    told = json.loads(done.stdout)
    [finding] = [item for item in told["report"]["findings"] if item["id"] == "glibc_retained"]
    free = told["malloc_info"]["rest"] + told["malloc_info"].get("fast", 0)  # glibc 2.43 has no fast bins
    assert free > 30 * 4 * 2**20
    assert abs(told["report"]["large"]["free_bytes"] - free) < 0.05 * free
    assert abs(finding["figures"]["free_resident_bytes"] - free) < 0.05 * free
    assert "malloc_trim(0)" in finding["try"]
    assert finding["figures"]["holder_type"] == "bytes"
    returned = told["before"] - told["after"]
    assert returned > 0.9 * free
    assert abs(finding["figures"]["trim_would_return_bytes"] - returned) < 0.05 * returned
