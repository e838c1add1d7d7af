"""gil.sample() and gil.knock(): estimates, held against the exact trace and against planted workloads."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
from collections.abc import Callable

import pytest

import meminspect
from meminspect import _native, gil

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
with_gil = pytest.mark.skipif(FREE_THREADED, reason="this build has no GIL to sample")


def run(*functions: Callable[[], object]) -> None:
    threads = [threading.Thread(target=function, name=function.__name__) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@with_gil
def test_its_shares_agree_with_the_exact_trace() -> None:
    def spin() -> None:
        end = time.monotonic() + 0.8
        while time.monotonic() < end:
            sum(range(100))
        ended.wait()

    ended = threading.Event()
    with gil.trace() as trace:
        with gil.sample(1000) as sampled:
            threads = [threading.Thread(target=spin, name="spin") for _ in range(2)]
            for thread in threads:
                thread.start()
            time.sleep(1.2)
        ended.set()
        for thread in threads:
            thread.join()
    result = sampled.result
    assert result.looks > 5  # a busy machine lets it look seldom
    assert result.exact_held_share is not None
    assert result.held_share is not None
    assert result.held_error is not None
    assert abs(result.held_share - result.exact_held_share) < 0.15 + 3 * result.held_error
    assert result.worst_error is not None
    assert "off by" in repr(result)
    held = {thread.native_id: thread.held_s for thread in trace.result.threads}
    for one in result.threads:
        assert one.exact_share is not None
        assert one.exact_share * result.duration_s <= held[one.native_id] + 0.1
    assert {"spin"} <= {one.name for one in result.threads}
    assert result.unknown_share == 0
    json.dumps(result.to_dict())


@with_gil
def test_threads_that_wait_are_counted_by_the_c_library() -> None:
    ready = threading.Barrier(4)

    def wait() -> None:
        ready.wait()
        time.sleep(0.05)

    def keep() -> None:
        ready.wait()
        time.sleep(0.01)
        ctypes.PyDLL(None).usleep(600_000)  # holds the GIL

    with gil.sample(500) as sampled:
        run(wait, wait, wait, keep)
    result = sampled.result
    assert result.waiters is not None, result.reason
    assert result.mean_waiters is not None
    assert len(result.waiters) > 3
    assert sum(result.waiters[3:]) > 0  # the three that sleep have woken and wait, while one holds it
    assert sum(result.waiters) == pytest.approx(1)
    assert result.held_share is not None
    assert result.held_share > 0.1
    assert any(hold.from_s >= 0.05 for hold in result.holds)


@with_gil
def test_an_idle_program_holds_nothing_and_looking_costs_little() -> None:
    with gil.sample() as sampled:
        time.sleep(1)
    result = sampled.result
    assert result.held_share is not None
    assert result.held_share < 0.2
    assert 0 < result.looks < 200
    assert result.cpu_share < 0.05  # a busy machine's wakings included; bench/gil_trace.py has the figure
    assert result.tstate_switches is not None
    assert not result.exact


@with_gil
def test_a_knock_waits_for_a_hold_to_end() -> None:
    enough, usleep = threading.Event(), ctypes.PyDLL(None).usleep

    def keep() -> None:
        while not enough.is_set():
            usleep(300_000)

    thread = threading.Thread(target=keep)
    thread.start()
    try:  # the end of a hold may be what is met
        waits = [gil.knock(0.1).wait_s for _ in range(4)]
    finally:
        enough.set()
        thread.join()
    assert max(wait or 0.0 for wait in waits) > 0.05, waits
    assert gil.knock().wait_s is not None


def test_it_is_one_at_a_time_and_says_so() -> None:
    with gil.sample() as first:
        with pytest.raises(meminspect.NativeError, match="sampled already"):
            gil.sample().start()
        with pytest.raises(RuntimeError, match="not been stopped"):
            _ = first.result
    with pytest.raises(meminspect.NativeError) as caught:
        _native.gil_sampler_stop()
    assert caught.value.code == "absent"
    for rate in (0, 1e6, float("nan")):
        with pytest.raises(ValueError, match="rate_hz"):
            gil.sample(rate)


@pytest.mark.parametrize("ending", ["pass", "os._exit(0)", "os.execv(sys.executable, [sys.executable, '-c', ''])"])
def test_an_interpreter_ends_well_while_it_samples(ending: str) -> None:
    code = f"""
        import os, sys, threading, time
        from meminspect import gil
        def forever():
            while True: time.sleep(0.001)
        for _ in range(2): threading.Thread(target=forever, daemon=True).start()
        gil.sample(2000).start()
        time.sleep(0.1)
        {ending}
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


def test_a_child_after_fork_is_not_sampled_and_may_sample_itself() -> None:
    code = """
        import os, time, warnings
        from meminspect import _native, gil
        warnings.simplefilter("ignore")
        with gil.sample(500) as outer:
            child = os.fork()
            if not child:
                assert not _native.gil_sampler_running()
                with gil.sample(500) as inner:
                    time.sleep(0.2)
                assert inner.result.looks > 2
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        assert outer.result.looks
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60, env=dict(os.environ))


@pytest.mark.skipif(not FREE_THREADED, reason="this build has a GIL")
def test_without_a_gil_it_tells_which_threads_are_attached() -> None:
    def spin() -> None:
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            sum(range(100))

    def sleep() -> None:
        time.sleep(0.6)

    with gil.sample(500) as sampled:
        run(spin, sleep)
    result = sampled.result
    assert result.held_share is None
    assert result.reason is not None
    assert "without a GIL" in result.reason
    of = {one.name: one for one in result.threads}
    attached, detached = of["spin"].attached_share, of["sleep"].detached_share
    assert attached is not None
    assert attached > 0.5
    assert detached is not None
    assert detached > 0.5
    assert gil.knock().wait_s is None
