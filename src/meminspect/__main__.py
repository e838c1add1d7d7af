"""`python -m meminspect` and the console scripts: one command line, its errors as one line, its exit status.

0 done, 1 it could not be done, 2 the command line was wrong, 130 interrupted; a command that ran a program ends as the
program ended.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from meminspect.commands import Commands, complain
from meminspect.errors import MeminspectError

INTERRUPTED = 130


def run_command_line(args: Sequence[str], prog: str) -> int:
    """Runs one command line in this process; the exit status. No traceback for what a user can cause."""
    try:
        try:
            status = Commands().main(list(args), prog_name=prog, standalone_mode=False)
            sys.stdout.flush()
        except (BrokenPipeError, SystemExit):  # click turns a broken pipe of its own into an exit without a word
            silence_stdout()
            return complain(prog, "the output was closed before all of it was written", 1)
    except MeminspectError as error:
        return complain(prog, str(error), error.exit_status)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help() if error.ctx else "", err=True)
        return error.exit_code
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        return complain(prog, error.format_message().rstrip(".") + hint, error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except OSError as error:
        what = error.strerror or str(error)
        return complain(prog, f"{error.filename}: {what}" if error.filename is not None else what, 1)
    return status if isinstance(status, int) else 0


def silence_stdout() -> None:
    """Lets the interpreter's last flush of stdout succeed after the reader has gone."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def main() -> NoReturn:
    """The console script `meminspect`, and `python -m meminspect`."""
    prog = "meminspect" if os.path.basename(sys.argv[0]) != "__main__.py" else "python -m meminspect"
    sys.exit(run_command_line(sys.argv[1:], prog))


def tracemalloc_report() -> NoReturn:
    """The console script `tracemalloc-report`."""
    sys.exit(run_command_line(["tracemalloc-report", *sys.argv[1:]], "meminspect"))


if __name__ == "__main__":
    main()
