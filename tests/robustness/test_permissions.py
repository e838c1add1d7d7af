"""A kernel that refuses: a seccomp filter without process_vm_readv, and a process that is not dumpable."""

from __future__ import annotations

import platform
from collections.abc import Callable

import pytest
from conftest import Program

from meminspect import _native

RUN = Callable[..., Program]

# machine -> the numbers of seccomp's architecture and of process_vm_readv (asm/unistd.h, linux/audit.h)
NUMBERS = {"x86_64": (0xC000003E, 310), "aarch64": (0xC00000B7, 270)}

# A filter of classic BPF (seccomp(2)): EPERM for one system call of this architecture, anything else is allowed.
FILTER = """
import ctypes, struct, sys
ARCHITECTURE, CALL = int(sys.argv[1]), int(sys.argv[2])
LOAD, EQUAL, RETURN, ALLOW, EPERM = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050001
steps = [(LOAD, 0, 0, 4), (EQUAL, 0, 3, ARCHITECTURE), (LOAD, 0, 0, 0), (EQUAL, 0, 1, CALL), (RETURN, 0, 0, EPERM),
         (RETURN, 0, 0, ALLOW)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
from meminspect import _native
before = _native.read_method()
assert libc.prctl(38, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS"
refused = libc.prctl(22, 2, program, 0, 0)
print("installed" if refused == 0 else f"refused {ctypes.get_errno()}", flush=True)
print(before, flush=True)
"""


@pytest.fixture
def filtered(run: RUN) -> Callable[[str], Program]:
    """A program behind a filter that refuses process_vm_readv; its code comes after the filter."""
    numbers = NUMBERS.get(platform.machine())
    if numbers is None:
        pytest.skip(f"the number of process_vm_readv on {platform.machine()} is not in this test")

    def start(code: str) -> Program:
        program = run(FILTER + code, *map(str, numbers))
        answer = program.line()
        if answer != "installed":
            pytest.skip(f"this kernel installs no seccomp filter: {answer}")
        assert program.line() == "process_vm_readv"
        return program

    return start


def test_a_filter_makes_it_read_by_pipe_and_say_so(filtered: Callable[[str], Program]) -> None:
    program = filtered("""
_native.read_method_reset()
print(_native.read_method(), flush=True)
text = ctypes.create_string_buffer(b"known" * 5000)
print(_native.read_memory(ctypes.addressof(text), 25000) == b"known" * 5000, flush=True)
try:
    _native.read_memory(8, 8)
except _native.NativeError as error:
    print(error.code, flush=True)
""")
    assert [program.line() for _ in range(3)] == ["pipe", "True", "unmapped"]
    assert program.end() == (0, "")


def test_a_filter_that_comes_late_is_noticed(filtered: Callable[[str], Program]) -> None:
    """The first read found process_vm_readv; then the program locks itself in."""
    program = filtered("""
text = ctypes.create_string_buffer(b"known")
print(_native.read_memory(ctypes.addressof(text), 5), flush=True)
print(_native.read_method(), flush=True)
""")
    assert [program.line() for _ in range(2)] == ["b'known'", "pipe"]
    assert program.end() == (0, "")


def test_a_report_behind_a_filter(filtered: Callable[[str], Program]) -> None:
    program = filtered("""
from meminspect.probes.raw import take
from meminspect.probes.report import build
report = build(take())
print(report.gc is not None, report.gil is not None, report.pymalloc is not None, report.memory is not None, flush=True)
print(report.missing, flush=True)
""")
    there = program.line().split()
    missing = eval(program.line())
    captures = ("gc", "gil", "heap", "memory")
    for name, section, present in zip(captures, ("gc", "gil", "pymalloc", "memory"), there, strict=True):
        if hasattr(_native, f"{name}_capture"):
            assert present == "True", (section, missing)
    assert program.end() == (0, "")


NOT_DUMPABLE = """
import ctypes, os
import meminspect
from meminspect import _native
from meminspect.probes import report
from meminspect.probes.raw import take
report.build(take())  # what is imported as needed is imported while its files may be read
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
"""


def test_a_process_that_is_not_dumpable(run: RUN) -> None:
    program = run(
        NOT_DUMPABLE
        + """
_native.read_method_reset()
page = report.build(take())
print(page.process.dumpable, flush=True)
print(page.gc is not None, page.gil is not None, flush=True)
print(page.missing, flush=True)
if page.memory is None:
    print(None, flush=True)
else:
    leaves = sum(leaf.bytes for leaf in page.memory.tree.leaves())
    print((page.memory.exact, page.memory.reason, leaves, page.memory.tree.bytes, page.memory.rss_bytes), flush=True)
"""
    )
    assert program.line() == "False"
    assert program.line() == "True True"
    missing, memory = eval(program.line()), eval(program.line())
    assert program.end() == (0, "")
    if not hasattr(_native, "memory_capture"):
        return
    assert memory is not None, missing
    exact, reason, leaves, tree, rss = memory
    assert exact is False
    assert reason
    assert leaves == tree
    assert abs(tree - rss) <= 0.05 * rss
