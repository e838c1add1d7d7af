"""Starting a program, passing signals on, waiting for it, and ending as it ended.

The launcher stays in its process group and session and never takes the terminal. What the terminal or `kill -- -PGID`
sends reaches the program anyway; what was sent to the launcher alone is forwarded. A stop of the program stops the
launcher too, so that a shell's job control sees one job.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

PR_SET_PDEATHSIG = 1
SI_KERNEL = 0x80
NOT_WAITED_FOR = {
    signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT,
    signal.SIGTRAP, signal.SIGSYS, signal.SIGPROF, signal.SIGVTALRM,
}  # fmt: skip
STOPS = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
GROUP_LOOKS, GROUP_LOOK_S = 10, 0.002
NOT_STARTED = 127


def waited_for() -> set[int]:
    return {int(number) for number in signal.valid_signals()} - {int(number) for number in NOT_WAITED_FOR}


class Sentinel:
    """A member of our process group with nothing to do: a signal that reaches it too was sent to the whole group."""

    def __init__(self, signals: set[int]) -> None:
        self._pipe, theirs = os.pipe()
        self._seen: list[tuple[int, int]] = []
        launcher = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            self._stand(signals, launcher, theirs)
        os.close(theirs)
        os.set_blocking(self._pipe, False)

    @staticmethod
    def _stand(signals: set[int], launcher: int, pipe: int) -> NoReturn:
        try:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            os.closerange(0, pipe)
            os.closerange(pipe + 1, 1 << 16)
            while os.getppid() == launcher:
                info = signal.sigwaitinfo(signals)
                os.write(pipe, bytes([info.si_signo]) + info.si_pid.to_bytes(4, "little"))
        finally:
            os._exit(0)

    def has_seen(self, signo: int, sender: int) -> bool:
        """True when the signal came to the group: the kernel delivers it to all members at about the same time."""
        for _ in range(GROUP_LOOKS):
            with contextlib.suppress(BlockingIOError):
                data = os.read(self._pipe, 5 * 800)
                came = [data[at : at + 5] for at in range(0, len(data), 5)]
                self._seen += [(item[0], int.from_bytes(item[1:], "little")) for item in came]
            if (signo, sender) in self._seen:
                self._seen.remove((signo, sender))
                return True
            time.sleep(GROUP_LOOK_S)
        return False

    def dismiss(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._pipe)


def run(
    executable: str, argv: list[str], env: dict[str, str], keep: int,
    look: Callable[[], None], look_every_s: float | None,
) -> int:  # fmt: skip
    """Runs a command until it has ended; its status as waitpid() has it. `look` is called on the way, and never raises.

    `keep` is the one descriptor beyond the standard ones that the command inherits.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    signals = waited_for()
    on_child = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # an inherited SIG_IGN would take the status away
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        sentinel = Sentinel(signals)
        try:
            pid = start(executable, argv, env, keep, mask, on_child)
            return wait(pid, sentinel, signals, look, look_every_s)
        finally:
            sentinel.dismiss()
    finally:
        while signal.sigtimedwait(signals - {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}, 0):
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def start(executable: str, argv: list[str], env: dict[str, str], keep: int, mask: set[int], on_child: object) -> int:
    """fork and exec, and not posix_spawn, which leaves signals 32 and 33 ignored in the child (glibc)."""
    os.set_inheritable(keep, True)
    pid = os.fork()
    if pid:
        os.set_inheritable(keep, False)
        return pid
    try:
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # ignored by this Python, not by who started it
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        if on_child is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.execve(executable, argv, env)
    finally:
        os._exit(NOT_STARTED)


def wait(pid: int, sentinel: Sentinel, signals: set[int], look: Callable[[], None], look_every_s: float | None) -> int:
    """Waits on the pid, never on the end of a file: a program may leave daemons behind."""
    while True:
        info = signal.sigwaitinfo(signals) if look_every_s is None else signal.sigtimedwait(signals, look_every_s)
        look()
        if info is None:
            continue
        if info.si_signo == signal.SIGCHLD:
            status = ended(pid)
            if status is not None:
                return status
        elif info.si_code != SI_KERNEL and not sentinel.has_seen(info.si_signo, info.si_pid):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, info.si_signo)


def ended(pid: int) -> int | None:
    """The status when the program has ended; a stop of it is mirrored."""
    while True:
        found, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
        if not found:
            return None
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return status
        if os.WIFSTOPPED(status):
            stop_with(pid)


def stop_with(pid: int) -> None:
    """Stops this process as the program was stopped, and continues the program when this one is continued."""
    while signal.sigtimedwait(STOPS | {signal.SIGCONT}, 0):  # the terminal's, which came to us as well
        pass
    os.kill(os.getpid(), signal.SIGSTOP)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGCONT)


def leave(status: int) -> NoReturn:
    """Ends this process as the program ended: with its exit status, or by its signal (without a second core file)."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    if os.WIFEXITED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
    while True:
        signal.pause()
