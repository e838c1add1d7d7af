"""The frozen copy of a process: what is done in it comes back, and the program that it is a copy of notices nothing."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Program, wait_for

from meminspect import _native

RUN = Callable[..., Program]
# machine -> seccomp's architecture and the number of clone (asm/unistd.h, linux/audit.h)
NUMBERS = {"x86_64": (0xC000003E, 56), "aarch64": (0xC00000B7, 220)}
MADV_DONTFORK = 10

# What every program here begins with: all that could tell it of a child, and a look at each after the copy is gone.
WATCH = """
import ctypes, faulthandler, json, os, resource, select, signal, socket, sys, threading
from meminspect import _native
faulthandler.enable()
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
noticed = []
signal.signal(signal.SIGCHLD, lambda *_: noticed.append("SIGCHLD"))
signal.signal(signal.SIGABRT, lambda *_: noticed.append("SIGABRT"))
for when in ("before", "after_in_parent", "after_in_child"):
    os.register_at_fork(**{when: lambda when=when: noticed.append(when)})
libc = ctypes.CDLL(None)
AT_FORK = ctypes.CFUNCTYPE(None)
at_fork = AT_FORK(lambda: noticed.append("pthread_atfork"))
register = getattr(libc, "__register_atfork")
register(at_fork, at_fork, at_fork, None)
reader, writer = socket.socketpair()
reader.setblocking(False), writer.setblocking(False)
signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

def children():
    try:
        return os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return "no child"

def tell(**more):
    woken = bool(select.select([reader], [], [], 0)[0])
    mask = sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    print(json.dumps({"noticed": noticed, "children": children(), "woken": woken, "mask": mask, **more}), flush=True)
"""


def told(run: RUN, code: str, *arguments: str) -> tuple[dict[str, Any], Program]:
    program = run(WATCH + code, *arguments)
    return json.loads(program.line()), program


def unnoticed(answer: dict[str, Any]) -> bool:
    return (answer["noticed"], answer["children"], answer["woken"], answer["mask"]) == ([], "no child", False, [])


def test_what_is_summed_in_the_copy_is_what_lies_here() -> None:
    content = os.urandom(300_000)
    buffer = ctypes.create_string_buffer(content, len(content))
    found = _native._clone_probe("sum", ctypes.addressof(buffer), len(content))
    assert (found["end"], found["reason"], found["answer"]) == ("done", None, sum(content))
    assert found["torn"] == 0
    assert 0 < found["pause_s"] < found["lived_s"]
    anonymous = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    assert found["needed_bytes"] == pytest.approx(int(anonymous.split()[1]) * 1024, rel=0.2, abs=4 << 20)


def test_the_program_notices_nothing(run: RUN) -> None:
    answer, program = told(
        run,
        """
text = ctypes.create_string_buffer(b"a" * 1000)
found = [_native._clone_probe("sum", ctypes.addressof(text), 1000) for _ in range(5)]
tell(found=found)
assert os.waitpid(os.posix_spawn(sys.executable, [sys.executable, "-Sc", ""], {}), 0)[1] == 0
tell()
""",
    )
    assert [(one["end"], one["answer"]) for one in answer["found"]] == [("done", 97_000)] * 5
    assert unnoticed(answer), answer
    control = json.loads(program.line())  # the watch does see a child that is none of ours
    assert "SIGCHLD" in control["noticed"]
    assert control["woken"]
    assert program.process.wait() == 0
    assert program.errors() == ""


def test_a_copy_that_crashes_says_so_and_prints_and_dumps_nothing(run: RUN, tmp_path: Path) -> None:
    answer, program = told(
        run,
        """
