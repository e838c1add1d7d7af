"""What is exact here: asked of the interpreter and the machine, and shown by taking a report of this process."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import __version__
from ..models.doctor import Build, Doctor, Extra, Feature, LayoutTrial, Machine
from ..models.report import Report

EXTRAS = {  # extras of pyproject.toml that add something at run time -> the modules that they bring
    "plot": ("matplotlib",),
    "notebook": ("ipykernel", "jupyterlab", "matplotlib"),
    "test": ("pytest", "hypothesis", "jsonschema", "nbclient", "ipykernel"),
}
CAP_SYS_PTRACE = 19  # include/uapi/linux/capability.h
UNATTRIBUTED_SHARE = 0.002
LEVELS = {0xA: "a", 0xB: "b", 0xC: "rc"}


def doctor() -> Doctor:
    """Takes a report of this process and asks the machine; changes nothing."""
    from .. import _native
    from . import report

    taken = report.report()
    return build(_native.layout_capture(), _native.build_info(), _native.read_method(), taken)


def build(layout: Mapping[str, Any], built: Mapping[str, str], read_method: str | None, taken: Report) -> Doctor:
    """The model, of `layout_capture()`, `build_info()`, `read_method()` and a report of this process."""
    layouts = tuple(trial(item) for item in layout["tried"])
    reason = layout["reason"] if layout["chosen"] is None else None
    here = machine(read_method, taken)
    preload = Path(__file__).parent.parent.joinpath("_preload.so").exists()
    return Doctor(
        meminspect=__version__,
        python=taken.python,
        build=Build(built["python"], built["cython"], built["compiler"], preload),
        machine=here,
        gil_enabled=gil_enabled(),
        interpreters=interpreters(taken),
        layouts=layouts,
        layout_reason=reason,
        features=features(layouts, reason, here, taken, preload),
        extras=tuple(
            Extra(name, tuple(module for module in modules if not installed(module)))
            for name, modules in EXTRAS.items()
        ),
    )


def trial(item: Mapping[str, Any]) -> LayoutTrial:
    return LayoutTrial(
        version=version_text(item["version"]),
        native=item["native"],
        free_threaded=item["free_threaded"],
        debug=item["debug"],
        verified=item["verified"],
        facts=tuple((text, verdict) for text, verdict in item["facts"]),
    )


def version_text(number: int) -> str:
    """'3.15.0rc1' of PY_VERSION_HEX."""
    text = f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}"
    level = LEVELS.get(number >> 4 & 15)
    return f"{text}{level}{number & 15}" if level else text


def gil_enabled() -> bool:
    """Whether the GIL is in force: always, but in a free-threaded build that runs without it."""
    asked = getattr(sys, "_is_gil_enabled", None)
    return bool(asked()) if asked else True


def installed(module: str) -> bool:
    """Whether a module could be imported; its parent packages are not imported either."""
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def interpreters(taken: Report) -> int | None:
    """Interpreters of this process, from the GILs that they share."""
    return len({number for item in taken.gil for number in item.interpreters}) if taken.gil else None


def machine(read_method: str | None, taken: Report) -> Machine:
    """The machine's side, from /proc and the report."""
    status = read_status()
    capabilities = status.get("CapEff")
    group = taken.memory.cgroup if taken.memory else None
    return Machine(
        system=platform.system(),
        kernel=taken.process.kernel,
        architecture=platform.machine(),
        page_size=os.sysconf("SC_PAGE_SIZE"),
        libc=taken.process.libc,
        malloc=taken.memory.malloc if taken.memory else None,
        read_method=read_method,
        pagemap=pagemap_readable(),
        dumpable=taken.process.dumpable,
        ptrace_scope=number_in("/proc/sys/kernel/yama/ptrace_scope"),
        ptrace_capable=bool(int(capabilities, 16) >> CAP_SYS_PTRACE & 1) if capabilities else None,
        seccomp=int(status["Seccomp"]) if "Seccomp" in status else None,
        cgroup_version=group.version if group else None,
    )


def read_status() -> dict[str, str]:
    """The lines of /proc/self/status; empty where there is none."""
    try:
        lines = Path("/proc/self/status").read_text("utf-8", "replace").splitlines()
    except OSError:
        return {}
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def number_in(path: str) -> int | None:
    """A small file's number, None where it is not there or holds none."""
    try:
        return int(Path(path).read_text("ascii"))
    except (OSError, ValueError):
        return None


