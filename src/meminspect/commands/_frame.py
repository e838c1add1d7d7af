"""The frame of the command line: what a command is, how it is found, and where its own options end."""

from __future__ import annotations

import contextlib
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, ClassVar

import click

from meminspect import __version__
from meminspect.launch.program import Program

PACKAGE = "meminspect.commands"
PROGRAM = "meminspect.program"  # where a parsed program waits in click's context


class Command:
    """One command of the command line. Its module is imported only when it is asked for, or for the list of all.

    help     -- one line, without a full stop
    about    -- what `--help` says below that line: paragraphs separated by empty lines
    examples -- pairs of a command line and what it does; shown by `--help`
    takes_program -- the command line may end in `[-m MODULE | -c CODE | SCRIPT] [ARGS...]`; our options and
                arguments end there, and `options["program"]` is a Program or None
    """

    help: ClassVar[str]
    about: ClassVar[str] = ""
    examples: ClassVar[tuple[tuple[str, str], ...]] = ()
    takes_program: ClassVar[bool] = False

    def params(self) -> list[click.Parameter]:
        """The options and arguments, as click has them."""
        return []

    def run(self, options: Mapping[str, Any]) -> int:
        """Does it; `options` has a value for each of params(). The exit status; errors are raised (errors.py)."""
        raise NotImplementedError


# Options that several commands have, each worded once; `what` is the part that differs.


def output_options(what: str = "Every figure as JSON.") -> list[click.Parameter]:
    """The form and the place of what a command shows: options that every such command has."""
    return [
        click.Option(["--json", "as_json"], is_flag=True, help=what),
        click.Option(["-o", "--output"], metavar="FILE", help="Write there; - is stdout."),
        click.Option(["--no-color"], is_flag=True, help="No colour, even on a terminal."),
    ]


def html_option() -> click.Option:
    return click.Option(
        ["--html"], metavar="FILE", help="Write a page for a browser there (needs the extra 'html')."
    )  # fmt: skip


def pid_option(what: str = "About") -> click.Option:
    return click.Option(["--pid"], type=click.INT, metavar="PID", help=f"{what} that process, which is not stopped.")


def pause_option(what: str) -> click.Option:
    """The ceiling of a pause; `what` says what becomes of the rest."""
    return click.Option(
        ["--max-pause"], type=click.FloatRange(min=0), metavar="SECONDS", default=1.0, show_default=True,
        help=f"The program never waits longer{what}",
    )  # fmt: skip


class CommandGroup:
    """A command whose first word says which: `meminspect gil run`. `commands` maps that word to a Command."""

    help: ClassVar[str]
    about: ClassVar[str] = ""
    commands: ClassVar[Mapping[str, type[Command]]]


class Commands(click.Group):
    """`meminspect`: every module of the folder is a command."""

    def __init__(self) -> None:
        super().__init__(
            name="meminspect",
            help="What CPython is really doing with memory and threads.",
            epilog="'meminspect COMMAND --help' shows a command's options and examples.",
            no_args_is_help=True,
            params=[
                click.Option(
                    ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show_version,
                    help="Show the version and exit.",
                )
            ],
        )  # fmt: skip

    def list_commands(self, ctx: click.Context) -> list[str]:
        folder = import_module(PACKAGE).__path__
        return sorted(module.name.replace("_", "-") for module in iter_modules(folder) if module.name[0] != "_")

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(f"{PACKAGE}.{cmd_name.replace('-', '_')}")
        own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
        for value in own:
            if isinstance(value, type) and issubclass(value, CommandGroup):
                return build_group(cmd_name, value())
        for value in own:
            if isinstance(value, type) and issubclass(value, Command):
                return build(cmd_name, value())
        raise LookupError(f"{module.__name__} defines no Command")

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            known = ", ".join(self.list_commands(ctx))
            raise click.UsageError(f"there is no command {name!r}; there are: {known}", ctx)
        return super().resolve_command(ctx, args)


class ProgramCommand(click.Command):
    """A click command whose own options end where a program begins."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ours, program = split_program(args, self.get_params(ctx))
        ctx.meta[PROGRAM] = program
        return super().parse_args(ctx, ours)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-m MODULE | -c CODE | SCRIPT]", "[ARGS]..."]


def split_program(args: list[str], params: list[click.Parameter]) -> tuple[list[str], Program | None]:
    """Our options, and the program behind them: at `-m` or `-c` with its value, or at the first that is no option.

    Arguments of ours stand before it. `-` is a program too (read from stdin), and what follows `--` is one whatever it
    looks like. An option that is not ours stays with ours, where click complains about it.
    """
    valued = {
        name: param.nargs for param in params
        if isinstance(param, click.Option) and not param.is_flag and not param.count for name in param.opts
    }  # fmt: skip
    own_arguments = sum(isinstance(param, click.Argument) for param in params)
    position = 0
    while position < len(args):
        arg = args[position]
        if arg == "--":
            return args[:position], program_of(args[position + 1 :])
        if arg == "-" or not arg.startswith("-"):
            if own_arguments:
                own_arguments -= 1
                position += 1
                continue
            return args[:position], program_of(args[position:])
        if arg.startswith("--"):
            position += 1 + valued.get(arg, 0)
            continue
        for at, letter in enumerate(arg[1:], 1):
            if letter in "mc":
                before = [arg[:at]] if at > 1 else []
                rest = ([arg[at + 1 :]] if arg[at + 1 :] else []) + args[position + 1 :]
                return args[:position] + before, program_of(rest, "-" + letter)
            if f"-{letter}" in valued:
                position += valued[f"-{letter}"] + (not arg[at + 1 :])
                break
        else:
            position += 1
    return args, None


def program_of(rest: list[str], form: str | None = None) -> Program | None:
    if not rest:
        if form is not None:
            raise click.UsageError(f"option '{form}' requires an argument")
        return None
    return Program(form, rest[0], tuple(rest[1:]))


def build(name: str, command: Command) -> click.Command:
    """The click command of a Command."""

    def callback(**options: Any) -> int:
        if command.takes_program:
            options["program"] = click.get_current_context().meta[PROGRAM]
        return command.run(options)

    return (ProgramCommand if command.takes_program else click.Command)(
        name,
        params=command.params(),
        callback=callback,
        help=f"{command.help}.\n\n{command.about}",
        short_help=command.help,
        epilog=epilog_of(command.examples),
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


def epilog_of(examples: Sequence[tuple[str, str]]) -> str:
    lines = [f"  {line}\n      {what}" for line, what in examples]
    return "\b\nExamples:\n" + "\n".join(lines) if lines else ""


def build_group(name: str, group: CommandGroup) -> click.Group:
    """The click group of a CommandGroup; its examples are those of its commands."""
    made = click.Group(
        name,
        help=f"{group.help}.\n\n{group.about}",
        short_help=group.help,
        epilog=epilog_of([example for command in group.commands.values() for example in command.examples]),
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    for word, command in group.commands.items():
        made.add_command(build(word, command()))
    return made


def show_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"meminspect {__version__} ({platform.python_implementation()} {platform.python_version()})")
        ctx.exit()


def complain(prog: str, text: str, status: int = 1) -> int:
    """One line on stderr, whatever the text holds; the status is handed through."""
    line = " ".join(text.split())
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(f"{prog}: {line}".encode("utf-8", "backslashreplace").decode("utf-8"), file=sys.stderr, flush=True)
    return status
