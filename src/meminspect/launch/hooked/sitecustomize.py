"""The second way into a program: a sitecustomize module in front of the real one, where nothing can be preloaded.

It does what csrc/launch/preload.c does, in Python: takes its orders from the environment and removes them, steps aside
for the sitecustomize module that was hidden, and registers one function with atexit before the program does. The folder
holds nothing else, since it is on the path for a moment.
"""


def _take_orders() -> tuple[int, int, float, int, str, str]:
    import os
    import sys

    text = os.environ.pop("MEMINSPECT_LAUNCH")
    hidden = os.environ.pop("MEMINSPECT_PYTHONPATH", None)
    if hidden is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = hidden
    sys.path.remove(os.path.dirname(__file__))
    sys.path_importer_cache.pop(os.path.dirname(__file__), None)
    del sys.modules["sitecustomize"]
    fd, launcher, _interval, pause_us, start, function, native = text.split(":", 6)
    return int(fd), int(launcher), int(pause_us) / 1e6, int(start), function, native


def _move_away(fd: int) -> int:
    """The descriptor leaves the low numbers, so that the program's first open() returns what it would."""
    import os

    moved = min(4000, os.sysconf("SC_OPEN_MAX") - 1)
    try:
        os.fstat(moved)
    except OSError:
        os.dup2(fd, moved, inheritable=False)
        os.close(fd)
        return moved
    os.set_inheritable(fd, False)  # the number is taken
    return fd


def _hook() -> None:
    import atexit
    import os
    import sys
    import time

    launcher_fd, launcher, max_pause, start, function, native = _take_orders()
    fd = _move_away(launcher_fd)
    inode = os.fstat(fd).st_ino
    started = os.getpid()

    def result_file() -> int:
        try:
            if os.fstat(fd).st_ino == inode:
                return fd
        except OSError:
            pass
        return os.open(f"/proc/{launcher}/fd/{launcher_fd}", os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)

    def tell(kind: int, text: bytes) -> None:
        header = (0x3152494D, 4), (kind, 4), (started, 4), (0, 4), (len(text), 8), (time.monotonic_ns(), 8), (0, 8)
        os.write(result_file(), b"".join(number.to_bytes(size, sys.byteorder) for number, size in header) + text)

    def measure(kind: int) -> None:
        import _imp
        import gc

        collects = gc.isenabled()
        gc.disable()
        before = sys.getallocatedblocks()
        had = "meminspect._native" in sys.modules
        spec = type(__spec__)("meminspect._native", None, origin=native)
        try:
            module = _imp.create_dynamic(spec)
            _imp.exec_dynamic(module)
            kept.append(module)
            if not had:
                sys.modules.pop("meminspect._native", None)
            getattr(module, function)(result_file(), kind, sys.getallocatedblocks() - before, collects, max_pause)
        except Exception as error:
            tell(6, str(error).encode("utf-8", "replace"))
        finally:
            if collects:
                gc.enable()

    def at_exit() -> None:
        if os.getpid() == started:
            tell(4, b"")
            measure(5)

    kept: list[object] = []
    atexit.register(at_exit)
    tell(1, b"sitecustomize")
    if start:
        measure(2)


_hook()
import sitecustomize  # type: ignore[import-not-found] # noqa: E402, F401 -- the one that was hidden; site.py handles its absence
