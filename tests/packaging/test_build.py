"""The sdist and the wheel made from this tree: what they hold, that they install, and what a build says that cannot be.

The sources are copied to an empty folder first, so that nothing a developer built here helps the build along.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "README.md", "csrc", "src", "tests")
EXTENSION = f"meminspect/_native{sysconfig.get_config_var('EXT_SUFFIX')}"
BACKEND = "import sys, setuptools.build_meta as backend; print(getattr(backend, sys.argv[1])(sys.argv[2]))"

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the native parts are built for Linux")


def copy_sources(target: Path) -> Path:
    """A copy of what a build needs, with traps: files that must never reach a wheel."""
    target.mkdir()
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info"))
        else:
            shutil.copy(source, target / name)
    (target / "src/meminspect/_native.cpython-310-x86_64-linux-gnu.so").write_bytes(b"of another interpreter")
    return target


def run_backend(hook: str, tree: Path, output: Path) -> Path:
    """Calls a hook of the build backend in this interpreter (no isolation: tests need no network)."""
    output.mkdir(exist_ok=True)
    done = subprocess.run([sys.executable, "-c", BACKEND, hook, str(output)], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return output / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("Cython", reason="Cython is not installed: pip install cython")
    pytest.importorskip("setuptools", reason="setuptools is not installed: pip install setuptools")
    folder = tmp_path_factory.mktemp("sdist")
    return run_backend("build_sdist", copy_sources(folder / "tree"), folder / "dist")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel made from the unpacked sdist, as pip does it. A stale module of an earlier build must stay out."""
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # as old as 3.11.2 it is not known
        archive.extractall(folder, **safely)
    [tree] = folder.iterdir()
    from setuptools import Distribution

    build = Distribution().get_command_obj("build")
    build.build_base = f"build/{sysconfig.get_config_var('SOABI')}"
    build.ensure_finalized()
    stale = tree / build.build_platlib / "meminspect" / "removed_module.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("# a module of an earlier build\n")
    made = run_backend("build_wheel", tree, folder / "dist")
    assert next((tree / build.build_platlib / "meminspect").glob("_native*")), (
        "the wheel was packed from another folder"
    )
    return made


@pytest.mark.required
def test_sdist_holds_every_source_and_no_binary(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {
        str(path.relative_to(ROOT))
        for folder in ("csrc", "src/meminspect")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and ".so" not in path.suffixes
    }
    assert expected - names == set()
    assert {"LICENSE", "README.md", "setup.py", "pyproject.toml", "tests/conftest.py"} <= names
    assert [name for name in names if ".so" in Path(name).suffixes or name.endswith((".pyc", ".o"))] == []


@pytest.mark.required
def test_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {name for name in names if name.startswith("meminspect/")}
    info = names - package
    assert {name.split("/")[0].rpartition(".")[2] for name in info} == {"dist-info"}
    assert any(name.endswith("licenses/LICENSE") for name in info)

    source = ROOT / "src"
    patterns = ("**/*.py", "*.pyi", "py.typed", "schemas/*.json", "views/assets/*")
    expected = {str(path.relative_to(source)) for glob in patterns for path in (source / "meminspect").glob(glob)}
    assert "meminspect/_native.pyi" in expected
    assert package == expected | {EXTENSION, "meminspect/_preload.so"}


@pytest.mark.required
def test_wheel_works_where_there_are_no_sources(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = "import meminspect, meminspect._native as n; print(meminspect.__version__, meminspect.__file__, n.__file__)"
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    version, *files = done.stdout.split()
    assert version in wheel.name
    assert all(Path(file).is_relative_to(tmp_path / "site") for file in files)


@pytest.mark.required
def test_versions_are_told_once(wheel: Path) -> None:
    import tomllib

    import meminspect

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert meminspect.__version__ == declared == wheel.name.split("-")[1]


def run_setup(tree: Path, *, before: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
    """setup.py build_ext, in an interpreter that ran `before`, with a changed environment."""
    lines = ("import sys, sysconfig, runpy", "sys.argv = ['setup.py', '--quiet', 'build_ext']", before)
    code = "\n".join((*lines, "runpy.run_path('setup.py', run_name='__main__')"))
    env = {**{name: value for name, value in os.environ.items() if name != "CC"}, **changes}
    return subprocess.run([sys.executable, "-c", code], cwd=tree, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("hint", ["gcc", "python{0}.{1}-dev", "libc6-dev"])
def test_a_missing_tool_is_one_line(hint: str, tmp_path: Path) -> None:
    pytest.importorskip("Cython", reason="Cython is not installed: pip install cython")
    tree = copy_sources(tmp_path / "tree")
    empty = tmp_path / "empty"
    empty.mkdir()
    if hint == "gcc":
        done = run_setup(tree, PATH=str(empty))
    elif hint == "libc6-dev":
        done = run_setup(tree, CC="cc -nostdinc")
    else:
        done = run_setup(tree, before=f"sysconfig.get_path = lambda name, *rest: {str(empty)!r}")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 1
    assert len(lines) == 1, done.stderr
    assert "apt-get install " in lines[0]
    assert hint.format(*sys.version_info) in lines[0]


def test_an_interpreter_that_names_an_absent_compiler_takes_another(tmp_path: Path) -> None:
    """Interpreters that were built elsewhere carry the compiler's name of that machine."""
    code = (
        "import setuptools, sysconfig; setuptools.setup = lambda **options: None; real = sysconfig.get_config_var; "
        "sysconfig.get_config_var = lambda name: 'no-such-compiler -pthread' if name == 'CC' else real(name); "
        "import runpy; print(runpy.run_path('setup.py')['find_compiler']())"
    )
    if not shutil.which("cc"):
        pytest.skip("cc is missing")
    env = {name: value for name, value in os.environ.items() if name != "CC"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "cc"


def test_environment_knows_the_declared_entry_points() -> None:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        entries = distribution("meminspect").entry_points
    except PackageNotFoundError:
        pytest.skip("meminspect is not installed in this environment, only built in place")
    commands = entries.select(group="console_scripts")
    assert commands.names == {"meminspect", "tracemalloc-report"}
    assert all(callable(command.load()) for command in commands)
    (plugin,) = entries.select(group="pytest11")
    assert plugin.load().NAME == "no_leaks"