found = _native._clone_probe("sum", 64, 8)
tell(found=found)
""",
    )
    assert (answer["found"]["end"], answer["found"]["signal"]) == ("crashed", 11)
    assert "signal 11" in answer["found"]["reason"]
    assert unnoticed(answer), answer
    assert program.process.wait() == 0
    assert program.errors() == ""
    assert not list(tmp_path.glob("*core*"))


def test_a_step_that_faults_is_counted_as_torn_and_the_work_goes_on(run: RUN) -> None:
    answer, program = told(run, 'tell(found=_native._clone_probe("attempt", 64, 8))')
    assert (answer["found"]["end"], answer["found"]["torn"], answer["found"]["answer"]) == ("done", 1, 0)
    assert unnoticed(answer), answer
    assert program.process.wait() == 0
    assert program.errors() == ""


def test_a_file_that_shrank_is_torn_by_sigbus(tmp_path: Path) -> None:
    path = tmp_path / "shrinks"
    path.write_bytes(bytes(2 * mmap.PAGESIZE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
        os.truncate(path, mmap.PAGESIZE)
        found = _native._clone_probe("attempt", address, 2 * mmap.PAGESIZE)
        whole = _native._clone_probe("attempt", address, mmap.PAGESIZE)
        crash = _native._clone_probe("sum", address, 2 * mmap.PAGESIZE)
    assert (found["end"], found["torn"]) == ("done", 1)
    assert (whole["end"], whole["torn"]) == ("done", 0)
    assert (crash["end"], crash["signal"]) == ("crashed", 7)


def test_one_that_never_ends_is_ended_at_its_deadline(run: RUN) -> None:
    answer, program = told(run, 'tell(found=_native._clone_probe("endless", lifetime_s=0.3))')
    assert answer["found"]["end"] == "late"
    assert answer["found"]["lived_s"] >= 0.3
    assert unnoticed(answer), answer
    assert program.process.wait() == 0
    assert program.errors() == ""


def test_signals_of_the_program_do_not_run_its_handlers_in_the_copy(run: RUN) -> None:
    answer, program = told(run, 'tell(found=_native._clone_probe("raise"))')
    assert (answer["found"]["end"], answer["found"]["signal"]) == ("done", None)  # blocked, as all are
    assert unnoticed(answer), answer
    assert program.process.wait() == 0
    assert program.errors() == ""


def test_a_copy_does_not_outlive_the_program(run: RUN) -> None:
    program = run("""
import os, threading
from meminspect import _native
known = set(os.listdir("/proc"))
threading.Thread(target=_native._clone_probe, args=("endless",), kwargs={"lifetime_s": 600.0}, daemon=True).start()
def copies():
    for name in set(os.listdir("/proc")) - known:
        try:
            with open(f"/proc/{name}/stat") as file:
                if name.isdigit() and int(file.read().rpartition(")")[2].split()[1]) == os.getpid():
                    yield name
        except OSError:
            pass
while not (found := list(copies())):
    pass
print(found[0], flush=True)
input()
os._exit(3)
""")
    copy = int(program.line())
    assert Path(f"/proc/{copy}").exists()
    program.say()
    assert program.process.wait() == 3

    def gone() -> bool:  # or waits for an init that reaps
        try:
            return Path(f"/proc/{copy}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_for(gone, "the end of the copy")


KEPT = """
import ctypes, json, mmap
from meminspect import _native
size = 64 * mmap.PAGESIZE
mapped = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
mapped[:] = b"x" * size
address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
plain = _native._clone_probe("view", address, size)
mapped.madvise(%d)
kept = _native._clone_probe("view", address, size)
crash = _native._clone_probe("sum", address, size)
print(json.dumps({"plain": plain, "kept": kept, "crash": crash}))
"""


def test_memory_that_is_kept_from_children_fails_a_view_and_is_told() -> None:
    """In a program of one thread: what another one unmaps just before the copy is made is missing there too."""
    size = 64 * mmap.PAGESIZE
    printed = subprocess.run([sys.executable, "-c", KEPT % MADV_DONTFORK], capture_output=True, text=True, check=True)
    found = json.loads(printed.stdout)
    plain, kept = found["plain"], found["kept"]
    assert (plain["end"], plain["answer"]) == ("done", size * ord("x"))
    assert (kept["end"], kept["reason"], kept["answer"]) == ("done", "the memory is not mapped", 0)
    assert kept["missing_bytes"] - plain["missing_bytes"] == size
    assert found["crash"]["end"] == "crashed"


def test_it_is_refused_with_the_figures_where_there_is_no_room() -> None:
    found = _native._clone_probe("sum", room_bytes=1000)
    assert found["end"] == "not made"
    assert str(found["needed_bytes"]) in found["reason"]
    assert "leaves 1000" in found["reason"]
    assert _native._clone_probe("sum", room_bytes=found["needed_bytes"] * 2)["end"] == "done"


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of 128 MiB inside our own, which is empty again when the test's programs have ended."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" not in controllers.split(",") and controllers:
            continue
        own = Path("/sys/fs/cgroup", "memory" if controllers else "", path.lstrip("/"))
        limit = own / f"meminspect-test-{os.getpid()}" / ("memory.limit_in_bytes" if controllers else "memory.max")
        if not (own / "cgroup.procs").exists():
            continue
        try:
            limit.parent.mkdir()
        except OSError:
            continue
        try:
            if limit.exists():
                limit.write_text(str(128 << 20))
                yield limit.parent
                return
        finally:
            limit.parent.rmdir()
    pytest.skip("no control group with a memory limit can be made here")


def test_the_limit_of_the_control_group_refuses_a_copy_of_more_than_is_left(group: Path, run: RUN) -> None:
    program = run(
        """
