"""The GIL's counters against workloads whose hand-offs are known."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import meminspect

ENABLED = getattr(sys, "_is_gil_enabled", lambda: True)()
needs_gil = pytest.mark.skipif(not ENABLED, reason="this interpreter runs without a GIL")
without_gil = pytest.mark.skipif(ENABLED, reason="this interpreter has a GIL")


def ping_pong(rounds: int) -> None:
    """Two threads that hand the GIL to each other: each round is one change of thread there and one back."""
    # each lock is acquired in turn, so the other thread must run in between
    first, second = threading.Lock(), threading.Lock()
    first.acquire()
    second.acquire()

    def partner() -> None:
        for _ in range(rounds):
            first.acquire()
            second.release()

    thread = threading.Thread(target=partner)
    thread.start()
    for _ in range(rounds):
        first.release()
        second.acquire()
    thread.join()


@needs_gil
def test_known_hand_offs_are_counted() -> None:
    rounds = 2000
    before = meminspect.gil.counters().tstate_switches
    ping_pong(rounds)
    after = meminspect.gil.counters().tstate_switches
    assert before is not None
    assert after is not None
    assert 2 * rounds - 2 <= after - before <= 6 * rounds


@needs_gil
def test_nothing_is_counted_while_one_thread_runs() -> None:
    """In a process of its own, where no other thread asks."""
    code = """
    import meminspect
    before = meminspect.gil.counters().tstate_switches
    sum(range(10**6))
    print(meminspect.gil.counters().tstate_switches - before)
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "0"


@needs_gil
def test_switch_interval() -> None:
    saved = sys.getswitchinterval()
    try:
        for interval in (0.001, 0.25):
            sys.setswitchinterval(interval)
            assert meminspect.gil.counters().switch_interval_s == sys.getswitchinterval()
    finally:
        sys.setswitchinterval(saved)


@needs_gil
def test_the_holder_is_the_caller() -> None:
    shown = meminspect.gil.counters()
    assert shown.locked
    assert shown.enabled
    assert shown.exact
    assert shown.holder_native_id == threading.get_native_id()
    assert shown.holder_name == threading.current_thread().name
    found = []
    thread = threading.Thread(target=lambda: found.append(meminspect.gil.counters()), name="measures itself")
    thread.start()
    native_id = thread.native_id
    thread.join()
    assert found[0].holder_name == "measures itself"
    assert found[0].holder_native_id == native_id


@needs_gil
def test_the_holder_after_fork() -> None:
    code = """
    import os, meminspect
    meminspect.gil.counters()
    pid = os.fork()
    if not pid:
        os._exit(meminspect.gil.counters().holder_native_id != os.getpid())
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "0"


@needs_gil
def test_a_name_is_read_without_running_the_threads_code() -> None:
    called: list[str] = []

    class Loud(threading.Thread):
        def __getattribute__(self, name: str) -> object:
            called.append(name)
            return super().__getattribute__(name)

    class Property(threading.Thread):
        @property
        def _name(self) -> str:
            called.append("_name")
            return "of a property"

        @_name.setter
        def _name(self, value: str) -> None:
            pass

    stop = threading.Event()
    threads = [Loud(target=stop.wait, name="loud one"), Property(target=stop.wait)]
    for thread in threads:
        thread.start()
    from meminspect import _native

    idents = [thread.ident for thread in threads]
    called.clear()
    names = _native.thread_names()
    assert called == []
    stop.set()
    for thread in threads:
        thread.join()
    assert names[idents[0]] == "loud one"
    assert idents[1] not in names


@needs_gil
def test_rate_counts_what_others_do() -> None:
    """A pair of threads that count their own rounds while rate() sleeps."""
    first, second = threading.Lock(), threading.Lock()
    first.acquire()
    second.acquire()
    rounds = 0
    stop = False

    def ping() -> None:
        nonlocal rounds
        while not stop:
            first.release()
            second.acquire()
            rounds += 1
        first.release()

    def pong() -> None:
        while True:
            first.acquire()
            second.release()
            if stop:
                return

    threads = [threading.Thread(target=ping), threading.Thread(target=pong)]
    for thread in threads:
        thread.start()
    while rounds < 10:
        time.sleep(0.001)
    begin = rounds
    shown = meminspect.gil.rate(0.2)
    end = rounds
    stop = True
    for thread in threads:
        thread.join()
    assert shown.tstate_switches is not None
    assert shown.per_second is not None
    assert end > begin
    assert shown.tstate_switches <= 6 * (end - begin) + 100
    assert shown.tstate_switches >= (end - begin) // 2
    assert shown.seconds >= 0.2
    assert shown.per_second == pytest.approx(shown.tstate_switches / shown.seconds)


@needs_gil
def test_wait_is_longer_than_the_interval_when_another_thread_computes() -> None:
    saved = sys.getswitchinterval()
    idle = meminspect.gil.wait(0.05)
    stop = False

    def compute() -> None:
        while not stop:
            sum(range(1000))

    thread = threading.Thread(target=compute)
    try:
        sys.setswitchinterval(0.02)
        thread.start()
        # long enough for waits of which the median says something; a thread that gets no processor takes no GIL either
        for seconds in (0.4, 1.0, 3.0, 9.0):
            busy = meminspect.gil.wait(seconds)
            if busy.samples >= 8 and busy.median_s is not None and busy.median_s >= 0.015:
                break
    finally:
        stop = True
        sys.setswitchinterval(saved)
        thread.join()
    assert idle.samples >= 1
    assert idle.median_s is not None
    assert busy.median_s is not None
    assert busy.max_s is not None
    assert busy.share_waiting is not None
    assert busy.samples >= 8
    assert busy.median_s >= 0.015  # the holder lets go after the interval, no sooner
    assert busy.max_s >= busy.median_s
    assert 0.5 <= busy.share_waiting <= 1


@needs_gil
def test_sleeping_and_waiting_can_be_interrupted() -> None:
    code = """
    import os, signal, sys, threading, meminspect
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it runs in the background ignore it
    meminspect.gil.counters()
    for call in (meminspect.gil.rate, meminspect.gil.wait):
        main = threading.main_thread().ident
        threading.Timer(0.1, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
        try:
            call(60)
        except KeyboardInterrupt:
            print("interrupted")
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=50
    )
    assert result.stdout.split() == ["interrupted"] * 2


