"""What goes wrong in the Python half: each error is one line for the user and a status for the shell."""

from __future__ import annotations


class MeminspectError(Exception):
    """Something could not be done; the text is one line that says what, why, and where possible what to do.

    exit_status -- what a command that ends with this error returns to the shell
    """

    exit_status = 1


class UsageError(MeminspectError):
    """The command line asks for something that does not exist or does not go together."""

    exit_status = 2


class SnapshotError(MeminspectError):
    """A snapshot cannot be written or read.

    readable -- names of the tables that could be read all the same: `load(path, partial=True)` gives them
    """

    def __init__(self, text: str, readable: tuple[str, ...] = ()) -> None:
        self.readable = readable
        hint = f"; readable all the same (partial=True, --partial): {', '.join(readable)}" if readable else ""
        super().__init__(text + hint)


class StaleCoreError(MeminspectError):
    """The native core that measured was built from other sources than the Python part that reads what it found."""