def pagemap_readable() -> bool:
    """Whether an entry of /proc/self/pagemap can be read: one that is not dumpable may not."""
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as file:
            return len(file.read(8)) == 8
    except OSError:
        return False


def features(
    layouts: tuple[LayoutTrial, ...], layout_reason: str | None, here: Machine, taken: Report, preload: bool
) -> tuple[Feature, ...]:
    """Everything that meminspect does, with how exact it is here."""
    return (
        layout_feature(layouts, layout_reason),
        heap_feature(taken),
        memory_feature(taken),
        malloc_feature(taken),
        gc_feature(taken),
        gil_feature(taken),
        launch_feature(preload),
        pid_feature(here),
    )


def layout_feature(layouts: tuple[LayoutTrial, ...], reason: str | None) -> Feature:
    name = "object headers"
    if reason is not None or not layouts:
        return Feature(name, False, reason or "there is no layout of this version")
    chosen = layouts[-1]
    true = sum(verdict is True for _, verdict in chosen.facts)
    origin = "built for this interpreter" if chosen.native else "shipped with meminspect"
    return Feature(name, True, f"layout of {chosen.version}, {origin}, verified by {true} facts")


def heap_feature(taken: Report) -> Feature:
    heap = taken.pymalloc
    if heap is None:
        return Feature("small-object heap", False, taken.missing.get("pymalloc", "unknown"))
    name = f"small-object heap ({heap.allocator})"
    check = heap.cross_check
    if check.agrees is False:
        return Feature(name, False, f"{len(check.differences)} of {check.compared} figures differ from {check.source}")
    if not heap.exact:
        return Feature(name, False, heap.reason or "partial")
    if check.agrees:
        return Feature(name, True, f"{check.compared} figures agree with {check.source}")
    return Feature(name, True if heap.arenas else None, f"not held against {check.source}: {check.reason}")


def memory_feature(taken: Report) -> Feature:
    memory = taken.memory
    if memory is None:
        return Feature("memory tree", False, taken.missing.get("memory", "unknown"))
    share = memory.unattributed_bytes / memory.rss_bytes if memory.rss_bytes else 0.0
    exact = memory.exact and share <= UNATTRIBUTED_SHARE
    how = f"{share * 100:.3f} % of RSS without a name"
    return Feature("memory tree", exact, f"{how}; {memory.reason}" if memory.reason else how)


def malloc_feature(taken: Report) -> Feature:
    memory = taken.memory
    if memory is None:
        return Feature("malloc's heaps", False, taken.missing.get("memory", "unknown"))
    if memory.malloc_arenas:
        return Feature("malloc's heaps", True, f"{memory.malloc}, {len(memory.malloc_arenas)} walked chunk by chunk")
    return Feature("malloc's heaps", False, memory.reason or f"{memory.malloc} cannot be walked")


def gc_feature(taken: Report) -> Feature:
    if taken.gc is None:
        return Feature("collector", False, taken.missing.get("gc", "unknown"))
    return Feature("collector", taken.gc.exact, taken.gc.reason or f"{taken.gc.kind}, its lists were walked")


def gil_feature(taken: Report) -> Feature:
    if not taken.gil:
        return Feature("GIL counters", False, taken.missing.get("gil", "unknown"))
    main = taken.gil[0]
    if not main.enabled:
        return Feature("GIL counters", None, "this build runs without a GIL")
    return Feature("GIL counters", main.exact, main.reason or "read from CPython's own structure")


def launch_feature(preload: bool) -> Feature:
    if preload:
        return Feature("running a program", True, "by a preloaded library")
    return Feature("running a program", False, "by a sitecustomize hook: the preloaded library was not built")


def pid_feature(here: Machine) -> Feature:
    name = "reports of other processes"
    if here.read_method is None:
        return Feature(name, False, "no way to read another process' memory is permitted")
    if here.ptrace_capable:
        return Feature(name, True, "CAP_SYS_PTRACE: of every process")
    if here.ptrace_scope:
        scopes = {1: "of children only", 2: "with CAP_SYS_PTRACE only", 3: "of none"}
        return Feature(name, False, f"{scopes.get(here.ptrace_scope, 'restricted')} (kernel.yama.ptrace_scope)")
    return Feature(name, True, "of this user's processes that are dumpable")
