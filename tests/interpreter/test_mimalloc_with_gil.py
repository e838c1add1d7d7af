"""PYTHONMALLOC=mimalloc in builds with a GIL: what is not known is said to be unknown, and nothing breaks."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig

import pytest

pytestmark = [
    pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="this build has no GIL"),
    pytest.mark.skipif(not sysconfig.get_config_var("WITH_MIMALLOC"), reason="this build has no mimalloc"),
]

CODE = """
import meminspect
keep = [[float(i)] for i in range(300_000)]
heap = meminspect.heap_map()
assert heap.allocator.startswith("mimalloc"), heap.allocator
assert not heap.exact and "mimalloc" in heap.reason, heap.reason
assert heap.arenas == ()
assert heap.cross_check.agrees is None and heap.cross_check.reason
memory = meminspect.memory()
assert sum(leaf.bytes for leaf in memory.tree.leaves()) == memory.tree.bytes
theirs = memory.tree.find("buffers of libraries")
assert memory.unattributed_bytes + (theirs.bytes if theirs else 0) > 10 << 20
assert not memory.exact and "mimalloc" in memory.reason, memory.reason
small = meminspect.probe_allocation(100)[0]
assert (small.path, small.usable) == ("mimalloc", None) and small.reason
block = meminspect.block(keep)
assert block.size is None and block.reason
assert meminspect.header(keep).refcount >= 1
"""


@pytest.mark.parametrize("allocator", ["mimalloc", "mimalloc_debug"])
def test_unknown_is_said_to_be_unknown(allocator: str) -> None:
    env = {**os.environ, "PYTHONMALLOC": allocator}
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=env)
    assert (run.returncode, run.stderr) == (0, "")
