"""Every command and every piece of Python in README.md and the guides works as it is printed there.

A command is run once, in an empty folder that holds the files it names: some that all pages share, and each block of
Python whose first line is its file's name. `make` commands are only looked up, since this test runs inside one of them.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pytest

import meminspect

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"# (\w+\.py)\n")
PROGRAMS = {
    "app.py": "import sys\nkept = [bytes(600) for _ in range(1000)]\nprint(len(kept), sys.argv[1:])\n",
    "package/__init__.py": "",
    "package/__main__.py": "print('a package')\n",
}


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for number, (language, text) in enumerate(BLOCK.findall(page.read_text())):
            if language == kind:
                yield f"{page.relative_to(ROOT)}:{number}", text


def printed_programs() -> dict[str, str]:
    """File name -> text, of the programs that the pages print."""
    found = [(PROGRAM.match(text), text) for _, text in blocks("python")]
    return {match[1]: text for match, text in found if match}


def commands() -> list[object]:
    lines = [(where, line[2:]) for where, text in blocks("console") for line in text.splitlines() if line[:2] == "$ "]
    first = {line: where for where, line in reversed(lines)}
    return [pytest.param(line, id=f"{where} {line}") for line, where in reversed(first.items())]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {**PROGRAMS, **printed_programs()}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[str]]:
    code = "import time; print('up', flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the pages take to be there where a command names one that it does not make."""
    folder = tmp_path_factory.mktemp("snapshot")
    (folder / "app.py").write_text(PROGRAMS["app.py"])
    command = [sys.executable, "-m", "meminspect", "snapshot", "--objects", "--max-pause", "60", "-o", "kept.mi"]
    subprocess.run([*command, "app.py"], cwd=folder, check=True, capture_output=True)
    return folder / "kept.mi"


def environment() -> dict[str, str]:
    """`python` and the console scripts are those of this environment."""
    scripts = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "MPLBACKEND": "agg"}


def test_the_two_commands_come_first() -> None:
    first = next(text for where, text in blocks("console") if where.startswith("README"))
    assert [line for line in first.splitlines() if line.startswith("$ ")] == ["$ make report", "$ make test"]


@pytest.mark.ends
@pytest.mark.parametrize("command", commands())
def test_command(command: str, folder: Path, sleeper: subprocess.Popen[str], snapshot: Path) -> None:
    words = shlex.split(command)
    if not WITH_GIL and words[:2] == ["meminspect", "query"]:
        pytest.skip("duckdb has no wheels for free-threaded builds")
    if words[0] == "make":
        subprocess.run(["make", "--dry-run", *words[1:]], cwd=ROOT, check=True, capture_output=True)
        return
    if words[:2] == ["pip", "install"]:  # tests/packaging builds and installs what this would
        requirement = words[-1]
        assert requirement.startswith(".")
        extras = re.findall(r"\w+", requirement.partition("[")[2])
        declared = (ROOT / "pyproject.toml").read_text()
        assert all(re.search(rf"^{extra} = \[", declared, re.MULTILINE) for extra in extras)
        return
    if words[0] == "cat":  # shows what the worker wrote
        return
    if words[0] == "kill":  # tests/robustness sends it; here only the signal's name is checked
        assert words[:3] == ["kill", "-s", "RTMIN+5"]
        assert signal.SIGRTMIN + 5 <= signal.SIGRTMAX
        return
    known = ("python", "meminspect", "tracemalloc-report", "PYTHONMALLOC=malloc")
    assert words[0] in known, f"no test knows how to run {words[0]}"
    for word, before in zip(words[1:], words, strict=False):
        if word.endswith(".mi") and before not in ("-o", "--output"):
            shutil.copytree(snapshot, folder / word)
    line = command.replace("4711", str(sleeper.pid))
    done = subprocess.run(
        line, shell=True, cwd=folder, env=environment(), capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout or done.stderr or any(word in words for word in ("-o", "--html", ">"))


# The servers are not installed here: their decorators are stood in for, and the hooks called by hand.
SERVERS = """
import sys, types

def stand_in(name, **members):
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(members)

signal_of_celery = types.SimpleNamespace(connect=lambda hook: hook)
stand_in("celery")
stand_in("celery.signals", worker_process_init=signal_of_celery)
stand_in("uwsgidecorators", postfork=lambda hook: hook)
"""
QUESTIONS = {
    "rss-grows": "My RSS grows and nothing leaks",
    "arenas-come-back": "Will these arenas come back?",
    "gil-extension": "Which extension holds the GIL?",
    "oom-killed": "My container is OOM-killed",
}
HOOKS = {"post_worker_init": "post_worker_init(None)", "reports": "reports()"}


@pytest.mark.ends
@pytest.mark.parametrize("code", [pytest.param(text, id=where) for where, text in blocks("python")])
def test_python(code: str, folder: Path) -> None:
    if not WITH_GIL and re.search("top_retained|pinning|what_if", code):
        pytest.skip("references are not read in free-threaded builds")
    calls = [call for name, call in HOOKS.items() if f"def {name}(" in code]
    if not PROGRAM.match(code):
        assert len(calls) == len(re.findall(r"^def ", code, re.MULTILINE)), "a hook that no test calls"
    run = "\n".join((SERVERS, code.replace("/run/app", str(folder)), *calls))
    done = subprocess.run([sys.executable, "-c", run], cwd=folder, env=environment(), capture_output=True, text=True)
    assert done.returncode == (-signal.SIGKILL if "SIGKILL" in code else 0), done.stderr


def test_each_question_has_its_guide() -> None:
    """One page each, in the table of contents, with a command and what its answer looks like or means."""
    contents = (ROOT / "docs" / "index.md").read_text()
    for page, question in QUESTIONS.items():
        text = (ROOT / "docs" / "guides" / f"{page}.md").read_text()
        assert f"guides/{page}\n" in contents
        assert text.startswith(f"# {question}\n")
        assert [kind for kind, _ in BLOCK.findall(text)].count("console") >= 2 or page == "gil-extension"


def test_the_reference_has_every_public_name() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    members = {name.strip() for line in re.findall(r":members: (.*)", text) for name in line.split(",")}
    assert members >= set(meminspect.__all__) - {"gil"}
    modules = {path.stem for path in (ROOT / "src" / "meminspect" / "models").glob("[a-z]*.py")} - {"base"}
    listed = re.findall(r"automodule:: meminspect\.models\.(\w+)", (ROOT / "docs" / "models.md").read_text())
    assert modules == set(listed)


def test_each_diagram_is_drawn_and_shown() -> None:
    shown = "".join(page.read_text() for page in PAGES)
    for source in (ROOT / "docs" / "diagrams").glob("*.dot"):
        drawing = source.with_suffix(".svg").read_text()
        assert f"diagrams/{source.stem}.svg" in shown
        for words in re.findall(r'\[label="([^"]*)"', source.read_text()):
            assert all(escape(line, quote=False) in drawing.replace("&#45;", "-") for line in words.split("\\n")), words


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