import json, os, sys
from meminspect import _native
with open(sys.argv[1] + "/cgroup.procs", "w") as file:
    file.write(str(os.getpid()))
small = _native._clone_probe("sum")
held = bytearray(80 << 20)
held[::4096] = b"x" * len(held[::4096])
print(json.dumps([small, _native._clone_probe("sum"), _native.clone_room()]), flush=True)
""",
        str(group),
    )
    small, large, room = json.loads(program.line())
    assert program.process.wait() == 0
    assert small["end"] == "done"
    assert large["end"] == "not made"
    assert "memory." in large["reason"]
    assert large["needed_bytes"] > 80 << 20 > 48 << 20 >= room[0] > 0


SECCOMP = """
import struct
architecture, call = map(int, sys.argv[1:])
steps = [(0x20, 0, 0, 4), (0x15, 0, 3, architecture), (0x20, 0, 0, 0), (0x15, 0, 1, call), (6, 0, 0, 0x00050001),
         (6, 0, 0, 0x7FFF0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
assert libc.prctl(38, 1, 0, 0, 0) == 0
refused = libc.prctl(22, 2, filter, 0, 0)
tell(refused=refused, found=_native._clone_probe("sum"))
"""


def test_a_filter_that_refuses_clone_is_named(run: RUN) -> None:
    if platform.machine() not in NUMBERS:
        pytest.skip(f"the number of clone on {platform.machine()} is not in this test")
    answer, _ = told(run, SECCOMP, *map(str, NUMBERS[platform.machine()]))
    if answer["refused"]:
        pytest.skip("this kernel installs no seccomp filter")
    assert answer["found"]["end"] == "not made"
    assert answer["found"]["system_error"] == 1
    assert answer["found"]["reason"].startswith("clone() is refused")
    assert unnoticed(answer), answer


def test_beside_threads_that_allocate_nothing_hangs(run: RUN) -> None:
    answer, program = told(
        run,
        """
stop = threading.Event()
count = [0] * 8
def busy(place):
    while not stop.is_set():
        bytearray(200_000), [object() for _ in range(100)], "x" * 3000, bytes(100_000).hex()
        count[place] += 1
threads = [threading.Thread(target=busy, args=(place,)) for place in range(8)]
for thread in threads:
    thread.start()
text = ctypes.create_string_buffer(b"a" * 1000)
found = [_native._clone_probe("view", ctypes.addressof(text), 1000) for _ in range(40)]
stop.set()
for thread in threads:
    thread.join()
tell(found=found, count=count)
""",
    )
    assert {(one["end"], one["reason"], one["answer"]) for one in answer["found"]} == {("done", None, 97_000)}
    assert all(answer["count"])
    assert unnoticed(answer), answer
    assert program.process.wait() == 0
    assert program.errors() == ""


def test_it_leaves_no_memory_and_no_file_behind() -> None:
    def state() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(Path("/proc/self/maps").read_text().splitlines())

    _native._clone_probe("sum")
    before = state()
    for what in ("sum", "attempt", "raise"):
        for _ in range(10):
            _native._clone_probe(what, 64, 8 if what == "attempt" else 0)
    after = state()
    assert after[0] == before[0]
    assert after[1] <= before[1] + 3
