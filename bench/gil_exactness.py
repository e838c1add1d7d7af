"""What a trace of the GIL counts beside CPython's own count, workload by workload, for the interpreter at hand.

Every row is one trace: hand-offs from one OS thread to another, changes of thread state as traced and as CPython's own
switch_number counts them, which must be equal, and events that were lost, of which there must be none. The workloads
are those of gil_trace.py, a thousand native threads that take the GIL once, one after another (so 1,001 hand-offs), and
interpreters with a GIL of their own, where there are any. Run it under each build: the rows can be put together.
"""

from __future__ import annotations

import ctypes
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gil_trace import cpu_and_io, ping_pong, run, sleep_zero, two_cpu

NATIVE_THREADS = 1_000
NATIVE = Path(__file__).parent.parent / "tests" / "native" / "native_threads.c"
INSIDE = "import time\nfor _ in range(500): time.sleep(0)"


def locks() -> None:
    """Four threads and one lock, each of which holds it over a sleep."""
    lock = threading.Lock()

    def work() -> None:
        for _ in range(100):
            with lock:
                time.sleep(0.0001)

    run(*[work] * 4)


def native_threads(folder: str) -> Callable[[], object] | None:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = Path(folder, "native.so")
    subprocess.run([compiler, "-shared", "-fPIC", str(NATIVE), "-o", str(library), "-pthread"], check=True)
    function = ctypes.CDLL(str(library)).one_after_another
    function(1)
    return lambda: function(NATIVE_THREADS)


def interpreters() -> Callable[[], object] | None:
    """Two interpreters with their own GILs beside this one's, made and ended while the trace runs."""
    try:
        import _interpreters as module
    except ImportError:
        try:
            import _xxsubinterpreters as module
        except ImportError:
            return None

    def make() -> object:
        try:
            return module.create("isolated")
        except TypeError:
            return module.create(isolated=True)

    def work() -> None:
        made = [make(), make()]
        run(*[lambda one=one: module.run_string(one, INSIDE) for one in made])
        for one in made:
            module.destroy(one)

    return work if sys.version_info >= (3, 12) else None


def build() -> str:
    """The version, and the file that holds the interpreter."""
    debug = " debug" if hasattr(sys, "gettotalrefcount") else ""
    mapped = [line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/libpython3" in line]
    holds = Path(mapped[0] if mapped else sys.executable).resolve().name
    return f"{platform.python_version()}{debug}, {holds}"


def main() -> int:
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        print("this build has no GIL to trace")
        return 0
    from meminspect import gil

    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        workloads = {
            "two CPU threads": two_cpu,
            "CPU + echo": cpu_and_io,
            "queue ping-pong": ping_pong,
            "four sleep(0)": sleep_zero,
            "four, one lock": locks,
            "native threads": native_threads(folder),
            "interpreters": interpreters(),
        }
        print(f"{'build':<36}{'workload':<17}{'hand-offs':>10}{'tstate':>9}{'CPython':>9}{'lost':>6}  attributed")
        for attribution in (False, True):
            for name, work in workloads.items():
                if work is None:
                    continue
                with gil.trace(collections=False, attribution=attribution) as trace:
                    work()
                result = trace.result
                ok = result.exact and result.tstate_switches == result.switch_number_delta and not result.lost_events
                ok &= name != "native threads" or result.hand_offs.total == NATIVE_THREADS + 1
                wrong += not ok
                print(f"{build():<36}{name:<17}{result.hand_offs.total:>10,}{result.tstate_switches:>9,}"
                      f"{result.switch_number_delta:>9,}{result.lost_events:>6,}  {'yes' if attribution else 'no '}"
                      f"{'' if ok else f'  WRONG: {result.reason}'}", flush=True)  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
