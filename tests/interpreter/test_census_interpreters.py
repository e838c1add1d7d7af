"""Classes of other interpreters of the process: their objects are counted by name, or it is said that they are not."""

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
        not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="without a GIL others are not stopped, nor counted"
    ),
]

BEFORE = """
from meminspect import _native, census
from meminspect.probes.census import build

def counts(taken, names):
    return {name: sum(row.count for row in taken.types if row.name == "__main__." + name) for name in names}
"""


COUNTED = """
kinds = ("isolated", "legacy")
made = [create(kind) for kind in kinds]
for other in made:
    interpreters.run_string(other, MADE)
class Slots:
    __slots__ = ()
kept = [Slots() for _ in range(7)]
taken = census(max_pause=None)
expected = {"Slots": 6007, "Plain": 4000, "Tall": 2000, "Of": 1000, "Gone": 0}
assert counts(taken, expected) == expected, counts(taken, expected)
assert taken.exact and not taken.reason, taken.reason
assert taken.coverage.bytes >= 0.999, (taken.coverage, taken.unknown[:5])
assert taken.consistent is OWN_GIL
sizes = {row.bytes // row.count for row in taken.types if row.name == "__main__.Tall"}
assert len(sizes) == 1, sizes
frozen = census(consistent=True)
assert counts(frozen, expected) == expected and frozen.coverage.bytes >= 0.999, frozen.coverage
for other in made:
    interpreters.destroy(other)
after = census(max_pause=None)
assert counts(after, expected) == dict.fromkeys(expected, 0) | {"Slots": 7}, counts(after, expected)
print("counted")
"""


def test_objects_of_their_classes_are_counted_exactly() -> None:
    """Of an interpreter with a GIL of its own and of one without; none is left when they are gone."""
    assert run(BEFORE + COUNTED) == "counted\n"


IN_PLACE = """
made = create("legacy")
interpreters.run_string(made, MADE)
expected = {"Slots": 3000, "Plain": 2000, "Tall": 1000, "Of": 500}
taken = census(max_pause=None)
assert counts(taken, expected) == expected and taken.exact and not taken.consistent, taken.reason
raw = _native.census_capture(max_pause=None, blocks=True, contents=1 << 20)
assert counts(build(raw), expected) == expected
names = set(raw["contents"]["names"].values())
assert {(b"__main__", name.encode()) for name in expected} <= names, names
assert len(raw["type_addresses"]) % 8 == 0
if OWN_GIL:
    apart = create("isolated")
    interpreters.run_string(apart, MADE)
    for options in ({"blocks": True}, {"room_bytes": 0}, {"may_copy": False}):
        left = build(_native.census_capture(max_pause=None, **options))
        assert counts(left, expected) == expected and not left.consistent
        assert not left.exact and "GIL of its own" in left.reason, left.reason
print("in place")
"""


def test_where_no_copy_is_made_those_that_run_apart_are_left_out() -> None:
    assert run(BEFORE + IN_PLACE) == "in place\n"


RUNS = """
import threading
apart = create("isolated")
interpreters.run_string(apart, MADE + "stop = False")
expected = {"Slots": 3000, "Plain": 2000, "Tall": 1000, "Of": 500}
thread = threading.Thread(target=interpreters.run_string, args=(apart, CHURN), daemon=True)
thread.start()
exact, told = 0, set()
for turn in range(4):
    taken = census(max_pause=None)
    found = counts(taken, expected)
    whole = "contradict" not in (taken.reason or "")
    assert found == expected if whole else all(found[name] <= expected[name] for name in found), (found, taken.reason)
    exact += whole
    if OWN_GIL:
        left = build(_native.census_capture(max_pause=None, may_copy=False))
        assert counts(left, expected) == dict.fromkeys(expected, 0), counts(left, expected)
        told.add(left.reason)
assert exact, "never whole"
assert not OWN_GIL or all("GIL of its own" in reason for reason in told), told
assert thread.is_alive() or not OWN_GIL
print("unhurt", flush=True)
import os
os._exit(0)
"""


def test_one_that_runs_meanwhile_is_counted_as_of_one_moment() -> None:
    """It allocates and gives arenas back while it is looked at: nothing of it is read where it lies."""
    assert run(BEFORE + RUNS) == "unhurt\n"


WIDE = """
MANY = '''
bases = [type(f"Base{at}", (), {}) for at in range(80)]
Wide = type("Wide", tuple(bases), {"__slots__": ()})
class Wider(Wide): pass
class Widest(Wider): pass
kept = [[kind() for _ in range(count)] for kind, count in ((Wide, 300), (Wider, 200), (Widest, 100))]
'''
expected = {"Wide": 600, "Wider": 400, "Widest": 200}
made = [create(kind) for kind in ("isolated", "legacy")]
for other in made:
    interpreters.run_string(other, MANY)
taken = census(max_pause=None)
assert counts(taken, expected) == expected, counts(taken, expected)
from meminspect import why
assert {name: why("__main__." + name, max_pause=None, consistent=True).targets for name in expected} == expected
print("wide")
"""


def test_classes_whose_orders_are_too_long_for_pymalloc() -> None:
    """Their tuples lie in malloc's heaps: they are found by their bases."""
    assert run(BEFORE + WIDE) == "wide\n"
