"""Captures in a loop beside threads that allocate, free, hand over, end and import: free-threaded builds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig

import pytest

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
pytestmark = pytest.mark.skipif(not FREE_THREADED, reason="this build has a GIL: nothing runs beside a capture")

CAPTURES = 25

CODE = """
import gc, importlib, json, sys, threading, time
from meminspect import _native
from meminspect.probes import heap_mimalloc

stop = threading.Event()
shared = []  # what one thread made and another drops

class Node:
    pass

def small():
    while not stop.is_set():
        keep = [Node() for _ in range(2000)]
        for node in keep:
            node.next = keep
        del keep[::2], node

def buffers():
    while not stop.is_set():
        sizes = [bytearray(n * 37 % 70000) for n in range(400)]
        sizes.append(bytes(5 << 20))

def giver():
    while not stop.is_set():
        shared.append([float(i) for i in range(3000)])
        if len(shared) > 20:
            time.sleep(0.001)

def taker():
    while not stop.is_set():
        if shared:
            shared.pop()
        else:
            time.sleep(0.001)

def ends():
    while not stop.is_set():
        thread = threading.Thread(target=lambda: shared.append([[i] for i in range(500)]))
        thread.start()
        thread.join()

def imports():
    while not stop.is_set():
        for name in ("colorsys", "wave", "sndhdr", "chunk", "html.entities", "quopri"):
            sys.modules.pop(name, None)
            try:
                importlib.import_module(name)
            except ImportError:
                pass
        gc.collect()

threads = [threading.Thread(target=body) for body in (small, buffers, giver, taker, ends, imports)]
for thread in threads:
    thread.start()
pauses, waits, reasons = [], [], []
for _ in range(int(sys.argv[1])):
    raw = _native.mimalloc_capture(30.0)
    pauses.append(raw["pause_s"])
    waits.append(raw["wait_s"])
    if raw["reason"]:
        reasons.append(raw["reason"])
    heap = heap_mimalloc.build(raw)
    if heap.bytes is not None:
        parts = heap.bytes.to_dict()
        total = parts.pop("total_bytes")
        if sum(parts.values()) != total:
            reasons.append("the ledger does not sum up")
stop.set()
for thread in threads:
    thread.join()
json.dump({"reasons": reasons, "longest_pause_s": max(pauses), "longest_wait_s": max(waits)}, sys.stdout)
"""


def test_captures_beside_threads_that_change_everything() -> None:

    captures = os.environ.get("MEMINSPECT_CHURN", str(CAPTURES))
    run = subprocess.run([sys.executable, "-c", CODE, captures], capture_output=True, text=True, timeout=600)
    assert (run.returncode, run.stderr) == (0, "")
    told = json.loads(run.stdout)
    print(told)
    assert told["reasons"] == []
    assert told["longest_pause_s"] > 0
