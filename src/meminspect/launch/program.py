"""A program to run: what `python` would be given, and the command line that gives it."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from meminspect.errors import UsageError


@dataclass(frozen=True)
class Program:
    """`form` is "-m", "-c" or None for a script, a folder, a zip file or "-" (stdin); `what` is its operand."""

    form: str | None
    what: str
    args: tuple[str, ...]

    @property
    def name(self) -> str:
        """A short name without arguments, to be shown."""
        if self.form == "-c":
            return "-c"
        return self.what if self.form == "-m" else os.path.basename(self.what.rstrip("/")) or self.what

    def operands(self) -> list[str]:
        """The end of the interpreter's command line."""
        return [*([self.form] if self.form else []), self.what, *self.args]

    def check(self) -> None:
        """A script that cannot be opened is refused here, with `python`'s status: it would end as if it had run."""
        if self.form is not None or self.what == "-":
            return
        try:
            os.stat(self.what)
            if not os.access(self.what, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise UsageError(f"cannot run {self.what!r}: {reason}") from None


def is_snapshot(program: Program) -> bool:
    """An argument that ends in `.mi` is a snapshot, anything else a script."""
    return program.form is None and program.what.rstrip("/").endswith(".mi")


def interpreter_flags(orig_argv: Sequence[str]) -> list[str]:
    """The interpreter's own options in an argument list, verbatim: all that stands before -m, -c or a script.

    Letters that take a value (-W, -X) may have it behind them or as the next argument, and letters can be joined, as in
    `-bBIm` (Python/getopt.c).
    """
    flags: list[str] = []
    rest = iter(orig_argv[1:])
    for arg in rest:
        if not arg.startswith("-") or arg in ("-", "--"):
            break
        if arg.startswith("--"):
            flags.append(arg)
            if arg == "--check-hash-based-pycs":
                flags.append(next(rest, "default"))
            continue
        kept, ends = split_letters(arg)
        if kept != "-":
            flags.append(kept)
        if ends:
            break
        if kept[-1] in "WX" and not any(letter in kept[1:-1] for letter in "WX"):
            flags.append(next(rest, ""))
    return flags


def split_letters(arg: str) -> tuple[str, bool]:
    """One argument of joined letters up to -m or -c, and whether there was one."""
    for position, letter in enumerate(arg[1:], 1):
        if letter in "mc":
            return arg[:position], True
        if letter in "WX":
            break
    return arg, False


def interpreter_name() -> str:
    """argv[0] for the child: as it was typed where that finds the same interpreter, since messages show it."""
    typed = sys.orig_argv[0] if sys.orig_argv else ""
    found = shutil.which(typed) if typed and "/" not in typed else os.path.abspath(typed)
    return typed if typed and found == sys.executable else sys.executable


def command_line(program: Program, extra_flags: Sequence[str] = ()) -> list[str]:
    """argv that runs the program in a fresh interpreter as this one was started, with flags of ours in front."""
    return [interpreter_name(), *extra_flags, *interpreter_flags(sys.orig_argv), *program.operands()]
