"""Censuses without end beside threads that change everything: no crash, no reference too many, nothing that grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FREE_THREADED = not getattr(sys, "_is_gil_enabled", lambda: True)()
# 300 take minutes: MEMINSPECT_SOAK=300
CENSUSES = int(os.environ.get("MEMINSPECT_SOAK") or (20 if os.environ.get("MEMINSPECT_CI") == "1" else 6))
PATIENCE_S = 600  # only ever spent by a test that fails

# Eight threads: five make and free objects of twenty types, the others import and drop modules, fork, and collect.
PROGRAM = """
import array, collections, decimal, datetime, faulthandler, gc, importlib, json, os, random, sys, threading, time
import warnings
import meminspect
faulthandler.enable()
warnings.simplefilter("ignore", DeprecationWarning)  # a fork beside threads is what is tested
folder, count = sys.argv[1], int(sys.argv[2])
sys.path.insert(0, folder)

class Plain: pass
class Slotted: __slots__ = ("a", "b")
class Listed(list): pass
class Table(dict): pass
class Wide:
    def __init__(self): self.__dict__.update({f"a{n}": n for n in range(40)})

def closure(number):
    def inner(): return number
    return inner
def generator():
    yield from range(3)
def suspended():
    made = generator(); next(made); return made

KINDS = [
    Plain, Slotted, Listed, Table, Wide, dict, list, lambda: {1, "a", 2.5}, lambda: (1, object()), lambda: "é" * 40,
    lambda: b"x" * 300, lambda: bytearray(700), lambda: array.array("q", range(50)),
    lambda: collections.deque(range(90)), lambda: collections.OrderedDict(a=1, b=2), lambda: decimal.Decimal(1) / 7,
    lambda: datetime.datetime.now(), lambda: closure(7), suspended, lambda: type("Made", (Plain,), {"x": 1}),
]
assert len(KINDS) == 20
planted = [Slotted() for _ in range(1500)]
ended = threading.Event()

def churn(seed):
    choose = random.Random(seed)
    kept = []
    while not ended.is_set():
        for _ in range(50):
            kept.append(choose.choice(KINDS)())
        if len(kept) > 600:
            del kept[choose.randrange(300):]
def imports():
    name = "dropped"
    while not ended.is_set():
        sys.modules.pop(name, None)
        importlib.import_module(name).Local()
        time.sleep(0.001)
    sys.modules.pop(name, None)
def forks():
    while not ended.is_set():
        pid = os.fork()
        if not pid:
            os._exit(0)
        os.waitpid(pid, 0)
        time.sleep(0.01)
def collects():
    while not ended.is_set():
        gc.collect()
        time.sleep(0.005)

TASKS = [lambda seed=seed: churn(seed) for seed in range(5)] + [imports, forks, collects]
WATCHED = [Plain, Slotted, Table, planted, planted[0], churn, KINDS, sys.modules["json"], threading.current_thread()]

def state():
    for _ in range(3): gc.collect()
    with open("/proc/self/maps") as file: mappings = sum(1 for _ in file)
    with open("/proc/self/statm") as file: resident = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"counts": [sys.getrefcount(item) for item in WATCHED], "blocks": sys.getallocatedblocks(),
            "mappings": mappings, "resident": resident, "files": len(os.listdir("/proc/self/fd"))}

def soak(times):
    ended.clear()
    threads = [threading.Thread(target=task) for task in TASKS]
    for thread in threads: thread.start()
    wrong = []
    for number in range(times):
        taken = meminspect.census(max_pause=None, consistent=number % 3 == 2, guesses=number % 10 == 5)
        found = sum(row.count for row in taken.types if row.type == "Slotted")
        small = taken.small
        if found < len(planted) or small.count != small.objects + small.buffers + small.free_lists + small.unknown:
            wrong.append((number, found, repr(small)))
        if taken.coverage.bytes < 0.98:
            wrong.append((number, taken.coverage.bytes))
    ended.set()
    for thread in threads: thread.join()
    return wrong

sys.setswitchinterval(0.0005)  # or nine threads wait for one another most of the time
started = time.monotonic()
soak(4)
before = state()
wrong = soak(count)
print(json.dumps({"before": before, "after": state(), "wrong": wrong, "seconds": time.monotonic() - started}))
"""


@pytest.mark.skipif(FREE_THREADED, reason="the census of mimalloc's heaps is not there yet")
def test_censuses_beside_threads_that_change_everything(tmp_path: Path) -> None:
    (tmp_path / "dropped.py").write_text("class Local: pass\nkept = [Local() for _ in range(30)]\n")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), str(CENSUSES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    before, after = told["before"], told["after"]
    assert told["wrong"] == []
    assert after["counts"] == before["counts"]
    assert after["files"] == before["files"]
    assert abs(after["blocks"] - before["blocks"]) < 1500  # caches of the interpreter; a row a census would be more
    assert after["mappings"] - before["mappings"] < 40
    assert after["resident"] - before["resident"] < 48 << 20
