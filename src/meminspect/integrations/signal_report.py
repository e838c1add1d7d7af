"""Reports by signal, for servers that are not started as a script: `install()` and `uninstall()`.

    # gunicorn.conf.py
    def post_worker_init(worker):
        import signal, meminspect
        meminspect.install(signal=signal.SIGRTMIN + 5, path="/run/app/report-{pid}.json")

`kill -s RTMIN+5 PID` then makes the worker write its report, twice: at once what can be told without the GIL, with
`partial` true and the other sections null; and, when the GIL could be had, the whole report in its place. A worker that
is stuck in a C call still answers with the first.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import re
import signal as signals
import stat
from functools import partial

from meminspect import _native

_FORK_WAITS_MS = 5_000  # for a report that is being written; then the fork goes on, and the child starts afresh
_EXIT_WAITS_MS = 30_000

_asked: tuple[int, str, float | None] | None = None  # what is installed, as the caller gave it
_hooked = False  # os.register_at_fork knows no way back
_exiting = False


def install(signal: int, path: str | os.PathLike[str] = "report-{pid}.json", *, max_pause: float | None = 1.0) -> None:
    """Answers `signal` with a report in the file `path`, from now on, in this process and in those it forks.

    signal -- SIGRTMIN to SIGRTMAX, SIGUSR1 or SIGUSR2. There is no default: gunicorn, celery and uwsgi use both of the
              latter, and no real-time signal (SIGRTMIN + 5 is free under all three). Send it only to processes that
              installed it: its default is to end the process.
    path   -- `{pid}` stands for the process id; without it, processes overwrite one another's report. A relative path
              is taken from the current folder as of now. The file has mode 0600 and is replaced in one step.
    max_pause -- seconds for which each of the report's parts may keep the process waiting: see memory(), heap_map() and
              gc_state()

    The signal handler is native and only notes the request; two native threads of small stacks answer it, so the
    program's own handlers, its main thread and `signal.set_wakeup_fd` are left alone. Requests that come while one is
    waiting are answered together. A second call with the same arguments does nothing.

    Raises ValueError for a signal that is reserved, taken (has a handler, is ignored, or is blocked here because
    something waits for it) or for a path that cannot be written; RuntimeError when another signal or path is installed
    already, or in a subinterpreter.
    """
    global _asked, _hooked
    number = _usable(signal)
    template = _template(os.fspath(path))
    wanted = (number, template, max_pause)
    if _asked is not None:
        if _asked == wanted:
            return
        raise RuntimeError(f"a report is installed on {_name(_asked[0])} with the path {_asked[1]}: uninstall() first")
    from meminspect.integrations import full_report  # everything that the second thread runs is imported here

    pieces = os.fsencode(template).replace(b"{pid}", b"\0")
    document = partial(full_report.document, max_pause=max_pause)
    refused = _native.signal_install(number, pieces, *full_report.heads(), document)
    if refused is not None:
        raise ValueError(f"{_name(number)} {_REFUSED[refused]}; most servers leave real-time signals free: SIGRTMIN+5")
    _asked = wanted
    if not _hooked:
        _hooked = True
        os.register_at_fork(before=_before_fork, after_in_parent=_start, after_in_child=_start)
    atexit.register(_at_exit)


def uninstall() -> None:
    """Ends the two threads. The handler stays and does nothing, so that a late signal does not end the process.

    Raises RuntimeError when a report is still being written after 30 s.
    """
    global _asked
    if _asked is None:
        return
    if not _native.signal_uninstall(_EXIT_WAITS_MS):
        raise RuntimeError("a report is still being written")
    atexit.unregister(_at_exit)
    _asked = None


_REFUSED = {
    "taken": "is taken: the program has a handler for it",
    "ignored": "is taken: the program ignores it",
    "blocked": "is taken: it is blocked here, something waits for it with sigwait() or signalfd",
    "invalid": "cannot be handled on this system",
    "installed": "is not free: another install() came first",
}


def _name(number: int) -> str:
    lowest = int(getattr(signals, "SIGRTMIN", 0))
    if lowest and lowest <= number <= signals.SIGRTMAX:
        return "SIGRTMIN" if number == lowest else f"SIGRTMIN+{number - lowest}"
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _usable(signal: int) -> int:
    if isinstance(signal, bool) or not isinstance(signal, int):
        raise TypeError(f"signal must be a number such as signal.SIGRTMIN + 5, not {type(signal).__name__}")
    number = int(signal)
    lowest, highest = int(signals.SIGRTMIN), int(signals.SIGRTMAX)
    if not (lowest <= number <= highest or number in (signals.SIGUSR1, signals.SIGUSR2)):
        raise ValueError(
            f"{_name(number)} is reserved: it means something to the system or the C library; "
            "take SIGRTMIN to SIGRTMAX (SIGRTMIN+5 is free in most servers), SIGUSR1 or SIGUSR2"
        )
    return number


def _template(path: str) -> str:
    """The absolute path, with `{pid}` still in it; ValueError when no report could be written there."""
    if "\0" in path:
        raise ValueError("path holds a null character")
    unknown = [name for name in re.findall(r"\{[^{}]*\}", path) if name != "{pid}"]
    if unknown:
        raise ValueError(f"path knows the placeholder {{pid}} only, not {unknown[0]}")
    folder, name = os.path.split(path)
    if not name:
        raise ValueError(f"path names no file: {path!r}")
    if "{pid}" in folder:
        raise ValueError("{pid} may stand in the file's name only: the folder must exist beforehand")
    folder = os.path.abspath(folder or os.curdir)
    if "{pid}" in folder:
        raise ValueError("the current folder's name holds {pid}: give an absolute path elsewhere")
    if not os.path.isdir(folder):
        raise ValueError(f"no such folder: {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ValueError(f"no permission to write in {folder}")
    template = os.path.join(folder, name)
    own = template.replace("{pid}", str(os.getpid()))
    try:
        kind = os.lstat(own).st_mode
    except FileNotFoundError:
        kind = stat.S_IFREG
    if not stat.S_ISREG(kind):
        raise ValueError(f"{own} exists and is not a regular file")
    return template


def _before_fork() -> None:
    _native.signal_stop(_FORK_WAITS_MS)


def _start() -> None:
    if _asked is None or _exiting:
        return
    with contextlib.suppress(OSError):  # no room for a thread: signal_state() says so, and the program's fork stands
        _native.signal_start()


def _at_exit() -> None:
    global _exiting
    _exiting = True
    _native.signal_stop(_EXIT_WAITS_MS)
