"""Retained sizes of all objects: the heap in order, shuffled, and two parallel chains; one object beside guppy3.

Each heap is made in an interpreter of its own. `graph` is reading the references (the pause), `tree` the dominator tree
and the retained sizes; bytes an object are of both together, beside the heap. The tree alone is measured
on two chains of half a million nodes that are tied to each other step by step, which other algorithms take minutes for.
guppy3 answers for one object at a time (`domisize`); its answer and ours for the same object stand side by side.
"""

from __future__ import annotations

import array
import importlib.util
import json
import subprocess
import sys

CHAIN = 500_000
HEAP = """
import json, random, sys, time
shuffled = {shuffled}
class Plain: pass
class Slots: __slots__ = ("a", "b")
def thing(n):
    kind = n % 7
    if kind == 0: return {{"key": n, "text": str(n)}}
    if kind == 1: return [n + 1000, float(n), str(n)]
    if kind == 2: return (str(n), float(n))
    if kind == 3: return ("%d" % n).encode()
    if kind == 4:
        made = Slots(); made.a, made.b = float(n), str(n); return made
    if kind == 5:
        made = Plain(); made.x, made.y = n + 10**6, [float(n)]; return made
    return {{n, str(n)}}
import meminspect
meminspect.top_retained(1, max_pause=None)
heap = [thing(n) for n in range({count})]
if shuffled: random.Random(1).shuffle(heap)
root = {{}}
for n in range(0, len(heap), 1000): root[n] = heap[n:n + 1000]
if shuffled:
    for n in range(0, len(heap), 1000): root[n] = [item for item in root[n]]
del heap
"""
TOP = """
sizes = meminspect.top_retained(5, max_pause=None)
print(json.dumps({"objects": sizes.objects, "references": sizes.references, "graph_s": sizes.pause_s,
    "tree_s": sizes.tree_s, "bytes": sizes.graph_bytes + sizes.tree_bytes,
    "small": sizes.small_bytes}))
"""
ONE = """
from guppy import hpy
heapy = hpy()
before = time.perf_counter()
theirs = heapy.iso(root).domisize
guppy_s = time.perf_counter() - before
before = time.perf_counter()
found = meminspect.retained(root, max_pause=None)
print(json.dumps({"guppy_s": guppy_s, "guppy_bytes": theirs, "s": time.perf_counter() - before,
    "bytes": found.bytes, "objects": found.objects}))
"""


def run(program: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def chains() -> tuple[int, float, float]:
    """Two chains whose nodes refer to the next of both: (nodes, seconds, bytes a node)."""
    from meminspect import _native

    edges, offsets = array.array("I"), array.array("I", [0])
    for at in range(CHAIN):
        for _ in range(2):
            if at + 1 < CHAIN:
                edges.extend((2 * at + 2, 2 * at + 3))
            offsets.append(len(edges))
    edges.extend((0, 1))
    offsets.append(len(edges))
    nodes = 2 * CHAIN + 1
    root = array.array("I", [nodes - 1])
    made = _native._dominators(
        offsets.tobytes(), edges.tobytes(), array.array("I", [1] * nodes).tobytes(), root.tobytes()
    )
    return nodes, made["seconds"], made["peak_bytes"] / nodes


def main() -> int:
    print(f"{'heap':<22}{'objects':>11}{'references':>12}{'graph s':>9}{'tree s':>8}{'total s':>9}{'B/object':>10}")
    for name, shuffled in (("in order", False), ("shuffled", True)):
        row = run(HEAP.format(shuffled=shuffled, count=1_800_000) + TOP)
        total = row["graph_s"] + row["tree_s"]
        print(
            f"{name:<22}{row['objects']:>11,}{row['references']:>12,}{row['graph_s']:>9.2f}{row['tree_s']:>8.2f}"
            f"{total:>9.2f}{row['bytes'] / row['objects']:>10.1f}",
            flush=True,
        )
    nodes, seconds, room = chains()
    print(f"{'two chains':<22}{nodes:>11,}{'':>12}{'':>9}{seconds:>8.2f}{seconds:>9.2f}{room:>10.1f}")
    if importlib.util.find_spec("guppy") is None:
        print("guppy3 is not installed here: no comparison for one object")
        return 0
    row = run(HEAP.format(shuffled=False, count=1_800_000) + ONE)
    print(f"\none object: guppy3 domisize {row['guppy_s']:.2f} s, {row['guppy_bytes']:,.0f} bytes as asked for")
    ours = f"{row['bytes']:,.0f} bytes as allocated, {row['objects']:,} objects"
    print(f"            retained()      {row['s']:.2f} s, {ours}")
    print("guppy3 sums sys.getsizeof (no rounding to 16 bytes, no malloc header), and leaves str keys of dicts out.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
