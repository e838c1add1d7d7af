"""Headers of planted objects in free-threaded builds: whose counts they are, and what the collector made of them."""

from __future__ import annotations

import gc
import sys
import sysconfig
import threading
from typing import Any

import pytest

import meminspect
from meminspect.models.objects import ObjectHeader

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
pytestmark = pytest.mark.skipif(not FREE_THREADED, reason="only free-threaded builds split the count")

DEFERRED_BASE = sys.maxsize // 8  # PY_SSIZE_T_MAX / 8 is added to the shared count (_PyObject_SetDeferredRefcount)


class Thing:
    pass


def in_thread(body: Any) -> None:
    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


def test_the_owner_counts_locally() -> None:
    thing = Thing()
    one = meminspect.header(thing)
    more = [thing] * 10
    eleven = meminspect.header(thing)
    assert one.owner_thread == threading.get_ident()
    assert eleven.local_refcount == (one.local_refcount or 0) + len(more)
    assert (one.shared_refcount, eleven.shared_refcount, eleven.merged) == (0, 0, False)


def test_another_thread_counts_in_the_shared_count() -> None:
    thing, kept = Thing(), []
    before = meminspect.header(thing)
    in_thread(lambda: kept.extend([thing] * 5))
    after = meminspect.header(thing)
    assert len(kept) == 5
    assert after.shared_refcount == (before.shared_refcount or 0) + 5
    assert after.local_refcount == before.local_refcount
    assert after.owner_thread == threading.get_ident()
    assert after.refcount == before.refcount + 5


def test_what_an_ended_thread_made_is_merged_by_a_collection() -> None:
    kept: list[Any] = []
    ident = 0

    def maker() -> None:
        nonlocal ident
        ident = threading.get_ident()
        kept.append(Thing())

    in_thread(maker)
    ended = meminspect.header(kept[0])
    assert (ended.owner_thread, ended.merged) == (ident, False)
    gc.collect()
    merged = meminspect.header(kept[0])
    assert (merged.owner_thread, merged.local_refcount, merged.merged) == (None, 0, True)
    assert merged.refcount == ended.refcount == merged.shared_refcount


def test_immortal_objects() -> None:
    for thing in (None, True, 5, ()):
        shown = meminspect.header(thing)
        assert shown.immortal
        assert (shown.local_refcount, shown.owner_thread) == (0xFFFFFFFF, None)
    assert not meminspect.header(Thing()).immortal


DEFERRED = [in_thread, Thing, sys.modules[__name__], in_thread.__code__]


@pytest.mark.parametrize("thing", DEFERRED, ids=lambda thing: type(thing).__name__)
def test_deferred_objects(thing: object) -> None:
    shown = meminspect.header(thing)
    assert shown.deferred
    assert shown.shared_refcount is not None
    assert abs(shown.shared_refcount - DEFERRED_BASE) < 1_000_000
    assert not shown.immortal


def test_a_finaliser_of_the_collector_sees_no_owner() -> None:
    """While finalisers run the word of the owner is a link of the collector's list of unreachable objects."""
    seen: list[ObjectHeader] = []

    class Cycle:
        def __del__(self) -> None:
            seen.append(meminspect.header(self))

    for _ in range(3):
        cycle = Cycle()
        cycle.self = cycle  # type: ignore[attr-defined]
    del cycle
    gc.collect()
    assert len(seen) == 3
    for shown in seen:
        assert shown.unreachable
        assert shown.owner_thread is None


def test_the_collector_and_the_counters_say_what_this_build_has() -> None:
    state = meminspect.gc_state()
    assert state.kind == "free-threaded"
    assert [g.threshold for g in state.generations] == list(gc.get_threshold())
    counters = meminspect.gil.counters()
    assert counters.enabled is sys._is_gil_enabled()  # type: ignore[attr-defined]
    assert counters.tstate_switches is None or counters.enabled
    assert counters.reason or counters.enabled
