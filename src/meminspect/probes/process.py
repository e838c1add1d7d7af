"""Facts about a process: from what it captured of itself in /proc, else asked of psutil in the process that shows.

A fact that cannot be told is None; `reason` says why. Nothing here is done in a process that is measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

GONE = "the process had ended when it was asked for"
NAMES = ("program", "started_s", "threads", "open_files", "user_s", "system_s")
UTIME, STIME, STARTTIME = 11, 12, 19  # fields of /proc/PID/stat behind the command's closing parenthesis (proc(5))
VALUED_OPTIONS = ("-X", "-W", "--check-hash-based-pycs")


def build(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Facts from `_native.process_capture()`: the texts of /proc/PID/stat, status and cmdline, counts, the machine."""
    result: dict[str, Any] = dict.fromkeys(NAMES)
    result["reason"] = None
    for name in ("threads", "open_files", "taken_s", "libc", "kernel"):
        result[name] = raw.get(name)
    dumpable = raw.get("dumpable")
    result["dumpable"] = dumpable == 1 if dumpable is not None else None
    stat, ticks = raw.get("stat"), raw.get("clock_ticks") or 0
    if stat and ticks > 0:
        fields = stat.rpartition(b")")[2].split()
        if len(fields) > STARTTIME:
            result["user_s"], result["system_s"] = int(fields[UTIME]) / ticks, int(fields[STIME]) / ticks
            result["started_s"] = raw["taken_s"] - raw["since_boot_s"] + int(fields[STARTTIME]) / ticks
    words = command_line(raw)
    result["program"] = program_name(words) or command_name(raw.get("status")) or None
    if any(result[name] is None for name in NAMES):
        result["reason"] = "/proc did not tell all of it"
    return result


def command_line(raw: Mapping[str, Any]) -> list[str]:
    """The words of the command line that was captured."""
    text: bytes = raw.get("cmdline") or b""
    return [word.decode("utf-8", "surrogateescape") for word in text.removesuffix(b"\0").split(b"\0")] if text else []


def command_name(status: bytes | None) -> str:
    """The kernel's name of a process, from the first line of /proc/PID/status."""
    first = (status or b"").partition(b"\n")[0]
    return first.removeprefix(b"Name:").strip().decode("utf-8", "surrogateescape")


def facts(pid: int) -> dict[str, Any]:
    """The same of a process that captured nothing of itself, by psutil, None where /proc refuses; and `reason`."""
    import psutil

    result: dict[str, Any] = dict.fromkeys(NAMES)
    result["reason"] = None
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            result["started_s"] = process.create_time()
            result["threads"] = process.num_threads()
            times = process.cpu_times()
            result["user_s"], result["system_s"] = times.user, times.system
            result["program"] = program_name(ask(process.cmdline) or []) or process.name()
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


def program_name(words: list[str]) -> str:
    """What a command line of Python runs: the script's file name, '-m MODULE' or '-c'; '' when that cannot be told.

    Arguments of the program are never part of it; of another program than Python nothing can be told from them.
    """
    if not words or not os.path.basename(words[0]).startswith("python"):
        return ""
    rest = iter(words[1:])
    for word in rest:
        if word in VALUED_OPTIONS:
            next(rest, None)
        elif word.startswith("--") or word == "-":
            continue
        elif word.startswith("-"):
            for at, letter in enumerate(word[1:], 1):
                if letter == "c":
                    return "-c"
                if letter == "m":
                    return f"-m {word[at + 1 :] or next(rest, '')}"
                if letter in "XW":
                    break
        else:
            return os.path.basename(word)
    return os.path.basename(words[0])


def own_libc() -> str:
    """'glibc 2.36' as the C library itself says, or that it is another."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown libc"
    except (AttributeError, ValueError, OSError):
        return "not glibc"


def kernel() -> str:
    """The kernel's release."""
    return os.uname().release


def now() -> float:
    """Seconds since the epoch, on the clock that start times are on."""
    return time.time()
