"""Objects of other interpreters' classes among the references: each is there, with its size and its way from a root."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest
from other_interpreters import run

pytestmark = [
    pytest.mark.skipif(
        not (find_spec("_interpreters") or find_spec("_xxsubinterpreters")),
        reason="this interpreter has no module that creates subinterpreters",
    ),
    pytest.mark.skipif(
        not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL others are not stopped, nor read"
    ),
]

BEFORE = """
import json, os
import meminspect
from array import array
from meminspect import _native

def told(other):
    path = os.memfd_create("told")
    interpreters.run_string(other, f"tell({path})")
    text = os.pread(path, 1 << 24, 0)
    os.close(path)
    return json.loads(text)

def counted(name, **how):
    why = meminspect.why("__main__." + name, max_pause=None, **how)
    return why.targets, why
"""


IN_PLACE = """
bare = meminspect.top_retained(1, max_pause=None)
assert bare.reason is None
meminspect.heap_map()  # what it imports is there before
other = create("legacy")
interpreters.run_string(other, MADE)
ids, counts = told(other)
class Slots: pass
own = Slots()
raw = _native.graph_capture(None)
addresses, types = array("Q", raw["addresses"]), array("I", raw["types"])
found = {}
for at in range(raw["objects"]):
    module, name = raw["names"][types[at]]
    if module == b"__main__": found.setdefault(name.decode(), []).append(addresses[at])
assert sorted(found.pop("Slots")) == sorted([*ids.pop("Slots"), id(own)])
assert {name: sorted(found[name]) for name in ids} == {name: sorted(ids[name]) for name in ids}
assert "Gone" not in found
del raw, addresses, types, found
ids, _ = told(other)

sizes = meminspect.top_retained(5, max_pause=None)
live = meminspect.heap_map().bytes
assert abs(sizes.small_bytes - live.used_bytes) < 100_000, (sizes, live)
assert sizes.unknown_bytes < 0.05 * sizes.small_bytes, sizes.unknown_bytes
assert sum(row.retained_bytes for row in sizes.roots) + sizes.garbage_bytes <= sizes.total_bytes
everything = _native.graph_capture(None)
total = sum(array("I", everything["sizes"])) * everything["unit"]
assert abs(total - sizes.total_bytes) < 100_000  # the root's retained size is the sum of all
del everything

count, why = counted("Slots")
assert (count, why.remarks) == (3001, ())
for name in ("Plain", "Tall", "Of", "Gone"):
    assert counted(name)[0] == EXPECTED[name]
padding = _native.allocator_capture()["padding_bytes"]  # of a debug build
block = lambda size: (size + padding + 15) // 16 * 16
slot = block(16 + 16 + 8)  # links of the collector, header, slot
assert meminspect.why(ids["Slots"][7], max_pause=None).own_bytes == slot
way = meminspect.why(ids["Slots"][7], max_pause=None).path_to_root
assert way.text == "another interpreter: module __main__.slots[7] (Slots)", way.text
assert way.root == "interpreter"
try:
    way.object()
except LookupError:
    pass
else:
    raise AssertionError("an object of another interpreter was handed out")
[holder] = meminspect.why(ids["Slots"][7], max_pause=None).holders.rows
assert (holder.node.type_name, holder.how.role, holder.how.name) == ("list", "item", 7)
gone = meminspect.why(ids["Slots"][7], max_pause=None)
assert gone.retained_objects == 2 and gone.retained_bytes == slot + block(24), gone  # and its float
assert told(other)[1] == counts
interpreters.destroy(other)
assert counted("Slots")[0] == 1 and counted("Plain")[0] == 0
print("in place")
"""


def test_objects_of_an_interpreter_that_shares_the_gil() -> None:
    """By the addresses and counts that it tells itself; none is handed out, no count of its types is changed."""
    assert run(BEFORE + IN_PLACE) == "in place\n"


IN_A_COPY = """
made = [create(kind) for kind in ("isolated", "legacy")]
for other in made: interpreters.run_string(other, MADE)
before = [told(other) for other in made]
for name, count in EXPECTED.items():
    assert counted(name, consistent=True)[0] == 2 * count, name
sizes = meminspect.top_retained(5, max_pause=None, consistent=True)
assert sizes.reason is None and sizes.consistent
assert sizes.unknown_bytes < 0.05 * sizes.small_bytes, sizes.unknown_bytes
assert {row.count for row in sizes.types if row.name == "__main__.Slots"} <= {3000}
for ids, _ in before:
    why = meminspect.why(ids["Tall"][9], max_pause=None, consistent=True)
    assert why.path_to_root.text == "another interpreter: module __main__.tall[9] (Tall)", why.path_to_root.text
    assert why.retained_objects == 1, why
    assert [row.node.type_name for row in why.holders.rows] == ["list"]
assert [told(other)[1] for other in made] == [counts for _, counts in before]
apart = meminspect.top_retained(1, max_pause=None)
assert (apart.reason is not None and "GIL of its own" in apart.reason) if OWN_GIL else apart.reason is None
assert counted("Slots")[0] == (3000 if OWN_GIL else 6000)
assert bool(counted("Slots")[1].remarks) is OWN_GIL
for asked in (meminspect.pinning, lambda **how: meminspect.what_if("__main__.Slots", **how)):
    assert ("GIL of its own" in (asked(max_pause=None).reason or "")) is OWN_GIL
    assert asked(max_pause=None, consistent=True).reason is None
for other in made: interpreters.destroy(other)
assert counted("Slots", consistent=True)[0] == 0
print("in a copy")
"""


def test_objects_of_one_with_a_gil_of_its_own_are_read_in_a_copy() -> None:
    assert run(BEFORE + IN_A_COPY) == "in a copy\n"


RUNS = """
import threading
apart = create("isolated")
interpreters.run_string(apart, MADE + "stop = False")
thread = threading.Thread(target=interpreters.run_string, args=(apart, CHURN), daemon=True)
thread.start()
for turn in range(5):
    sizes = meminspect.top_retained(5, max_pause=None, consistent=OWN_GIL)
    assert sizes.total_bytes >= sizes.small_bytes > 0
    assert counted("Slots", consistent=OWN_GIL)[0] <= 3000
    assert counted("Slots")[0] == (0 if OWN_GIL else 3000)
print("unhurt", flush=True)
os._exit(0)
"""


def test_one_that_runs_meanwhile_does_no_harm() -> None:
    assert run(BEFORE + RUNS) == "unhurt\n"


UNKNOWN = """
other = create("legacy")
interpreters.run_string(other, MADE)
ids, _ = told(other)
why = counted("Slots")[1]
assert "not known" in why.remarks[0], why.remarks
assert why.targets == (0 if OWN_GIL else 3000)  # up to 3.11 all interpreters' classes are subclasses of one `object`
assert meminspect.top_retained(1, max_pause=None).reason == why.remarks[0]
print("unknown")
"""


def test_where_their_classes_cannot_be_found_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONMALLOC", "malloc")
    assert run(BEFORE + UNKNOWN) == "unknown\n"
