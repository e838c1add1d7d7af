"""Owners and references read in a frozen copy, of this process and of another: the answers of the process itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import Program
from test_clone import told, unnoticed

import meminspect
from meminspect import _native
from meminspect.probes.remote import RemoteError

RUN = Callable[..., Program]
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
of_another = pytest.mark.skipif(FREE_THREADED, reason="another free-threaded process cannot be held still")

# The root is made last: nothing but its module and what stands there leads to it.
PLANTED = """
import collections, json, meminspect, sys
class Planted:
    def __init__(self, number): self.items = [number] * 50
class Root: pass
root = Root()
root.kept = {"key": [Planted(number) for number in range(5000, 6000)]}
root.more = collections.deque(str(number) for number in range(500)), {number: {number} for number in range(300)}
"""


def alone(checks: str) -> None:
    """In a program of its own: libraries of this process may keep memory from copies (MADV_DONTFORK)."""
    subprocess.run([sys.executable, "-c", PLANTED + checks], check=True)


def test_the_copy_answers_as_the_process_does() -> None:
    alone("""
own, copied = (meminspect.retained(root, max_pause=None, consistent=how) for how in (False, True))
assert (copied.bytes, copied.objects) == (own.bytes, own.objects)
assert own.objects > 2000 + 500 + 600
found = [meminspect.path_to_root(root.kept["key"][7], max_pause=None, consistent=how) for how in (False, True)]
assert found[0].text == found[1].text == "module __main__.root.kept['key'][7] (Planted)", found
found = [meminspect.holders(root.kept, max_pause=None, consistent=how) for how in (False, True)]
assert [[(row.node.type_name, row.how.name) for row in one.rows] for one in found] == [[("Root", "kept")]] * 2, found
sizes = meminspect.top_retained(20, max_pause=None, consistent=True)
assert sizes.consistent
[row] = [row for row in sizes.rows if row.node.address == id(root)]
assert row.retained_bytes == own.bytes, (row, own)
why = meminspect.why("Planted", max_pause=None, consistent=True)
assert (why.consistent, why.targets, why.pid) == (True, 1000, None)
""")


def test_the_program_notices_nothing(run: RUN) -> None:
    answer, program = told(
        run,
        """
import gc, meminspect
class Planted: __slots__ = ("value",)
held = [Planted() for _ in range(5000)]
counts = sys.getrefcount(Planted), sys.getrefcount(held), gc.get_count()[2], len(gc.get_objects())
sizes = meminspect.top_retained(3, max_pause=None, consistent=True)
after = sys.getrefcount(Planted), sys.getrefcount(held), gc.get_count()[2]
tell(sizes=[sizes.objects, sizes.consistent], counts=[counts[:3], after])
""",
    )
    assert answer["sizes"][0] > 5000
    assert answer["sizes"][1] is True
    assert answer["counts"][0][:2] == answer["counts"][1][:2]
    assert unnoticed(answer), answer
    assert program.process.wait() == 0
    assert program.errors() == ""


def test_other_threads_change_what_was_read_while_it_is_told() -> None:
    """What a copy found may be gone when it is looked at, or something else: no attribute is told then, none wrong."""
    alone("""
import threading
stop = False
def churn():
    while not stop:
        root.kept["key"] = [Planted(number) for number in range(200)]
        root.other = {str(number): Planted(number) for number in range(200)}
        root.other = None
threads = [threading.Thread(target=churn) for _ in range(3)]
for thread in threads: thread.start()
try:
    for _ in range(3):
        why = meminspect.why("Planted", max_pause=None, consistent=True)
        for row in why.holders.rows:
            if row.node.type_name == "list" and row.how is not None:
                assert row.how.role == "item", row.how
            if row.node.type_name == "dict" and row.how is not None:
                assert row.how.role == "value" and row.how.name.isdecimal(), row.how
finally:
    stop = True
    for thread in threads: thread.join()
""")


def test_no_room_and_no_time_are_errors_that_say_so() -> None:
    with pytest.raises(_native.NativeError, match=r"room_bytes, less .* leaves 0") as refused:
        _native.references_capture(top=1, consistent=True, room_bytes=4096)
    assert refused.value.code == "memory"
    with pytest.raises(_native.NativeError) as late:
        _native.references_capture(top=1, consistent=True, deadline=1e-6)
    assert late.value.code == "late"
    with pytest.raises(ValueError, match="deadline"):
        _native.references_capture(top=1, consistent=True, deadline=0)
    with pytest.raises(ValueError, match="consistent"):
        meminspect.why("dict", consistent=True, pid=os.getpid())


TELLS = """
own = meminspect.retained(root, max_pause=None)
print(json.dumps({"root": id(root), "bytes": own.bytes, "objects": own.objects, "kept": id(root.kept)}),
      flush=True)
own = None
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def other() -> Iterator[tuple[int, dict[str, Any]]]:
    program = subprocess.Popen(
        [sys.executable, "-c", PLANTED + TELLS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    try:
        yield program.pid, json.loads(program.stdout.readline())
    finally:
        program.communicate()


@of_another
def test_another_process_is_told_of_as_it_tells_of_itself(other: tuple[int, dict[str, Any]]) -> None:
    pid, known = other
    why = meminspect.why(known["root"], pid=pid)
    assert (why.retained_bytes, why.retained_objects) == (known["bytes"], known["objects"])
    assert (why.pid, why.targets, why.path_to_root.root) == (pid, 1, "modules")
    assert why.sample is not None
    assert (why.sample.module, why.sample.type_name) == ("__main__", "Root")
    kept = meminspect.why(known["kept"], pid=pid)
    assert [(row.node.address, row.how and row.how.text) for row in kept.holders.rows] == [(known["root"], ".kept")]
    assert kept.path_to_root.text == "module __main__.root.kept (dict)"


@of_another
def test_objects_of_a_type_of_another_process(other: tuple[int, dict[str, Any]]) -> None:
    pid, _ = other
    why = meminspect.why("Planted", pid=pid)
    assert why.targets == 1000
    assert [step.node.type_name for step in why.path_to_root.steps[-3:]] == ["dict", "list", "Planted"]
    assert why.arenas is not None
    assert why.arenas_pinned is not None
    assert why.arenas >= why.arenas_pinned > 0
    assert meminspect.why("NoSuchType", pid=pid).reason


@of_another
def test_the_command_about_another_process(other: tuple[int, dict[str, Any]]) -> None:
    pid, known = other
    command = [sys.executable, "-m", "meminspect", "why"]
    done = subprocess.run(
        [*command, "Planted", "--pid", str(pid), "--json"], capture_output=True, text=True, check=True
    )
    document = json.loads(done.stdout)
    assert (document["pid"], document["objects"], document["consistent"]) == (pid, 1000, False)
    assert (document["program"], document["path_to_root"]["root"]) == (f"process {pid}", "modules")
    page = subprocess.run([*command, hex(known["root"]), "--pid", str(pid)], capture_output=True, text=True, check=True)
    assert "Root" in page.stdout
    assert "was not stopped" in page.stdout
    for wrong in (["--consistent"], ["script.py"]):
        refused = subprocess.run([*command, "--pid", str(pid), *wrong[:1], "Planted", *wrong[1:]], capture_output=True)
        assert refused.returncode == 2


def test_a_process_that_is_none() -> None:
    ended = subprocess.Popen([sys.executable, "-Sc", ""])
    ended.wait()
    with pytest.raises(RemoteError, match=r"no process|no such process|ended"):
        meminspect.why("dict", pid=ended.pid)
