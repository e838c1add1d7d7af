"""What changes while the GIL is traced: slots bound anew, libraries loaded, interpreters that come and go.

Each runs in a process of its own, and its sums are CPython's own switch_number at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Callable

import pytest

Planted = Callable[[str], str]
pytestmark = pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="this build has no GIL to trace"
)
COMMON = """
import ctypes, sys, threading, time, warnings
from meminspect import _native, gil
warnings.simplefilter("ignore")

def contend(seconds=0.05):
    def spin():
        end = time.monotonic() + seconds
        while time.monotonic() < end: sum(range(100))
    threads = [threading.Thread(target=spin) for _ in range(2)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()

def check(result):
    assert result.tstate_switches == result.switch_number_delta, result
    for one in result.interpreters:
        assert one.tstate_switches == one.switch_number_delta, one.to_dict()
    assert result.hand_offs.total == result.hand_offs.forced + result.hand_offs.voluntary
"""
INSIDE = """
import time
def inside_NAME():
    for _ in range(50): time.sleep(0)
inside_NAME()
"""


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", COMMON + textwrap.dedent(code)], capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
    return done.stdout


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the planted code knows x86-64's relocations")
def test_a_slot_that_the_resolver_binds_is_seen_and_set_again(planted: Planted) -> None:
    """The linker writes the real function over ours: waits until then are not seen, but every switch is."""
    said = python(f"""
        planted = ctypes.CDLL({planted("binding")!r})
        planted.find_slot.restype = planted.slot_holds.restype = ctypes.c_void_p
        lazy = ctypes.c_int()
        slot = planted.find_slot(b"pthread_cond_timedwait", ctypes.byref(lazy))
        assert slot, "the interpreter calls it"
        before = planted.slot_holds()
        trace = gil.trace(collections=False)
        with trace:
            ours = planted.slot_holds()
            assert ours != before, "it was not redirected"
            if lazy.value:
                assert planted.bind_by(ctypes.c_void_p(before)) == 110  # ETIMEDOUT
            else:
                line = next(line for line in open("/proc/self/maps")
                            if int(line.split("-")[0], 16) <= slot < int(line.split("-")[1].split()[0], 16))
                if "w" not in line.split()[1]:
                    print("read-only")
                    sys.exit()
                ctypes.c_void_p.from_address(slot).value = before
            end = time.monotonic() + 30
            while planted.slot_holds() != ours and time.monotonic() < end: time.sleep(0.005)
            assert planted.slot_holds() == ours, "it was not set again"
            contend()
        assert trace.raw["strayed"] >= 1, trace.raw["strayed"]
        result = trace.result
        check(result)
        assert not result.exact and "taken away" in result.reason, result.reason
        assert planted.slot_holds() != ours, "it was not put back"
        with gil.trace(collections=False) as again: contend()
        check(again.result)
        assert again.result.exact, again.result.reason
        print("lazy" if lazy.value else "bound")
    """)
    assert said.split() in (["lazy"], ["bound"], ["read-only"]), said


@pytest.mark.parametrize("at_once", ["", "1"], ids=["lazy", "immediate"])
def test_slots_that_are_bound_between_two_traces_are_followed(at_once: str) -> None:
    """The first trace finds them unbound where binding is lazy, and the others bound: nothing of it may show."""
    said = python(
        """
        for _ in range(3):
            with gil.trace(collections=False) as trace: contend()
            check(trace.result)
            assert trace.result.exact, trace.result.reason
            assert trace.raw["strayed"] == 0
            contend()
        print("well")
        """,
        LD_BIND_NOW=at_once,
    )
    assert said.split() == ["well"]


def test_a_library_loaded_while_tracing_is_followed(planted: Planted) -> None:
    """Its native threads are seen, and its own calls of the functions that are redirected are not."""
    said = python(f"""
        with gil.trace(collections=False) as trace:
            for name in ("_sqlite3", "_ssl", "_decimal", "unicodedata", "_elementtree"):
                try: __import__(name)
                except ImportError: pass
            native = ctypes.CDLL({planted("native_threads")!r}, ctypes.RTLD_GLOBAL)
            assert native.one_after_another(50) == 0
        result = trace.result
        check(result)
        print(result.exact, result.hand_offs.total, result.hand_offs.forced, len(result.threads), result.reason)
    """)
    assert said.split()[:4] == ["True", "51", "0", "51"], said


@pytest.mark.skipif(sys.version_info < (3, 12), reason="interpreters have a GIL of their own from 3.12 on")
@pytest.mark.parametrize("attribution", [False, True], ids=["plain", "attributed"])
def test_interpreters_with_a_gil_of_their_own_are_traced_apart(attribution: bool) -> None:
    said = python(f"""
        try:
            import _interpreters as interpreters
        except ImportError:
            import _xxsubinterpreters as interpreters
        try:
            make = lambda: interpreters.create("isolated")
            before = make()
        except TypeError:
            make = lambda: interpreters.create(isolated=True)
            before = make()
        with gil.trace(attribution={attribution}) as trace:
            during = make()
            threads = [threading.Thread(target=interpreters.run_string, name=name,
                                        args=(one, {INSIDE!r}.replace("NAME", name)))
                       for one, name in ((before, "before"), (during, "during"))]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            interpreters.destroy(during)
            contend()
        result = trace.result
        check(result)
        assert len(result.interpreters) == 3, result.interpreters
        assert sum(one.acquisitions >= 50 for one in result.interpreters[1:]) == 2, result.interpreters
        for name in ("before", "during") if {attribution} else ():
            sites = [site for site in result.release_sites if site.place and site.place.function == "inside_" + name]
            assert sum(site.forced + site.voluntary for site in sites) >= 50, (name, result.release_sites)
            assert {{result.threads[site.thread].name for site in sites}} == {{name}}, sites
            assert {{site.place.line for site in sites}} <= {{3, 4}}, sites
        print(result.exact, result.reason)
    """)
    assert said.split()[0] == "True", said
