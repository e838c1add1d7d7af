"""The census of another process: what that one knows of itself, and what becomes of it while it changes."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
from conftest import Program

from meminspect import census
from meminspect.models.census import Census
from meminspect.probes.remote import RemoteError

RUN = Callable[..., Program]
FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
pytestmark = pytest.mark.skipif(FREE_THREADED, reason="the census of mimalloc's heaps is not there yet")

PLANTED = """
import collections, decimal, enum, json, sys, time
class Plain: pass
class Slotted: __slots__ = ("a",)
class Größe(dict): pass
class Outer:
    class Inner: pass
exec("class Alien: __module__ = 'elsewhere'")
Colour = enum.Enum("Colour", "RED GREEN")
Wide = type("Wide", tuple(type(f"Base{at}", (), {}) for at in range(80)), {})  # malloc has the tuple of its order
made = [Plain() for _ in range(3000)], [Slotted() for _ in range(2000)], [Größe(a=1) for _ in range(500)]
made += [Outer.Inner() for _ in range(70)], [Alien() for _ in range(60)]
made += [collections.OrderedDict(a=1) for _ in range(400)], [decimal.Decimal(n) / 7 for n in range(300)]
made += ([Wide() for _ in range(40)],)
made += [complex(n, 1) for n in range(1000)], [{n} for n in range(900)]
"""
KNOWN = {
    ("__main__", "Plain"): 3000,
    ("__main__", "Slotted"): 2000,
    ("__main__", "Größe"): 500,
    ("__main__", "Outer.Inner"): 70,
    ("elsewhere", "Alien"): 60,
    ("__main__", "Colour"): 2,
    ("decimal", "Decimal"): 300,
    ("__main__", "Wide"): 40,
}
AT_LEAST = {("collections", "OrderedDict"): 400, ("builtins", "complex"): 1000, ("builtins", "set"): 900}
# of which the census' own result has none
UNTOUCHED = {
    "builtins:wrapper_descriptor", "builtins:method_descriptor", "builtins:getset_descriptor", "builtins:module",
    "__main__:Plain", "__main__:Größe", "elsewhere:Alien", "decimal:Decimal", "collections:OrderedDict",
}  # fmt: skip


def counts(taken: Census) -> dict[tuple[str | None, str], int]:
    found: dict[tuple[str | None, str], int] = {}
    for row in taken.types:
        found[row.module, row.type] = found.get((row.module, row.type), 0) + row.count
    return found


def check_planted(taken: Census) -> None:
    found = counts(taken)
    assert {key: found.get(key) for key in KNOWN} == KNOWN
    for key, least in AT_LEAST.items():
        assert least <= found[key] <= least + 200
    for path in filter(None, (taken.small, taken.large)):
        assert path.count == path.objects + path.buffers + path.free_lists + path.unknown
    assert taken.coverage.bytes > 0.99


@pytest.mark.parametrize("allocator", ["pymalloc", "pymalloc_debug"])
def test_it_counts_what_the_process_made(allocator: str) -> None:
    code = PLANTED + "print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONMALLOC": allocator},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.2)
        resident = resident_bytes(process.pid)
        taken = census(pid=process.pid)
        check_planted(taken)
        assert taken.exact, taken.reason
        assert (taken.small.allocator, taken.padding_bytes > 0) == (allocator, allocator == "pymalloc_debug")
        assert (taken.pid, taken.pause_s, taken.consistent, taken.frozen) == (process.pid, 0, False, None)
        assert resident_bytes(process.pid) - resident < 1 << 20  # nothing was written in it, or brought in
        process.stdin.close()
        assert process.wait() == 0
    with contextlib.suppress(ChildProcessError):  # raised where earlier tests left no child running
        assert os.waitpid(-1, os.WNOHANG) == (0, 0)
    assert census(max_pause=None).coverage.bytes > 0.99  # what was given up was the copy's


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_it_agrees_with_the_census_that_the_process_takes_of_itself(run: RUN) -> None:
    program = run(
        PLANTED
        + """
from meminspect import _native
from meminspect.probes.census import build
import gc; gc.collect(); gc.disable()
raw = _native.census_capture(max_pause=None)
own = {f"{row.module}:{row.type}": row.count - row.large_count for row in build(raw).types}
print(json.dumps(own), flush=True)
sys.stdin.read()
"""
    )
    own: dict[str, int] = json.loads(program.line())
    program.asleep()
    found = {f"{module}:{name}": count for (module, name), count in counts(census(pid=program.pid)).items()}
    assert {key: found.get(key) for key in UNTOUCHED} == {key: own[key] for key in UNTOUCHED}
    missing = {key: count for key, count in own.items() if count and key not in found}
    assert sum(missing.values()) < 50, missing  # what ended since
    assert program.end() == (0, "")


@pytest.mark.skipif(find_spec("numpy") is None, reason="numpy is not installed")
def test_static_types_of_extension_modules_are_found(run: RUN) -> None:
    program = run(
        """
