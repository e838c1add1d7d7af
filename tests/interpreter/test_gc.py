"""gc_state() against the gc module's own functions."""

from __future__ import annotations

import gc
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator

import pytest

import meminspect
from meminspect import _native

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
INCREMENTAL = (3, 14, 0) <= sys.version_info[:3] < (3, 14, 5)
needs_lists = pytest.mark.skipif(FREE_THREADED, reason="free-threaded builds keep no lists of generations")


@pytest.fixture(autouse=True)
def still() -> Iterator[None]:
    was = gc.isenabled()
    gc.disable()
    yield
    if was:
        gc.enable()


def run(code: str) -> str:
    """Runs code in an interpreter of its own and gives what it prints."""
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    return result.stdout


def objects() -> list[int]:
    return [generation["objects"] for generation in _native.gc_capture()["generations"]]


@needs_lists
@pytest.mark.skipif(INCREMENTAL, reason="gc.get_objects() names other generations while collecting incrementally")
def test_objects_per_generation() -> None:
    """len(gc.get_objects(generation=i)), in two readings around ours: nothing may come or go between them."""
    _native.gc_capture()
    numbers = [0, 0, 0, 0, 0, 0]  # made before: the readings must not create tracked objects that stay
    for generation in range(3):
        numbers[generation] = len(gc.get_objects(generation=generation))
    ours = objects()
    for generation in range(3):
        numbers[3 + generation] = len(gc.get_objects(generation=generation))
    for generation in range(1, 3):
        assert numbers[generation] == ours[generation] == numbers[3 + generation]
    assert abs(ours[0] - numbers[0]) <= 8  # the lists and dicts of the readings themselves


@needs_lists
def test_planted_objects_are_counted_where_they_are() -> None:
    gc.collect()
    before = objects()
    planted = [[] for _ in range(12345)]
    after = objects()
    assert 12345 <= after[0] - before[0] <= 12345 + 16
    if INCREMENTAL:
        return
    gc.collect(0)
    older = objects()
    assert 12345 <= older[1] - after[1] <= 12345 + 16 + before[0]
    gc.collect(1)
    oldest = objects()
    assert oldest[2] - older[2] >= 12345
    assert oldest[1] == 0
    del planted


@needs_lists
def test_frozen_objects() -> None:
    frozen, counted, thawed = run(
        """
        import gc, meminspect
        meminspect.gc_state()
        gc.disable()
        gc.freeze()
        print(meminspect.gc_state().frozen, gc.get_freeze_count())
        gc.unfreeze()
        print(meminspect.gc_state().frozen)
        """
    ).split()
    assert frozen == counted
    assert int(counted) > 1000
    assert thawed == "0"


def test_thresholds_and_counts() -> None:
    saved = gc.get_threshold()
    try:
        gc.set_threshold(12321, 7, 5)
        shown = meminspect.gc_state()
        assert (
            tuple(generation.threshold for generation in shown.generations)[:2] == gc.get_threshold()[:2] == (12321, 7)
        )
    finally:
        gc.set_threshold(*saved)
    gc.collect(0)
    gc.collect(0)
    before, ours, after = gc.get_count(), meminspect.gc_state(), gc.get_count()
    assert ours.generations[1].count == before[1] == after[1]
    assert ours.generations[2].count == before[2] == after[2]


@needs_lists
def test_young_count_rises_with_allocations() -> None:
    gc.collect()
    before = meminspect.gc_state().generations[0].count
    planted = [[] for _ in range(1000)]
    after = meminspect.gc_state().generations[0].count
    assert 900 <= after - before <= 1100
    del planted


def test_statistics() -> None:
    gc.collect()
    gc.collect(0)
    shown, theirs = meminspect.gc_state(), gc.get_stats()
    for ours, stats in zip(shown.generations, theirs, strict=True):
        assert ours.collections == stats["collections"]
        assert ours.collected == stats["collected"]
        assert ours.uncollectable == stats["uncollectable"]
        assert ours.candidates == stats.get("candidates")
        assert ours.duration_s == stats.get("duration")


