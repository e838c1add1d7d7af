"""The whole report made inside the process that it is about, for the thread that answers a signal.

Imported when `install()` is called, with all that it needs, so that nothing is imported at the moment of a report. It
runs in a thread that Python's threading does not know: nothing here asks for the current thread, logs, prints or starts
anything, and the process is asked about by the core alone.
"""

from __future__ import annotations

import json
import os
from importlib import import_module
from typing import Any

from meminspect import _native
from meminspect.probes import report
from meminspect.views import report_json

# written for each report by csrc/signal/partial_report.c
_CHANGING = ("pid", "taken_s", "threads", "open_files")
_PASSING = ("user_s", "system_s")  # as of a moment, and left out of it
_WAITING = {"error": "waiting", "reason": "waiting for the GIL"}


def document(gc_enabled: bool, max_pause: float | None = 1.0) -> bytes:
    """The whole report as JSON, on one line.

    gc_enabled -- whether the collector was on before the core switched it off for the time of this call
    max_pause -- seconds for which each of the long captures may keep the program waiting
    """
    return _text(_document(_native.raw_take(None, gc_enabled, max_pause)) | {"partial": False}) + b"\n"


def heads() -> tuple[bytes, bytes]:
    """What is the same in every report of this process and its forks, as JSON members without braces.

    Of the document, and of its `process`; the core writes the rest of the partial report itself.
    """
    raw: dict[str, Any] = dict.fromkeys(("heap", "gc", "gil", "memory"), _WAITING)
    known = _document({**raw, "python": _native.python_capture(), "process": _native.process_capture()})
    whole = {"schema": known["schema"], "meminspect": known["meminspect"], "python": known["python"], "findings": []}
    process = {name: value for name, value in known["process"].items() if name not in _CHANGING}
    process |= dict.fromkeys(_PASSING)
    return _text(whole)[1:-1], _text(process)[1:-1]


def _document(raw: dict[str, Any]) -> dict[str, Any]:
    return report_json.document(report.build(raw, {"pid": os.getpid(), "alive": False}))


def _text(value: dict[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False).encode("ascii")


def _import_all() -> None:
    for _, module in report.SECTIONS.values():
        import_module(f"meminspect.probes.{module}")


_import_all()