import sys, numpy
kept = [numpy.float64(n) for n in range(777)], [numpy.zeros(3) for _ in range(555)]
print("up", flush=True)
sys.stdin.read()
"""
    )
    program.line()
    program.asleep()
    found = counts(census(pid=program.pid))
    assert 777 <= found["numpy", "float64"] <= 900
    assert 555 <= found["numpy", "ndarray"] <= 700
    assert program.end() == (0, "")


def test_a_process_that_changes_meanwhile_is_counted_or_refused_and_never_wrong_about_what_stays(run: RUN) -> None:
    program = run(
        PLANTED
        + """
import threading
stop = False
def churn():
    while not stop:
        kept = [{n: [n] * (n % 9)} for n in range(2000)]
        types = [type(f"T{n}", (), {}) for n in range(20)]
        kept.extend(kind() for kind in types)
threads = [threading.Thread(target=churn) for _ in range(3)]
for thread in threads: thread.start()
print("up", flush=True)
sys.stdin.read()
stop = True
for thread in threads: thread.join()
"""
    )
    program.line()
    read, refused = 0, []
    for _ in range(8):
        try:
            taken = census(pid=program.pid)
        except RemoteError as error:
            refused.append(str(error))
            continue
        read += 1
        found = counts(taken)
        assert {key: found.get(key) for key in KNOWN} == KNOWN
        assert taken.exact or "more than one moment" in (taken.reason or "")
    assert read, refused
    assert all("changed so much" in text for text in refused), refused
    assert program.end() == (0, "")


def test_libraries_of_the_reader_do_not_matter(run: RUN) -> None:
    """numpy's libquadmath has printf call its own functions, by a table in memory that the copy gives up."""
    pytest.importorskip("numpy", reason="numpy is not installed")
    program = run(PLANTED + "print('up', flush=True)\nsys.stdin.read()")
    program.line()
    code = f"import numpy; from meminspect import census; print(census(pid={program.pid}).small.count)"
    reader = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert reader.returncode == 0, reader.stderr
    assert int(reader.stdout) > sum(KNOWN.values())
    assert program.end() == (0, "")


def test_a_deadline_that_is_too_short_is_said(run: RUN) -> None:
    program = run("import sys\nx = [{n: n} for n in range(300_000)]\nprint('up', flush=True)\nsys.stdin.read()")
    program.line()
    with pytest.raises(RemoteError, match="was not counted after"):
        census(pid=program.pid, deadline=0.001)
    assert program.end() == (0, "")


def test_what_cannot_be_counted_is_refused() -> None:
    with pytest.raises(RemoteError, match="this is the process that reads"):
        census(pid=os.getpid())
    with pytest.raises(ValueError, match="of another one it cannot"):
        census(pid=1, consistent=True)
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        with pytest.raises(RemoteError, match="is not a Python"):
            census(pid=sleeper.pid)
    finally:
        sleeper.kill()
        sleeper.wait()


@pytest.mark.parametrize("words", [["census", "--json"], ["map", "--html", "-"], ["snapshot", "-o", "o.mi"]])
def test_commands_take_a_pid(run: RUN, words: list[str], tmp_path: Any) -> None:
    pytest.importorskip("pyarrow" if words[0] == "snapshot" else "jinja2")
    program = run(PLANTED + "print('up', flush=True); sys.stdin.read()")
    program.line()
    program.asleep()
    where = [str(tmp_path / word) if word == "o.mi" else word for word in words]
    command = [sys.executable, "-m", "meminspect", *where, "--pid", str(program.pid)]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    if words[0] == "census":
        document = json.loads(done.stdout)
        assert (document["program"], document["pid"]) == (f"process {program.pid}", program.pid)
        assert {(row["module"], row["type"]): row["count"] for row in document["types"]}["__main__", "Plain"] == 3000
    elif words[0] == "snapshot":
        from meminspect.store.read import load

        assert counts(load(where[-1]).census())["__main__", "Plain"] == 3000
    else:
        assert "__main__.Plain" in done.stdout
    assert program.end() == (0, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--consistent"], "--consistent"), (["x.py"], "name no program"), (["a.mi"], "name no program")],
)
def test_what_does_not_go_with_a_pid(words: list[str], said: str) -> None:
    before = ["--pid", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "meminspect", "census", *before, *words], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert said in done.stderr
