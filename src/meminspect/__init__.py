"""meminspect: what CPython is really doing with memory and threads.

The public names are loaded when they are first used, so that `import meminspect` stays light.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs more than all of this module
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

# public name -> the module that defines it
_PUBLIC = {
    "NativeError": "meminspect._native",
    "doctor": "meminspect.probes.doctor",
    "gc_state": "meminspect.probes.gc",
    "header": "meminspect.probes.header",
    "install": "meminspect.integrations.signal_report",
    "uninstall": "meminspect.integrations.signal_report",
    "render": "meminspect.views.report_text",
    "report": "meminspect.probes.report",
}
# public modules, loaded in the same way
_MODULES = ("gil",)
__all__ = sorted((*_PUBLIC, *_MODULES))


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _PUBLIC:
        raise AttributeError(f"module 'meminspect' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, *_MODULES})
