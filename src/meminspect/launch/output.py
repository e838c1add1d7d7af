"""Where results are written: opened before the program starts, complete or not there at all.

A regular file is made with mode 0600 beside its target and renamed when it is whole; devices, FIFOs, sockets and
/dev/fd/N are written in place. With `append` (reports on the way) each document is one write at the end of the file.
"""

from __future__ import annotations

import locale
import os
import re
import shutil
import stat
import sys
import tempfile
from typing import TextIO

from meminspect.errors import MeminspectError

DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)")
STANDARD = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
DEFAULT_WIDTH = 100


class OutputError(MeminspectError):
    """The output cannot be opened or written."""


class Output:
    """One place for documents. `write` each of them, then `close`; leaving without a document leaves nothing behind."""

    def __init__(self, name: str, fd: int, *, owned: bool, temporary: str | None = None, target: str | None = None):
        self.name = name
        self._fd = fd
        self._owned = owned
        self._temporary = temporary
        self._target = target
        self._written = False

    def write(self, document: str) -> None:
        """Writes one document, ended by a newline; OutputError when it cannot be written."""
        self.write_bytes((document.rstrip("\n") + "\n").encode("utf-8", "backslashreplace"))

    def write_bytes(self, part: bytes) -> int:
        """Writes a part of a file that is made piece by piece; as a file object has it, OutputError as above."""
        data = memoryview(part)
        try:
            while data:
                data = data[os.write(self._fd, data) :]
        except BrokenPipeError:
            raise OutputError("the output was closed before all of it was written") from None
        except OSError as error:
            raise OutputError(f"cannot write {self.name}: {error.strerror}") from None
        self._written = True
        return len(part)

    def close(self) -> None:
        """Gives a file its name; removes it when nothing was written."""
        if not self._owned:
            return
        self._owned = False
        try:
            os.close(self._fd)
            if self._temporary and self._target and self._written:
                os.replace(self._temporary, self._target)
                self._temporary = None
        except OSError as error:
            raise OutputError(f"cannot write {self.name}: {error.strerror}") from None
        finally:
            if self._temporary:
                os.unlink(self._temporary)
                self._temporary = None

    def discard(self) -> None:
        """Closes without giving the file its name: what was written is not whole."""
        self._written = False
        self.close()

    def __enter__(self) -> Output:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close() if kind is None else self.discard()

    @property
    def is_terminal(self) -> bool:
        return os.isatty(self._fd)

    def color(self, wanted: bool = True) -> bool:
        """Colour: only on a terminal, and not where the user said no (--no-color, NO_COLOR, TERM=dumb)."""
        return wanted and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and self.is_terminal

    @property
    def unicode(self) -> bool:
        """Whether block elements can be shown: files are UTF-8, a terminal has the encoding of its locale."""
        return not self.is_terminal or "utf" in locale.getpreferredencoding(False).lower()

    @property
    def width(self) -> int:
        """Columns for a text page: the terminal's, or a fixed number where there is none."""
        if not self.is_terminal:
            return DEFAULT_WIDTH
        if "COLUMNS" in os.environ:
            return shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns
        return os.get_terminal_size(self._fd).columns or DEFAULT_WIDTH


class OutputFile:
    """An Output as a file of bytes, for what writes into one."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def write(self, part: bytes, /) -> int:
        return self._output.write_bytes(part)

    def flush(self) -> None:
        """Every write is on its way already."""


def open_output(path: str | None, *, beside_program: bool, append: bool = False) -> Output:
    """The output that `-o` names: None is stdout, or stderr beside a program whose stdout it is; "-" is stdout."""
    if path is None or path == "-":
        stream = sys.stderr if path is None and beside_program else sys.stdout
        return Output("stderr" if stream is sys.stderr else "stdout", descriptor_of(stream), owned=False)
    try:
        return open_path(path, append)
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}") from None


def descriptor_of(stream: TextIO | None) -> int:
    if stream is None:
        raise OutputError("cannot write: the standard output is closed")
    stream.flush()
    return stream.fileno()


def open_path(path: str, append: bool) -> Output:
    descriptor = DESCRIPTOR.fullmatch(path)
    if descriptor or path in STANDARD:
        number = int(descriptor[1]) if descriptor else STANDARD[path]
        return Output(path, os.dup(number), owned=True)  # the same offset, as a shell's redirection has it
    target = os.path.realpath(path)
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    else:
        os.close(os.open(target, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)) if stat.S_ISREG(mode) else None
    if not stat.S_ISREG(mode):
        return Output(path, os.open(target, os.O_WRONLY | os.O_NOCTTY | os.O_CLOEXEC), owned=True)
    if append:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return Output(path, os.open(target, flags, 0o600), owned=True)
    folder, name = os.path.split(target)
    fd, temporary = tempfile.mkstemp(prefix=f".{name[:100]}.", suffix=".part", dir=folder)
    return Output(path, fd, owned=True, temporary=temporary, target=target)
