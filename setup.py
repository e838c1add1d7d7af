"""Builds the native parts: the core and its Cython door (meminspect._native), and the library of the launcher.

The layout of the running CPython is generated from its installed headers before anything is compiled. Metadata and
dependencies are in pyproject.toml. Everything that is made lies in a folder named after the interpreter's build, so
several interpreters can build in one tree at the same time. MEMINSPECT_WERROR=1 makes warnings errors (`make lint`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ON_LINUX = sys.platform.startswith("linux")
SOABI = sysconfig.get_config_var("SOABI") or sys.implementation.cache_tag
CSRC = Path("csrc")
BUILD = Path("build", SOABI)
LAYOUT = BUILD / "layout"
ROOMS = sorted(path for path in CSRC.iterdir() if path.is_dir())  # a header is named alone: no two share a name
PRELOAD = CSRC / "launch" / "preload.c"
FLAGS = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-fvisibility=hidden"]
if os.environ.get("MEMINSPECT_WERROR") == "1":
    FLAGS.append("-Werror")
DOOR_FLAGS = ["-O1"]  # Cython's C is most of what is compiled, and only converts what the core, at -O2, has found


def find_compiler() -> str:
    """The command that compiles C here. An interpreter built elsewhere may name a compiler that this machine lacks."""
    configured = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    if shutil.which(configured.split()[0]):
        return configured
    for other in ("cc", "gcc", "clang"):
        if shutil.which(other):
            os.environ["CC"] = other  # setuptools compiles and links with it too
            return other
    sys.exit(f"meminspect needs a C compiler, and {configured.split()[0]} was not found: apt-get install gcc libc6-dev")


def check_headers(compiler: str) -> None:
    """Ends the build with one line that says what to install, instead of a page of compiler output."""
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").exists() or not Path(include, "internal", "pycore_interp.h").exists():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(f"meminspect needs CPython's headers, and {include} has none: apt-get install python{version}-dev")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("#include <stdlib.h>\nint meminspect_probe(void) { return EXIT_SUCCESS; }\n")
        command = [*compiler.split(), "-c", str(source), "-o", str(source.with_suffix(".o"))]
        if subprocess.run(command, capture_output=True).returncode != 0:
            sys.exit(f"meminspect needs the C library's headers, and {compiler} finds none: apt-get install libc6-dev")


@contextmanager
def side_by_side(compiler: Any) -> Iterator[None]:
    """Within it as many files are compiled at a time as there are cores (setuptools has one); a link waits for all."""
    compile_one, link = compiler._compile, compiler.link_shared_object
    begun: list[Future[None]] = []

    def begin(target: str, source: str, suffix: str, before: Sequence[str], after: Sequence[str], *rest: Any) -> None:
        flags = [*after, *(DOOR_FLAGS if Path(source).name == "_native.c" else ())]
        begun.append(pool.submit(compile_one, target, source, suffix, before, flags, *rest))

    def link_when_compiled(*args: Any, **options: Any) -> None:
        for one in begun:
            one.result()
        link(*args, **options)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        compiler._compile, compiler.link_shared_object = begin, link_when_compiled
        try:
            yield
        finally:
            pool.shutdown(cancel_futures=True)
            compiler._compile, compiler.link_shared_object = compile_one, link


class BuildPy(build_py):
    """Empties the folder that a wheel is packed from: a module that was renamed or removed must not stay in it."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib, "meminspect"), ignore_errors=True)
        super().run()


class BuildExt(build_ext):
    """Generates the layout, then compiles; preload.c becomes a plain shared library beside the extension."""

    def run(self) -> None:
        compiler = find_compiler()
        check_headers(compiler)
        subprocess.run([sys.executable, str(CSRC / "layout" / "generate.py"), str(LAYOUT)], check=True)
        super().run()
        if ON_LINUX:
            in_place = self.inplace or self.editable_mode
            self.build_preload(compiler, Path("src/meminspect") if in_place else Path(self.build_lib, "meminspect"))

    def build_extension(self, ext: Extension) -> None:
        from Cython.Build import cythonize  # here, since an sdist needs no Cython run

        [made] = cythonize(
            [ext], build_dir=str(BUILD / "cython"), compiler_directives={"language_level": "3"}, quiet=True
        )
        ext.sources = [*made.sources, str(LAYOUT / "layout_native.c")]
        with side_by_side(self.compiler):
            super().build_extension(ext)

    def build_preload(self, compiler: str, folder: Path) -> None:
        target = folder / "_preload.so"
        if (
            not self.force
            and target.exists()
            and target.stat().st_mtime > max(path.stat().st_mtime for path in (PRELOAD, Path(__file__)))
        ):
            return
        # Every interpreter makes the same file, so it is moved into place whole: another build may be doing the same.
        made = BUILD / "_preload.so"
        command = [
            *compiler.split(),
            *FLAGS,
            "-shared",
            "-fPIC",
            *(f"-I{room}" for room in ROOMS),
            str(PRELOAD),
            "-o",
            str(made),
            "-ldl",
            "-pthread",
        ]
        subprocess.run(command, check=True)
        shutil.copy(made, f"{target}.{SOABI}")
        os.replace(f"{target}.{SOABI}", target)


inputs = [*CSRC.glob("*/*.h"), *CSRC.glob("layout/*.*"), *Path("src/meminspect/native").glob("*.pxi"), Path("setup.py")]
native = Extension(
    "meminspect._native",
    sources=["src/meminspect/_native.pyx", *sorted(str(path) for path in CSRC.glob("*/*.c") if path != PRELOAD)],
    include_dirs=[*map(str, ROOMS), str(LAYOUT)],
    extra_compile_args=FLAGS,
    depends=[str(path) for path in inputs],
    libraries=["dl", "pthread"] if ON_LINUX else [],
)

setup(
    ext_modules=[native],
    cmdclass={"build_py": BuildPy, "build_ext": BuildExt},
    options={"build": {"build_base": str(BUILD)}, "bdist": {"bdist_base": str(BUILD / "bdist")}},
)
