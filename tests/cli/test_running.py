"""A program under `report` does what it does under `python`: each is run both ways and held against itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).resolve().parent.parent / "programs"
TIMEOUT_S = 120
HOOKS = ["preload", "sitecustomize"]
# where the package is found by programs that run in another folder; empty when it is installed
PACKAGE_PATH = [os.path.abspath(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]


@dataclass
class Ran:
    status: int
    out: str
    err: str
    facts: dict[str, object] = field(default_factory=dict)


def normal(data: bytes, folder: Path) -> str:
    """Output without what differs from run to run: addresses, pids, the folder of the run."""
    text = re.sub(r"0x[0-9a-f]+", "0x", data.decode("utf-8", "replace")).replace(str(folder), "FOLDER")
    return re.sub(r"pid[= ]\d+", "pid", re.sub(r"(?m)^import time:.*\n", "", text))


def run(command: Sequence[str], folder: Path, stdin: bytes = b"", **changes: str) -> Ran:
    facts = folder / "facts"
    facts.unlink(missing_ok=True)
    path = os.pathsep.join([*filter(None, [changes.pop("PYTHONPATH", "")]), *PACKAGE_PATH])
    env = {**os.environ, "FACTS": str(facts), "PYTHONDONTWRITEBYTECODE": "1", **changes}
    env.update({"PYTHONPATH": path} if path else {})
    done = subprocess.run(
        command, input=stdin, capture_output=True, env=env, cwd=PROGRAMS, timeout=TIMEOUT_S, check=False
    )
    seen = json.loads(normal(facts.read_bytes(), folder)) if facts.exists() else {}
    return Ran(done.returncode, normal(done.stdout, folder), normal(done.stderr, folder), seen)


def both(
    folder: Path, program: Sequence[str], *, flags: Sequence[str] = (), stdin: bytes = b"",
    options: Sequence[str] = ("--json",), **changes: str,
) -> tuple[Ran, Ran, Path]:  # fmt: skip
    """The program plain and measured, and where its report went; a page of text takes longer to make than JSON."""
    report = folder / "report"
    measured = [sys.executable, *flags, "-m", "meminspect", "report", *options, "-o", str(report), *program]
    plain = run([sys.executable, *flags, *program], folder, stdin, **changes)
    return plain, run(measured, folder, stdin, **changes), report


def same(plain: Ran, measured: Ran, without: Sequence[str] = ()) -> None:
    """Status, stdout, stderr and all facts are equal; `without` names facts that may differ."""
    assert measured.err == plain.err
    assert measured.out == plain.out
    assert measured.status == plain.status
    kept = sorted({*plain.facts, *measured.facts} - set(without))
    assert {name: measured.facts.get(name) for name in kept} == {name: plain.facts.get(name) for name in kept}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "app.pyz"
    with zipfile.ZipFile(path, "w") as file:
        file.write(PROGRAMS / "facts.py", "__main__.py")
    return path


FORMS = {
    "script": [str(PROGRAMS / "facts.py"), "-o", "x", "--json"],
    "relative script": ["facts.py", "a b"],
    "module": ["-m", "facts", "--json"],
    "joined module": ["-mfacts", "-o"],
    "package": ["-m", "package", "--json", "-o", "x"],
    "code": ["-c", (PROGRAMS / "facts.py").read_text(), "-o"],
    "stdin": ["-", "-o"],
    "options": ["options.py", "-o", "x", "--json", "--every", "3", "-m", "y"],
    "after --": ["--", "facts.py"],
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str, tmp_path: Path) -> None:
    stdin = (PROGRAMS / "facts.py").read_bytes() if form == "stdin" else b""
    plain, measured, report = both(tmp_path, FORMS[form], stdin=stdin, options=())
    same(plain, measured, without=["orig_argv"] if form in ("joined module", "after --") else [])
    assert plain.facts or "package" in form or form == "options"
    assert report.exists()


def test_folder_and_archive(tmp_path: Path, archive: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "__main__.py").write_bytes((PROGRAMS / "facts.py").read_bytes())
    for program in (archive, folder):
        plain, measured, report = both(tmp_path, [str(program), "-o"])
        same(plain, measured)
        assert plain.facts["main"]["name"] == "__main__"
        assert report.exists()


@pytest.mark.parametrize(
    "flags",
    ["-O -W error::UserWarning -Xdev", "-B -u -s", "-X utf8 -X importtime", "-Wd -bb -q", "-OO -P", "-bBW ignore"],
)
def test_interpreter_flags(flags: str, tmp_path: Path) -> None:
    plain, measured, report = both(tmp_path, ["facts.py"], flags=flags.split())
    same(plain, measured)
    assert report.exists()


@pytest.mark.parametrize("flags", ["-I", "-E", "-S", "-IS"])
def test_without_site_or_environment(flags: str, tmp_path: Path) -> None:
    """The launcher is started plainly; the flags are those of an interpreter that would not find this package."""
    start = (
        "import sys; sys.path[:0] = {path!r}; sys.orig_argv[1:1] = [{flags!r}]\n"
        "from meminspect.__main__ import main\n"
        "sys.argv = ['meminspect', 'report', '-o', {report!r}, 'facts.py']; main()"
    )
    report = tmp_path / "report"
    plain = run([sys.executable, flags, "facts.py"], tmp_path)
    code = start.format(path=[entry for entry in sys.path if entry], flags=flags, report=str(report))
    measured = run([sys.executable, "-c", code], tmp_path)
    same(plain, measured)
    assert plain.facts
    assert report.exists()


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize(
    "changes",
    [
        {"PYTHONPATH": "first:second"}, {"LD_PRELOAD": "libm.so.6"}, {"PYTHONSAFEPATH": "1", "PYTHONHASHSEED": "1"},
        {"PYTHONMALLOC": "debug"},
    ],
    ids=lambda changes: "+".join(changes),
)  # fmt: skip
def test_environment(hook: str, changes: dict[str, str], tmp_path: Path) -> None:
    plain, measured, report = both(tmp_path, ["facts.py"], MEMINSPECT_HOOK=hook, **changes)
    same(plain, measured, without=["modules", "importers"] if hook == "sitecustomize" else [])
    assert report.exists()


EXITS = {
    "exception": 1, "chained": 1, "interrupt": -2, "text": 1, "none": 0, "big": 7, "3": 3, "0": 0,
    "system_exit_in_thread": 0, "thread_exception": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("way", "hook"), [*((way, "preload") for way in EXITS), ("chained", "sitecustomize"), ("3", "sitecustomize")]
)
def test_exits(way: str, hook: str, tmp_path: Path) -> None:
    plain, measured, report = both(tmp_path, ["exits.py", way], MEMINSPECT_HOOK=hook)
    same(plain, measured)
    assert plain.status == EXITS[way]
    assert report.exists()


@pytest.mark.parametrize("way", ["os_exit", "exec", "SIGKILL", "SIGTERM", "SIGABRT", "SIGSEGV", "SIGINT", "SIGRTMIN"])
def test_ends_without_a_result(way: str, tmp_path: Path) -> None:
    plain, measured, report = both(tmp_path, ["exits.py", way])
    assert measured.status == plain.status
    assert measured.out == plain.out
    *program, said = measured.err.splitlines()
    assert program == plain.err.splitlines()
    assert said.startswith("meminspect: no result at the program's end")
    assert way in said or "os._exit" in said
    assert not report.exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("hook", HOOKS)
def test_order_at_exit(hook: str, tmp_path: Path) -> None:
    plain, measured, report = both(tmp_path, ["atexit_order.py"], MEMINSPECT_HOOK=hook)
    same(plain, measured)
    assert plain.out.splitlines()[-1] == "finalize" or "atexit: first registered" in plain.out
    assert report.exists()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools(method: str, tmp_path: Path) -> None:
    plain, measured, report = both(tmp_path, ["pools.py", method])
    same(plain, measured)
    assert "pickled 3 __main__ __main__" in plain.out
    assert report.exists()


@pytest.mark.parametrize("program", ["forks", "descriptors", "clears_atexit", "tracer"])
def test_programs(program: str, tmp_path: Path) -> None:
    plain, measured, report = both(tmp_path, [f"{program}.py"])
    same(plain, measured)
    assert plain.status == 0, plain.err
    assert report.exists()


def test_forks_stay_silent(tmp_path: Path) -> None:
    _, measured, report = both(tmp_path, ["forks.py"])
    assert measured.out.count("atexit in") == 2
    assert json.loads(report.read_text())["process"]["program"] == "forks.py"


def test_stdin(tmp_path: Path) -> None:
    plain, measured, _ = both(tmp_path, ["reads_stdin.py"], stdin=b"one\ntwo\nthree\nfour")
    same(plain, measured)
    assert plain.out == "'one' 'two\\n' 'three\\nfour' False\n"


def test_syntax_error_and_missing_module(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("def f(:\n")
    for program in ([str(broken)], ["-m", "no_such_module_anywhere"], ["-c", "1/0"]):
        plain, measured, _ = both(tmp_path, program)
        same(plain, measured)
        assert plain.status == 1
