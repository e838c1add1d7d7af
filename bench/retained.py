"""Retained sizes of all objects: the heap in order, shuffled, and two parallel chains; one object beside guppy3.

Each heap is made in an interpreter of its own. `graph` is reading the references (the pause), `tree` the dominator
tree and the retained sizes, `busy` what the processor worked for both, paths and names included: on a machine that is
shared that is the figure to compare. Bytes an object are of both together, beside the heap. The tree alone is measured
on two chains of half a million nodes that are tied to each other step by step: others take minutes for these.

guppy3 answers for one object at a time (`domisize`); its answer and ours for the same object stand side by side, and
the difference by type: it sums sys.getsizeof, which rounds nothing, has no malloc header, leaves values of instances
out and counts keys that instances share with each of their dicts; and it makes the `__dict__` of each that it meets.
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
busy = time.process_time()
sizes = meminspect.top_retained(5, max_pause=None)
print(json.dumps({"objects": sizes.objects, "references": sizes.references, "graph_s": sizes.pause_s,
    "tree_s": sizes.tree_s, "bytes": sizes.graph_bytes + sizes.tree_bytes,
    "busy_s": time.process_time() - busy}))
"""
ONE = """
from guppy import hpy
heapy = hpy()
before = time.perf_counter()
found = meminspect.retained(root, max_pause=None)
ours_s = time.perf_counter() - before
before = time.perf_counter()
theirs = heapy.iso(root).domisize
print(json.dumps({"guppy_s": time.perf_counter() - before, "guppy_bytes": theirs, "s": ours_s, "bytes": found.bytes,
    "objects": found.objects}))
"""
# What both say goes with `root`, object by object: theirs by address, ours of the graph that was read behind it.
BY_TYPE = """
from array import array
from bisect import bisect_left
from guppy import hpy
from meminspect import _native
from meminspect.store.objects import Graph
from meminspect.store.why import loss
heapy = hpy()
found = meminspect.retained(root, max_pause=None)
isolated = heapy.iso(root)
made, theirs = isolated.dominos, {}
total = made.size
for node in made.nodes: theirs[id(node)] = (type(node).__name__, sys.getsizeof(node))
node = made = isolated = None
raw = _native.graph_capture(None)
numbers = {name: array("Q" if name == "addresses" else "I", raw[name]) for name in
    ("addresses", "types", "sizes", "unexplained", "offsets", "edges")}
graph = Graph(objects=raw["objects"], names=tuple(raw["names"]), roots=tuple(raw["roots"]), **numbers)
rows = {}
gone = loss(graph, [bisect_left(graph.addresses, id(root))])
for at in gone:
    name, size = theirs.pop(graph.addresses[at], (None, 0))
    row = rows.setdefault(name or "in ours alone", [0, 0, 0])
    row[0] += 1; row[1] += size; row[2] += graph.sizes[at] * 16
for name, size in theirs.values():
    row = rows.setdefault("in guppy3's alone", [0, 0, 0])
    row[0] += 1; row[1] += size
print(json.dumps({"before": [found.objects, found.bytes], "theirs": total, "rows": rows,
    "after": [len(gone), sum(graph.sizes[at] * 16 for at in gone)]}))
"""


def run_text(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def run(program: str) -> dict[str, float]:
    found: dict[str, float] = json.loads(run_text(program))
    return found


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


def by_type() -> None:
    """The two answers by type, of a smaller heap: what lies between them to the byte."""
    row = json.loads(run_text(HEAP.format(shuffled=False, count=60_000) + BY_TYPE))
    print(f"\n{'of a smaller heap':<22}{'objects':>11}{'guppy3':>14}{'allocated':>14}{'difference':>12}")
    for name, (count, theirs, ours) in sorted(row["rows"].items()):
        print(f"{name:<22}{count:>11,}{theirs:>14,}{ours:>14,}{ours - theirs:>12,}")
    (before, before_bytes), (after, after_bytes) = row["before"], row["after"]
    print(f"{'in all':<22}{after:>11,}{row['theirs']:>14,}{after_bytes:>14,}{after_bytes - row['theirs']:>12,}")
    print(f"before guppy3 looked: {before:,} objects, {before_bytes:,} bytes; it made {after - before:,} __dict__s.")


def main() -> int:
    heads = f"{'graph s':>9}{'tree s':>8}{'total s':>9}{'busy s':>8}{'B/object':>10}"
    print(f"{'heap':<22}{'objects':>11}{'references':>12}{heads}")
    for name, shuffled in (("in order", False), ("shuffled", True)):
        row = run(HEAP.format(shuffled=shuffled, count=1_800_000) + TOP)
        total = row["graph_s"] + row["tree_s"]
        print(
            f"{name:<22}{row['objects']:>11,}{row['references']:>12,}{row['graph_s']:>9.2f}{row['tree_s']:>8.2f}"
            f"{total:>9.2f}{row['busy_s']:>8.2f}{row['bytes'] / row['objects']:>10.1f}",
            flush=True,
        )
    nodes, seconds, room = chains()
    print(f"{'two chains':<22}{nodes:>11,}{'':>12}{'':>9}{seconds:>8.2f}{seconds:>9.2f}{'':>8}{room:>10.1f}")
    if importlib.util.find_spec("guppy") is None:
        print("guppy3 is not installed here: no comparison for one object")
        return 0
    row = run(HEAP.format(shuffled=False, count=1_800_000) + ONE)
    print(f"\none object: guppy3 domisize {row['guppy_s']:.2f} s, {row['guppy_bytes']:,.0f} bytes as asked for")
    ours = f"{row['bytes']:,.0f} bytes as allocated, {row['objects']:,} objects"
    print(f"            retained()      {row['s']:.2f} s, {ours}")
    by_type()
    return 0


if __name__ == "__main__":
    sys.exit(main())
