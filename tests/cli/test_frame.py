"""The frame: commands are found, help shows examples, bad input is one line and a status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

import meminspect
from meminspect.commands import Command, Commands
from meminspect.commands._frame import split_program
from meminspect.launch.program import interpreter_flags

COMMANDS = Commands().list_commands(click.Context(Commands()))


def meminspect_command(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "meminspect", *args], capture_output=True, text=True, timeout=120, check=False
    )


def test_every_module_is_a_command() -> None:
    folder = Path(meminspect.__file__).parent / "commands"
    names = {path.stem.replace("_", "-") for path in folder.glob("*.py") if path.name[0] != "_"}
    assert {"report", "tracemalloc-report"} <= names
    assert set(COMMANDS) == names


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(name: str) -> None:
    context = click.Context(Commands())
    command = Commands().get_command(context, name)
    assert command is not None
    text = command.get_help(click.Context(command, info_name=name))
    assert "Examples:" in text
    assert f"meminspect {name}" in text


def test_help_and_version() -> None:
    shown = meminspect_command("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in COMMANDS)
    assert meminspect_command("--version").stdout.startswith(f"meminspect {meminspect.__version__} (CPython ")


def test_only_the_command_asked_for_is_imported() -> None:
    code = (
        "import sys; from meminspect.__main__ import run_command_line\n"
        "run_command_line(['tracemalloc-report'], 'x')\n"
        "print(sorted(m for m in sys.modules if m.startswith('meminspect.commands.')), 'rich' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    found = [f"meminspect.commands.{name}" for name in ("_frame", "_program", "tracemalloc_report")]
    assert done.stdout.strip() == f"{found} False"


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["nothing"], 2, "there is no command 'nothing'"),
        (["report", "--nothing", "x.py"], 2, "--nothing"),
        (["report", "-m"], 2, "requires an argument"),
        (["report", "--every", "x", "x.py"], 2, "--every"),
        (["report", "--every", "1"], 2, "needs a program"),
        (["report", "no_such_script.py"], 2, "No such file"),
        (["report", "-o", "/nowhere/at/all", "-c", "print('ran')"], 1, "/nowhere/at/all"),
        (["report", "-o", "/", "-c", "print('ran')"], 1, "cannot write /"),
        (["tracemalloc-report"], 2, "needs a program"),
    ],
)
def test_bad_input_is_one_line(args: list[str], status: int, words: str) -> None:
    done = meminspect_command(*args)
    assert done.returncode == status
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


PARAMS = [click.Option(["-o", "--output"]), click.Option(["--json"], is_flag=True), click.Option(["-v"], is_flag=True)]


@pytest.mark.parametrize(
    ("args", "ours", "program"),
    [
        (["--json"], ["--json"], None),
        (["-o", "f", "x.py", "-o", "g"], ["-o", "f"], (None, "x.py", ("-o", "g"))),
        (["-of", "x.py", "--json"], ["-of"], (None, "x.py", ("--json",))),
        (["--output=f", "-"], ["--output=f"], (None, "-", ())),
        (["--output", "-m", "x.py"], ["--output", "-m"], (None, "x.py", ())),
        (["--json", "-m", "mod", "-o"], ["--json"], ("-m", "mod", ("-o",))),
        (["-vmmod", "-c", "y"], ["-v"], ("-m", "mod", ("-c", "y"))),
        (["-c", "code", "--json"], [], ("-c", "code", ("--json",))),
        (["--", "--odd.py", "x"], [], (None, "--odd.py", ("x",))),
        (["--unknown", "x.py"], ["--unknown"], (None, "x.py", ())),
    ],
)
def test_where_our_options_end(args: list[str], ours: list[str], program: tuple[object, ...] | None) -> None:
    found, what = split_program(args, list(PARAMS))
    assert found == ours
    assert (what and (what.form, what.what, what.args)) == program


def test_arguments_of_ours_stand_before_a_program() -> None:
    params = [*PARAMS, click.Argument(["target"])]
    for args, ours, program in (
        (["list", "-o", "f", "x.py", "-o"], ["list", "-o", "f"], (None, "x.py", ("-o",))),
        (["--json", "list", "-m", "mod", "y"], ["--json", "list"], ("-m", "mod", ("y",))),
        (["list"], ["list"], None),
    ):
        found, what = split_program(args, params)
        assert found == ours
        assert (what and (what.form, what.what, what.args)) == program


@pytest.mark.parametrize(
    ("argv", "flags"),
    [
        ("python x.py -O", []),
        ("python -O -W error -Xdev -m meminspect report", ["-O", "-W", "error", "-Xdev"]),
        ("python -bBIm meminspect", ["-bBI"]),
        ("python -Bm meminspect", ["-B"]),
        ("python -OX utf8 -mmeminspect", ["-OX", "utf8"]),
        ("python -Wmodule -c pass", ["-Wmodule"]),
        ("python --check-hash-based-pycs always -u x.py", ["--check-hash-based-pycs", "always", "-u"]),
        ("python - x", []),
        ("python -E -- x.py", ["-E"]),
    ],
)
def test_interpreter_flags(argv: str, flags: list[str]) -> None:
    assert interpreter_flags(argv.split()) == flags


def test_a_command_is_a_small_class() -> None:
    with pytest.raises(NotImplementedError):
        Command().run({})
    assert Command().params() == []
