"""Facts about a process, asked of psutil in the process that shows: never in one that is measured.

A fact that cannot be told is None; `reason` says why. Nothing here opens the process itself: /proc is read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

GONE = "the process had ended when psutil was asked"


def facts(pid: int) -> dict[str, Any]:
    """started_s, threads, open_files, user_s, system_s, program of a process, None where /proc refuses; and `reason`.

    The program is the name of its script or module where the command line tells it, without arguments.
    """
    import psutil

    result: dict[str, Any] = dict.fromkeys(("started_s", "threads", "open_files", "user_s", "system_s", "program"))
    result["reason"] = None
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            result["started_s"] = process.create_time()
            result["threads"] = process.num_threads()
            times = process.cpu_times()
            result["user_s"], result["system_s"] = times.user, times.system
            result["program"] = ask(lambda: program_name(process.cmdline())) or process.name()
            result["open_files"] = ask(process.num_fds)
    except psutil.NoSuchProcess:
        result["reason"] = GONE
    except psutil.AccessDenied:
        result["reason"] = "permission was refused"
    if result["reason"] is None and result["open_files"] is None:
        result["reason"] = "the number of open files may not be read"
    return result


def ask(question: Callable[[], Any]) -> Any:
    """An answer of psutil, or None where the kernel refuses it."""
    import psutil

    try:
        return question()
    except psutil.Error:
        return None


def program_name(command_line: list[str]) -> str:
    """What a command line of Python runs: the script's file name, or the module; else the executable's name.

    Arguments of the program are never part of it; of another program than Python nothing can be told from them.
    """
    if not command_line or not os.path.basename(command_line[0]).startswith(("python", "pypy")):
        return ""
    rest = iter(command_line[1:])
    for word in rest:
        if word in ("-X", "-W", "--check-hash-based-pycs"):
            next(rest, None)
        elif word == "-m" or (word.startswith("-m") and not word.startswith("--")):
            return f"-m {word[2:] or next(rest, '')}"
        elif word.startswith("-c"):
            return "-c"
        elif not word.startswith("-"):
            return os.path.basename(word)
    return os.path.basename(command_line[0])


def own_libc() -> str:
    """'glibc 2.36' as the C library itself says, or what kind of library it is."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown libc"
    except (AttributeError, ValueError, OSError):
        return "not glibc"


def kernel() -> str:
    """The kernel's name and release."""
    uname = os.uname()
    return f"{uname.sysname} {uname.release}"


def now() -> float:
    """Seconds since the epoch, on the clock that psutil's start times are on."""
    return time.time()
