"""Builds the native parts: the core with its Cython door (meminspect._native) and the preloaded library of the launcher.

The layout of the running CPython is generated from its installed headers before anything is compiled. Metadata and
dependencies are in pyproject.toml.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
CSRC = Path("csrc")
GENERATED = Path("build", f"layout-{sysconfig.get_config_var('SOABI')}")
PRELOAD = CSRC / "preload.c"
FLAGS = ["-std=c11", "-O2", "-g", "-Wall", "-Wextra", "-fvisibility=hidden"]


def check_toolchain() -> None:
    """Ends the build with one line that says what to install, instead of a page of compiler output."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if not (shutil.which(compiler) or shutil.which("cc") or shutil.which("gcc")):
        sys.exit(f"meminspect needs a C compiler ({compiler} was not found): apt-get install gcc libc6-dev")
    header = Path(sysconfig.get_path("include"), "internal", "pycore_interp.h")
    if not header.exists():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sys.exit(f"meminspect needs CPython's headers ({header} is missing): apt-get install python{version}-dev")


class BuildExt(build_ext):
    """Generates the layout, then compiles; preload.c becomes a plain shared library beside the extension."""

    def run(self) -> None:
        check_toolchain()
        subprocess.run([sys.executable, str(CSRC / "layout" / "generate.py"), str(GENERATED)], check=True)
        for extension in self.extensions:
            extension.sources.append(str(GENERATED / "layout_native.c"))
        super().run()
        self.build_preload()

    def build_preload(self) -> None:
        if not sys.platform.startswith("linux"):
            return
        folder = Path("src/meminspect") if self.inplace else Path(self.build_lib, "meminspect")
        compiler = sysconfig.get_config_var("CC") or "cc"
        target = folder / "_preload.so"
        subprocess.run([*compiler.split(), *FLAGS, "-shared", "-fPIC", str(PRELOAD), "-o", str(target), "-ldl"], check=True)


core = sorted(str(path) for path in CSRC.glob("*.c") if path != PRELOAD)
native = Extension(
    "meminspect._native",
    sources=["src/meminspect/_native.pyx", *core],
    include_dirs=[str(CSRC), str(GENERATED)],
    extra_compile_args=FLAGS,
    depends=[str(path) for path in (*CSRC.glob("*.h"), *CSRC.glob("layout/*"), *Path("src/meminspect/native").glob("*.pxi"))],
    libraries=["dl", "pthread"] if sys.platform.startswith("linux") else [],
)

setup(
    ext_modules=cythonize([native], build_dir="build/cython", compiler_directives={"language_level": "3"}),
    cmdclass={"build_ext": BuildExt},
)
