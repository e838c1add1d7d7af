"""The report: all captures of one process made into one model, with what follows from it.

`build` is pure but for what it asks psutil about a process that still lives; it may run in another process than the one
that was measured. A capture that failed becomes None, with its reason under the same name in `missing`.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any, TypeVar

from .. import __version__
from ..analysis.findings import find
from ..analysis.fragmentation import fragmentation
from ..analysis.large import large_path
from ..models.gc import GcState
from ..models.gil import GilCounters
from ..models.heap import HeapMap
from ..models.memory import MemoryBreakdown
from ..models.report import GilTraceSummary, ProcessInfo, PythonInfo, Report
from . import process

Raw = Mapping[str, Any]
T = TypeVar("T")

# section of the report -> (the capture that it is built from, the module whose build() makes the model)
SECTIONS = {
    "memory": ("memory", "memory"),
    "pymalloc": ("heap", "heap"),
    "gc": ("gc", "gc"),
    "gil": ("gil", "gil"),
}


def report(*, max_pause: float | None = 1.0) -> Report:
    """The report of this process, taken now. See build() for what each part comes from.

    max_pause -- seconds for which each of its parts may keep the process waiting: see heap_map(), gc_state(), memory()
    """
    from .raw import take

    return replace(build(take(max_pause), {"pid": os.getpid()}), gil_trace=traced())


def traced() -> GilTraceSummary | None:
    """Of the last trace of the GIL that this process took and keeps; nothing is imported for it."""
    module = sys.modules.get(f"{__package__}.gil_trace")
    trace = module.latest() if module is not None else None
    if trace is None:
        return None
    return GilTraceSummary(
        duration_s=trace.duration_s,
        hand_offs=trace.hand_offs.total,
        forced=trace.hand_offs.forced,
        waited_s=sum(thread.waited_s for thread in trace.threads),
        exact=trace.exact,
        sentences=tuple(finding.text for finding in trace.findings),
    )


def build(raw: Raw, context: Raw | None = None) -> Report:
    """A report of the captures that `probes.raw.take` returned.

    `context` is what the process that shows knows better than the one that was measured, all of it optional: `pid`,
    `program` (a name), `argv` (only when it was asked for), `hooked_by`, `note`, `alive` (False: psutil is
    not asked), and `python`, a dict of PythonInfo's fields for an interpreter other than this one.
    """
    context = context or {}
    missing: dict[str, str] = {}
    memory: MemoryBreakdown | None = section("memory", raw, missing)
    heap: HeapMap | None = section("pymalloc", raw, missing)
    gc: GcState | None = section("gc", raw, missing)
    gil: tuple[GilCounters, ...] | None = section("gil", raw, missing)
    large = large_path(memory, heap) if memory is not None else None
    if memory is None:
        missing["large"] = missing["memory"]
    whole = Report(
        meminspect=__version__,
        python=python_info(raw, context, heap),
        process=process_info(raw, context, memory),
        memory=memory,
        pymalloc=heap,
        large=large,
        gc=gc,
        gil=gil,
        findings=(),
        missing=missing,
        fragmentation=fragmentation(heap) if heap is not None else None,
    )
    return replace(whole, findings=find(whole))


def section(name: str, raw: Raw, missing: dict[str, str]) -> Any:
    """The model of one section, or None and its reason in `missing`."""
    capture, module = SECTIONS[name]
    value = raw.get(capture)
    if value is None:
        missing[name] = "it was not captured"
        return None
    if isinstance(value, Mapping) and "error" in value:
        missing[name] = str(value.get("reason") or value["error"])
        return None
    make: Callable[[Any], Any] = import_module(f"{__package__}.{module}").build
    made = make(value)
    return (made,) if name == "gil" and isinstance(made, GilCounters) else made


def facts_of(raw: Raw, name: str) -> dict[str, Any]:
    """A capture that is a plain dict of facts; empty when it failed."""
    value = raw.get(name)
    return dict(value) if isinstance(value, Mapping) and "error" not in value else {}


def python_info(raw: Raw, context: Raw, heap: HeapMap | None) -> PythonInfo:
    """The interpreter that was measured: by its own account and the caller's, else this one (the same build)."""
    known = own_python() | facts_of(raw, "python") | dict(context.get("python") or {})
    allocator = known.get("allocator") or (heap.allocator if heap is not None else "unknown")
    return PythonInfo(
        version=known["version"].split()[0],
        implementation=known["implementation"],
        free_threaded=bool(known["free_threaded"]),
        debug=bool(known["debug"]),
        allocator=allocator,
        executable=known.get("executable"),
    )


def own_python() -> dict[str, Any]:
    """The fields of PythonInfo for the interpreter that runs this."""
    return {
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "free_threaded": "t" in sys.abiflags,
        "debug": hasattr(sys, "gettotalrefcount"),
        "executable": sys.executable or None,
    }


def process_info(raw: Raw, context: Raw, memory: MemoryBreakdown | None) -> ProcessInfo:
    """The process: what it captured itself, else psutil while it lives."""
    capture = facts_of(raw, "process")
    pid = int(context.get("pid") or capture.get("pid") or (memory.pid if memory is not None else 0))
    if capture:
        known = process.build(capture)
    elif pid and context.get("alive", True):
        known = process.facts(pid)
    else:
        known = {"reason": process.GONE}
    return ProcessInfo(
        pid=pid,
        program=context.get("program") or known.get("program") or "unknown",
        argv=tuple(context["argv"]) if context.get("argv") is not None else None,
        started_s=known.get("started_s"),
        taken_s=known.get("taken_s") or process.now(),
        threads=known.get("threads"),
        open_files=known.get("open_files"),
        user_s=known.get("user_s"),
        system_s=known.get("system_s"),
        dumpable=known.get("dumpable"),
        libc=known.get("libc") or process.own_libc(),
        kernel=known.get("kernel") or process.kernel(),
        hooked_by=context.get("hooked_by"),
        note=context.get("note"),
        reason=known.get("reason"),
    )
