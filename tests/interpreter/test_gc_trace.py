"""gil.trace(gc_only=True): held against gc.get_stats(), and nothing between two collections."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import sysconfig
import threading

import pytest

import meminspect
from meminspect import _native, gil

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
INCREMENTAL = (3, 14) <= sys.version_info < (3, 14, 5)


class Cycle:
    def __init__(self) -> None:
        self.me = self


def test_each_collection_is_logged_with_what_gc_counts() -> None:
    gc.collect()
    before = [dict(one) for one in gc.get_stats()]
    with gil.trace(gc_only=True) as log:
        for _ in range(10):
            Cycle()
        gc.collect()
        gc.collect(0)
    after = gc.get_stats()
    result = log.result
    for key, found in (
        ("collections", len(result.collections)),
        ("collected", sum(one.collected for one in result.collections)),
    ):
        assert sum(one[key] for one in after) - sum(one[key] for one in before) == found
    assert result.exact
    assert sum(one.collected for one in result.collections) >= 10
    assert all(0 <= one.duration_s <= result.duration_s for one in result.collections)
    assert result.wall_share == pytest.approx(sum(one.duration_s for one in result.collections) / result.duration_s)
    assert result.threads[0].native_id == threading.get_native_id()
    assert sum(one.pauses.count for one in result.pauses) == len(result.collections)
    assert _native.gc_log_collected not in gc.callbacks
    json.dumps(result.to_dict())


@pytest.mark.skipif(FREE_THREADED or INCREMENTAL, reason="this build decides by more than the counters")
def test_what_triggered_a_collection_is_told() -> None:
    threshold = gc.get_threshold()
    try:
        gc.set_threshold(500, 10, 10)
        with gil.trace(gc_only=True) as log:
            gc.collect()
            kept = [[] for _ in range(5_000)]  # type: ignore[var-annotated]
        result = log.result
    finally:
        gc.set_threshold(*threshold)
    assert len(kept) == 5_000
    assert result.collections[0].trigger == "call"
    assert {one.trigger for one in result.collections[1:]} == {"allocation"}
    assert sum(one.by_allocation for one in result.pauses) >= 5
    assert sum(one.by_call for one in result.pauses) == 1


@pytest.mark.skipif(not FREE_THREADED and not INCREMENTAL, reason="this build's counters decide")
def test_a_trigger_that_the_counters_do_not_tell_is_unknown() -> None:
    with gil.trace(gc_only=True) as log:
        gc.collect()
    assert [one.trigger for one in log.result.collections] == [None]


def test_what_found_no_room_is_counted() -> None:
    with gil.trace(gc_only=True, memory_bytes=1) as log:
        for _ in range(3):
            gc.collect(0)
    assert log.result.lost_collections == 2
    assert not log.result.exact


def test_it_calls_nothing_between_collections() -> None:
    """A trace of the GIL would have redirected calls; here the only change is an entry of gc.callbacks."""
    with gil.trace(gc_only=True):
        assert not _native.gil_trace_running()
        assert gc.callbacks.count(_native.gc_log_collected) == 1
        with pytest.raises(meminspect.NativeError, match="logged already"):
            gil.trace(gc_only=True).start()
    with pytest.raises(ValueError, match="nothing to attribute"):
        gil.trace(gc_only=True, attribution=True)  # type: ignore[call-overload]


def test_an_interpreter_ends_while_it_logs() -> None:
    code = "import gc; from meminspect import gil; log = gil.trace(gc_only=True).start(); gc.collect()"
    subprocess.run([sys.executable, "-c", code], check=True)
