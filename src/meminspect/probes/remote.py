"""The captures of another process that runs the same build of Python, read from outside.

Its memory is read with process_vm_readv and its /proc folder; it is not stopped, and nothing is written in it. So what
is read may change while it is read: a capture reads what changed again, and says so where that did not help.
"""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .. import _native
from ..errors import MeminspectError

STARTTIME = 19  # of /proc/PID/stat, behind the command's closing parenthesis (proc(5), field 22)
PYTHON_FILE = re.compile(r"(lib)?python[0-9.]*[a-z]*(\.so[0-9.]*)?( \(deleted\))?$")
RUNTIME_SYMBOL = b"\0_PyRuntime\0"  # as it stands in the string table of a file that holds an interpreter
CAPTURES = ("heap", "gc", "gil", "process", "memory")  # the order of native/raw.pxi


class RemoteError(MeminspectError):
    """The other process cannot be reported on; the text says which of the checks failed, and what to do."""


def take(pid: int, *, drawn: bool = False, retained: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """The raw captures of another process, and the context for `probes.report.build`.

    drawn -- with a record of each pool, a bitmap of the live blocks, and a census
    retained -- with the objects with the largest retained sizes, and those that keep arenas

    Raises RemoteError, in this order: no such process; not permitted; not a Python; another build of Python; no
    interpreter runs in it; it ended while it was read.
    """
    born = _checked(pid)
    raw: dict[str, Any] = {"own_blocks": None, "python": _native.python_capture()}
    for section in CAPTURES:
        what = {"pools": True, "blocks": True} if drawn and section == "heap" else {}
        raw[section] = _capture(section, pid, **what)
    if drawn:
        raw["census"] = _guarded(_native.census_outside_capture, pid)
    if retained:
        raw["references"] = _guarded(
            _native.references_outside_capture, pid, top=_native.RAW_RETAINED, keys=_native.RAW_KEYS
        )
    _still_there(pid, born)
    executable = _link(pid)
    raw["python"]["executable"] = executable
    return raw, {"pid": pid, "executable": executable, "note": "read from outside while it ran on"}


def why(pid: int, target: str, *, deadline: float = 60.0) -> dict[str, Any]:
    """What `why` tells of the objects of another process, raw (probes/references.py has the format).

    Raises RemoteError as census() does; NativeError "absent" in free-threaded builds.
    """
    born = _checked(pid)
    try:
        raw = _native.why_outside_capture(pid, target, deadline=deadline)
    except _native.NativeError as error:
        if error.code == "absent":
            raise
        raise _worded(error, pid) from None
    _still_there(pid, born)
    return raw


def census(pid: int, *, guesses: bool = False, deadline: float = 60.0) -> dict[str, Any]:
    """The raw census of another process (probes/census.py has the format).

    Raises RemoteError as take() does, and when its memory cannot be copied here: no room, or not done at the deadline.
    """
    born = _checked(pid)
    try:
        raw = _native.census_outside_capture(pid, guesses=guesses, deadline=deadline)
    except _native.NativeError as error:
        raise _worded(error, pid) from None
    _still_there(pid, born)
    return raw


def _checked(pid: int) -> int:
    """When the process was born, if it can be read at all."""
    born = _birth(pid)
    _check_build(pid)
    _check_memory(pid)
    return born


def _still_there(pid: int, born: int) -> None:
    if _birth_or_none(pid) != born:
        raise RemoteError(f"process {pid} ended while it was read")


def _capture(section: str, pid: int, **what: bool) -> Any:
    return _guarded(getattr(_native, f"{section}_capture"), pid=pid, **what)


def _guarded(capture: Callable[..., Any], *words: Any, **what: Any) -> Any:
    try:
        return capture(*words, **what)
    except Exception as error:
        return {"error": getattr(error, "code", type(error).__name__), "reason": str(error)}


def _birth(pid: int) -> int:
    """When the process started, in clock ticks since boot: with the pid it names a process for good."""
    if pid == os.getpid():
        raise RemoteError("this is the process that reads; leave --pid out")
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes() if pid > 0 else None
    except (FileNotFoundError, ProcessLookupError):
        text = None
    except PermissionError:
        raise RemoteError(f"not permitted to see process {pid}: {_owner(pid)}") from None
    if text is None:
        raise RemoteError(f"there is no process {pid}")
    fields = text.rpartition(b")")[2].split()
    if fields[0] in (b"Z", b"X"):
        raise RemoteError(f"process {pid} has ended: its parent has not collected it yet")
    return int(fields[STARTTIME])


def _birth_or_none(pid: int) -> int | None:
    try:
        return _birth(pid)
    except RemoteError:
        return None


def _check_build(pid: int) -> None:
    """It has mapped the very file that this interpreter's state lies in."""
    try:
        runtime = _native.remote_runtime(pid)
    except _native.NativeError as error:
        if error.code == "gone" and _birth_or_none(pid) is not None:  # it lives and has mapped nothing
            raise RemoteError(f"process {pid} is not a Python: it is a thread of the kernel") from None
        raise _worded(error, pid) from None
    if runtime is not None:
        return
    ours = next(iter(_python_files("self")), _link("self"))
    theirs = next(iter(_python_files(str(pid))), None)
    if theirs is None:
        raise RemoteError(f"process {pid} is not a Python: it runs {_link(pid) or 'an unknown program'}")
    if theirs == ours:
        theirs += ", another file of that name (replaced since it started, or in a container)"
    raise RemoteError(f"process {pid} runs another build of Python: {theirs}; this is {ours}")


def _check_memory(pid: int) -> None:
    try:
        _native.remote_verify(pid)
    except _native.NativeError as error:
        if error.code == "torn":
            raise RemoteError(
                f"process {pid} starts and ends threads faster than their list is read: try again"
            ) from None
        if error.code in ("layout", "unmapped"):
            text = f"no interpreter runs in process {pid}: it has not started, or is being torn down"
            raise RemoteError(text) from None
        raise _worded(error, pid) from None


def _worded(error: _native.NativeError, pid: int) -> RemoteError:
    if error.code == "gone":
        return RemoteError(f"process {pid} ended while it was read")
    if error.code == "permission":
        return RemoteError(f"not permitted to read process {pid}: {_owner(pid)}")
    return RemoteError(f"process {pid} cannot be read: {error}")


def _owner(pid: int) -> str:
    """Why the kernel refuses (ptrace(2), 'Ptrace access mode checking'), as far as it can be told from outside."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return "/proc hides it (hidepid); try as its owner, or as root"
    found = re.search(r"^Uid:\s+(\d+)\s+(\d+)\s+(\d+)", status, re.MULTILINE)
    owners = {int(user) for user in found.groups()} if found else set()
    if owners and owners != {os.geteuid()}:
        return f"it belongs to user {min(owners)}, this is user {os.geteuid()}; run this as its owner, or as root"
    try:
        scope = int(Path("/proc/sys/kernel/yama/ptrace_scope").read_text())
    except (OSError, ValueError):
        scope = 0
    if scope:
        return f"Yama forbids it (kernel.yama.ptrace_scope is {scope}); run this as root, or set it to 0"
    if os.geteuid() == 0:
        return "it has capabilities that this process lacks, or a seccomp filter is in the way"
    return "it is not dumpable, has capabilities, or a seccomp filter is in the way; try as root"


def _python_files(pid: str) -> Iterator[str]:
    """Files that it has mapped and that hold an interpreter, by their names; else its executable when it holds one."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(errors="surrogateescape")
    except OSError:
        return
    paths = dict.fromkeys(line.split(maxsplit=5)[5] for line in maps.splitlines() if len(line.split(maxsplit=5)) == 6)
    libraries = [path for path in paths if PYTHON_FILE.match(os.path.basename(path))]
    yield from sorted(libraries, key=lambda path: ".so" not in path)  # a shared libpython before its executable
    try:
        with open(f"/proc/{pid}/exe", "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(RUNTIME_SYMBOL) >= 0:
                yield _link(pid) or "its executable"
    except (OSError, ValueError):
        return


def _link(pid: int | str) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return None