@needs_gil
def test_another_process() -> None:
    code = """
    import sys, threading, time
    sys.setswitchinterval(0.0375)
    first, second = threading.Lock(), threading.Lock()
    first.acquire(); second.acquire()
    def partner():
        for _ in range(500):
            first.acquire(); second.release()
    thread = threading.Thread(target=partner); thread.start()
    for _ in range(500):
        first.release(); second.acquire()
    thread.join()
    print("ready", flush=True)
    sys.stdin.read()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        while meminspect.gil.counters(process.pid).locked:  # until it sleeps in read()
            time.sleep(0.01)
        shown = meminspect.gil.counters(process.pid)
        assert process.stdin is not None
        process.stdin.close()
    assert shown.switch_interval_s == pytest.approx(0.0375)
    assert shown.tstate_switches is not None
    assert 998 <= shown.tstate_switches <= 4000
    assert shown.holder_native_id is None


@needs_gil
def test_the_holder_of_another_process() -> None:
    code = "print('ready', flush=True)\nwhile True: sum(range(10**5))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        deadline = time.monotonic() + 30
        shown = meminspect.gil.counters(process.pid)
        while not shown.locked and time.monotonic() < deadline:  # it lets go for as long as it prints
            shown = meminspect.gil.counters(process.pid)
        with open(f"/proc/{process.pid}/comm") as file:
            comm = file.read().strip()
        process.kill()
    assert shown.locked
    assert shown.holder_native_id == process.pid
    assert shown.holder_name == comm


@without_gil
def test_says_that_there_is_no_gil() -> None:
    shown = meminspect.gil.counters()
    assert shown.enabled is False
    assert shown.tstate_switches is None
    assert shown.locked is None
    assert shown.reason
    assert shown.switch_interval_s == sys.getswitchinterval()
    rate = meminspect.gil.rate(0.01)
    assert rate.tstate_switches is None
    assert rate.reason
    wait = meminspect.gil.wait(0.01)
    assert wait.samples == 0
    assert wait.reason


def test_bad_spans_are_refused() -> None:
    for seconds in (0, -1, float("nan"), float("inf"), 1e9):
        with pytest.raises(ValueError, match="seconds"):
            meminspect.gil.rate(seconds)
        with pytest.raises(ValueError, match="seconds"):
            meminspect.gil.wait(seconds)
    with pytest.raises(ValueError, match="pause"):
        meminspect.gil.wait(0.1, pause=1.0)


def test_a_process_that_is_no_python() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        with pytest.raises(meminspect.NativeError):
            meminspect.gil.counters(process.pid)
        process.kill()


def test_the_callers_pid_is_in_the_capture() -> None:
    from meminspect import _native

    assert _native.gil_capture()["pid"] == os.getpid()