def test_a_collection_that_is_known_is_counted() -> None:
    gc.collect()
    index = 0 if FREE_THREADED else 2
    before = meminspect.gc_state().generations

    class Loop:
        pass

    for _ in range(100):
        loop = Loop()
        loop.itself = loop  # type: ignore[attr-defined]
    del loop
    gc.collect()
    after = meminspect.gc_state().generations
    assert sum(g.collections or 0 for g in after) == sum(g.collections or 0 for g in before) + 1
    collected = sum(g.collected or 0 for g in after) - sum(g.collected or 0 for g in before)
    assert collected >= 100
    assert after[index].collections is not None


def test_enabled_and_trigger() -> None:
    assert not meminspect.gc_state().enabled
    assert "off" in meminspect.gc_state().trigger
    gc.enable()
    shown = meminspect.gc_state()
    assert shown.enabled
    assert f"{shown.generations[0].threshold:,}" in shown.trigger


def test_trigger_tells_when_a_collection_starts() -> None:
    """Runs up to what the sentence says is to go, and one further: the collection starts there and not before."""
    if FREE_THREADED:
        pytest.skip("free-threaded builds count per thread and in steps of 512")
    early, late = run(
        """
        import gc, re
        import meminspect
        kept = [None] * 4000
        gc.collect()
        meminspect.gc_state()
        to_go = int(re.search(r"([0-9,]+) to go", meminspect.gc_state().trigger)[1].replace(",", ""))
        runs = lambda: sum(s["collections"] for s in gc.get_stats())
        before = runs()
        for i in range(to_go - 100):
            kept[i] = []
        print(runs() - before)
        for i in range(to_go - 100, to_go + 100):
            kept[i] = []
        print(runs() - before)
        """
    ).split()
    assert (early, late) == ("0", "1")


def test_no_callback_runs() -> None:
    called: list[str] = []
    gc.callbacks.append(lambda phase, info: called.append(phase))
    try:
        meminspect.gc_state()
    finally:
        gc.callbacks.pop()
    assert called == []


@needs_lists
def test_collecting_is_seen_from_a_finalizer() -> None:
    seen: list[bool] = []

    class Finalized:
        def __del__(self) -> None:
            shown = meminspect.gc_state()
            seen.append(shown.collecting and shown.exact)

    thing = Finalized()
    thing.itself = thing  # type: ignore[attr-defined]
    del thing
    gc.collect()
    assert seen == [True]
    assert not meminspect.gc_state().collecting


def test_kind() -> None:
    shown = meminspect.gc_state()
    assert shown.kind == ("free-threaded" if FREE_THREADED else "incremental" if INCREMENTAL else "generational")
    assert shown.exact is not FREE_THREADED
    assert (shown.reason is None) is not FREE_THREADED


def test_another_process() -> None:
    """The other process tells its own counts, stays still, and is read from outside."""
    code = """
    import gc, sys
    planted = [[] for _ in range(50000)]
    gc.collect(); gc.disable()
    gc.set_threshold(777, 9, 8)
    print(len(gc.get_objects()), gc.get_freeze_count(), flush=True)
    sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        total = int(process.stdout.readline().split()[0])
        shown = meminspect.gc_state(process.pid)
        assert process.stdin is not None
        process.stdin.close()
    assert [generation.threshold for generation in shown.generations][:2] == [777, 9]
    assert not shown.enabled
    if not FREE_THREADED:
        counted = sum(generation.objects or 0 for generation in shown.generations)
        assert abs(counted - total) <= 16
        assert total > 50000
    stats = [generation.collections for generation in shown.generations]
    assert sum(number or 0 for number in stats) >= 1


def test_a_process_that_is_gone() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(meminspect.NativeError):
        meminspect.gc_state(process.pid)
