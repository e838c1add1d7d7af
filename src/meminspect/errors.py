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
