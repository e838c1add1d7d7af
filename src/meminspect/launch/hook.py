"""The two ways into a program that is started: what is put into its environment, and which way is possible.

The preloaded library (csrc/launch/preload.c) is the way: nothing of Python differs from a plain start. Where the loader
would not take it, a sitecustomize module (hooked/sitecustomize.py) stands in; it is not read under -I, -E and -S.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from meminspect.errors import MeminspectError
from meminspect.launch.records import HOOKED, RecordFile

PACKAGE = Path(__file__).resolve().parent.parent
PRELOAD = PACKAGE / "_preload.so"
SITE_FOLDER = PACKAGE / "launch" / "hooked"
ELF_MAGIC = b"\x7fELF"
PT_INTERP = 3


@dataclass(frozen=True)
class Order:
    """What the program's process is to do.

    function -- of the native core: measures, and appends the record
    interval_s -- between measurements on the way, None for none
    max_pause_s -- for which a capture may keep the program waiting
    start -- measure before the program's first line too
    """

    function: str = "raw_record"
    interval_s: float | None = None
    max_pause_s: float = 1.0
    start: bool = False

    def text(self, fd: int) -> str:
        from meminspect import _native

        interval_us = round((self.interval_s or 0) * 1e6)
        pause_us = round(self.max_pause_s * 1e6)
        return f"{fd}:{os.getpid()}:{interval_us}:{pause_us}:{int(self.start)}:{self.function}:{_native.__file__}"


def environment(way: str, order: Order, fd: int, plain: Mapping[str, str]) -> dict[str, str]:
    """The program's environment with the orders in it; what is changed is put back before the program can look."""
    env = {**plain, "MEMINSPECT_LAUNCH": order.text(fd)}
    if way == "preload":
        if "LD_PRELOAD" in env:
            env["MEMINSPECT_LD_PRELOAD"] = env["LD_PRELOAD"]
        env["LD_PRELOAD"] = ":".join(filter(None, [env.get("LD_PRELOAD"), str(PRELOAD)]))
    else:
        if "PYTHONPATH" in env:
            env["MEMINSPECT_PYTHONPATH"] = env["PYTHONPATH"]
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SITE_FOLDER), env.get("PYTHONPATH")]))
    return env


def choose(order: Order) -> tuple[str, str | None]:
    """The way in: "preload", or "sitecustomize" with the reason why nothing can be preloaded."""
    wanted = os.environ.get("MEMINSPECT_HOOK", "")
    if wanted not in ("", "preload", "sitecustomize"):
        raise MeminspectError(f"MEMINSPECT_HOOK is {wanted!r}; it may be 'preload' or 'sitecustomize'")
    obstacle = "MEMINSPECT_HOOK asks for it" if wanted == "sitecustomize" else preload_obstacle(order)
    if wanted == "preload" or obstacle is None:
        return "preload", None
    flags = {"I": sys.flags.isolated, "E": sys.flags.ignore_environment, "S": sys.flags.no_site}
    ignored = [letter for letter, flag in flags.items() if flag]
    if ignored:
        raise MeminspectError(
            f"the program cannot be measured: {obstacle}, and -{ignored[0]} leaves no other way into it"
        )
    if order.interval_s:
        raise MeminspectError(f"--every needs the preloaded library: {obstacle}")
    return "sitecustomize", obstacle


def preload_obstacle(order: Order) -> str | None:
    """Why the dynamic loader would not take the library into this interpreter; None when it does."""
    if not sys.platform.startswith("linux"):
        return "preloading is made for Linux"
    if not PRELOAD.exists():
        return f"{PRELOAD.name} was not built"
    if any(character in str(PRELOAD) for character in ": "):
        return "the path of the library holds a colon or a blank, which LD_PRELOAD cannot"
    executable = os.path.realpath(sys.executable)
    status = os.stat(executable)
    if status.st_mode & (stat.S_ISUID | stat.S_ISGID) or "security.capability" in os.listxattr(executable):
        return "the interpreter runs with privileges of its own (setuid, setgid or capabilities)"
    with open(executable, "rb") as file:
        head = file.read(4096)
    if head[:4] != ELF_MAGIC:
        return wrapper_obstacle(order)
    return None if has_loader(head) else "the interpreter is linked statically"


def has_loader(head: bytes) -> bool:
    """True when the program headers of a 64-bit ELF file name a dynamic loader (elf(5): e_phoff, p_type)."""
    offset = int.from_bytes(head[32:40], sys.byteorder)
    size = int.from_bytes(head[54:56], sys.byteorder)
    count = int.from_bytes(head[56:58], sys.byteorder)
    headers = (head[offset + size * index :][:4] for index in range(count))
    return any(int.from_bytes(kind, sys.byteorder) == PT_INTERP for kind in headers)


def wrapper_obstacle(order: Order) -> str | None:
    """A script stands for the interpreter: an empty program tells whether the environment comes through."""
    results = RecordFile()
    try:
        env = environment("preload", order, results.fd, os.environ)
        subprocess.run([sys.executable, "-I", "-S", "-c", ""], env=env, pass_fds=[results.fd], check=False)
        hooked = any(record.kind == HOOKED for record in results.new())
    finally:
        results.close()
    return None if hooked else "the interpreter is started by a script that does not pass the environment on"
