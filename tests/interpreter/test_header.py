"""header(obj) against sys.getrefcount, gc, len, and the object's own behaviour."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator

import pytest

import meminspect
from meminspect.models.objects import ObjectHeader

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
BORROWS = sys.version_info >= (3, 14)
needs_gil = pytest.mark.skipif(FREE_THREADED, reason="free-threaded builds have no PyGC_Head")


@pytest.fixture(autouse=True)
def still() -> Iterator[None]:
    """No collection moves objects between generations meanwhile."""
    was = gc.isenabled()
    gc.disable()
    yield
    if was:
        gc.enable()


class Plain:
    pass


class Slotted:
    __slots__ = ("value",)


def field(shown: ObjectHeader, name: str) -> int:
    (value,) = [field.value for field in shown.fields if field.name == name]
    return value


def test_address_and_type() -> None:
    thing = Plain()
    shown = meminspect.header(thing)
    assert shown.address == id(thing)
    assert shown.type_address == id(Plain)
    assert shown.type_name == "Plain"
    assert meminspect.header(1.5).type_name == "float"


def test_counts_references_that_are_added() -> None:
    thing = [object()]
    before = meminspect.header(thing).refcount
    more = [thing] * 1000
    assert meminspect.header(thing).refcount == before + 1000
    del more
    assert meminspect.header(thing).refcount == before


def test_a_fresh_local_has_one_reference_besides_the_calls() -> None:
    thing = [object()]
    shown = meminspect.header(thing)
    assert shown.call_holds is not None
    assert shown.refcount - shown.call_holds == 1
    assert shown.call_holds == (0 if BORROWS else 2)


def test_getrefcount_is_what_sys_says_in_the_same_place() -> None:
    thing = [object()]
    # not inside assert: pytest's rewriting holds references of its own to what stands there
    ours, theirs = meminspect.header(thing).getrefcount, sys.getrefcount(thing)
    assert ours == theirs == (1 if BORROWS else 2)
    holder = {"thing": thing}
    ours, theirs = meminspect.header(holder["thing"]).getrefcount, sys.getrefcount(holder["thing"])
    assert ours == theirs
    ours, theirs = meminspect.header([object()]).getrefcount, sys.getrefcount([object()])
    assert ours == theirs == 1


def test_a_temporary_is_held_by_nothing_but_the_call() -> None:
    shown = meminspect.header([object()])
    assert shown.refcount == shown.call_holds


def test_leaves_the_count_as_it_was() -> None:
    thing = [object()]
    before = sys.getrefcount(thing)
    for _ in range(100):
        meminspect.header(thing)
    assert sys.getrefcount(thing) == before


def test_memory_is_what_lies_there() -> None:
    thing = (1, 2, 3)
    shown = meminspect.header(thing)
    there = ctypes.string_at(shown.start, len(shown.memory))
    same = [field for field in shown.fields if "ref" not in field.name]
    assert same
    for one in same:
        begin = one.offset + shown.address - shown.start
        assert int.from_bytes(there[begin : begin + one.size], sys.byteorder) == one.value


def test_length() -> None:
    things: list[tuple[object, int | None]] = [
        ([1, 2, 3], 3),
        ((), 0),
        (b"abcde", 5),
        (bytearray(7), 7),
        (2**100, 4),
        (-(2**100), 4),
        (0, 0),
        ({}, None),
        ("text", None),
        (1.5, None),
    ]
    for thing, length in things:
        assert meminspect.header(thing).length == length, thing


@pytest.mark.skipif(sys.version_info < (3, 12), reason="immortal objects came with CPython 3.12")
def test_immortal() -> None:
    for thing in (None, True, 1, (), int):
        shown = meminspect.header(thing)
        assert shown.immortal, shown
        assert shown.call_holds == 0
    thing = [object()]
    assert not meminspect.header(thing).immortal


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="CPython 3.11 has no immortal objects")
def test_nothing_is_immortal_in_3_11() -> None:
    assert not meminspect.header(None).immortal


def test_tracked_agrees_with_gc() -> None:
    untracked: dict[str, int] = {}
    things: list[object] = [[], untracked, (1, 2), Plain(), Slotted(), test_length, sys, Plain, int, 1, "x", object()]
    for thing in things:
        shown = meminspect.header(thing)
        assert bool(shown.tracked) == gc.is_tracked(thing), thing
        assert shown.gc is not None or thing is None


def test_type_objects_tell_by_themselves() -> None:
    assert meminspect.header(Plain).gc is True
    assert meminspect.header(int).gc is False


@needs_gil
def test_generation() -> None:
    gc.collect()
    young = [[] for _ in range(10)]
    assert meminspect.header(young[5]).generation == 0
    assert any(thing is young[5] for thing in gc.get_objects(generation=0))
    gc.collect(0)
    assert any(thing is young[5] for thing in gc.get_objects(generation=1))
    assert meminspect.header(young[5]).generation == 1
    gc.collect()
    shown = meminspect.header(young[5])
    assert shown.generation == 2 or (shown.generation is None and shown.generation_reason)


@needs_gil
def test_generation_of_frozen_objects() -> None:
    """In a process of its own: gc.unfreeze would move all that the test session's own process has."""
    code = (
        "import gc, meminspect\n"
        "meminspect.header([])\n"
        "thing = [[]]; gc.freeze()\n"
        "print(meminspect.header(thing).generation, meminspect.header([[]]).generation)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["3", "0"]


@needs_gil
def test_generation_of_an_untracked_object_says_why_not() -> None:
    shown = meminspect.header(1.5)
    assert shown.generation is None
    assert shown.generation_reason


def test_finalized_and_unreachable() -> None:
    seen: list[ObjectHeader] = []
    kept: list[object] = []

    class Finalized:
        def __del__(self) -> None:
            seen.append(meminspect.header(self))
            kept.append(self)

    thing = Finalized()
    assert meminspect.header(thing).finalized is False
    thing.itself = thing  # type: ignore[attr-defined]
    del thing
    gc.collect()
    assert len(seen) == 1
    assert seen[0].unreachable is True
    assert seen[0].finalized is True
    assert seen[0].generation is None
    revived = meminspect.header(kept[0])
    assert (revived.finalized, revived.unreachable) == (True, False)


def test_pre_header() -> None:
    thing = Plain()
    shown = meminspect.header(thing)
    assert shown.managed_dict is not None
    namespace = thing.__dict__
    assert meminspect.header(thing).managed_dict == id(namespace)
    slotted = meminspect.header(Slotted())
    assert slotted.managed_dict is None
    assert meminspect.header([]).managed_dict is None


@pytest.mark.skipif(sys.version_info < (3, 12), reason="managed weak references came with CPython 3.12")
def test_managed_weak_references() -> None:
    import weakref

    thing = Plain()
    assert meminspect.header(thing).managed_weakrefs == 0
    reference = weakref.ref(thing)
    assert meminspect.header(thing).managed_weakrefs == id(reference)
    assert meminspect.header([]).managed_weakrefs is None


@pytest.mark.skipif(not FREE_THREADED, reason="only free-threaded builds split the count")
def test_split_counts() -> None:
    thing = [object()]
    shown = meminspect.header(thing)
    assert shown.owner_thread == threading.get_ident()
    assert shown.local_refcount is not None
    assert shown.call_holds is not None
    assert (
        shown.local_refcount - shown.call_holds == 1
    )  # the local is a closure's cell, from which a reference is taken
    assert (shown.shared_refcount, shown.merged) == (0, False)
    seen: list[ObjectHeader] = []
    thread = threading.Thread(target=lambda: seen.append(meminspect.header(thing)))
    thread.start()
    thread.join()
    assert seen[0].owner_thread == threading.get_ident()
    assert meminspect.header(test_split_counts).deferred is True
    assert shown.deferred is False


def test_nothing_of_the_object_is_called() -> None:
    called: list[str] = []

    class Loud(type):
        def __getattribute__(cls, name: str) -> object:
            called.append(name)
            return super().__getattribute__(name)

    class Hostile(metaclass=Loud):
        def __getattribute__(self, name: str) -> object:
            called.append(name)
            raise RuntimeError(name)

        def __repr__(self) -> str:
            called.append("repr")
            return ""

        def __len__(self) -> int:
            called.append("len")
            return 0

    thing = Hostile()
    called.clear()
    shown = meminspect.header(thing)
    assert called == []
    assert shown.type_name == "Hostile"


def test_strange_type_names() -> None:
    for name in ("\x1b[31mred", "[bold]markup[/]", "n" * 5000, "ünï"):
        shown = meminspect.header(type(name, (), {})())
        assert shown.type_name == name.encode()[:255].decode()


def test_to_dict_is_json() -> None:
    import json

    shown = meminspect.header([1])
    loaded = json.loads(json.dumps(shown.to_dict()))
    assert bytes.fromhex(loaded["memory"]) == shown.memory
