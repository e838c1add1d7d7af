"""gil.waits(): planted contention and stops of the world in free-threaded builds."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
import sysconfig
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import meminspect
from meminspect import _native, gil

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
free_threaded = pytest.mark.skipif(not FREE_THREADED, reason="this build has a GIL")
HELD_S = 0.2


def run(*functions: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=function, name=function.__name__) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return threads


@pytest.mark.skipif(FREE_THREADED, reason="this build has no GIL")
def test_a_build_with_a_gil_says_so() -> None:
    with pytest.raises(meminspect.NativeError, match="has a GIL") as caught, gil.waits():
        pass
    assert caught.value.code == "absent"


@free_threaded
def test_a_lock_held_for_a_known_time_is_found_with_its_address_and_thread() -> None:
    lock, taken, asks = threading.Lock(), threading.Event(), threading.Event()

    def keeper() -> None:
        with lock:
            taken.set()
            asks.wait()
            stat = Path(f"/proc/self/task/{threads[1].native_id}/stat")
            while stat.read_text().rpartition(")")[2].split()[0] != "S":  # it has not come to its wait yet
                time.sleep(0.01)
            time.sleep(HELD_S)

    def waiter() -> None:
        taken.wait()
        asks.set()
        with lock:
            pass

    threads = [threading.Thread(target=function) for function in (keeper, waiter)]
    with gil.waits() as waits:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    result = waits.result
    [at] = [one for one in result.parked if id(lock) <= one.address < id(lock) + 64]
    assert at.parks >= 1
    assert HELD_S / 2 < at.waited_s < HELD_S + 0.5
    [who] = [result.threads[index] for index in at.threads]
    assert who.native_id == threads[1].native_id
    assert who.longest_s >= HELD_S / 2
    assert result.exact
    json.dumps(result.to_dict())


@free_threaded
def test_a_wait_that_times_out_is_told_from_one_that_gets_it() -> None:
    lock = threading.Lock()
    lock.acquire()
    with gil.waits() as waits:
        assert not lock.acquire(timeout=0.1)
    [at] = [one for one in waits.result.parked if id(lock) <= one.address < id(lock) + 64]
    assert at.timed_out >= 1
    assert at.waited_s >= 0.09


@free_threaded
def test_a_stopped_world_has_its_requester_and_its_length() -> None:
    """_PyEval_StopTheWorld, held for a known time by a thread, while another runs."""
    stop, start = ctypes.pythonapi._PyEval_StopTheWorld, ctypes.pythonapi._PyEval_StartTheWorld
    interpreter = ctypes.pythonapi.PyInterpreterState_Get
    interpreter.restype = ctypes.c_void_p
    keep = ctypes.PyDLL(None)
    address = interpreter()
    for function in (stop, start):
        function.argtypes, function.restype = [ctypes.c_void_p], None
    done = threading.Event()

    def victim() -> None:
        while not done.is_set():
            sum(range(100))

    def requester() -> None:
        time.sleep(0.1)
        stop(address)
        keep.usleep(int(HELD_S * 1e6))
        start(address)
        done.set()

    with gil.waits() as waits:
        threads = run(victim, requester)
    result = waits.result
    longest = max(result.stops, key=lambda one: one.length_s)
    assert longest.requester_native_id == threads[1].native_id
    assert longest.requester == "requester"
    assert HELD_S * 0.8 <= longest.length_s < HELD_S + 0.3
    assert threads[0].native_id in {result.threads[index].native_id for index in longest.victims}
    assert result.stopped_share > 0


@free_threaded
def test_a_collection_stops_the_world() -> None:
    done = threading.Event()
    kept = [[number] for number in range(300_000)]

    def victim() -> None:
        while not done.is_set():
            sum(range(100))

    def collector() -> None:
        time.sleep(0.05)
        for _ in range(5):
            gc.collect()
        done.set()

    with gil.waits() as waits:
        threads = run(victim, collector)
    result = waits.result
    assert len(kept) == 300_000
    assert len(result.collections) >= 5
    assert any(one.requester_native_id == threads[1].native_id for one in result.stops)
    assert result.pauses[0].pauses.count == len(result.collections)


@free_threaded
def test_attached_and_detached_time_is_sampled() -> None:
    def spin() -> None:
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            sum(range(100))

    def sleep() -> None:
        time.sleep(0.5)

    with gil.waits(rate_hz=500) as waits:
        run(spin, sleep)
    sampled = waits.result.attached
    assert sampled is not None
    of = {one.name: one for one in sampled.threads}
    assert (of["spin"].attached_share or 0) > 0.5
    assert (of["sleep"].detached_share or 0) > 0.5


@free_threaded
def test_calls_are_put_back_and_forks_are_silent() -> None:
    code = """
        import os, threading, time, warnings
        from meminspect import _native, gil
        warnings.simplefilter("ignore")
        done = threading.Event()
        lock = threading.Lock()
        def contend():
            while not done.is_set():
                with lock: time.sleep(0)
        threads = [threading.Thread(target=contend) for _ in range(3)]
        for thread in threads: thread.start()
        for _ in range(100):
            _native.waits_start(1 << 16)
            time.sleep(0)
            assert _native.waits_stop()["left_in_place"] is None
        with gil.waits() as outer:
            child = os.fork()
            if not child:
                assert not _native.waits_running()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        done.set()
        for thread in threads: thread.join()
        gil.waits().start()  # and ends so
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=120, env=dict(os.environ))


@free_threaded
def test_what_found_no_room_is_counted() -> None:
    lock = threading.Lock()
    lock.acquire()
    with gil.waits(memory_bytes=1, rate_hz=0) as waits:
        for _ in range(5):
            lock.acquire(timeout=0.01)
    assert waits.result.lost_waits >= 4
    assert not waits.result.exact
    with pytest.raises(meminspect.NativeError) as caught:
        _native.waits_stop()
    assert caught.value.code == "absent"
