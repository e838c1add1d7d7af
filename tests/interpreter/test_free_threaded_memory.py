"""Where RSS goes in free-threaded builds: the resident pages of mimalloc's segments, split."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig

import pytest

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
pytestmark = pytest.mark.skipif(not FREE_THREADED, reason="this build has a GIL: its objects are not mimalloc's")

PARTS = {
    "live blocks",
    "free blocks",
    "free pages",
    "untouched",
    "headers and ends of pages",
    "segments given back, waiting for the purge",
}

CODE = """
import gc, json, sys
from meminspect import memory

MIB = 1 << 20

def parts():
    taken = memory()
    tree = taken.tree.find("mimalloc")
    assert sum(child.bytes for child in tree.children) == tree.bytes
    assert sum(leaf.bytes for leaf in taken.tree.leaves()) == taken.tree.bytes
    assert abs(taken.tree.bytes - taken.rss_bytes) <= 0.005 * taken.rss_bytes
    assert taken.unattributed_bytes <= 0.002 * taken.rss_bytes, taken.unattributed_bytes
    return {child.name: child.bytes for child in tree.children}

told = [parts()]
keep = [bytes(960) for _ in range(40_000)]  # blocks of 1,024 bytes: 39 MiB
keep.append(b"x" * (50 * MIB))
told.append(parts())
del keep[-1]
del keep[::2]  # every second block of 1,024 bytes goes: no page becomes free
told.append(parts())
keep.clear()
gc.collect()
told.append(parts())
json.dump(told, sys.stdout)
"""


def test_live_free_and_retained() -> None:

    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    bare, full, half, empty = json.loads(run.stdout)
    mib = 1 << 20
    assert all(set(parts) == PARTS for parts in (bare, full, half, empty))
    small = 40_000 * 1024
    planted = small + 50 * mib
    assert abs(full["live blocks"] - bare["live blocks"] - planted) < 3 * mib
    assert abs(half["live blocks"] - bare["live blocks"] - small / 2) < 3 * mib
    assert half["free blocks"] - full["free blocks"] > small / 2 - 2 * mib
    assert abs(empty["live blocks"] - bare["live blocks"]) < 2 * mib
    # mimalloc gives memory back some time later: until then it is resident and named
    kept = sum(empty[name] - bare[name] for name in PARTS)
    assert kept == sum(empty.values()) - sum(bare.values())
    assert kept > small / 2


CODE_PID = """
import json, sys
keep = [bytes(960) for _ in range(40_000)]
print("ready", flush=True)
sys.stdin.read()
"""


def test_another_process_is_split_as_well() -> None:
    from meminspect import _native

    with subprocess.Popen([sys.executable, "-c", CODE_PID], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == b"ready\n"
        raw = _native.memory_capture(child.pid)
        child.stdin.close()
    leaves = {path[-1]: resident for path, _, resident, _, _ in raw["leaves"] if path[0] == "mimalloc"}
    assert set(leaves) == PARTS
    assert leaves["live blocks"] > 40_000 * 1024
    assert sum(resident for _, _, resident, _, _ in raw["leaves"]) == raw["tree_bytes"]
    assert raw["unattributed_bytes"] <= 0.002 * raw["rss_bytes"]
