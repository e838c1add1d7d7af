"""meminspect: what CPython is really doing with memory and threads.

The public names are loaded when they are first used, so that `import meminspect` stays light.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs more than all of this module
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"


def _in_main_interpreter() -> bool:
    import _thread

    if hasattr(_thread, "_is_main_interpreter"):  # from CPython 3.12 on
        return bool(_thread._is_main_interpreter())
    try:
        interpreters = __import__("_xxsubinterpreters")
    except ImportError:
        return True
    return bool(interpreters.get_current() == interpreters.get_main())


if not _in_main_interpreter():
    # the native core's module state is static: loaded here first, it could not be loaded in the main interpreter any
    # more
    raise ImportError(
        "meminspect cannot be imported in a subinterpreter: import it in the main one, which sees them all"
    )

# public name -> the module that defines it
_PUBLIC = {
    "NativeError": "meminspect._native",
    "census": "meminspect.probes.census",
    "demo": "meminspect.demos",
    "doctor": "meminspect.probes.doctor",
    "explain": "meminspect.probes.explain",
    "block": "meminspect.probes.allocation",
    "debug_malloc_stats": "meminspect.probes.malloc_stats",
    "gc_state": "meminspect.probes.gc",
    "header": "meminspect.probes.header",
    "memory": "meminspect.probes.memory",
    "heap_map": "meminspect.probes.heap",
    "probe_allocation": "meminspect.probes.allocation",
    "probe_allocations": "meminspect.probes.allocation",
    "install": "meminspect.integrations.signal_report",
    "uninstall": "meminspect.integrations.signal_report",
    "holders": "meminspect.probes.references",
    "path_to_root": "meminspect.probes.references",
    "retained": "meminspect.probes.references",
    "top_retained": "meminspect.probes.references",
    "why": "meminspect.probes.references",
    "pinning": "meminspect.probes.pinning",
    "suspects": "meminspect.probes.references",
    "what_if": "meminspect.probes.pinning",
    "render": "meminspect.views.report_text",
    "report": "meminspect.probes.report",
    "snapshot": "meminspect.probes.snapshot",
    "load": "meminspect.store.read",
    "diff": "meminspect.store.read",
    "query": "meminspect.store.query",
    "growth": "meminspect.probes.growth",
}
# public modules, loaded in the same way
_MODULES = ("gil",)
__all__ = sorted((*_PUBLIC, *_MODULES))


def _html(model: Any) -> Any:
    """How a model shows itself in a notebook; the view is imported when the first one does."""
    from meminspect.views import notebook

    return notebook.html(model)


def _text(model: Any) -> Any:
    """How a model shows itself to print()."""
    from meminspect.views import printed

    return printed.text(model)


def _hang_in_views() -> None:
    import sys

    base = sys.modules.get("meminspect.models.base")
    if base is not None:
        base.Model.html_view = staticmethod(_html)
        base.Model.text_view = staticmethod(_text)


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext meminspect`: the magics %memory, %heapmap, %explain, %%growth and %%gil."""
    from meminspect.integrations import magics, notebook

    notebook.load(shell)
    magics.load(shell)
    _hang_in_views()


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        module = import_module(f"{__name__}.{name}")
        _hang_in_views()
        return module
    if name not in _PUBLIC:
        raise AttributeError(f"module 'meminspect' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    _hang_in_views()
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, *_MODULES})


def _trace_if_asked() -> None:
    import os

    if "MEMINSPECT_GIL_TRACE" in os.environ:
        from meminspect.integrations.gil_environment import begin

        begin()


_trace_if_asked()
